"""BENCHMARKS.md: every measurement, each in a process of its own, as tables and a plot."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf import interrupts
from sa_vae_tf.analysis.figures import INK, new_panels, save
from sa_vae_tf.benchmarks.sizes import SIZES
from sa_vae_tf.errors import UserError, one_line
from sa_vae_tf.training.config import Config

Line = dict[str, Any]

# Calls that are timed, by size; others as many as the script's default.
REPEATS = {"medium": 3, "paper": 1, "images": 1}
PLOTTED = ("small", "medium", "paper", "images")


def suite() -> list[list[str]]:
    """Returns the arguments of each measurement."""

    def each(configs: str, *arguments: str) -> list[list[str]]:
        return [
            [f"--config={config}", *arguments, *([f"--repeats={REPEATS[config]}"] if config in REPEATS else [])]
            for config in configs.split()
        ]

    finite_difference, graph, nothing_kept = "--hvp=finite_difference", "--nojit_compile", "--kept_mib=0"
    hybrid, rounded = "--kernels=hybrid", "--kernels=bfloat16"
    device_a_core = "--strategy=mirrored", f"--replicas={os.cpu_count()}"
    return [
        *each("small medium paper images", "--method=vae"),
        *each("small medium paper images", "--svi_steps=5"),
        *each("small medium images", "--svi_steps=10"),
        *each("small medium paper images synthetic", "--svi_steps=20"),
        *each("small", "--svi_steps=80"),
        *each("small medium", "--svi_steps=20", finite_difference),
        *each("paper images", "--svi_steps=5", finite_difference),
        *each("small medium", "--svi_steps=20", nothing_kept),
        *each("paper images", "--svi_steps=5", nothing_kept),
        *each("small medium", "--svi_steps=20", graph, hybrid),
        *each("paper", "--svi_steps=5", "--jit_compile", "--kernels=fused"),
        *each("images", "--svi_steps=5", "--kernels=fused"),
        *each("small medium", "--svi_steps=20", graph, rounded),
        *each("paper images", "--svi_steps=5", graph, rounded),
        *each("paper", "--svi_steps=20", graph, rounded),
        *each("small medium synthetic", "--svi_steps=20", *device_a_core),
        *each("paper images", "--svi_steps=5", *device_a_core),
        *each("paper", "--svi_steps=20", *device_a_core),
        *each("medium", "--svi_steps=20", graph, rounded, *device_a_core),
        *each("paper images", "--svi_steps=5", graph, rounded, *device_a_core),
        # With as little memory as can be, and with as much as is of use.
        *each("paper", "--svi_steps=20", nothing_kept),
        *each("paper", "--svi_steps=5", "--kept_mib=1536"),
        *each("paper", "--svi_steps=20", "--kept_mib=6144"),
        *each("paper", "--svi_steps=20", "--kept_mib=4096", graph, rounded),
        # Compiled by XLA these take many minutes.
        *each("small medium images", "--svi_steps=5", graph, "--compare=unrolled"),
        *each("small medium", "--measure=rounding", "--svi_steps=20", graph, rounded),
        *each("paper images", "--measure=rounding", "--svi_steps=2", graph, rounded),
        *each("small medium", "--measure=parts", "--svi_steps=20"),
        *each("paper images", "--measure=parts", "--svi_steps=2"),
        *each("medium paper images", "--measure=sampling"),
        *each("medium images", "--measure=evaluation", "--iw_samples=10"),
    ]


def write(folder: Path, command: str, peers: str = "") -> list[Path]:
    """Measures everything and writes BENCHMARKS.md, and its figures into docs/, under a folder.

    What has been measured is kept until the end, in docs/benchmarks.jsonl: the same command goes on there, on the same
    day and machine.

    Args:
      folder: where to.
      command: that the tables are said to be made by.
      peers: path of a file of other programs' JSON lines, with impl, config, K and median_s; empty for none.

    Raises:
      UserError: if the file of the others is not of this form, or a measurement fails.
    """
    others = _read(peers) if peers else []
    (folder / "docs").mkdir(parents=True, exist_ok=True)
    kept = folder / "docs" / "benchmarks.jsonl"
    machine, lines = _machine(), []
    measured = _kept(kept, machine)
    for arguments in suite():
        name = " ".join(arguments)
        if name not in measured:
            measured[name] = _measured(arguments)
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"machine": machine, "arguments": name, "lines": measured[name]}) + "\n")
        lines += measured[name]
        print(json.dumps(lines[-1]), flush=True)
    text = to_markdown(lines, others, command, machine)
    plot(lines, others, folder / "docs" / "benchmarks.png")
    (folder / "BENCHMARKS.md").write_text(text, encoding="utf-8")
    kept.unlink(missing_ok=True)
    return [folder / "BENCHMARKS.md", folder / "docs" / "benchmarks.png", folder / "docs" / "benchmarks.json"]


def _kept(path: Path, machine: str) -> dict[str, list[Line]]:
    """Returns the lines of each measurement that a report, interrupted here and today, has left, by its arguments."""
    measured = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # Of a line that was not written to its end.
            found = json.loads(line)
            if found["machine"] == machine:
                measured[found["arguments"]] = found["lines"]
    return measured


def _read(path: str) -> list[Line]:
    try:
        lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
        return [
            {"impl": str(line["impl"]), "config": str(line["config"]), "svi_steps": int(line["K"]),
             "median_s": float(line["median_s"])}
            for line in lines
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--peers={path}: expected JSON lines with impl, config, K and median_s ({type(error).__name__}: {error})"
        ) from None


def _measured(arguments: Iterable[str]) -> list[Line]:
    with interrupts.raised():  # The process that measures is ended too.
        ended = subprocess.run([sys.executable, sys.argv[0], *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise UserError(f"{' '.join(arguments)}: {one_line(ended.stderr.strip())[-300:]}")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    devices = ", ".join([f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}", *gpus])
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    return f"{devices}; {versions}; {datetime.date.today().isoformat()}"


class Column(NamedTuple):
    """A column of a table: its title, and what it shows of a line."""

    title: str
    show: Callable[[Line], Any]


def _key(title: str, key: str, form: str = "{}") -> Column:
    return Column(title, lambda line: "" if line.get(key) is None else form.format(line[key]))


WHAT = [_key("size", "config"), _key("method", "method"), _key("K", "svi_steps"), _key("products", "hvp")]
COMPUTED = [_key("kernels", "kernels"), Column("XLA", lambda line: "yes" if line["jit_compile"] else "no")]
KEPT = Column("kept", lambda line: "/".join(map(str, line["kept_steps"])))
SECONDS, MEMORY = _key("seconds", "median_s", "{:.4g}"), _key("peak GiB", "peak_gib", "{:.2f}")
LEAST = _key("bytes alone, s", "traffic_s", "{:.3g}")


def to_markdown(lines: list[Line], others: list[Line], command: str, machine: str) -> str:
    """Returns the tables."""

    def of(measure: str, unrolled: bool = False) -> list[Line]:
        return [line for line in lines if line["measure"] == measure and ("unrolled_s" in line) == unrolled]

    def least(line: Line) -> str:
        return f"{line['gflops'] * line['median_s'] / line['peak_gflops']:.3g}"

    def beside(*kernels: str, more: bool = False, spread: bool = False) -> Callable[[Line], str]:
        def show(other: Line) -> str:
            own = [
                line["median_s"]
                for line in of("step")
                if line["method"] == "sa_vae" and line["hvp"] == "exact" and line["kernels"] in kernels
                and (line["replicas"] > 1) == spread
                and (line["kept_mib"] > Config.kept_mib if more else line["kept_mib"] == Config.kept_mib)
                and (line["config"], line["svi_steps"]) == (other["config"], other["svi_steps"])
            ]  # fmt: skip
            return f"{other['median_s'] / min(own):.2f}" if own else ""

        return show

    sections = [
        "# Benchmarks",
        f"Made by `{command}` on {machine}.",
        "Medians of a call, after two that are not timed. Sizes (`sa_vae_tf/benchmarks/sizes.py`): text with a "
        "vocabulary of 1,000, 5,000 and 20,000 (small, medium, paper), the paper's images, the synthetic generator.",
        "## A training step",
        "Products alone: what the step's matrix products and convolutions would take at the rate of a large product in "
        "the same process; share: of the seconds. What was kept is not computed again and does not count; kept: steps "
        "whose small results are, whose medium ones are too, and all of whose results are. Bytes alone: what their "
        "results, written once and read once, would take at the rate at which memory is read and written. Element-wise "
        "work is in neither. Devices: above 1, `--strategy=mirrored` with a device a core.",
        _table([*WHAT, *COMPUTED, _key("devices", "replicas"), KEPT, SECONDS, MEMORY,
                _key("GFLOP/s", "gflops", "{:.0f}"), Column("products alone, s", least),
                _key("share", "peak_share", "{:.2f}"), LEAST], of("step")),
        "![Seconds of a training step by refinement steps](docs/benchmarks.png)",
        "## Beside plain double backpropagation",
        "The same step, in the same process, differentiated by TensorFlow's tapes, with plain kernels.",
        _table([*WHAT[:3], SECONDS, _key("plain, s", "unrolled_s", "{:.4g}"), MEMORY,
                _key("with plain, GiB", "unrolled_gib", "{:.2f}")], of("step", unrolled=True)),
        "## Parts of a step",
        "Each compiled alone, for the whole batch.",
        _table([WHAT[0], _key("K", "svi_steps"), _key("part", "part"), SECONDS,
                _key("products alone, s", "products_s", "{:.3g}"), LEAST], of("parts")),
        "## Rounded factors",
        "The gradient of a first step on a random batch, and its loss, beside those in float32: norm of the difference "
        "over the norm.",
        _table([WHAT[0], _key("K", "svi_steps"), _key("kernels", "kernels"), _key("gradient", "gradient_distance"),
                _key("loss", "loss_distance")], of("rounding")),
        "## Samples and evaluation",
        "Samples of a batch from the prior, of the greatest length; evaluation of a batch with K = 20 and so many "
        "samples of the importance-weighted NLL.",
        _table([WHAT[0], _key("what", "measure"), _key("samples", "iw_samples"), SECONDS,
                _key("examples a second", "examples_per_second"), MEMORY], of("sampling") + of("evaluation")),
    ]  # fmt: skip
    if others:
        sections += [
            "## Other programs",
            "On the same machine, with exact products too; their seconds over this program's, with fused or hybrid "
            "kernels, the less.",
            _table([_key("program", "impl"), WHAT[0], WHAT[2], SECONDS,
                    Column("times as long", beside("fused", "hybrid")),
                    Column("as on a device a core", beside("fused", "hybrid", spread=True)),
                    Column("as with more kept", beside("fused", "hybrid", more=True)),
                    Column("as with bfloat16", beside("bfloat16")),
                    Column("and a device a core", beside("bfloat16", spread=True)),
                    Column("and more kept", beside("bfloat16", more=True))], others),
        ]  # fmt: skip
    if not tf.config.list_physical_devices("GPU"):
        sections += ["## Not measured", "Nothing was run on a GPU."]
    return "\n\n".join(sections) + "\n"


def _is_default(line: Line) -> bool:
    """Whether a step is one of SA-VAE as its size has it."""
    size = SIZES[line["config"]]
    kind = line["method"], line["hvp"], line["kernels"], line["jit_compile"], line["kept_mib"], line["replicas"]
    default = size.get("kernels", "fused"), size.get("jit_compile", True), Config.kept_mib, 1
    return kind == ("sa_vae", "exact", *default) and "unrolled_s" not in line  # That is measured a second time.


def _table(columns: list[Column], lines: Iterable[Line]) -> str:
    rows = [[str(column.show(line)) for column in columns] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in [[c.title for c in columns], ["---"] * len(columns), *rows])


def plot(lines: list[Line], others: list[Line], path: Path) -> None:
    """Draws the seconds of a step against K, a panel for each size."""
    figure, panels = new_panels(12.0, 3.4, len(PLOTTED))
    for axes, config in zip(panels, PLOTTED, strict=True):
        for color, (name, marker, found) in enumerate(_series(config, lines, others)):
            points = zip(*sorted(found), strict=True) if found else ([], [])
            axes.plot(*points, marker, color=f"C{color}", linewidth=1.2, markersize=4, label=name)
        axes.set(xlabel="refinement steps", xlim=(0, None), ylim=(0, None))
        axes.set_title(config, fontsize=10, color=INK, loc="left")
    panels[0].set_ylabel("seconds of a training step")
    panels[0].legend(frameon=False, fontsize=8)
    save(figure, path, {"lines": lines, "others": others})


def _series(config: str, lines: list[Line], others: list[Line]) -> Iterable[tuple[str, str, list[tuple[int, float]]]]:
    """Yields name, marker and points, (K, seconds), of each curve of a panel, the same curves for all panels."""
    steps = [line for line in lines if line["config"] == config and line["measure"] == "step"]
    groups: Mapping[str, tuple[str, list[Line]]] = {
        # A VAE is what is left with no refinement step.
        "exact": ("-o", [line for line in steps if line["method"] == "vae" or _is_default(line)]),
        "factors of bfloat16": (
            "v", [line for line in steps if line["kernels"] == "bfloat16" and line["kept_mib"] == Config.kept_mib
                  and line["replicas"] == 1]
        ),
        "a device a core": (
            "*", [line for line in steps if line["kernels"] != "bfloat16" and line["replicas"] > 1]
        ),
        "finite differences": ("s", [line for line in steps if line["hvp"] == "finite_difference"]),
        "plain double backpropagation": (
            "^", [{**line, "median_s": line["unrolled_s"]} for line in steps if "unrolled_s" in line]
        ),
        "another program": ("--d", [line for line in others if line["config"] == config]),
    }  # fmt: skip
    for name, (marker, found) in groups.items():
        yield name, marker, [(line["svi_steps"], line["median_s"]) for line in found]

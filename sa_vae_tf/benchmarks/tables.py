"""The tables of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.training.config import Config

Line = dict[str, Any]


class Column(NamedTuple):
    """A column of a table: its title, and what it shows of a line."""

    title: str
    show: Callable[[Line], Any]


def _key(title: str, key: str, form: str = "{}") -> Column:
    return Column(title, lambda line: "" if line.get(key) is None else form.format(line[key]))


WHAT = [_key("size", "config"), _key("method", "method"), _key("K", "svi_steps"), _key("products", "hvp")]
COMPUTED = [_key("kernels", "kernels"), Column("XLA", lambda line: "yes" if line["jit_compile"] else "no")]
KEPT = [_key("kept MiB", "kept_mib"), Column("kept", lambda line: "/".join(map(str, line["kept_steps"])))]
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
        "Medians of a call, after one that is not timed. Sizes (`sa_vae_tf/benchmarks/sizes.py`): text with a "
        "vocabulary of 1,000, 5,000 and 20,000 (small, medium, paper), the paper's images, the synthetic generator.",
        "## A training step",
        "Products alone: what the step's matrix products and convolutions would take at the rate of a large product in "
        "the same process; share: of the seconds, which factors of bfloat16 can take above 1, since the large product "
        "is of float32. What was kept is not computed again and does not count; kept MiB: at most (`--kept_mib`); "
        "kept: steps whose small results are, whose medium ones are too, and all of whose results are. Bytes alone: "
        "what their results, written once and read once, four bytes a number, would take at the rate at which memory "
        "is read and written. Element-wise work is in neither. Devices: above 1, `--strategy=mirrored` with a device a "
        "core, and both rates those of one device times their number. Calls: those whose median the seconds are.",
        _table([*WHAT, *COMPUTED, _key("devices", "replicas"), *KEPT, _key("calls", "repeats"), SECONDS, MEMORY,
                _key("GFLOP/s", "gflops", "{:.0f}"), Column("products alone, s", least),
                _key("share", "peak_share", "{:.2f}"), LEAST], of("step")),
        "![Seconds of a training step by refinement steps](docs/benchmarks.png)",
        "## Beside plain double backpropagation",
        "The same step, in the same process, differentiated by TensorFlow's tapes, with plain kernels; neither "
        "compiled by XLA as a whole.",
        _table([*WHAT[:3], SECONDS, _key("plain, s", "unrolled_s", "{:.4g}"), MEMORY,
                _key("with plain, GiB", "unrolled_gib", "{:.2f}")], of("step", unrolled=True)),
        "## Parts of a step",
        "Each alone, compiled where the step is, for the whole batch, in minutes of its own: they do not add up "
        "to the step.",
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
            "On the same machine; their seconds over this program's with exact products, by fused or hybrid kernels, "
            "the less.",
            _table([_key("program", "impl"), WHAT[0], WHAT[2], SECONDS,
                    Column("times as long", beside("fused", "hybrid")),
                    Column("as a device a core", beside("fused", "hybrid", spread=True)),
                    Column("as a device a core, more kept", beside("fused", "hybrid", more=True, spread=True)),
                    Column("as with more kept", beside("fused", "hybrid", more=True)),
                    Column("as bfloat16", beside("bfloat16")),
                    Column("as bfloat16, a device a core", beside("bfloat16", spread=True)),
                    Column("as bfloat16, more kept", beside("bfloat16", more=True))], others),
        ]  # fmt: skip
    if not tf.config.list_physical_devices("GPU"):
        sections += ["## Not measured", "Nothing was run on a GPU."]
    return "\n\n".join(sections) + "\n"


def _table(columns: list[Column], lines: Iterable[Line]) -> str:
    rows = [[str(column.show(line)) for column in columns] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in [[c.title for c in columns], ["---"] * len(columns), *rows])

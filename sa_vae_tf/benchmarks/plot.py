"""The plot of a report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sa_vae_tf.analysis.figures import INK, new_panels, save
from sa_vae_tf.benchmarks.sizes import SIZES
from sa_vae_tf.benchmarks.tables import Line
from sa_vae_tf.training.compilation import compiles, kernels
from sa_vae_tf.training.config import Config

PLOTTED = ("small", "medium", "paper", "images")


def plot(lines: list[Line], others: list[Line], path: Path) -> None:
    """Draws the seconds of a step against K, a panel for each size."""
    figure, panels = new_panels(12.0, 3.7, len(PLOTTED))
    for axes, config in zip(panels, PLOTTED, strict=True):
        for color, (name, marker, found) in enumerate(_series(config, lines, others)):
            points = zip(*sorted(found), strict=True) if found else ([], [])
            axes.plot(*points, marker, color=f"C{color}", linewidth=1.2, markersize=4, label=name)
        axes.set(xlabel="refinement steps", xlim=(0, None), ylim=(0, None))
        axes.set_title(config, fontsize=10, color=INK, loc="left")
    panels[0].set_ylabel("seconds of a training step")
    names = panels[0].get_legend_handles_labels()
    figure.legend(*names, loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    save(figure, path, {"lines": lines, "others": others})


def _series(config: str, lines: list[Line], others: list[Line]) -> Iterable[tuple[str, str, list[tuple[int, float]]]]:
    """Yields name, marker and points, (K, seconds), of each curve of a panel, the same curves for all panels."""
    steps = [line for line in lines if line["config"] == config and line["measure"] == "step"]
    groups: Mapping[str, tuple[str, list[Line]]] = {
        # A VAE is what is left with no refinement step.
        "exact, and a VAE": ("-o", [line for line in steps if line["method"] == "vae" or _is_default(line)]),
        "factors of bfloat16": (
            "v", [line for line in steps if line["kernels"] == "bfloat16" and line["kept_mib"] == Config.kept_mib
                  and line["replicas"] == 1]
        ),
        "a device a core": (
            "*", [line for line in steps if line["replicas"] > 1 and _is_default({**line, "replicas": 1})]
        ),
        "finite differences": ("s", [line for line in steps if line["hvp"] == "finite_difference"]),
        "plain double backpropagation": (
            "^", [{**line, "median_s": line["unrolled_s"]} for line in steps if "unrolled_s" in line]
        ),
        "another program": ("--d", [line for line in others if line["config"] == config]),
    }  # fmt: skip
    for name, (marker, found) in groups.items():
        yield name, marker, [(line["svi_steps"], line["median_s"]) for line in found]


def _is_default(line: Line) -> bool:
    """Whether a step is one of SA-VAE as its size has it."""
    size = Config(**SIZES[line["config"]])
    kind = line["method"], line["hvp"], line["kernels"], line["jit_compile"], line["kept_mib"], line["replicas"]
    default = kernels(size), compiles(size), Config.kept_mib, 1
    return kind == ("sa_vae", "exact", *default) and "unrolled_s" not in line  # That is measured a second time.

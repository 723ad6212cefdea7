"""The look of the figures, and how a figure and its numbers are written."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sa_vae_tf.errors import one_line
from sa_vae_tf.files import write_atomically

# Okabe and Ito 2008, told apart with any colour vision; the methods' names are those of `inference.METHODS`.
COLOURS = {
    "lm": "#000000",
    "vae": "#D55E00",
    "svi": "#0072B2",
    "vae_svi": "#E69F00",
    "vae_svi_kl": "#56B4E9",
    "sa_vae": "#009E73",
}
OTHER_COLOURS = ("#CC79A7", "#6F4E37", "#7F7F7F", "#332288", "#999933")
INK = "#222222"
FAINT = "#9A9A9A"


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """Returns a colour for each name: a method's own, as for 'SA-VAE' or 'sa_vae', else one that no other name has."""
    methods = {name: re.sub("[^a-z]+", "_", name.lower()) for name in names}
    others = [name for name, method in methods.items() if method not in COLOURS]
    shades = colormaps["turbo"](np.linspace(0, 1, len(others)))  # for more than there are hues to tell apart
    few = len(others) <= len(OTHER_COLOURS)
    chosen = dict(zip(others, OTHER_COLOURS if few else map(to_hex, shades), strict=False))
    return {name: chosen.get(name) or COLOURS[method] for name, method in methods.items()}


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Returns a figure of this size in inches and its one pair of axes, independent of pyplot's global state."""
    figure, (axes,) = new_panels(width, height, 1)
    return figure, axes


def new_panels(width: float, height: float, count: int) -> tuple[Figure, list[Axes]]:
    """Returns a figure of this size in inches and its axes, side by side, independent of pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = [figure.add_subplot(1, count, number + 1) for number in range(count)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        for spine in axes.spines.values():
            spine.set_color(FAINT)
        axes.tick_params(colors=INK, labelsize=9, color=FAINT)
    return figure, panels


def draw_grid(axes: Axes, axis: Literal["x", "y"]) -> None:
    """Draws faint lines at the ticks of an axis, behind all else."""
    axes.grid(axis=axis, color="#E5E5E5", linewidth=0.6)
    axes.set_axisbelow(True)


def as_label(name: str) -> str:
    """Returns a label that matplotlib shows as the name is: $ is no formula, and _ at its start hides nothing."""
    label = one_line(name).replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label


def save(figure: Figure, path: str | Path, numbers: Mapping[str, Any]) -> None:
    """Writes a figure as PNG, and its numbers as JSON beside it.

    Args:
      figure: the figure.
      path: of the PNG; the numbers go to the same path with the suffix .json.
      numbers: nested dicts and lists of arrays and plain values. What is not finite becomes null.

    Raises:
      ValueError: if `path` does not end in .png.
    """
    path = Path(path)
    if path.suffix != ".png":
        raise ValueError(f"path={str(path)!r}: expected a name that ends in .png")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=200)
    write_atomically(path, drawn.getvalue())
    write_atomically(path.with_suffix(".json"), json.dumps(_plain(numbers), indent=1) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value

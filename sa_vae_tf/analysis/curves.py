"""Learning curves: the validation bound of each run against the epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sa_vae_tf.analysis.figures import as_label, colours_of, draw_grid, new_figure, save

BOUND = "val_nll_bound"
INITIAL_BOUND = "val_initial_bound"
KL_WEIGHT = "kl_weight"
# Initial bounds that end so little above the others, as a part of these, are shown.
NEAR = 0.05


def draw_learning_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path
) -> dict[str, dict[str, np.ndarray]]:
    """Draws the validation bound against the epoch, one line for each run, and writes it as PNG and JSON.

    Where the bound of the initial posterior is present and another, before refinement, it is dashed in the same colour;
    where all of it is far above the other bounds it is left off the scale, and the legend says so. A triangle over the
    upper edge, open for an initial posterior, stands for a bound above the scale.

    Args:
      runs: for each run by name, its metrics epoch by epoch: `epoch`, `val_nll_bound` and perhaps
        `val_initial_bound`, both in nats per example, and `kl_weight`, which tells of a KL warm-up. What is absent,
        null or not finite leaves a gap.
      path: of the PNG; the numbers go to the same path with the suffix .json.

    Returns:
      What was drawn: for each run by name `epoch`, `step`, `val_nll_bound` and, where present, `val_initial_bound`,
      each [epochs], sorted by epoch.

    Raises:
      ValueError: if there is no run, a run has no epoch with a `val_nll_bound`, or `path` does not end in .png.
    """
    if not runs:
        raise ValueError("runs is empty: expected at least one run")
    curves = {name: _curve(name, epochs) for name, epochs in runs.items()}
    lines = sum(1 + (INITIAL_BOUND in curve) for curve in curves.values())
    figure, axes = new_figure(6.4, 4.0 + 0.2 * ((lines + 1) // 2))  # a row of the legend has two
    colours = colours_of(curves)
    bottom, top = _scale(curves)
    axes.set_ylim(bottom, top)
    for name, curve in curves.items():
        style: dict[str, Any] = {"color": colours[name], "linewidth": 1.6, "markersize": 3.5}
        axes.plot(curve["epoch"], curve[BOUND], "-o", label=as_label(name), **style)
        _mark_above(axes, curve["epoch"], curve[BOUND], **style)
        if INITIAL_BOUND in curve:
            initial = curve[INITIAL_BOUND]
            above = f" (off scale, ends at {_last(initial):.2f})" if np.nanmin(initial) > top else ""
            alone = "o" if np.isfinite(initial).sum() == 1 else ""  # Of one point there is no line.
            of_initial = {**style, "markerfacecolor": "white"}
            axes.plot(curve["epoch"], initial, f"--{alone}", label=as_label(f"{name}, initial{above}"), **of_initial)
            _mark_above(axes, curve["epoch"], initial, **of_initial)
    axes.set(xlabel="epoch", ylabel="validation bound (nats per example)")
    axes.set_xticks(_ticks(np.concatenate([curve["epoch"] for curve in curves.values()])))
    draw_grid(axes, "y")
    figure.legend(
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        title="\n".join(_notes(curves, runs, top)),
        title_fontsize=8,
    )
    save(figure, path, curves)
    return curves


def best_epoch(curve: Mapping[str, np.ndarray]) -> int:
    """Returns the place of the best bound in what was drawn of a run, of its whole epochs if there is any.

    A last epoch may be a part, of which evaluation takes nothing where there is a whole one.
    """
    whole = curve["step"] * curve["epoch"][0] == curve["epoch"] * curve["step"][0]
    bounds = np.where(whole, curve[BOUND], np.nan)
    return int(np.nanargmin(curve[BOUND] if np.isnan(bounds).all() else bounds))


def _mark_above(axes: Axes, epoch: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """Draws a triangle over the upper edge for each bound above it, over those of the lines drawn before."""
    bottom, top = axes.get_ylim()
    above = epoch[values > top]
    if len(above):
        rows = sum(line.get_marker() == "^" for line in axes.lines)
        height = top + (0.02 + 0.035 * rows) * (top - bottom)
        axes.plot(above, np.full(len(above), height), "^", clip_on=False, **{**style, "markersize": 5})


def _ticks(epochs: np.ndarray) -> list[float]:
    """Returns the first epoch, the last, and round numbers between that leave room for their labels."""
    first, last = float(epochs.min()), float(epochs.max())
    between = MaxNLocator(6, integer=True).tick_values(first, last)
    room = (last - first) / 20
    return sorted({first, *(tick for tick in between if first + room < tick < last - room), last})


def _notes(
    curves: Mapping[str, dict[str, np.ndarray]], runs: Mapping[str, Sequence[Mapping[str, Any]]], top: float
) -> list[str]:
    """Returns what explains the parts of the figure that are there."""
    notes = []
    if any(INITIAL_BOUND in curve for curve in curves.values()):
        notes.append("initial: bound of the posterior before its refinement")
    if any(np.any(curve[key] > top) for curve in curves.values() for key in curve.keys() & {BOUND, INITIAL_BOUND}):
        notes.append("triangles over the upper edge: above the scale (open: initial)")
    warming = [e["epoch"] for epochs in runs.values() for e in epochs if "epoch" in e and e.get(KL_WEIGHT, 1) < 1]
    if warming:
        ended = max(warming) < max(e["epoch"] for epochs in runs.values() for e in epochs if "epoch" in e)
        notes.append(
            f"KL warm-up {f'to epoch {max(warming)}' if ended else 'in all epochs'}: "
            "training counts the KL for less than the bound does, which may rise"
        )
    return notes


def _scale(curves: Mapping[str, dict[str, np.ndarray]]) -> tuple[float, float]:
    """Returns the ends of the scale: room for where the runs end up and a few times their distance above, if needed.

    The first epochs, and the initial bound of SA-VAE, which its loss need not hold down (footnote 6), can be tens of
    nats above: they would flatten all the rest. An initial bound that ends near counts as where a run ends up.
    """
    drawn = [curve[key] for curve in curves.values() for key in (BOUND, INITIAL_BOUND) if key in curve]
    low, high = min(map(np.nanmin, drawn)), max(map(np.nanmax, drawn))
    ends = [_last(curve[BOUND]) for curve in curves.values()]
    near = max(ends) + NEAR * abs(low)
    ends += [end for end in map(_last, drawn) if end < near]
    span = max(min(4 * (max(ends) - low), high - low), 0.02 * abs(low), 1e-6)
    return low - 0.05 * span, low + 1.05 * span


def _last(values: np.ndarray) -> float:
    return float(values[np.isfinite(values)][-1])


def _curve(name: str, epochs: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    epochs = sorted((e for e in epochs if "epoch" in e), key=lambda e: e["epoch"])

    def values(key):
        return np.array([np.nan if e.get(key) is None else float(e[key]) for e in epochs])

    curve = {"epoch": values("epoch"), "step": values("step"), BOUND: values(BOUND)}
    if not np.isfinite(curve[BOUND]).any():
        raise ValueError(f"run {name!r}: expected at least one epoch with {BOUND}")
    initial = values(INITIAL_BOUND)
    if np.isfinite(initial).any() and not np.array_equal(initial, curve[BOUND], equal_nan=True):
        curve[INITIAL_BOUND] = initial
    return curve

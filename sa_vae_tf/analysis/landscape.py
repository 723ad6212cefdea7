"""Figure 1: the bound of one example over its two posterior means, with where each method ends up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patheffects import Normal, Stroke

from sa_vae_tf.analysis.example_bound import ExampleBound, lattice
from sa_vae_tf.analysis.figures import FAINT, INK, as_label, colours_of, new_panels, save
from sa_vae_tf.inference import Posterior

# Distance that a landscape keeps around what it shows, as a share of its larger extent.
MARGIN = 0.25


class Landscape(NamedTuple):
    """The bound of one example as a function of its two posterior means.

    Attributes:
      mean_1: [columns], the first coordinate.
      mean_2: [rows], the second coordinate.
      bound: [rows, columns] in nats, with the log variance of `optimum` everywhere.
      optimum: the best posterior, parts [2].
      optimum_bound: its bound in nats.
    """

    mean_1: np.ndarray
    mean_2: np.ndarray
    bound: np.ndarray
    optimum: Posterior
    optimum_bound: float


def compute_landscape(
    value: ExampleBound, optimum: Posterior, show: Iterable[npt.ArrayLike] = (), points: int = 81
) -> Landscape:
    """Computes the bound on a grid over the two posterior means, with the log variance held at the optimum's.

    Args:
      value: the bound as a function of the posterior, as from `example_bound`, with two latent dimensions.
      optimum: the best posterior, parts [2], as from `grid_search`.
      show: points or trajectories, [2] or [points, 2], that the grid must cover besides the optimum.
      points: number of grid points in each dimension.

    Returns:
      A `Landscape` on a square part of the plane, at least one unit of the prior's standard deviation wide.

    Raises:
      ValueError: if `points` is below two.

    Source: section 4.1, Figure 1.
    """
    if points < 2:
        raise ValueError(f"points={points}: expected at least 2")
    best = Posterior(*(np.asarray(part, np.float64) for part in optimum))
    shown = np.concatenate([_trajectory(part) for part in (best.mean, *show)])
    low, high = shown.min(0), shown.max(0)
    centre = 0.5 * (low + high)
    half = max(0.5, (0.5 + MARGIN) * float((high - low).max()))
    mean_1, mean_2 = (c + half * np.linspace(-1, 1, points) for c in centre)
    means = lattice(mean_2, mean_1)[:, ::-1]
    log_variances = np.broadcast_to(best.log_variance, means.shape)
    bound = value(Posterior(means, log_variances)).reshape(points, points)
    optimum_bound = float(value(Posterior(*(part[None] for part in best)))[0])
    return Landscape(mean_1, mean_2, bound, best, optimum_bound)


def draw_landscape(
    whole: Landscape,
    near: Landscape | None,
    trajectories: Mapping[str, npt.ArrayLike],
    path: str | Path,
    title: str = "",
) -> dict[str, Any]:
    """Draws a landscape as contours, with the posterior means of each method, and writes it as PNG and JSON.

    Args:
      whole: as from `compute_landscape`, of all trajectories.
      near: of their ends, drawn enlarged beside it; None for `whole` alone.
      trajectories: for each method by name, its posterior mean [2], or means from the initial to the refined
        posterior, [steps + 1, 2]; as `Refined.path.mean` for one example.
      path: of the PNG; the numbers go to the same path with the suffix .json.
      title: of the figure; none if empty.

    Returns:
      What was drawn: `whole` and, where it is given, `near`, each with `mean_1` [columns], `mean_2` [rows], `bound`
      [rows, columns] in nats and `levels` in nats above the optimum; `optimum_mean` and `optimum_log_variance` [2],
      `optimum_bound`, and `trajectories`, a dict of [points, 2] by method.

    Raises:
      ValueError: if a trajectory is not [2] or [points, 2], or `path` does not end in .png.

    Source: section 4.1, Figure 1.
    """
    means = {name: _trajectory(part) for name, part in trajectories.items()}
    landscapes = {"whole": whole} if near is None else {"whole": whole, "near": near}
    figure, panels = new_panels(4.8 * len(landscapes), 5.3, len(landscapes))
    titles = (title, "the square on the left, enlarged")
    drawn = {}
    for axes, (name, landscape), text in zip(panels, landscapes.items(), titles, strict=False):
        levels = _draw_panel(axes, landscape, means, path_alpha=1.0 if landscape is whole else 0.4)
        drawn[name] = {**{key: getattr(landscape, key) for key in ("mean_1", "mean_2", "bound")}, "levels": levels}
        axes.set_title(text, fontsize=10, color=INK, loc="left")
    if near is not None:
        (left, right), (bottom, top) = (
            np.clip((inner[0], inner[-1]), outer[0], outer[-1])
            for inner, outer in ((near.mean_1, whole.mean_1), (near.mean_2, whole.mean_2))
        )
        panels[0].indicate_inset((left, bottom, right - left, top - bottom), edgecolor=INK, alpha=1, zorder=30)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(2 * len(landscapes), len(means) + 1),
        frameon=False,
        fontsize=9,
        title=f"contours: nats above the optimum's bound of {whole.optimum_bound:.2f} nats"
        + ("; " if near is not None else "\n")
        + "open circle: initial posterior, filled circle: the last",
        title_fontsize=8,
    )
    numbers = {
        **drawn,
        "optimum_mean": np.asarray(whole.optimum.mean),
        "optimum_log_variance": np.asarray(whole.optimum.log_variance),
        "optimum_bound": whole.optimum_bound,
        "trajectories": means,
    }
    save(figure, path, numbers)
    return numbers


def _draw_panel(axes: Axes, landscape: Landscape, means: Mapping[str, np.ndarray], path_alpha: float) -> np.ndarray:
    """Draws contours, trajectories and the optimum; returns the levels of the contours."""
    levels = _draw_contours(axes, landscape)
    colours = colours_of(means)
    for number, (name, points) in enumerate(means.items()):
        _draw_trajectory(axes, name, points, colours[name], path_alpha, zorder=5 + number)
    axes.plot(
        *landscape.optimum.mean, "*", color="white", markeredgecolor=INK, markersize=13, label="optimum", zorder=20
    )
    axes.set(
        xlim=landscape.mean_1[[0, -1]],
        ylim=landscape.mean_2[[0, -1]],
        xlabel=r"posterior mean $\mu_1$",
        ylabel=r"posterior mean $\mu_2$",
        aspect="equal",
    )
    return levels


def _trajectory(points: npt.ArrayLike) -> np.ndarray:
    array = np.atleast_2d(np.asarray(points, np.float64))
    if array.ndim != 2 or array.shape[-1] != 2 or not len(array):
        raise ValueError(f"means of shape {np.shape(points)}: expected [2] or [points, 2]")
    return array


def _draw_contours(axes: Axes, landscape: Landscape) -> np.ndarray:
    """Draws lines of equal bound; returns their levels in nats above the optimum, each twice the one before.

    They begin at 0.25, or lower where fewer than three would be left; where the bound is flat there are none.
    """
    above = landscape.bound - landscape.optimum_bound
    # What is lower than the first may be no more than the rounding of bounds in float32.
    levels = 0.25 * 2.0 ** np.arange(-12, 40)
    levels = levels[(levels > above.min()) & (levels < above.max())]
    levels = levels[min(np.searchsorted(levels, 0.25), max(len(levels) - 3, 0)) :]
    if len(levels) < 2:  # Too few to fill what is between.
        return levels[:0]
    greys = [str(grey) for grey in np.linspace(1.0, 0.72, len(levels) + 1)]
    axes.contourf(landscape.mean_1, landscape.mean_2, above, levels, colors=greys, extend="both", zorder=1)
    lines = axes.contour(landscape.mean_1, landscape.mean_2, above, levels, colors=FAINT, linewidths=0.7, zorder=2)
    for label in axes.clabel(lines, fontsize=7.5, fmt=lambda level: f"{level:g}", colors=INK, zorder=15):
        label.set_path_effects([Stroke(linewidth=2, foreground="white", alpha=0.8), Normal()])
    return levels


def _draw_trajectory(axes: Axes, name: str, points: np.ndarray, colour: str, alpha: float, zorder: float) -> None:
    if len(points) > 1:
        axes.plot(*points.T, "-o", color=colour, linewidth=1.1, markersize=2.6, alpha=alpha, zorder=zorder)
        axes.plot(*points[0], "o", markerfacecolor="white", markeredgecolor=colour, markersize=8, zorder=zorder)
    # Ends lie over all paths.
    axes.plot(
        *points[-1],
        "o",
        color=colour,
        markeredgecolor="white",
        markersize=8,
        label=as_label(name),
        zorder=zorder + 10.5,
    )

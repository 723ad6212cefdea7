"""Figure 2: the bound of trained text models against the number of refinement steps at test time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from matplotlib.ticker import MaxNLocator

from sa_vae_tf.analysis.experiments import check_runs, evaluated
from sa_vae_tf.analysis.figures import FAINT, INK, colours_of, draw_grid, new_panels, save
from sa_vae_tf.analysis.rows import row_config
from sa_vae_tf.analysis.text_rows import rows
from sa_vae_tf.inference import METHODS, Posterior
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.load import load_best, read_split
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks import TASKS, evaluated_split

METHODS_SHOWN = ("VAE", "SVI", "VAE+SVI", "SA-VAE")
# The start of the refinement in each panel.
PANELS = {"random": "from a random posterior", "encoder": "from the encoder's posterior"}


class Curve(NamedTuple):
    """A model's bound by the number of refinement steps.

    Attributes:
      bound: [steps + 1], in nats, the average over examples under their final draws.
      perplexity: [steps + 1], of that bound; None of what is not text.
    """

    bound: np.ndarray
    perplexity: np.ndarray | None


def reproduce(base: Config, runs: Path, output: Path) -> list[Path]:
    """Trains what Figure 2 shows, or finds it in `runs`, and draws it up to twice as many steps as trained with.

    Args:
      base: settings common to the methods; its `seed` and `max_eval_examples` are those of the figure.
      runs: folder of the run folders, shared with Table 2.
      output: folder of figure2.png and figure2.json.

    Raises:
      UserError: if the settings are not of text, or a folder under `runs` holds a run with other settings.
    """
    known, steps, split = rows(base), base.svi_steps, evaluated_split(base)
    chosen = {name: known[name if name in known else f"{name} {steps}"] for name in METHODS_SHOWN}
    configs = {name: row_config(base, row, base.seed, runs) for name, row in chosen.items()}
    check_runs(list(configs.values()), base)
    for config in configs.values():
        # For the training alone, in a process of its own; the bound costs little.
        evaluated(config, f"bound-{split}.json", split=split, iw_samples=0, gap_steps=0)
    curves: dict[str, dict[str, Curve]] = {start: {} for start in PANELS}
    for start, of_start in curves.items():
        for name, config in configs.items():
            if start == "random" or METHODS[config.method].encoder:
                run = RunFolder(config.run_dir)
                of_start[name] = bound_by_steps(run, 2 * steps, start, split, base.max_eval_examples)
    draw(curves, output / "figure2.png", steps)
    return [output / "figure2.png", output / "figure2.json"]


def bound_by_steps(run: RunFolder, steps: int, svi_init: str, split: str = "test", max_examples: int = 0) -> Curve:
    """Computes the bound of a run's best model after each number of refinement steps.

    A refinement of K steps passes through the posteriors of all shorter ones: each bound is what `evaluate` gives for
    that number of steps.

    Args:
      run: folder of the run.
      steps: largest number of steps, K.
      svi_init: start of the refinement, 'encoder', 'zero' or 'random'.
      split: train, validation or test.
      max_examples: examples used, the first ones; 0 for all.
    """
    config, model, _, vocabulary_file = load_best(run)
    task = TASKS[config.data]
    _, data = read_split(run, config, vocabulary_file, split)
    data = data.take(max_examples)

    @tf.function(autograph=False, jit_compile=model.jit_compile, reduce_retracing=True)
    def bounds_of(batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        inferred = model.infer(batch, steps, svi_init)
        assert inferred.path is not None
        # One posterior at a time, as the refinement does.
        bounds = tf.map_fn(
            lambda parts: inferred.bound_at(Posterior(*parts)), tuple(inferred.path), fn_output_signature=tf.float32
        )
        return bounds, task.tokens(batch["x"]) if task.tokens else tf.constant([])

    batches = [bounds_of(batch) for batch in data.in_order(config.eval_batch_size)]
    bound = np.concatenate([bounds for bounds, _ in batches], axis=1).mean(1, dtype=np.float64)
    tokens = sum(int(tf.reduce_sum(tokens)) for _, tokens in batches)
    return Curve(bound, np.exp(bound * data.count / tokens) if tokens else None)


def draw(curves: Mapping[str, Mapping[str, Curve]], path: Path, trained_steps: int) -> None:
    """Draws a panel for each start, and writes PNG and JSON.

    Args:
      curves: by start of `PANELS` and name of the method.
      path: of the PNG.
      trained_steps: number of refinement steps in training, which is marked.
    """
    figure, panels = new_panels(9.0, 4.2, len(PANELS))
    colours = colours_of(curves["random"])
    bottom, top = _scale([curve.bound for of_start in curves.values() for curve in of_start.values()])
    for axes, (start, title) in zip(panels, PANELS.items(), strict=True):
        axes.axvline(trained_steps, color=FAINT, linewidth=0.8, linestyle=":")
        for name, curve in curves[start].items():
            axes.plot(curve.bound, "-o", color=colours[name], linewidth=1.6, markersize=2.5, label=name)
        axes.set_ylim(bottom, top)
        draw_grid(axes, "y")
        axes.set_xlabel("refinement steps at test time")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, fontsize=10, color=INK, loc="left")
    panels[0].set_ylabel("bound (nats per example)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=len(names),
        frameon=False,
        fontsize=9,
        title="dotted: steps in training, but for VAE; what is far above the ends of the curves is off the scale",
        title_fontsize=8,
    )
    numbers = {s: {name: curve._asdict() for name, curve in of_start.items()} for s, of_start in curves.items()}
    save(figure, path, numbers)


def _scale(bounds: list[np.ndarray]) -> tuple[float, float]:
    """Returns the ends of the scale: room for the best of each curve and as much above."""
    best = [np.nanmin(bound) for bound in bounds]
    span = max(2 * (max(best) - min(best)), 0.01 * abs(min(best)))
    return min(best) - 0.05 * span, min(best) + span

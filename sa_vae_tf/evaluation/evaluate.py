"""The evaluation of a trained run on one split: every figure of the paper's tables and of what is asked beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.evaluation.importance import importance_weighted_nll
from sa_vae_tf.evaluation.metrics import active_units, amortization_gap, mutual_information
from sa_vae_tf.inference import METHODS
from sa_vae_tf.inference.draws import draw_per_example
from sa_vae_tf.progress import Progress, unseen
from sa_vae_tf.training.checks import check_start
from sa_vae_tf.training.load import load_best, read_split
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks import TASKS

# Draws under which both posteriors of the amortization gap are compared.
GAP_DRAWS = 10


def evaluate(
    run: RunFolder,
    split: str = "",
    svi_steps: int | None = None,
    svi_init: str | None = None,
    iw_samples: int = 500,
    gap_steps: int = 200,
    max_examples: int = 0,
    seed: int = 0,
    test_file: str = "",
    device: str = "",
    progress: Progress = unseen,
) -> dict[str, Any]:
    """Evaluates the best checkpoint of a run.

    Args:
      run: folder of the run.
      split: train, validation or test; empty for test where there is one, else validation.
      svi_steps: refinement steps; None for as many as in training.
      svi_init: 'encoder', 'zero' or 'random'; None for the start used in training.
      iw_samples: samples of the importance-weighted NLL for each example; 0 leaves it out.
      gap_steps: steps of the long refinement for the amortization gap; 0 leaves it out.
      max_examples: examples evaluated; 0 for all.
      seed: of all noise; an example's figures depend on it and on the example alone, unless the refinement clips over
        a batch, then on the --eval_batch_size of the run too.
      test_file: text or images to evaluate in place of the run's test split.
      device: to use in place of the run's own; see `load_best`.
      progress: is told how many examples are done so far, and of how many.

    Returns:
      Figures by name, averages over examples in nats. Those that do not apply to the method are None or not there.

    Raises:
      UserError: if the run cannot be read, or what is asked for has no meaning for it.
    """
    config = run.read_config()
    method = METHODS[config.method]
    for name, value in (("svi_steps", svi_steps), ("svi_init", svi_init)):
        if value is not None and not method.latent:
            raise UserError(
                f"--{name}={value}: --method={config.method} has no latent variable whose posterior to refine"
            )
    check_start(config, svi_init)
    if test_file and split not in ("", "test"):
        raise UserError(f"--test_file={test_file}: is the test split; expected no --split={split} beside it")
    config, model, _, vocabulary_file = load_best(run, device)
    task = TASKS[config.data]
    if test_file:
        config = dataclasses.replace(config, test_file=test_file)
    split, data = read_split(run, config, vocabulary_file, split)
    data = data.take(max_examples)
    figures_of = _figures_of(model, task.tokens, svi_steps, svi_init, iw_samples, gap_steps, seed)
    columns = _columns(map(figures_of, data.in_order(config.eval_batch_size)), data.count, progress)
    average = {name: float(values.mean(dtype=np.float64)) for name, values in columns.items()}
    results: dict[str, Any] = {
        "nll_bound": average["nll_bound"],
        "reconstruction": average["nll_bound"] - average["kl"] if method.latent else None,
        "kl": average.get("kl"),
        "nll_iw": average.get("nll_iw", None if method.latent else average["nll_bound"]),
        "iw_samples": iw_samples if method.latent else None,
        "mutual_information": None,
        "active_units": None,
        "amortization_gap": average.get("amortization_gap"),
        "gap_steps": gap_steps if "amortization_gap" in average else None,
        "examples": len(columns["nll_bound"]),
        "svi_steps": model.steps if svi_steps is None else svi_steps,
        "svi_init": svi_init or model.start,
        "initial_bound": average.get("initial_bound"),
        "effective_samples": average.get("effective_samples"),
        "mutual_information_in_batch": None,
        "split": split,
        "test_file": test_file or None,
        "method": config.method,
        "hvp": config.hvp,
        "step": int(model.step),
        "seed": config.seed,
    }
    if task.tokens:
        tokens = int(columns["tokens"].sum())
        results["tokens"] = tokens
        results["perplexity_bound"] = float(np.exp(columns["nll_bound"].sum(dtype=np.float64) / tokens))
        if results["nll_iw"] is not None:
            results["perplexity_iw"] = float(np.exp(results["nll_iw"] * results["examples"] / tokens))
    if config.svi_patience:
        results["svi_steps_taken"] = average.get("svi_steps_taken")
    # After a start of an example's own noise the posterior tells which example it is, whatever it knows of x.
    if method.latent and results["svi_init"] != "random":
        information = mutual_information(columns["mean"], columns["log_variance"], [seed, 2])
        results["mutual_information"] = information.aggregate
        results["mutual_information_in_batch"] = information.in_batch
        results["active_units"] = int(active_units(columns["mean"]).sum()) if len(columns["mean"]) > 1 else 0
    return results


def _figures_of(
    model: LatentVariableModel,
    tokens: Callable[[tf.Tensor], tf.Tensor] | None,
    svi_steps: int | None,
    svi_init: str | None,
    iw_samples: int,
    gap_steps: int,
    seed: int,
) -> Callable[[dict[str, Any]], dict[str, tf.Tensor]]:
    """Returns a function of a batch to the figures of its examples by name, each [batch, ...]; see `evaluate`."""
    key = tf.constant([seed, 1])

    @tf.function(autograph=False, jit_compile=model.jit_compile, reduce_retracing=True)
    def figures_of(batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        inferred = model.infer(batch, svi_steps, svi_init, seed)
        figures = {"index": batch["index"], "nll_bound": inferred.bound_at(inferred.refined)}
        if tokens:
            figures["tokens"] = tokens(batch["x"])
        if inferred.refined is None or inferred.initial is None:
            return figures
        figures["initial_bound"] = inferred.bound_at(inferred.initial)
        figures["mean"], figures["log_variance"] = inferred.refined
        figures["kl"], figures["svi_steps_taken"] = inferred.refined.kl(), inferred.steps
        if iw_samples:
            figures["nll_iw"], figures["effective_samples"] = importance_weighted_nll(
                model.decoder.negative_log_likelihood,
                inferred.refined,
                inferred.context,
                batch["index"],
                iw_samples,
                key,
            )
        if gap_steps and model.method.encoder and svi_init in (None, "encoder"):
            step_draws, _ = draw_per_example(inferred.initial, batch["index"], gap_steps, key)
            final_draws, _ = draw_per_example(inferred.initial, batch["index"], GAP_DRAWS, key + 1)
            figures["amortization_gap"] = amortization_gap(
                inferred.bound, inferred.initial, inferred.context, step_draws, final_draws, model.evaluation_settings
            ).gap
        return figures

    return figures_of


def _columns(figures: Iterable[dict[str, tf.Tensor]], count: int, progress: Progress) -> dict[str, np.ndarray]:
    """Returns the figures of so many examples by name, each [count, ...], given those of each batch."""
    batches: list[dict[str, tf.Tensor]] = []
    done = 0
    for batch in figures:
        batches.append(batch)
        done += len(batch["index"])
        progress(done, count)
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    # Batches may come in an order of their own; what is estimated over all examples should not depend on it.
    order = np.argsort(columns["index"])
    return {name: values[order] for name, values in columns.items()}

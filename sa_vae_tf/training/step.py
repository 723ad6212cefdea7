"""What a training step computes of a batch, or of the part of it that a device takes: noise, figures and gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from sa_vae_tf.inference import Bound, Draw, LocalInference, Objective, Posterior, charged_kl, draw
from sa_vae_tf.kernels.fusion import as_it_is
from sa_vae_tf.training.parts import mean_over_parts, number_of_parts

if TYPE_CHECKING:
    from sa_vae_tf.training.model import LatentVariableModel


def draws(model: LatentVariableModel, batch: dict[str, Any]) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Returns rows of a batch with the noise of a training step, by name, and the seeds of its dropout.

    Args:
      model: that is trained.
      batch: as for training; where `x` has some of its rows alone, `first` is the number of the first of them.
    """
    zeros = tf.zeros([tf.shape(batch["index"])[0], model.latent_dim])
    start_seed, draw_seed, prepare_seed = tf.unstack(
        tf.random.split(tf.stack([model.seed, tf.cast(model.step, tf.int32)]), 3)
    )
    start = tf.random.stateless_normal(tf.shape(zeros), start_seed)
    steps, final = draw(Posterior(zeros, zeros), model.steps, draw_seed)
    noise = {"start": start, "steps": tf.transpose(steps.noise, [1, 0, 2]), "final": final.noise}
    if "first" in batch:
        count = tf.shape(batch["x"])[0]
        # tf.slice, since XLA takes a place that it does not know for this one alone.
        noise = {
            name: tf.slice(t, [batch["first"], *[0] * (len(t.shape) - 1)], tf.concat([[count], tf.shape(t)[1:]], 0))
            for name, t in noise.items()
        }
    rows = {"x": batch["x"], **noise}
    return rows, {"steps": steps.seed, "final": final.seed, "prepare": prepare_seed}


def figures_and_gradients(
    model: LatentVariableModel,
    rows: Mapping[str, tf.Tensor],
    seeds: Mapping[str, tf.Tensor],
    replica: int | tf.Tensor = 0,
    fuse: Callable[[Callable], Callable] = as_it_is,
) -> list[tf.Tensor]:
    """Returns the means over rows of the figures of a step, then of the gradients to the trainable variables.

    Args:
      model: that is trained.
      rows, seeds: of `draws`, or some of the rows.
      replica: number of these rows among the parts that a batch is spread in; each has other dropout.
      fuse: what makes a program of all but the encoder's two passes (see `kernels.fusion`).
    """
    with tf.GradientTape() as tape:
        # Of all rows at once: batch normalisation takes moments over them.
        initial = model.initial_posterior(rows["x"], model.start, rows["start"], training=True) if model.start else None
    found = fuse(functools.partial(_learn_all, model))(rows, initial, seeds, replica)
    decoder, names = model.decoder.trainable_variables, model.figures
    figures, gradients = found[: len(names)], found[len(names) :]
    by_variable = {id(variable): gradient for variable, gradient in zip(decoder, gradients, strict=False)}
    if initial is not None and model.encoder:
        variables = model.encoder.trainable_variables
        back = tape.gradient(initial, variables, Posterior(*gradients[len(decoder) :]))
        for variable, gradient in zip(variables, _dense(back, variables), strict=True):
            # A weight may be in both models.
            by_variable[id(variable)] = by_variable.get(id(variable), 0) + gradient
    return [*figures, *(by_variable[id(variable)] for variable in model.trainable_variables)]


def _learn_all(
    model: LatentVariableModel,
    rows: Mapping[str, tf.Tensor],
    starts: Posterior | None,
    seeds: Mapping[str, tf.Tensor],
    replica: int | tf.Tensor,
) -> list[tf.Tensor]:
    """Returns what `_learn` does of all rows, a part of them at a time."""

    def of_part(part: Mapping[str, tf.Tensor], number: int | tf.Tensor) -> list[tf.Tensor]:
        own = {name: seed + tf.stack([replica, number]) for name, seed in seeds.items()}
        return _learn(model, part, starts, own)

    parts = {**rows, "row": tf.range(tf.shape(rows["x"])[0])}
    if not model.entries_at_once:
        return of_part(parts, 0)
    zeros = [*(tf.zeros([]) for _ in model.figures), *(tf.zeros(v.shape) for v in model.decoder.trainable_variables)]
    zeros += [tf.zeros_like(part) for part in starts or ()]
    return mean_over_parts(of_part, parts, number_of_parts(rows["x"], model.entries_at_once), zeros)


def _learn(
    model: LatentVariableModel, rows: Mapping[str, tf.Tensor], starts: Posterior | None, seeds: Mapping[str, tf.Tensor]
) -> list[tf.Tensor]:
    """Returns figures of the method's objective on some rows, and the gradient of its loss.

    Args:
      model: that is trained.
      rows: with `row`, their numbers among those of `starts`.
      starts: the initial posterior, parts [rows and others, latent]; None without latent variable.
      seeds: of the noise.

    Returns:
      The figures, the gradients to the decoder's variables, and those to the parts of `starts`.
    """
    step_draws = Draw(tf.transpose(rows["steps"], [1, 0, 2]), seeds["steps"])
    final_draw = Draw(rows["final"], seeds["final"])
    sources = [*model.decoder.trainable_variables, *(starts or ())]
    with tf.GradientTape() as tape:
        tape.watch(sources[len(model.decoder.trainable_variables) :])
        initial = Posterior(*(tf.gather(part, rows["row"]) for part in starts)) if starts else None
        bound, context = _bound_and_context(model, rows["x"], seeds["prepare"])
        local = LocalInference(bound, context, step_draws, final_draw, model.settings, model.path_weights(model.steps))
        objective = model.method.objective(local, initial)
    return [*_figures(model, objective).values(), *_dense(tape.gradient(objective.loss, sources), sources)]


def _bound_and_context(model: LatentVariableModel, x: tf.Tensor, seed: tf.Tensor) -> tuple[Bound, Any]:
    """Returns the bound of a training step, and what it reads of `x`."""
    prepare = functools.partial(model.decoder.prepare, training=True, seed=seed)
    bound = model.decoder_bound(model.kl_weight(model.step), training=True)
    if model.settings.product == "authors":
        # The authors clip the gradients of the decoder's own weights: nothing is computed ahead.
        return lambda posterior, x, draw: bound(posterior, prepare(x), draw), x
    return bound, prepare(x)


def _figures(model: LatentVariableModel, objective: Objective) -> dict[str, tf.Tensor]:
    """Returns the means over a batch by name; the bound with KL weight one."""
    if objective.posterior is None:
        return {"loss": objective.loss, "nll_bound": tf.reduce_mean(objective.bound)}
    charged = model.kl_weight(model.step) * charged_kl(objective.posterior, model.free_bits)
    reconstruction, kl = tf.reduce_mean(objective.bound - charged), tf.reduce_mean(objective.posterior.kl())
    return {"loss": objective.loss, "nll_bound": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}


def _dense(gradients: Sequence, sources: Sequence) -> list[tf.Tensor]:
    """Returns gradients as tensors, zeros where there is none: a weight may be empty, or not used by a method."""
    return [
        tf.zeros_like(source) if gradient is None else tf.convert_to_tensor(gradient)
        for gradient, source in zip(gradients, sources, strict=True)
    ]

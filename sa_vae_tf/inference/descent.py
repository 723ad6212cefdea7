"""The steps of a refinement: gradient descent with momentum on each example's bound (Algorithm 1, forward)."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from sa_vae_tf.inference import products
from sa_vae_tf.inference.clipping import clip_gradient
from sa_vae_tf.inference.kept import Records, keeping, records
from sa_vae_tf.inference.posterior import Posterior, keep_finite, zeros_like
from sa_vae_tf.inference.settings import RefinementSettings

# Of a step's number and what of the context is differentiated, the bound that the step goes down.
StepBound: TypeAlias = Callable[[tf.Tensor, list[tf.Tensor]], products.LocalBound]


class Descent(NamedTuple):
    """What the K steps leave.

    Attributes:
      path: parts [K + 1, batch, latent].
      gradients, bounds: unclipped gradients, parts [K, batch, latent], and bounds, [K, batch], along it.
      taken: int32 [batch], steps that each example took.
      segments: from the first step to the last, the steps that keep the same, each with what it kept.
    """

    path: Posterior
    gradients: Posterior
    bounds: tf.Tensor
    taken: tf.Tensor
    segments: list[Segment]


class Segment(NamedTuple):
    """Steps that keep the same.

    Attributes:
      first, end: number of the first of them, and one more than that of the last.
      kept: what they kept.
    """

    first: int
    end: int | tf.Tensor
    kept: Records


def descend(
    step_bound: StepBound,
    initial: Posterior,
    floats: list[tf.Tensor],
    steps: int | tf.Tensor,
    settings: RefinementSettings,
) -> Descent:
    """Takes K steps of gradient descent with momentum from the initial posterior.

    Args:
      step_bound: function (k, floats) -> the bound at step k.
      initial: parts [batch, latent].
      floats: what of the context is differentiated.
      steps: K, at least one.
      settings: see `RefinementSettings`.

    Returns:
      A `Descent`.
    """
    dtype, shape = initial.mean.dtype, initial.mean.shape

    def record(size, element_shape):
        return tf.TensorArray(dtype, size, element_shape=element_shape, clear_after_read=False)

    def local(k, at):
        return products.bound_and_gradient(step_bound(k, floats), at)

    def compute(k, at, going):
        if settings.patience is None:
            return local(k, at)
        nothing = tf.zeros_like(at.mean[:, 0]), zeros_like(at)
        return tf.cond(tf.reduce_any(going), lambda: local(k, at), lambda: nothing)

    def body(first, keep, empty, k, state, arrays):
        mean, log_variance, mean_velocity, log_variance_velocity, lowest, waited, taken, *lists = state
        with keeping(keep) as step:
            bound, gradient = compute(k, Posterior(mean, log_variance), waited < patience)
        # Who has waited long enough goes on waiting, whatever bound another draw finds.
        waited = tf.where((bound < lowest) & (waited < patience), 0, waited + 1)
        lowest, going = tf.minimum(bound, lowest), waited < patience
        clipped = clip_gradient(gradient, settings.clip_norm, settings.clip_scope)
        velocity = Posterior(
            settings.momentum * mean_velocity - clipped.mean,
            settings.momentum * log_variance_velocity - clipped.log_variance,
        )
        velocity = of_some(going, velocity)
        mean = mean + settings.step_size_mean * velocity.mean
        log_variance = keep_finite(log_variance + settings.step_size_log_variance * velocity.log_variance)
        means, log_variances, mean_gradients, log_variance_gradients, bounds = lists
        new_state = [
            mean,
            log_variance,
            *velocity,
            lowest,
            waited,
            taken + tf.cast(going, tf.int32),
            means.write(k + 1, mean),
            log_variances.write(k + 1, log_variance),
            mean_gradients.write(k + 1, gradient.mean),
            log_variance_gradients.write(k + 1, gradient.log_variance),
            bounds.write(k + 1, tf.where(going, bound, tf.zeros_like(bound))),
        ]
        return k + 1, new_state, dataclasses.replace(empty, arrays=arrays).write(k - first, step.found).arrays

    patience = steps + 1 if settings.patience is None else settings.patience
    nobody = tf.zeros_like(initial.mean[:, 0], tf.int32)
    state = [
        *initial,
        tf.zeros_like(initial.mean),
        tf.zeros_like(initial.mean),
        tf.fill(tf.shape(nobody), tf.constant(math.inf, dtype)),
        nobody,
        nobody,
        record(steps + 1, shape).write(0, initial.mean),
        record(steps + 1, shape).write(0, initial.log_variance),
        # An empty record of a batch of unknown size cannot be stacked: all have an entry before the first step.
        record(steps + 1, shape).write(0, tf.zeros_like(initial.mean)),
        record(steps + 1, shape).write(0, tf.zeros_like(initial.mean)),
        record(steps + 1, shape[:1]).write(0, tf.zeros_like(initial.mean[:, 0])),
    ]
    segments = []
    for first, end, keep in settings.segments(steps):
        empty = records(lambda: local(tf.constant(0), initial), keep, end - first)
        # One iteration at a time: parallel ones would hold several steps' activations.
        _, state, arrays = tf.while_loop(
            lambda k, *_, end=end: k < end,
            functools.partial(body, first, keep, empty),
            (tf.constant(first), state, empty.arrays),
            parallel_iterations=1,
        )
        segments.append(Segment(first, end, dataclasses.replace(empty, arrays=arrays)))
    *_, taken, means, log_variances, mean_gradients, log_variance_gradients, bounds = state
    path = Posterior(means.stack(), log_variances.stack())
    gradients = Posterior(mean_gradients.stack()[1:], log_variance_gradients.stack()[1:])
    return Descent(path, gradients, bounds.stack()[1:], taken, segments)


def of_some(examples: tf.Tensor, parts: Posterior) -> Posterior:
    """Returns the parts with zeros for all but some examples, bool [batch]."""
    return Posterior(*(tf.where(examples[:, None], part, tf.zeros_like(part)) for part in parts))

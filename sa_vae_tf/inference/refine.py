"""The refinement of a posterior by gradient steps, and the derivative through them (Algorithm 1)."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.inference import products
from sa_vae_tf.inference.bound import Bound
from sa_vae_tf.inference.clipping import clip_cotangent, clip_gradient, clip_jointly
from sa_vae_tf.inference.kept import Kept, Records, keeping, records
from sa_vae_tf.inference.posterior import Posterior, keep_finite, keep_finite_cotangent, prior_like
from sa_vae_tf.inference.settings import RefinementSettings


class Refined(NamedTuple):
    """What `refine` returns.

    Attributes:
      posterior: the refined posterior, parts [batch, latent]; the last point of `path`.
      path: the posterior before each step and after the last, parts [K + 1, batch, latent].
      bounds: [K, batch], the bound before each step under that step's draw, for the weighted bound of footnote 6;
        constants with the product 'authors', whose arithmetic has no place for them, and where not every step is
        differentiated; 0 after an example's last step.
      steps: int32 [batch], steps that each example took: K, or fewer where `patience` ended.
    """

    posterior: Posterior
    path: Posterior
    bounds: tf.Tensor
    steps: tf.Tensor


def refine(
    bound: Bound, initial: Posterior, context: Any, draws: Any, settings: RefinementSettings | None = None
) -> Refined:
    """Takes K steps of gradient descent with momentum on each example's bound; differentiable throughout.

    The derivative of any function of the result reaches `initial`, the float tensors in `context` and the
    trainable variables that `bound` reads. It does not reach tensors that `bound` merely closes over: what
    should be learned through the refinement and does not depend on the posterior belongs in `context`. Of the K
    steps only the path and its local gradients are kept, each [K, batch, 2 * latent], and what `settings` allow of
    what the bound marks as `kept`; all else is computed anew. (So inside `tf.function`; in eager mode TensorFlow
    records every step as well.)

    Args:
      bound: function (posterior, context, draw) -> [batch], deterministic in its arguments; an example's value
        must depend on that example's entries alone. It must have second derivatives (cuDNN's LSTM has none).
      initial: posterior parameters from which to start, parts [batch, latent], float32 or float64.
      context: any nest of tensors, handed to `bound` as it is.
      draws: any nest of tensors with a leading axis of length K; step k hands slice k to `bound`. See
        `sa_vae_tf.inference.draw`.
      settings: rates, momentum, clips and the product; default `RefinementSettings()`.

    Returns:
      A `Refined`. With K = 0 its posterior is `initial`.

    Raises:
      ValueError: if `draws` holds no tensor, or with product 'authors' if `context` holds a float tensor, since
        the authors' joint clip is over the gradients of the weights themselves.

    Source: section 3, Algorithm 1 and footnote 6.
    """
    settings = settings or RefinementSettings()
    flat_draws = tf.nest.flatten(draws)
    if not flat_draws or any(leaf is None for leaf in flat_draws):
        raise ValueError(f"draws={draws}: expected tensors whose leading axis is the number of steps")
    draws = tf.nest.map_structure(tf.convert_to_tensor, draws)
    first = tf.nest.flatten(draws)[0]
    steps = first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]
    initial = Posterior(*(tf.convert_to_tensor(part) for part in initial))
    if isinstance(steps, int) and steps == 0:
        path = Posterior(*(part[None] for part in initial))
        batch = tf.shape(initial.mean)[0]
        return Refined(initial, path, tf.zeros([0, batch], initial.mean.dtype), tf.zeros([batch], tf.int32))

    flat_context = tf.nest.flatten(context)
    where = [i for i, leaf in enumerate(flat_context) if tf.is_tensor(leaf) and leaf.dtype.is_floating]
    if settings.product == "authors" and where:
        raise ValueError("product='authors' needs a context without float tensors: compute them inside the bound")

    def step_bound(k: tf.Tensor, floats: list[tf.Tensor]) -> products.LocalBound:
        leaves = list(flat_context)
        for i, leaf in zip(where, floats, strict=True):
            leaves[i] = leaf
        step_context = tf.nest.pack_sequence_as(context, leaves)
        step_draw = tf.nest.map_structure(lambda t: t[k], draws)
        return lambda posterior: bound(posterior, step_context, step_draw)

    @tf.custom_gradient
    def descend(mean, log_variance, *floats):
        forward = _forward(step_bound, Posterior(mean, log_variance), list(floats), steps, settings)

        def reverse(*cotangents, variables=()):
            path_cotangent, bounds_cotangent = Posterior(*cotangents[:2]), cotangents[2]
            sources = [*floats, *variables]
            derivatives = _reverse(
                step_bound, forward, path_cotangent, bounds_cotangent, list(floats), sources, settings
            )
            inputs = 2 + len(floats)
            # TensorFlow asks for the second part if and only if the bound read variables.
            return (derivatives[:inputs], derivatives[inputs:]) if variables else derivatives[:inputs]

        return (*forward.path, forward.bounds, forward.taken), reverse

    mean, log_variance, bounds, taken = descend(*initial, *(flat_context[i] for i in where))
    if settings.product == "authors" or not settings.differentiates_every_step:
        bounds = tf.stop_gradient(bounds)
    return Refined(Posterior(mean[-1], log_variance[-1]), Posterior(mean, log_variance), bounds, taken)


class _Forward(NamedTuple):
    """What the K steps leave.

    Attributes:
      path, gradients, bounds: the path, and the unclipped gradients and the bounds along it.
      taken: steps that each example took.
      segments: from the first step to the last, the steps that keep the same, each with what it kept.
    """

    path: Posterior
    gradients: Posterior
    bounds: tf.Tensor
    taken: tf.Tensor
    segments: list[_Segment]


class _Segment(NamedTuple):
    """Steps one after the other, the first of them and one after the last, and what they kept."""

    first: int
    end: int | tf.Tensor
    kept: Records


def _forward(step_bound, initial: Posterior, floats: list, steps, settings: RefinementSettings) -> _Forward:
    """Runs the K steps."""
    dtype, shape = initial.mean.dtype, initial.mean.shape

    def record(size, element_shape):
        return tf.TensorArray(dtype, size, element_shape=element_shape, clear_after_read=False)

    def compute(k, at, going):
        def local():
            return products.bound_and_gradient(step_bound(k, floats), at)

        if settings.patience is None:
            return local()
        return tf.cond(tf.reduce_any(going), local, lambda: (tf.zeros_like(at.mean[:, 0]), prior_like(at)))

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
        velocity = _keep(going, velocity)
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
        empty = records(lambda: compute(tf.constant(0), initial, nobody < 1), keep, end - first)
        # One iteration at a time: parallel ones would hold several steps' activations.
        _, state, arrays = tf.while_loop(
            lambda k, *_, end=end: k < end,
            functools.partial(body, first, keep, empty),
            (tf.constant(first), state, empty.arrays),
            parallel_iterations=1,
        )
        segments.append(_Segment(first, end, dataclasses.replace(empty, arrays=arrays)))
    *_, taken, means, log_variances, mean_gradients, log_variance_gradients, bounds = state
    path = Posterior(means.stack(), log_variances.stack())
    gradients = Posterior(mean_gradients.stack()[1:], log_variance_gradients.stack()[1:])
    return _Forward(path, gradients, bounds.stack()[1:], taken, segments)


def _keep(examples: tf.Tensor, parts: Posterior) -> Posterior:
    """Returns the parts with zeros for all but some examples, bool [batch]."""
    return Posterior(*(tf.where(examples[:, None], part, tf.zeros_like(part)) for part in parts))


def _reverse(
    step_bound,
    forward: _Forward,
    path_cotangent: Posterior,
    bounds_cotangent: tf.Tensor,
    floats: list,
    sources: list,
    settings: RefinementSettings,
) -> list[tf.Tensor]:
    """Runs Algorithm 1 backwards; returns derivatives to the initial posterior and to each of `sources`."""
    path, gradients, _, taken, segments = forward
    final = Posterior(path_cotangent.mean[-1], path_cotangent.log_variance[-1])
    if settings.product != "authors":
        final = clip_cotangent(final, settings.product_clip_norm, settings.clip_scope)

    def body(segment, k, mean, log_variance, mean_velocity, log_variance_velocity, *totals):
        # The cotangent of the posterior after step k gives that of the velocity, then of the posterior before it.
        log_variance = keep_finite_cotangent(path.log_variance[k + 1], log_variance)
        velocity = Posterior(
            mean_velocity + settings.step_size_mean * mean,
            log_variance_velocity + settings.step_size_log_variance * log_variance,
        )
        at = Posterior(path.mean[k], path.log_variance[k])
        gradient = Posterior(gradients.mean[k], gradients.log_variance[k])

        def differentiate():
            kept = segment.kept.read(k - segment.first)
            return _through_gradient(
                step_bound(k, floats), at, gradient, velocity, bounds_cotangent[k], sources, settings, kept
            )

        if settings.differentiates_every_step:
            through, parts = differentiate()
        else:
            first = 0 if settings.reverse_steps is None else taken - settings.reverse_steps
            counts = (first <= k) & (k < taken)
            velocity = _keep(counts, velocity)
            through, parts = tf.cond(
                tf.reduce_any(counts), differentiate, lambda: (prior_like(at), [tf.zeros_like(s) for s in sources])
            )
        cotangent = Posterior(mean + through.mean, log_variance + through.log_variance)
        cotangent = clip_cotangent(cotangent, _product_clip(settings), settings.clip_scope)
        return [
            k - 1,
            cotangent.mean + path_cotangent.mean[k],
            cotangent.log_variance + path_cotangent.log_variance[k],
            settings.momentum * velocity.mean,
            settings.momentum * velocity.log_variance,
            *(total + part for total, part in zip(totals, parts, strict=True)),
        ]

    state = [
        *final,
        tf.zeros_like(final.mean),
        tf.zeros_like(final.mean),
        *(tf.zeros_like(source) for source in sources),
    ]
    for segment in reversed(segments):
        _, *state = tf.while_loop(
            lambda k, *_, first=segment.first: k >= first,
            functools.partial(body, segment),
            [tf.convert_to_tensor(segment.end - 1), *state],
            parallel_iterations=1,
        )
    mean, log_variance, _, _, *totals = state
    return [mean, log_variance, *totals]


def _product_clip(settings: RefinementSettings) -> float | None:
    return settings.clip_norm if settings.product == "authors" else settings.product_clip_norm


def _through_gradient(
    local_bound,
    at: Posterior,
    gradient: Posterior,
    velocity: Posterior,
    bound_weight: tf.Tensor,
    sources: list,
    settings: RefinementSettings,
    kept: Kept,
) -> tuple[Posterior, list[tf.Tensor]]:
    """Takes the velocity's cotangent through -clip(gradient of the bound), to the posterior and to `sources`."""
    if settings.product == "authors":
        batch = tf.cast(tf.shape(at.mean)[0], at.mean.dtype)
        clipped = clip_gradient(gradient, settings.clip_norm, settings.clip_scope)
        mean, log_variance, *parts = products.authors(
            local_bound,
            at,
            Posterior(*(v * batch for v in velocity)),
            Posterior(*(g / batch for g in clipped)),
            sources,
            settings.clip_norm,
        )
        return Posterior(-mean, -log_variance), [-part for part in parts]

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(gradient)
        clipped = clip_gradient(gradient, settings.clip_norm, settings.clip_scope)
    vector = Posterior(*tape.gradient(clipped, gradient, output_gradients=Posterior(*(-v for v in velocity))))
    if settings.product == "exact":
        mean, log_variance, *parts = products.exact(local_bound, at, vector, bound_weight, sources, kept)
    else:
        mean, log_variance, *parts = products.finite_difference(
            local_bound, at, vector, bound_weight, sources, settings.finite_difference_step
        )
    return Posterior(mean, log_variance), clip_jointly(parts, settings.product_clip_norm)

"""The derivative through the steps of a refinement (Algorithm 1, backwards)."""

from __future__ import annotations

import functools

import tensorflow as tf

from sa_vae_tf.inference import products
from sa_vae_tf.inference.clipping import clip_cotangent, clip_gradient, clip_jointly
from sa_vae_tf.inference.descent import Descent, StepBound, of_some
from sa_vae_tf.inference.kept import Kept
from sa_vae_tf.inference.posterior import Posterior, keep_finite_cotangent, zeros_like
from sa_vae_tf.inference.settings import RefinementSettings


def cotangents_of(
    step_bound: StepBound,
    descent: Descent,
    path_cotangent: Posterior,
    bounds_cotangent: tf.Tensor,
    floats: list[tf.Tensor],
    sources: list,
    settings: RefinementSettings,
) -> list[tf.Tensor]:
    """Takes the cotangents of a path and of the bounds along it back through the steps.

    Args:
      step_bound, floats, settings: as for `descend`.
      descent: what it returned.
      path_cotangent: parts [K + 1, batch, latent].
      bounds_cotangent: [K, batch].
      sources: tensors and variables.

    Returns:
      Cotangents of the two parts of the initial posterior and of each of `sources`.
    """
    path, gradients, _, taken, segments = descent
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
            velocity = of_some(counts, velocity)
            through, parts = tf.cond(
                tf.reduce_any(counts), differentiate, lambda: (zeros_like(at), [tf.zeros_like(s) for s in sources])
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

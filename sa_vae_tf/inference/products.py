"""Hessian-vector products: how the reverse pass of `refine` goes through one gradient step (section 3).

A step moves the posterior parameters against g = d bound / d posterior. Its reverse needs, for a given vector u,
the derivative of <g, u> with respect to the posterior and to everything else that the bound reads: H u, of
which the parts are the products H_{posterior, posterior} u and H_{weights, posterior} u of Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from sa_vae_tf.inference import second_derivatives as _  # noqa: F401  (that of some of TensorFlow's operations)
from sa_vae_tf.inference.clipping import clip_jointly
from sa_vae_tf.inference.kept import Kept, replaying
from sa_vae_tf.inference.posterior import Posterior

# The bound of one refinement step as a function of the posterior alone, [batch].
LocalBound = Callable[[Posterior], tf.Tensor]

# The published step of the authors' forward difference (section 3).
AUTHORS_STEP = 1e-5


def dense_gradients(tape: tf.GradientTape, target: tf.Tensor, sources: Sequence) -> list[tf.Tensor]:
    """Returns gradients as dense tensors, zeros where the target does not depend on a source."""
    gradients = tape.gradient(target, list(sources), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g) for g in gradients]


def bound_and_gradient(local_bound: LocalBound, posterior: Posterior) -> tuple[tf.Tensor, Posterior]:
    """Returns the bound of each example, [batch], and its gradient to that example's posterior parameters.

    Raises:
      ValueError: if the bound is not that.
    """
    batch, dtype = posterior.mean.shape[:1], posterior.mean.dtype
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(posterior)
        value = local_bound(posterior)
    if not tf.is_tensor(value):
        raise ValueError(f"bound returned a {type(value).__name__}: expected a tensor [batch]")
    if value.dtype != dtype or not value.shape.is_compatible_with(batch):
        raise ValueError(
            f"bound returned {value.dtype.name} {value.shape}: expected {dtype.name} [batch], a number for each example"
        )
    return value, Posterior(*dense_gradients(tape, value, posterior))


def exact(
    local_bound: LocalBound,
    posterior: Posterior,
    vector: Posterior,
    bound_weight: tf.Tensor,
    sources: Sequence,
    kept: Kept = Kept(),  # noqa: B008
) -> list[tf.Tensor]:
    """Differentiates <g, vector> + <bound_weight, bound> by reverse mode over reverse mode.

    Args:
      local_bound: the step's bound as a function of the posterior.
      posterior: posterior parameters at which the step was taken, parts [batch, latent].
      vector: u, parts [batch, latent].
      bound_weight: [batch] cotangent of the bound itself at this step (footnote 6); zeros when it is not used.
      sources: further tensors and variables that the bound reads.
      kept: what the bound and its gradient left behind when the step was taken (see `kept`).

    Returns:
      The derivative with respect to the mean, the log variance and each of `sources`, in this order.

    Raises:
      LookupError: if the bound reads an operation that has no second derivative.
    """
    with tf.GradientTape() as outer:
        outer.watch([posterior, [s for s in sources if not isinstance(s, tf.Variable)]])
        with replaying(kept):
            value, gradient = bound_and_gradient(local_bound, posterior)
        pairing = tf.add_n([tf.reduce_sum(g * u) for g, u in zip(gradient, vector, strict=True)])
        objective = pairing + tf.reduce_sum(bound_weight * value)
    try:
        return dense_gradients(outer, objective, [*posterior, *sources])
    except (LookupError, NotImplementedError) as error:  # The latter of what is recomputed, as by keras.remat.
        raise LookupError(
            f"the bound has no second derivative in TensorFlow ({error}); expected product='finite_difference', or "
            "other operations"
        ) from error


def finite_difference(
    local_bound: LocalBound,
    posterior: Posterior,
    vector: Posterior,
    bound_weight: tf.Tensor,
    sources: Sequence,
    step: float | None = None,
) -> list[tf.Tensor]:
    """Estimates what `exact` computes by a central difference of first derivatives.

    The paper's forward difference with an absolute step of 1e-5 loses 8 to 20% to rounding in float32. Here the
    step is relative to the length of each example's vector, and taken to both sides.

    Args:
      local_bound, posterior, vector, bound_weight, sources: as for `exact`.
      step: root-mean-square change of an example's posterior parameters; None chooses it by the float type.

    Returns:
      As `exact`.
    """
    dtype = posterior.mean.dtype
    if step is None:
        # Rounding grows with 1 / step and truncation with its square; these are near the best of both.
        step = 1e-5 if dtype == tf.float64 else 1e-3
    mean_square = tf.reduce_mean(tf.square(tf.concat(vector, -1)), -1)
    scale = step / tf.sqrt(tf.maximum(mean_square, tf.constant(1e-30, dtype)))  # [batch]
    with tf.GradientTape() as tape:
        tape.watch([posterior, [s for s in sources if not isinstance(s, tf.Variable)]])
        ahead = local_bound(Posterior(*(p + scale[:, None] * u for p, u in zip(posterior, vector, strict=True))))
        behind = local_bound(Posterior(*(p - scale[:, None] * u for p, u in zip(posterior, vector, strict=True))))
        weight = 0.5 / scale
        objective = tf.reduce_sum((weight + 0.5 * bound_weight) * ahead - (weight - 0.5 * bound_weight) * behind)
    return dense_gradients(tape, objective, [*posterior, *sources])


def authors(
    local_bound: LocalBound,
    posterior: Posterior,
    vector: Posterior,
    clipped_gradient: Posterior,
    sources: Sequence,
    clip_norm: float | None,
) -> list[tf.Tensor]:
    """Computes the product as the published code does, clip for clip.

    Gradients are those of the mean bound over the batch. The one at the displaced point is clipped jointly over
    posterior and sources; of the one subtracted from it the posterior parts were clipped each on their own and
    the sources not at all. Wherever a clip is active the mismatch, divided by the step, outweighs the curvature.

    Args:
      local_bound, posterior, sources: as for `exact`.
      vector: u of the published backward pass: direction in which the posterior is displaced.
      clipped_gradient: gradient of the mean bound used in the forward step, after its clips.
      clip_norm: threshold of every clip; None for none.

    Returns:
      H u for the mean, the log variance and each of `sources`; those of the sources clipped jointly.
    """

    def mean_gradients(at: Posterior) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([at, [s for s in sources if not isinstance(s, tf.Variable)]])
            value = tf.reduce_mean(local_bound(at))
        return dense_gradients(tape, value, [*at, *sources])

    displaced = Posterior(*(p + AUTHORS_STEP * u for p, u in zip(posterior, vector, strict=True)))
    ahead = clip_jointly(mean_gradients(displaced), clip_norm)
    here = [*clipped_gradient, *mean_gradients(posterior)[2:]]
    difference = [(a - b) / AUTHORS_STEP for a, b in zip(ahead, here, strict=True)]
    return difference[:2] + clip_jointly(difference[2:], clip_norm)

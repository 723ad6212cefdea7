"""The refinement of a posterior by gradient steps, differentiable (Algorithm 1)."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.inference import products
from sa_vae_tf.inference.bound import Bound
from sa_vae_tf.inference.context import take_apart
from sa_vae_tf.inference.descent import descend
from sa_vae_tf.inference.posterior import Posterior
from sa_vae_tf.inference.reverse import cotangents_of
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
    trainable variables that `bound` reads. It reaches neither `draws` nor tensors that `bound` merely closes over, as a
    learned weight of the KL term: what should be learned through the refinement and does not depend on the posterior
    belongs in `context`. Of the K steps only the path and its local gradients are kept, each [K, batch, 2 * latent],
    and what `settings` allow of what the bound marks as `kept`; all else is computed anew. (So inside `tf.function`;
    in eager mode TensorFlow records every step as well.)

    Args:
      bound: function (posterior, context, draw) -> [batch], deterministic in its arguments; an example's value
        must depend on that example's entries alone. What is random in it must come from its draw: a Keras layer
        that draws by itself, such as Dropout, draws anew in the reverse pass. For the product 'exact' it must have
        second derivatives (cuDNN's LSTM has none).
      initial: posterior parameters from which to start, parts [batch, latent], float32 or float64.
      context: any nest of dense tensors, variables, arrays, numbers, strings and None, handed to `bound` as it is.
      draws: any nest of tensors with a leading axis of length K; step k hands slice k to `bound`. See
        `sa_vae_tf.inference.draw`.
      settings: rates, momentum, clips and the product; default `RefinementSettings()`.

    Returns:
      A `Refined`. With K = 0 its posterior is `initial`.

    Raises:
      TypeError: if `initial` is no posterior, `settings` no settings, or `context` holds something else.
      ValueError: if `initial` is of another shape or float type, if `draws` holds no tensor or tensors of other
        lengths, if `bound` returns something else, or with product 'authors' if `context` holds a float tensor, since
        the authors' joint clip is over the gradients of the weights themselves.
      LookupError: in the reverse pass, if the bound has no second derivative.

    Source: section 3, Algorithm 1 and footnote 6.
    """
    settings = RefinementSettings() if settings is None else settings
    if not isinstance(settings, RefinementSettings):
        raise TypeError(f"settings: expected RefinementSettings, got {type(settings).__name__}")
    initial = _checked(initial)
    flat_draws = tf.nest.flatten(draws)
    if not flat_draws or any(leaf is None for leaf in flat_draws):
        raise ValueError(f"draws={draws}: expected tensors whose leading axis is the number of steps")
    draws = tf.nest.map_structure(tf.convert_to_tensor, draws)
    first, *others = tf.nest.flatten(draws)
    for leaf in (first, *others):
        if leaf.shape.rank == 0 or not leaf.shape[:1].is_compatible_with(first.shape[:1]):
            raise ValueError(f"draws of shapes {first.shape}, {leaf.shape}: expected the number of steps first in each")
    steps = first.shape[0] if first.shape[0] is not None else tf.shape(first)[0]
    if isinstance(steps, int) and steps == 0:
        path = Posterior(*(part[None] for part in initial))
        batch = tf.shape(initial.mean)[0]
        return Refined(initial, path, tf.zeros([0, batch], initial.mean.dtype), tf.zeros([batch], tf.int32))

    parts = take_apart(context)
    if settings.product == "authors" and parts.floats:
        raise ValueError("product='authors' needs a context without float tensors: compute them inside the bound")

    def step_bound(k: tf.Tensor, floats: list[tf.Tensor]) -> products.LocalBound:
        step_draw = tf.nest.map_structure(lambda t: t[k], draws)
        # The context is made where it is read, under the tapes that differentiate it.
        return lambda posterior: bound(posterior, parts.with_floats(floats), step_draw)

    @tf.custom_gradient
    def refined(mean, log_variance, *floats):
        descent = descend(step_bound, Posterior(mean, log_variance), list(floats), steps, settings)

        def reverse(*cotangents, variables=()):
            path_cotangent, bounds_cotangent = Posterior(*cotangents[:2]), cotangents[2]
            sources = [*floats, *variables]
            derivatives = cotangents_of(
                step_bound, descent, path_cotangent, bounds_cotangent, list(floats), sources, settings
            )
            inputs = 2 + len(floats)
            # TensorFlow asks for the second part if and only if the bound read variables.
            return (derivatives[:inputs], derivatives[inputs:]) if variables else derivatives[:inputs]

        return (*descent.path, descent.bounds, descent.taken), reverse

    mean, log_variance, bounds, taken = refined(*initial, *parts.floats)
    if not settings.differentiates_bounds:
        bounds = tf.stop_gradient(bounds)
    return Refined(Posterior(mean[-1], log_variance[-1]), Posterior(mean, log_variance), bounds, taken)


def _checked(initial: Any) -> Posterior:
    if not isinstance(initial, tuple) or len(initial) != 2:
        raise TypeError(f"initial: expected a Posterior, its mean and its log variance, got {type(initial).__name__}")
    mean, log_variance = (tf.convert_to_tensor(part) for part in initial)
    if mean.dtype not in (tf.float32, tf.float64) or log_variance.dtype != mean.dtype:
        types = f"{mean.dtype.name}, {log_variance.dtype.name}"
        raise ValueError(f"initial of types {types}: expected float32 or float64, the same for both parts")
    if not (mean.shape.is_compatible_with([None, None]) and mean.shape.is_compatible_with(log_variance.shape)):
        raise ValueError(
            f"initial of shapes {mean.shape}, {log_variance.shape}: expected [batch, latent], the same for both parts"
        )
    return Posterior(mean, log_variance)

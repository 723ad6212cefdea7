"""The bound that is minimised: the negative evidence lower bound of each example."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sa_vae_tf.inference.draws import Draw
from sa_vae_tf.inference.posterior import Posterior

# bound(posterior, context, draw) -> [batch]; see `negative_elbo`.
Bound = Callable[[Posterior | None, Any, Any], tf.Tensor]


def charged_kl(posterior: Posterior, free_bits: float = 0.0) -> tf.Tensor:
    """Returns the KL to the prior in nats, [batch], each dimension's at least `free_bits`.

    So a dimension's KL is not pressed below that (Kingma et al. 2016, Improving variational inference with inverse
    autoregressive flow; here example by example, as all of the inference is).
    """
    if not free_bits:
        return posterior.kl()
    return tf.reduce_sum(tf.maximum(posterior.kl_per_dimension(), free_bits), -1)


def checked_likelihood(likelihood: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
    """Returns what a decoder's negative log-likelihood of z returned, [batch].

    Raises:
      ValueError: if it is no tensor, of another shape than [batch], or of another type than z.
    """
    if not tf.is_tensor(likelihood):
        raise ValueError(f"negative_log_likelihood returned a {type(likelihood).__name__}: expected a tensor [batch]")
    if not likelihood.shape.is_compatible_with(z.shape[:1]) or likelihood.dtype != z.dtype:
        raise ValueError(
            f"negative_log_likelihood returned {likelihood.dtype.name} {likelihood.shape}: expected "
            f"{z.dtype.name} [batch], a number for each example"
        )
    return likelihood


def negative_elbo(
    negative_log_likelihood: Callable[..., tf.Tensor], kl_weight: float | tf.Tensor = 1.0, free_bits: float = 0.0
) -> Bound:
    """Makes the bound of a decoder: -log p(x | z) + kl_weight * KL[q(z | x) || N(0, I)], one sample of z.

    Args:
      negative_log_likelihood: function (z, context, *, seed) -> [batch] in nats, summed over the parts of an
        example, in the float type of z. z is [batch, latent], or None for a language model without latent variable;
        seed is for dropout.
      kl_weight: scalar weight of the KL term, or one for each example; below one during warm-up (section 4.2).
      free_bits: nats of each dimension's KL that cost nothing; see `charged_kl`.

    Returns:
      A function (posterior, context, draw) -> [batch] in nats. Posterior None gives the plain likelihood. It raises
      ValueError where the likelihood or the weight is not as said above.

    Raises:
      ValueError: if `free_bits` is no number, or negative.
    """
    if not (isinstance(free_bits, numbers.Real) and free_bits >= 0):
        raise ValueError(f"free_bits={free_bits!r}: expected a number of Python or NumPy that is not negative")

    def bound(posterior: Posterior | None, context: Any, draw: Draw) -> tf.Tensor:
        if posterior is None:
            return negative_log_likelihood(None, context, seed=draw.seed)
        if posterior.mean.shape.rank not in (None, 2):
            raise ValueError(f"posterior of shape {posterior.mean.shape}: expected [batch, latent]")
        if not tf.TensorShape(draw.noise.shape).is_compatible_with(posterior.mean.shape):
            raise ValueError(
                f"draw of noise {draw.noise.shape}: expected that of the posterior, {posterior.mean.shape}"
            )
        z = posterior.sample(draw.noise)
        likelihood = checked_likelihood(negative_log_likelihood(z, context, seed=draw.seed), z)
        # tf.cast alone takes a Python number through float32.
        weight = tf.cast(tf.convert_to_tensor(kl_weight, dtype_hint=likelihood.dtype), likelihood.dtype)
        if weight.shape.rank and not weight.shape.is_compatible_with(likelihood.shape):
            raise ValueError(f"kl_weight of shape {weight.shape}: expected a scalar, or {likelihood.shape}")
        return likelihood + weight * charged_kl(posterior, free_bits)

    return bound

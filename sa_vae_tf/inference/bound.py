"""The bound that is minimised: the negative evidence lower bound of each example, and its random draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.inference.posterior import Posterior

# bound(posterior, context, draw) -> [batch]; see `negative_elbo`.
Bound = Callable[[Posterior | None, Any, Any], tf.Tensor]


class Draw(NamedTuple):
    """All the randomness of one evaluation of a bound, so that it can be repeated exactly.

    Attributes:
      noise: [batch, latent] standard normal noise that makes z from the posterior.
      seed: int32 [2], seed of a stateless generator, for dropout in the decoder.
    """

    noise: tf.Tensor
    seed: tf.Tensor


def draw(like: Posterior, steps: int, seed: tf.Tensor | None = None) -> tuple[Draw, Draw]:
    """Draws the randomness of a refinement and of the bound at its end.

    Args:
      like: posterior whose shape and type the noise takes.
      steps: number of refinement steps, K.
      seed: int32 [2]; the same seed gives the same draws. None draws a seed from TensorFlow's global generator.

    Returns:
      The draws of the K steps, with a leading axis of length K, and the draw for the final bound.
    """
    if seed is None:
        seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    seeds = tf.random.split(seed, steps + 2)
    shape = tf.concat([[steps + 1], tf.shape(like.mean)], 0)
    noise = tf.random.stateless_normal(shape, seeds[0], dtype=like.mean.dtype)
    noise = tf.ensure_shape(noise, [steps + 1, *like.mean.shape])
    seeds = seeds[1:]
    return Draw(noise[:-1], seeds[:-1]), Draw(noise[-1], seeds[-1])


def negative_elbo(negative_log_likelihood: Callable[..., tf.Tensor], kl_weight: float | tf.Tensor = 1.0) -> Bound:
    """Makes the bound of a decoder: -log p(x | z) + kl_weight * KL[q(z | x) || N(0, I)], one sample of z.

    Args:
      negative_log_likelihood: function (z, context, seed) -> [batch] in nats, summed over the parts of an
        example. z is [batch, latent], or None for a language model without latent variable; seed is for dropout.
      kl_weight: scalar weight of the KL term; below one during warm-up (section 4.2).

    Returns:
      A function (posterior, context, draw) -> [batch] in nats. Posterior None gives the plain likelihood.
    """

    def bound(posterior: Posterior | None, context: Any, draw: Draw) -> tf.Tensor:
        if posterior is None:
            return negative_log_likelihood(None, context, draw.seed)
        likelihood = negative_log_likelihood(posterior.sample(draw.noise), context, draw.seed)
        # tf.cast alone takes a Python number through float32.
        weight = tf.cast(tf.convert_to_tensor(kl_weight, dtype_hint=likelihood.dtype), likelihood.dtype)
        return likelihood + weight * posterior.kl()

    return bound

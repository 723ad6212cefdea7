"""Latent variables to generate from."""

from __future__ import annotations

import tensorflow as tf

from sa_vae_tf.inference import noise_per_example


def draw_from_prior(index: tf.Tensor, latent_dim: int, seed: tf.Tensor) -> tf.Tensor:
    """Draws z from the prior N(0, I), a function of the seed and of the example's index alone.

    Args:
      index: int64 [batch], the number of each example.
      latent_dim: size of z.
      seed: int32 [2].

    Returns:
      [batch, latent_dim].
    """
    return noise_per_example(index, [latent_dim], seed)


def interpolate(z_a: tf.Tensor, z_b: tf.Tensor, points: int) -> tf.Tensor:
    """Returns evenly spaced points on the straight line from `z_a` to `z_b`, both ends included.

    An arc would keep the length of z typical of the prior, but it is not defined at zero, where the posterior means of
    a decoder that ignores z lie, nor between opposite points.

    Args:
      z_a, z_b: [batch, latent].
      points: at least 2.

    Returns:
      [batch, points, latent].

    Raises:
      ValueError: if `points` is below 2.

    Source: Bowman et al. 2016, Generating sentences from a continuous space, section 4.3.
    """
    if points < 2:
        raise ValueError(f"points={points}: expected at least 2")
    return tf.linspace(z_a, z_b, points, axis=1)

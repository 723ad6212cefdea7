"""Dropout whose mask is a function of a seed, so that a second evaluation drops the same units."""

from __future__ import annotations

import tensorflow as tf


def dropout(x: tf.Tensor, rate: float, training: bool, seed: tf.Tensor | None) -> tf.Tensor:
    """Zeroes units of `x` with probability `rate` and scales up the rest, in training only.

    Args:
      x: any float tensor.
      rate: share of units dropped, in [0, 1).
      training: without it `x` is returned as it is.
      seed: int32 [2]; the same seed gives the same mask.

    Returns:
      A tensor like `x`.
    """
    if not training or rate == 0:
        return x
    keep = tf.random.stateless_uniform(tf.shape(x), seed) >= rate
    return tf.where(keep, x / (1.0 - rate), tf.zeros_like(x))

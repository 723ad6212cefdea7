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


def word_dropout(words: tf.Tensor, rate: float, unknown: int, training: bool, seed: tf.Tensor | None) -> tf.Tensor:
    """Replaces words by the unknown word with probability `rate`, in training only (Bowman et al. 2016).

    Args:
      words: int [batch, time]; the first of each sequence, its start symbol, stays.
      rate: share of words replaced, in [0, 1].
      unknown: the unknown word.
      training: without it `words` are returned as they are.
      seed: int32 [2]; the same seed replaces the same words.

    Returns:
      int [batch, time].
    """
    if not training or rate == 0:
        return words
    # Not the seed itself, which masks the embedded words.
    keep = tf.random.stateless_uniform(tf.shape(words), tf.random.fold_in(seed, 1)) >= rate
    keep |= tf.range(tf.shape(words)[1]) == 0
    return tf.where(keep, words, tf.cast(unknown, words.dtype))

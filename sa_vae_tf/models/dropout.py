"""Dropout whose mask is a function of a seed, so that a second evaluation drops the same units."""

from __future__ import annotations

import tensorflow as tf

from sa_vae_tf.inference.draws import GENERATOR
from sa_vae_tf.kernels.fusion import compiled


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
    return tf.where(compiled(_drawn)(x, rate, seed), tf.zeros_like(x), x / (1.0 - rate))


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
    drawn = compiled(_drawn)(words, rate, tf.random.fold_in(seed, 1, alg=GENERATOR))
    drawn &= tf.range(tf.shape(words)[1]) > 0
    return tf.where(drawn, tf.cast(unknown, words.dtype), words)


def _drawn(like: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws each entry with probability `rate`: bool, a function of the shape of `like` and the seed, int32 [2].

    The bits are a hash of seed and place, the mixing steps of MurmurHash3 taken twice. A mask is drawn anew for every
    refinement step, and in the compiled loop of these TensorFlow's generators take 10 to 300 times as long.
    """
    bits = tf.bitcast(tf.range(tf.size(like)), tf.uint32)
    # Seeds that are near each other shall be no rearrangements of each other's masks.
    for half in tf.unstack(_mixed(tf.bitcast(seed, tf.uint32) + tf.constant(0x9E3779B9, tf.uint32))):
        bits = _mixed(tf.bitwise.bitwise_xor(bits, half))
    # The upper bits, as signed numbers, so that a rate of one is a number too.
    whole = tf.bitcast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.int32)
    return tf.reshape(whole < round(rate * 2**24), tf.shape(like))


def _mixed(bits: tf.Tensor) -> tf.Tensor:
    """Returns bits each of which depends on all of those given (Appleby, MurmurHash3, 32-bit finaliser)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(factor, tf.uint32)
    return bits

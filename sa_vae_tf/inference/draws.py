"""All the randomness of inference, drawn before it starts: for a training step, or for the examples of a data set."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.inference.philox import bits_of_examples
from sa_vae_tf.inference.posterior import Posterior

# TensorFlow chooses its generator by device; this one alone is the same bit for bit on all of them.
GENERATOR = "philox"


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
      seed: int32 [2]; the same seed gives the same draws, but other ones under XLA. None draws a seed from
        TensorFlow's global generator.

    Returns:
      The draws of the K steps, with a leading axis of length K, and the draw for the final bound.

    Raises:
      TypeError: if `like` is no posterior.
      ValueError: if `steps` is no number, or negative.
    """
    if not isinstance(like, Posterior):
        raise TypeError(f"like: expected a Posterior, its mean and its log variance, got {type(like).__name__}")
    if not isinstance(steps, numbers.Integral) or steps < 0:
        raise ValueError(f"steps={steps}: expected a whole number, not negative (of a tensor see draw_per_example)")
    if seed is None:
        seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    seeds = tf.random.split(seed, steps + 2)
    shape = tf.concat([[steps + 1], tf.shape(like.mean)], 0)
    noise = tf.random.stateless_normal(shape, seeds[0], dtype=like.mean.dtype)
    noise = tf.ensure_shape(noise, [steps + 1, *like.mean.shape])
    seeds = seeds[1:]
    return Draw(noise[:-1], seeds[:-1]), Draw(noise[-1], seeds[-1])


def example_numbers(index: Any, like: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the number of each example as a tensor.

    Raises:
      ValueError: if it is not an int64 vector, or not as long as `like`, [batch, ...].
    """
    index = tf.convert_to_tensor(index)
    if index.dtype != tf.int64 or index.shape.rank != 1:
        raise ValueError(f"index: expected an int64 vector, got {index.dtype.name} of shape {index.shape}")
    if like is not None and not like.shape[:1].is_compatible_with(index.shape):
        raise ValueError(f"index of shape {index.shape}: expected one number for each example of {like.shape}")
    return index


def latent_size(part: tf.Tensor) -> int | tf.Tensor:
    """Returns the number of latent dimensions of a posterior's part, a tensor where the graph does not know it."""
    size = part.shape[-1]
    return tf.shape(part)[-1] if size is None else size


def noise_per_example(
    index: tf.Tensor, shape: Sequence[int | tf.Tensor], seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Draws standard normal noise for each example, a function of the seed and of the example's index alone.

    Random bits are the same in eager mode, in a graph and compiled by XLA; the noise made from them agrees to about
    1e-6 times its size. `tf.random.stateless_normal` would give unrelated values under XLA.

    Args:
      index: int64 [batch], the place of each example in its data set.
      shape: shape of one example's noise; integers, or without XLA scalar tensors.
      seed: int32 [2].
      dtype: float32 or float64. Noise of float32 stays below 5.3 in size.

    Returns:
      [batch, *shape] of type `dtype`.

    Raises:
      ValueError: if `index` is not an int64 vector or `dtype` is another type.
    """
    index = example_numbers(index)
    dtype = tf.as_dtype(dtype)
    if dtype not in (tf.float32, tf.float64):
        raise ValueError(f"dtype={dtype.name}: expected float32 or float64")
    wide = dtype == tf.float64
    bits_dtype, digits, surplus = (tf.uint64, 52, 12) if wide else (tf.uint32, 23, 9)

    bits = _bits_per_example(index, shape, seed, bits_dtype)
    whole = tf.cast(tf.bitwise.right_shift(bits, tf.constant(surplus, bits_dtype)), dtype)
    # The odd multiples of 2**-digits in (-1, 1), all exact: symmetric and never an end.
    uniform = (whole + 0.5) * 2.0 ** (1 - digits) - 1.0
    return tf.constant(2**0.5, dtype) * tf.math.erfinv(uniform)


def gumbel_noise(shape: Sequence[int] | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws Gumbel noise: the argmax of logits plus this noise is a draw from the distribution of the logits.

    `tf.random.stateless_categorical` draws other values for another number of threads, this does not.

    Args:
      shape: of the noise.
      seed: int32 [2].

    Returns:
      float32 of this shape, between -2.9 and 16.7.
    """
    return _gumbel(tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg=GENERATOR))


def gumbel_noise_per_example(index: tf.Tensor, shape: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
    """Draws `gumbel_noise` for each example, float32 [batch, *shape], as `noise_per_example` draws normal noise."""
    return _gumbel(_bits_per_example(example_numbers(index), shape, seed, tf.uint32))


def _gumbel(bits: tf.Tensor) -> tf.Tensor:
    # The odd multiples of 2**-24 in (0, 1): never an end, where the noise would be infinite.
    uniform = (tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.float32) + 0.5) * 2.0**-23
    return -tf.math.log(-tf.math.log(uniform))


def _bits_per_example(
    index: tf.Tensor, shape: Sequence[int | tf.Tensor], seed: tf.Tensor, dtype: tf.DType
) -> tf.Tensor:
    """Draws random bits for each example, [batch, *shape], a function of the seed and of its index alone."""
    size = tf.reduce_prod(shape) if any(map(tf.is_tensor, shape)) else math.prod(shape)
    if tf.executing_eagerly():  # Each example would be ten operations, one after the other.
        bits = _bits_in_graph(index, tf.convert_to_tensor(size), seed, dtype)
    else:
        bits = _bits(index, size, seed, dtype)
    batch = index.shape[0]
    return tf.reshape(bits, [tf.shape(index)[0] if batch is None else batch, *shape])


def _bits(index: tf.Tensor, size: int | tf.Tensor, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns so many numbers of random bits for each example, [batch, size]."""
    if tf.config.get_visible_devices("GPU"):  # which would launch the few operations of each example
        common = tf.random.stateless_uniform([], seed, minval=None, maxval=None, dtype=tf.int64, alg=GENERATOR)
        return bits_of_examples(common, index, size, dtype)

    def bits_of(number):
        own = tf.random.fold_in(seed, number, alg=GENERATOR)
        return tf.random.stateless_uniform([size], own, minval=None, maxval=None, dtype=dtype, alg=GENERATOR)

    known = [None if tf.is_tensor(size) else size]
    return tf.map_fn(bits_of, index, fn_output_signature=tf.TensorSpec(known, dtype))


_bits_in_graph = tf.function(_bits, autograph=False, reduce_retracing=True)


def draw_per_example(like: Posterior, index: tf.Tensor, steps: int | tf.Tensor, seed: tf.Tensor) -> tuple[Draw, Draw]:
    """Draws the randomness of a refinement and of the bound at its end, the same for an example in any batch.

    The draw of the final bound does not depend on the number of steps either, so that methods which refine and
    methods which do not are compared under common noise. The seeds, which an evaluation without dropout does not
    use, are common to all examples. Noise agrees between eager mode, graph and XLA; see `noise_per_example`.

    Args:
      like: posterior whose latent dimension and type the noise takes, parts [batch, latent].
      index: int64 [batch], the place of each example in its data set.
      steps: number of refinement steps, K; an integer, or without XLA a scalar tensor that is not negative.
      seed: int32 [2]; the same seed gives the same draws.

    Returns:
      The draws of the K steps, with a leading axis of length K, and the draw for the final bound, as
      `sa_vae_tf.inference.draw` returns them.

    Raises:
      ValueError: if `steps` is negative, `index` is not an int64 vector, or its length is not the batch.
    """
    if not tf.is_tensor(steps) and steps < 0:
        raise ValueError(f"steps={steps}: expected a number that is not negative")
    index = example_numbers(index, like.mean)
    latent = latent_size(like.mean)
    final_key, step_key, seed_key = tf.unstack(tf.random.split(seed, 3, alg=GENERATOR))
    final_noise = noise_per_example(index, [latent], final_key, like.mean.dtype)
    step_noise = noise_per_example(index, [steps, latent], step_key, like.mean.dtype)
    seeds = tf.random.split(seed_key, steps + 1, alg=GENERATOR)
    return Draw(tf.transpose(step_noise, [1, 0, 2]), seeds[1:]), Draw(final_noise, seeds[0])

"""Initial weights, each drawn from a stream of its own so that one seed gives one model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import tensorflow as tf


def uniform_stream(seed: int) -> Callable[[float], Callable]:
    """Returns a function that makes initializers U(-limit, limit), each with the next seed drawn from `seed`."""
    stream = random.Random(seed)

    def draw(limit: float) -> Callable:
        own = tf.constant([stream.randrange(2**31), 0], tf.int32)
        return lambda shape, dtype="float32": _uniform(_sizes(shape), tf.constant(limit, dtype), own)

    return draw


def _sizes(shape: Sequence[int]) -> tf.Tensor:
    return tf.constant(shape, tf.int32, [len(shape)])


# As a graph: operation by operation it takes three times the memory of the weight, which stays reserved. One graph for
# all shapes: to trace one takes longer than to draw.
@tf.function(autograph=False, reduce_retracing=True)
def _uniform(sizes: tf.Tensor, limit: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(sizes, seed, -limit, limit, limit.dtype)

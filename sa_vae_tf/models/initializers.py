"""Initial weights, each drawn from a stream of its own so that one seed gives one model."""

from __future__ import annotations

import random
from collections.abc import Callable

import keras
import tensorflow as tf


def uniform_stream(seed: int) -> Callable[[float], Callable]:
    """Returns a function that makes initializers U(-limit, limit), each with the next seed drawn from `seed`."""
    stream = random.Random(seed)

    def draw(limit: float) -> Callable:
        # As a graph: operation by operation it takes three times the memory of the weight, which stays reserved.
        return tf.function(
            keras.initializers.RandomUniform(-limit, limit, seed=stream.randrange(2**31)), autograph=False
        )

    return draw

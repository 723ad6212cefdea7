"""Initial weights, each drawn from a stream of its own so that one seed gives one model."""

from __future__ import annotations

import random
from collections.abc import Callable

import keras


def uniform_stream(seed: int) -> Callable[[float], keras.initializers.Initializer]:
    """Returns a function that makes initializers U(-limit, limit), each with the next seed drawn from `seed`."""
    stream = random.Random(seed)
    return lambda limit: keras.initializers.RandomUniform(-limit, limit, seed=stream.randrange(2**31))

"""Small operations, one after the other, as one program."""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf


@functools.cache
def compiled(function: Callable) -> Callable:
    """Returns a function of tensors as a program of its own that XLA compiles, its derivatives too."""
    return tf.function(function, autograph=False, jit_compile=True)


def as_it_is(function: Callable) -> Callable:
    """Returns a function whose operations are to be compiled with what surrounds them, or not at all."""
    return function

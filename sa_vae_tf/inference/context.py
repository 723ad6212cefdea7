"""What a bound reads besides the posterior, and which of it has derivatives."""

from __future__ import annotations

import numbers
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# What holds no tensor that a derivative could be lost of.
PLAIN = (numbers.Number, str, bytes, np.ndarray, np.generic, tf.DType, tf.TensorShape, type(None))


class Context(NamedTuple):
    """A context that was taken apart.

    Attributes:
      nest: as it was given.
      leaves: its parts.
      where: places of the float tensors among them.
    """

    nest: Any
    leaves: list
    where: list[int]

    @property
    def floats(self) -> list[tf.Tensor]:
        """The float tensors among its parts, in order."""
        return [tf.convert_to_tensor(self.leaves[i]) for i in self.where]

    def with_floats(self, floats: list[tf.Tensor]) -> Any:
        """Returns the nest with these float tensors in place of its own."""
        # TensorFlow Probability finds what it computed of a tensor again by the tensor: another loop needs another one.
        leaves = [tf.identity(x) if isinstance(x, tf.Tensor) else x for x in self.leaves]
        for i, x in zip(self.where, floats, strict=True):
            leaves[i] = tf.identity(x)
        return tf.nest.pack_sequence_as(self.nest, leaves)


def take_apart(nest: Any) -> Context:
    """Takes a context apart.

    Raises:
      TypeError: if it holds something in which float tensors may be hidden, that would get no derivative.
    """
    leaves = tf.nest.flatten(nest)
    for leaf in leaves:
        if not _is_plain(leaf):
            raise TypeError(
                f"context holds a {type(leaf).__name__}, where derivatives to what is in it would be lost: expected "
                "dense tensors, variables, arrays, numbers, strings or None, in tuples, lists or dicts"
            )
        if tf.is_tensor(leaf) and leaf.dtype in (tf.complex64, tf.complex128):
            raise TypeError("context holds a complex tensor, which would have no derivative: expected its two parts")
    return Context(nest, leaves, [i for i, leaf in enumerate(leaves) if tf.is_tensor(leaf) and _is_float(leaf)])


def _is_plain(leaf: Any) -> bool:
    parts = tf.nest.flatten(leaf, expand_composites=True)
    if len(parts) != 1 or parts[0] is not leaf:  # Such as of a ragged tensor, which may be of integers.
        return not any(_is_float(part) for part in parts)
    return tf.is_tensor(leaf) or (isinstance(leaf, PLAIN) and getattr(leaf, "dtype", None) != np.dtype(object))


def _is_float(x: Any) -> bool:
    return tf.as_dtype(x.dtype).is_floating

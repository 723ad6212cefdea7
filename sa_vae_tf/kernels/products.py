"""Matrix products in full precision, or of rounded factors."""

from __future__ import annotations

from typing import TypeAlias

import tensorflow as tf

# What factors are rounded to; None for products of what is given.
Precision: TypeAlias = "tf.DType | None"


def rounded(factor: tf.Tensor, precision: Precision) -> tf.Tensor:
    """Returns a factor of many products as these take it, so that it is rounded once."""
    return factor if precision is None else tf.cast(factor, precision)


def product(
    a: tf.Tensor, b: tf.Tensor, precision: Precision, transpose_a: bool = False, transpose_b: bool = False
) -> tf.Tensor:
    """Returns a @ b in the type of a, [m, n].

    Args:
      a: [m, k], or [k, m] with `transpose_a`, not rounded.
      b: [k, n], or [n, k] with `transpose_b`, rounded or not.
      precision: what the factors are rounded to, and then the result; sums within are float32.
      transpose_a, transpose_b: see above.
    """
    result = tf.matmul(rounded(a, precision), rounded(b, precision), transpose_a, transpose_b)
    return tf.cast(result, a.dtype)

"""Matrix products in full precision, or of rounded factors, and parts of a factor that a cache holds."""

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
      a: [m, k], or [k, m] with `transpose_a`, rounded or not: the result is of its type.
      b: [k, n], or [n, k] with `transpose_b`, rounded or not.
      precision: what the factors are rounded to, and then the result; sums within are float32.
      transpose_a, transpose_b: see above.
    """
    result = tf.matmul(rounded(a, precision), rounded(b, precision), transpose_a, transpose_b)
    return tf.cast(result, a.dtype)


# Rows of a multiple of so many numbers begin at the same few places of a cache, where those of a column drive each
# other out: a product with few rows on its left takes up to twice as long. So many columns more keep them apart.
CROWDED, ADDED = 512, 16


def apart(matrix: tf.Tensor) -> tf.Tensor:
    """Returns the right factor of a product, [k, n], with columns of zeros after its own where that is quicker."""
    missing = 0 if matrix.shape[-1] % CROWDED else ADDED
    return tf.pad(matrix, [(0, 0), (0, missing)]) if missing else matrix


# Widths of parts are multiples of this, 64 bytes of float32, so that each row starts a line of the cache.
ALIGNED = 16


def in_columns(matrix: tf.Tensor, columns: int) -> list[tf.Tensor]:
    """Returns parts of so many columns at most of a matrix, or of a vector along its one axis."""
    width = matrix.shape[-1]
    number = -(-width // columns)
    each = min(columns, -(-width // number // ALIGNED) * ALIGNED)
    return tf.split(matrix, [*[each] * (number - 1), width - (number - 1) * each], -1)

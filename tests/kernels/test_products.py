"""Parts of a factor."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.kernels.products import in_columns


@pytest.mark.parametrize(
    ("width", "columns", "expected"),
    [
        (5000, 2048, [1680, 1680, 1640]),
        (20000, 2048, [2000] * 10),
        (1000, 2048, [1000]),
        (2049, 2048, [1040, 1009]),
        (33, 16, [16, 16, 1]),
        # Fewer than a line of the cache has: as they are asked for.
        (9, 5, [5, 4]),
        (1, 2048, [1]),
    ],
)
def test_parts_are_of_near_equal_width_and_start_with_a_line_of_the_cache(width, columns, expected):
    matrix = tf.reshape(tf.range(2 * width), [2, width])
    parts = in_columns(matrix, columns)
    assert [part.shape[1] for part in parts] == expected
    np.testing.assert_array_equal(tf.concat(parts, 1), matrix)
    assert [part.shape[0] for part in in_columns(matrix[0], columns)] == expected

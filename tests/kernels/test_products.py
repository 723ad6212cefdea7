"""Parts of a factor, and columns that keep its rows apart."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.kernels.products import apart, in_columns


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


@pytest.mark.parametrize(("width", "expected"), [(512, 528), (1024, 1040), (511, 511), (1040, 1040), (400, 400)])
def test_a_factor_whose_rows_are_kept_apart_has_columns_of_zeros_after_its_own(width, expected):
    matrix = tf.random.stateless_normal([3, width], [0, 1])
    found = apart(matrix)
    np.testing.assert_array_equal(found[:, :width], matrix)
    np.testing.assert_array_equal(found[:, width:], np.zeros([3, expected - width]))

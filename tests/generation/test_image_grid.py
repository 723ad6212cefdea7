"""Many images as one."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.generation.image_grid import image_grid, side_by_side, to_png


def test_images_lie_in_rows_on_grey():
    images = np.array([[0.0, 1.0], [0.5, 0.25], [0.999, 0.998]])[:, None, :, None]  # Three of a row of two pixels.
    grey = [128] * 10
    expected = [
        grey,
        grey,
        [128, 128, 0, 255, 128, 128, 128, 64, 128, 128],  # A half is nearest to 127.5, which is made even.
        grey,
        grey,
        [128, 128, 255, 254, *[128] * 6],  # To the nearest; in the last place none.
        grey,
        grey,
    ]
    grid = image_grid(images, columns=2)
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid[..., 0], expected)
    # Of fewer images than columns there are no empty places.
    assert image_grid(images, columns=9).shape == (5, 14, 1)


def test_pairs_have_a_grey_line_between_them():
    left, right = np.zeros([1, 1, 2, 1], np.float32), np.ones([1, 1, 3, 1], np.float32)
    pair = image_grid(side_by_side(left, right), columns=1)[2, :, 0]
    assert pair.tolist() == [128, 128, 0, 0, 128, 255, 255, 255, 128, 128]


@pytest.mark.parametrize(("width", "times"), [(400, 2), (401, 1), (900, 1)])
def test_a_file_shows_a_grid_magnified(width, times):
    grid = np.arange(2 * width).reshape(2, width, 1).astype(np.uint8)
    shown = tf.io.decode_png(to_png(grid)).numpy()
    np.testing.assert_array_equal(shown, np.kron(grid[..., 0], np.ones([times, times], np.uint8))[..., None])

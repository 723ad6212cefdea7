"""Many images as one."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

GREY = 128
# Images of a few dozen pixels are too small to be looked at as they are.
LOOKED_AT = 800


def image_grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images out in rows, from left to right and from top to bottom, on grey.

    Args:
      images: [count, height, width, 1] in [0, 1]; one is white.
      columns: images in a row, at most; the last row may have fewer.

    Returns:
      uint8 [height, width, 1].
    """
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    cells = np.pad(_bytes(images), [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=GREY)
    height, width = cells.shape[1:3]
    empty = np.full([rows * columns - len(images), height, width, 1], GREY, np.uint8)
    cells = np.concatenate([cells, empty]).reshape(rows, columns, height, width)
    grid = cells.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    return np.pad(grid, 1, constant_values=GREY)[..., None]


def side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Joins two images each, [count, height, width, 1], by a grey line between them."""
    return np.concatenate([left, np.full_like(left[:, :, :1], GREY / 255, np.float32), right], 2)


def to_png(grid: np.ndarray) -> bytes:
    """Returns the contents of a PNG file of a grid, each pixel as large as `LOOKED_AT` a side allow."""
    times = max(1, LOOKED_AT // max(grid.shape[:2]))
    return tf.io.encode_png(grid.repeat(times, 0).repeat(times, 1)).numpy()


def _bytes(images: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.asarray(images, np.float32)).astype(np.uint8)

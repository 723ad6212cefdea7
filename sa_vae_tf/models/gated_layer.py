"""A layer of the two stacks of gated causal convolutions of a Gated PixelCNN.

Van den Oord et al. 2016, Conditional image generation with PixelCNN decoders (arXiv:1606.05328), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

ALL = slice(None)


class GatedLayer(NamedTuple):
    """A layer whose kernels have size 2 * reach + 1, of which only the causal part exists.

    The arguments of the gates have twice as many channels as the layer's maps: one half is gated by the other.
    """

    convolve: Callable[..., tf.Tensor]
    convolve_rows: Callable[..., tf.Tensor]  # The same where no pixel of the rows that are read comes too late.
    gate: Callable[..., tf.Tensor]
    vertical_kernel: keras.Variable  # [reach + 1, 2 * reach + 1, in, 2 * channels], a pixel's own row last
    vertical_bias: keras.Variable
    across_kernel: keras.Variable  # [2 * channels, 2 * channels]
    across_bias: keras.Variable
    horizontal_kernel: keras.Variable  # [1, reach + 1, in, 2 * channels], a pixel's own column last
    horizontal_bias: keras.Variable
    output_kernel: keras.Variable  # [channels, channels]
    output_bias: keras.Variable

    @property
    def reach(self) -> int:
        """How many rows or columns away from a pixel the kernels read."""
        return self.horizontal_kernel.shape[1] - 1

    def vertical(self, maps: tf.Tensor, follows: bool = False, channels: slice = ALL) -> tf.Tensor:
        """Convolves the rows of an image with those above, without bias.

        Args:
          maps: [batch, rows, width, in].
          follows: whether the first `reach` rows are those above; else zeros are.
          channels: of the kernel's inputs, those that `maps` holds.

        Returns:
          [batch, rows, width, 2 * channels], less the rows above.
        """
        above, convolve = (0, self.convolve) if follows else (self.reach, self.convolve_rows)
        return convolve(maps, _of(self.vertical_kernel, channels), ((above, 0), (self.reach, self.reach)))

    def horizontal(self, maps: tf.Tensor, channels: slice = ALL) -> tf.Tensor:
        """Convolves the columns of an image with those to the left, as `vertical` does rows."""
        return self.convolve(maps, _of(self.horizontal_kernel, channels), ((0, 0), (self.reach, 0)))

    def horizontal_at(self, maps: tf.Tensor, channels: slice = ALL) -> tf.Tensor:
        """Computes `horizontal` at one pixel: of so little, a product is quicker than a convolution.

        Args:
          maps: [batch, 1, reach + 1, in], the pixel and those to its left.
          channels: of the kernel's inputs, those that `maps` holds.

        Returns:
          [batch, 1, 1, 2 * channels].
        """
        kernel = _of(self.horizontal_kernel, channels)
        rows, outputs = math.prod(kernel.shape[:-1]), kernel.shape[-1]
        return (tf.reshape(maps, [-1, rows]) @ tf.reshape(kernel, [rows, outputs]))[:, None, None]

    def across(self, arguments: tf.Tensor) -> tf.Tensor:
        """Returns what the horizontal stack adds to its arguments for those of the vertical stack."""
        return affine(arguments, self.across_kernel, self.across_bias.value)

    def across_with_horizontal_bias(self, arguments: tf.Tensor) -> tf.Tensor:
        """Returns what `across` does and the bias of `horizontal` too, so that one pass adds both."""
        return affine(arguments, self.across_kernel, self.across_bias.value + self.horizontal_bias.value)

    def output(self, *arguments: tf.Tensor) -> tf.Tensor:
        """Returns what the horizontal stack makes of the sum of its gates' arguments, [..., channels]."""
        return affine(self.gate(*arguments), self.output_kernel, self.output_bias.value)


def _of(kernel: keras.Variable, channels: slice) -> tf.Tensor:
    # The derivative of a slice that takes all is a copy.
    return kernel.value if channels == ALL else kernel.value[:, :, channels]


def affine(x: tf.Tensor, kernel: keras.Variable, bias: tf.Tensor) -> tf.Tensor:
    """Returns x, [..., in], times a kernel, [in, out], plus a bias, [out]."""
    # As matrices, so that TensorFlow makes one operation of the product and the bias.
    rows = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel.value), bias)
    return tf.reshape(rows, [*_sizes(x)[:-1], rows.shape[-1]])


def _sizes(x: tf.Tensor) -> list[int]:
    """Returns the sizes of a tensor of which the first may be unknown."""
    first, *others = x.shape
    return [-1 if first is None else first, *others]


def down(maps: tf.Tensor) -> tf.Tensor:
    """Moves images down by a row."""
    return _moved(maps, 1, 1)


def right(maps: tf.Tensor) -> tf.Tensor:
    """Moves images right by a column."""
    return _moved(maps, 2, 1)


def _moved(maps: tf.Tensor, axis: int, by: int) -> tf.Tensor:
    """Moves images by one along an axis, in or against its direction; what leaves them is lost.

    The derivative is the opposite move. TensorFlow's own is slow, and under XLA has no derivative itself.
    """

    @tf.custom_gradient
    def move(maps):
        start, zeros = [0] * 4, [[0, 0] for _ in range(4)]
        start[axis], zeros[axis] = int(by < 0), [int(by > 0), int(by < 0)]
        size = [-1 if place != axis else maps.shape[axis] - 1 for place in range(4)]
        return tf.pad(tf.slice(maps, start, size), zeros), lambda cotangent: _moved(cotangent, axis, -by)

    return move(maps)

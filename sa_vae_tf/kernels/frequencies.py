"""A convolution whose columns are taken by their discrete Fourier transform, so that wide kernels take fewer products.

In a kernel's columns, and only there, a convolution becomes one product for each frequency. Rows are convolved as they
are: no row of the inputs reaches a row of the results that does not read it, not even by rounding. The transforms are
short, so that they are matrix products too.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sa_vae_tf.kernels.bilinear import Bilinear

# Zeros before and after the rows, and before and after the columns.
Padding = tuple[tuple[int, int], tuple[int, int]]


class Form(NamedTuple):
    """A convolution of vectors as of_results^T ((of_inputs x) (of_kernel w)), products taken one by one.

    Attributes:
      of_inputs: [products, width].
      of_kernel: [products, columns].
      of_results: [products, width'].
    """

    of_inputs: np.ndarray
    of_kernel: np.ndarray
    of_results: np.ndarray


@functools.cache
def form(width: int, columns: int, left: int, right: int) -> Form:
    """Returns the form of a convolution with zeros to the left and the right of its inputs, fewer than columns.

    The period is the width and the larger of the two: the zeros to the left may be those to the right of the period
    before. A product of complex numbers is one of three real ones (Knuth, The Art of Computer Programming 2, 4.6.4).
    """
    period = width + max(left, right)
    pixels, taps, results = np.arange(width), np.arange(columns) - left, np.arange(width + left + right - columns + 1)
    of_inputs, of_kernel, of_results = [], [], []
    for frequency in range(period // 2 + 1):
        step = 2 * np.pi * frequency / period
        if frequency in (0, period / 2):
            of_inputs.append(np.cos(step * pixels))
            of_kernel.append(np.cos(step * taps))
            of_results.append(np.cos(step * results) / period)
            continue
        # Of inputs exp(-i step x), of the kernel exp(i step t), of which the sum is taken back by exp(i step y).
        real, imaginary = np.cos(step * pixels), -np.sin(step * pixels)
        of_inputs += [real + imaginary, real, imaginary]
        real, imaginary = np.cos(step * taps), np.sin(step * taps)
        of_kernel += [real, imaginary - real, real + imaginary]
        real, imaginary = (2 / period * part(step * results) for part in (np.cos, np.sin))
        of_results += [real - imaginary, -imaginary, -real]
    return Form(*map(np.stack, (of_inputs, of_kernel, of_results)))


def by_frequencies(width: int, rows: int, columns: int, padding: Padding) -> Bilinear:
    """Returns the convolution of inputs so wide with kernels of so many rows and columns.

    Args:
      width, rows, columns: see above.
      padding: zeros around the inputs.
    """
    above_and_below, left_and_right = padding
    opposite = rows - 1 - above_and_below[0], rows - 1 - above_and_below[1]
    matrices = form(width, columns, *left_and_right)

    def of_kernel(kernel, order):
        matrix = tf.constant(matrices.of_kernel, kernel.dtype)
        return matrix @ tf.transpose(kernel, order)

    def back(matrix, results):
        return tf.matmul(tf.constant(matrix, results.dtype), results, transpose_a=True)

    def forward(inputs, kernel):
        return back(matrices.of_results, _convolve(inputs, of_kernel(kernel, [0, 2, 1, 3]), above_and_below))

    def to_inputs(outputs, kernel):
        kernels = of_kernel(tf.reverse(kernel, [0]), [0, 3, 1, 2])
        return back(matrices.of_inputs, _convolve(outputs, kernels, opposite))

    def to_kernel(inputs, outputs):
        padded = tf.pad(inputs, [(0, 0), (0, 0), above_and_below, (0, 0)])
        kernels = _to_kernels(padded, outputs, len(matrices.of_kernel))
        return tf.transpose(back(matrices.of_kernel, kernels), [0, 2, 1, 3])

    return Bilinear(
        lambda inputs: _in_groups(matrices.of_inputs, inputs),
        lambda outputs: _in_groups(matrices.of_results, outputs),
        forward,
        to_inputs,
        to_kernel,
    )


def _in_groups(matrix: np.ndarray, maps: tf.Tensor) -> tf.Tensor:
    """Returns maps with a group of channels for each product, and the rows where columns were: long ones are quicker.

    Args:
      matrix: [products, width].
      maps: [batch, height, width, channels].

    Returns:
      [batch, 1, height, products * channels].
    """
    batch, height, _, channels = maps.shape
    groups = tf.constant(matrix, maps.dtype) @ maps
    return tf.reshape(groups, [-1 if batch is None else batch, 1, height, len(matrix) * channels])


def _convolve(inputs: tf.Tensor, kernels: tf.Tensor, zeros: tuple[int, int]) -> tf.Tensor:
    """Convolves the rows of each group with kernels [rows, in, products, out], to [batch, height', products, out]."""
    rows, channels, products, new_channels = kernels.shape
    kernels = tf.reshape(kernels, [1, rows, channels, products * new_channels])
    results = tf.nn.conv2d(inputs, kernels, 1, [(0, 0), (0, 0), zeros, (0, 0)])
    batch, _, height, _ = results.shape
    return tf.reshape(results, [-1 if batch is None else batch, height, products, new_channels])


def _to_kernels(inputs: tf.Tensor, outputs: tf.Tensor, products: int) -> tf.Tensor:
    """Takes a cotangent of the results to the kernels, [rows, in, products, out]; the inputs have their zeros."""
    rows = inputs.shape[2] - outputs.shape[2] + 1
    channels, new_channels = (maps.shape[3] // products for maps in (inputs, outputs))
    sizes = [1, rows, channels, products * new_channels]
    return tf.reshape(_of_groups(inputs, outputs, sizes), [*sizes[1:3], products, new_channels])


def _of_groups(inputs: tf.Tensor, outputs: tf.Tensor, sizes: list[int]) -> tf.Tensor:
    return tf.raw_ops.Conv2DBackpropFilter(
        input=inputs, filter_sizes=sizes, out_backprop=outputs, strides=[1] * 4, padding="VALID"
    )


@functools.cache
def has_derivative(dtype: tf.DType) -> bool:
    """Whether TensorFlow takes a cotangent to the kernels of groups here: on a CPU oneDNN alone does, of float32."""
    with tf.init_scope():
        maps = tf.zeros([1, 1, 1, 2], dtype)
        try:
            _of_groups(maps, maps, [1, 1, 1, 2])
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True

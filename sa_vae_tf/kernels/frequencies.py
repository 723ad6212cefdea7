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


def convolve_by_frequencies(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding) -> tf.Tensor:
    """Computes `convolution.convolve` without its derivatives.

    Args:
      inputs: [batch, height, width, in].
      kernel: [rows, columns, in, out].
      padding: zeros around the inputs.
    """
    batch, height, width, _ = inputs.shape
    rows, columns, _, channels = kernel.shape
    batch = -1 if batch is None else batch
    taken = _constants(width, columns, padding, inputs.dtype)
    products = taken.of_inputs.shape[0]
    # A group of channels for each product; the rows are where the columns were, since long rows are quicker.
    by_product = tf.reshape(taken.of_inputs @ inputs, [batch, 1, height, products * tf.shape(inputs)[3]])
    kernels = taken.of_kernel @ tf.transpose(kernel, [0, 2, 1, 3])
    kernels = tf.reshape(kernels, [1, rows, -1, products * channels])
    results = tf.nn.conv2d(by_product, kernels, 1, [(0, 0), (0, 0), padding[0], (0, 0)])
    results = tf.reshape(results, [batch, height + sum(padding[0]) - rows + 1, products, channels])
    return tf.matmul(taken.of_results, results, transpose_a=True)


def to_kernel_by_frequencies(inputs: tf.Tensor, outputs: tf.Tensor, padding: Padding) -> tf.Tensor:
    """Takes a cotangent of the outputs to the kernel, by one matrix product for each of the form's.

    Args:
      inputs: [batch, height, width, in].
      outputs: a cotangent of the convolution's result, [batch, height', width', out].
      padding: zeros around the inputs.

    Returns:
      [rows, columns, in, out].
    """
    batch = tf.shape(inputs)[0]
    (_, height, width, channels), (_, new_height, new_width, new_channels) = inputs.shape, outputs.shape
    rows, columns = height + sum(padding[0]) - new_height + 1, width + sum(padding[1]) - new_width + 1
    taken = _constants(width, columns, padding, inputs.dtype)
    products = taken.of_inputs.shape[0]
    by_product = taken.of_inputs @ tf.reshape(tf.transpose(inputs, [2, 0, 1, 3]), [width, -1])
    cotangents = taken.of_results @ tf.reshape(tf.transpose(outputs, [2, 0, 1, 3]), [new_width, -1])
    by_product = tf.pad(
        tf.reshape(by_product, [products, batch, height, channels]), [(0, 0), (0, 0), padding[0], (0, 0)]
    )
    # Beside each other the rows that a row of the results reads, so that the sum is over rows and examples at once.
    read = tf.gather(by_product, np.arange(new_height)[:, None] + np.arange(rows), axis=2)
    factors = (
        tf.reshape(factor, [products, batch * new_height, size])
        for factor, size in ((cotangents, new_channels), (read, rows * channels))
    )
    kernels = tf.reshape(tf.matmul(*factors, transpose_a=True), [products, -1])
    kernel = tf.matmul(taken.of_kernel, kernels, transpose_a=True)
    return tf.transpose(tf.reshape(kernel, [columns, new_channels, rows, channels]), [2, 0, 3, 1])


def _constants(width: int, columns: int, padding: Padding, dtype: tf.DType) -> Form:
    return Form(*(tf.constant(matrix, dtype) for matrix in form(width, columns, *padding[1])))

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


def convolve_by_frequencies(
    inputs: tf.Tensor, kernel: tf.Tensor, padding: tuple[tuple[int, int], tuple[int, int]]
) -> tf.Tensor:
    """Computes `convolution.convolve` without its derivatives.

    Args:
      inputs: [batch, height, width, in].
      kernel: [rows, columns, in, out].
      padding: zeros around the inputs.
    """
    batch, height, width, _ = inputs.shape
    rows, columns, _, channels = kernel.shape
    batch = -1 if batch is None else batch
    taken = Form(*(tf.constant(matrix, inputs.dtype) for matrix in form(width, columns, *padding[1])))
    products = taken.of_inputs.shape[0]
    # A group of channels for each product; the rows are where the columns were, since long rows are quicker.
    by_product = tf.reshape(taken.of_inputs @ inputs, [batch, 1, height, products * tf.shape(inputs)[3]])
    kernels = taken.of_kernel @ tf.transpose(kernel, [0, 2, 1, 3])
    kernels = tf.reshape(kernels, [1, rows, -1, products * channels])
    results = tf.nn.conv2d(by_product, kernels, 1, [(0, 0), (0, 0), padding[0], (0, 0)])
    results = tf.reshape(results, [batch, height + sum(padding[0]) - rows + 1, products, channels])
    return tf.matmul(taken.of_results, results, transpose_a=True)

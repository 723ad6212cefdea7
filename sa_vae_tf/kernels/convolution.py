"""A convolution whose derivatives of every order are quick when compiled for a CPU.

The result, its cotangent taken to the inputs and its cotangent taken to the kernel are each bilinear, and the
derivatives of each are the other two. All three are written as forward convolutions here: TensorFlow's own gradient to
the kernel, in the body of a compiled loop, takes some ten times as long.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from sa_vae_tf.inference.kept import Keep, kept
from sa_vae_tf.kernels.frequencies import convolve_by_frequencies
from sa_vae_tf.kernels.products import Precision, rounded

# Zeros before and after the rows, and before and after the columns.
Padding = tuple[tuple[int, int], tuple[int, int]]

# A convolution of inputs and kernel with padding, whose derivatives are not asked for.
Forward = Callable[[tf.Tensor, tf.Tensor, Padding], tf.Tensor]

# Kernels with fewer columns or inputs are not taken by frequencies: in a row of 28 pixels one of nine columns takes 47
# products by them in place of 252, of five 44 in place of 140, of three 43 in place of 84, and the transforms besides.
COLUMNS, INPUTS = 5, 16


def convolve(
    inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0)), precision: Precision = None
) -> tf.Tensor:
    """Convolves with stride one.

    Args:
      inputs: [batch, height, width, in]; all sizes but the batch are known.
      kernel: [rows, columns, in, out].
      padding: zeros around the inputs, each less than the kernel's size.
      precision: what the factors of products are rounded to; None for their own.

    Returns:
      [batch, height', width', out], where height' is height with its padding, less rows - 1; likewise width'.
    """
    return _convolve(inputs, kernel, padding, functools.partial(_direct, precision=precision))


def convolve_rows(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Computes `convolve` where a result may depend, by rounding, on every column of the rows that it reads."""
    by_frequencies = is_wide(kernel.shape[1], kernel.shape[2])
    return _convolve(inputs, kernel, padding, convolve_by_frequencies if by_frequencies else _direct)


def is_wide(columns: int, inputs: int) -> bool:
    """Whether `convolve_rows` takes a kernel by frequencies."""
    return columns >= COLUMNS and inputs >= INPUTS


def plain_convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Computes `convolve` by a plain operation, whose derivatives are TensorFlow's own."""
    return tf.nn.conv2d(inputs, kernel, 1, [(0, 0), *padding, (0, 0)])


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, forward: Forward) -> tf.Tensor:
    @tf.custom_gradient
    def run(inputs, kernel):
        def grad(cotangent):
            return _to_inputs(cotangent, kernel, padding, forward), _to_kernel(inputs, cotangent, padding, forward)

        return _kept(inputs, kernel, padding, forward), grad

    return run(inputs, kernel)


def _to_inputs(outputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, forward: Forward) -> tf.Tensor:
    """Takes a cotangent of the outputs to the inputs."""
    (top, bottom), (left, right) = padding
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    opposite = (rows - top, rows - bottom), (columns - left, columns - right)

    @tf.custom_gradient
    def run(outputs, kernel):
        def grad(cotangent):
            return _convolve(cotangent, kernel, padding, forward), _to_kernel(cotangent, outputs, padding, forward)

        turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        return _kept(outputs, turned, opposite, forward), grad

    return run(outputs, kernel)


def _to_kernel(inputs: tf.Tensor, outputs: tf.Tensor, padding: Padding, forward: Forward) -> tf.Tensor:
    """Takes a cotangent of the outputs to the kernel."""

    @tf.custom_gradient
    def run(inputs, outputs):
        def grad(cotangent):
            return _to_inputs(outputs, cotangent, padding, forward), _convolve(inputs, cotangent, padding, forward)

        # Batch and channels change places: the outputs slide over the inputs, and the sum is over examples.
        turned = tf.transpose(inputs, [3, 1, 2, 0]), tf.transpose(outputs, [1, 2, 0, 3])
        return tf.transpose(_unseen(*turned, padding, forward), [1, 2, 0, 3]), grad

    return run(inputs, outputs)


def _kept(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, forward: Forward) -> tf.Tensor:
    """Returns the convolution, which the reverse pass of a refinement step finds again where it is kept."""

    (result,), _ = kept(lambda large: ([_unseen(inputs, kernel, padding, forward)], []), Keep.ALL)
    return result


def _unseen(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, forward: Forward) -> tf.Tensor:
    """Returns the convolution unseen by the tapes, which would keep what its own derivative needs."""
    return forward(tf.stop_gradient(inputs), tf.stop_gradient(kernel), padding)


def _direct(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, precision: Precision = None) -> tf.Tensor:
    factors = rounded(inputs, precision), rounded(kernel, precision)
    return tf.cast(tf.nn.conv2d(*factors, 1, [(0, 0), *padding, (0, 0)]), inputs.dtype)

"""A convolution whose derivatives of every order are quick when compiled for a CPU.

The result, its cotangent taken to the inputs and its cotangent taken to the kernel are each bilinear, and the
derivatives of each are the other two. All three are written as forward convolutions here: TensorFlow's own gradient to
the kernel, in the body of a compiled loop, takes some ten times as long.
"""

from __future__ import annotations

import tensorflow as tf

from sa_vae_tf.inference.kept import Keep, kept
from sa_vae_tf.kernels.products import Precision, rounded

# Zeros before and after the rows, and before and after the columns.
Padding = tuple[tuple[int, int], tuple[int, int]]


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

    @tf.custom_gradient
    def run(inputs, kernel):
        def grad(cotangent):
            return (
                _to_inputs(cotangent, kernel, padding, precision),
                _to_kernel(inputs, cotangent, padding, precision),
            )

        return _kept(inputs, kernel, padding, precision), grad

    return run(inputs, kernel)


def plain_convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Computes `convolve` by a plain operation, whose derivatives are TensorFlow's own."""
    return tf.nn.conv2d(inputs, kernel, 1, [(0, 0), *padding, (0, 0)])


def _to_inputs(outputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, precision: Precision) -> tf.Tensor:
    """Takes a cotangent of the outputs to the inputs."""
    (top, bottom), (left, right) = padding
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    opposite = (rows - top, rows - bottom), (columns - left, columns - right)

    @tf.custom_gradient
    def run(outputs, kernel):
        def grad(cotangent):
            return (
                convolve(cotangent, kernel, padding, precision),
                _to_kernel(cotangent, outputs, padding, precision),
            )

        turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        return _kept(outputs, turned, opposite, precision), grad

    return run(outputs, kernel)


def _to_kernel(inputs: tf.Tensor, outputs: tf.Tensor, padding: Padding, precision: Precision) -> tf.Tensor:
    """Takes a cotangent of the outputs to the kernel."""

    @tf.custom_gradient
    def run(inputs, outputs):
        def grad(cotangent):
            return (
                _to_inputs(outputs, cotangent, padding, precision),
                convolve(inputs, cotangent, padding, precision),
            )

        # Batch and channels change places: the outputs slide over the inputs, and the sum is over examples.
        result = _forward(tf.transpose(inputs, [3, 1, 2, 0]), tf.transpose(outputs, [1, 2, 0, 3]), padding, precision)
        return tf.transpose(result, [1, 2, 0, 3]), grad

    return run(inputs, outputs)


def _kept(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, precision: Precision) -> tf.Tensor:
    """Returns the convolution, which the reverse pass of a refinement step finds again where it is kept."""

    (result,), _ = kept(lambda large: ([_forward(inputs, kernel, padding, precision)], []), Keep.ALL)
    return result


def _forward(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, precision: Precision) -> tf.Tensor:
    # Unseen by the tapes, which would keep what its own derivative needs.
    factors = (rounded(tf.stop_gradient(factor), precision) for factor in (inputs, kernel))
    return tf.cast(tf.nn.conv2d(*factors, 1, [(0, 0), *padding, (0, 0)]), inputs.dtype)

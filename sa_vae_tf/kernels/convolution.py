"""Convolutions whose derivatives of every order are quick on a CPU (see `bilinear`).

The result and its cotangent taken to the inputs are forward convolutions here. The cotangent taken to the kernel may be
one too, in which the cotangent slides over the inputs. TensorFlow's own operation takes many times as long as that in
the body of a loop that XLA compiles, and as long or less where XLA does not compile.
"""

from __future__ import annotations

import tensorflow as tf

from sa_vae_tf.kernels.bilinear import Bilinear, run
from sa_vae_tf.kernels.frequencies import Padding, by_frequencies, has_derivative
from sa_vae_tf.kernels.products import Precision, rounded

# Kernels with fewer columns or inputs are not taken by frequencies: in a row of 28 pixels one of nine columns takes 47
# products by them in place of 252, of five 44 in place of 140, of three 43 in place of 84, and the transforms besides.
COLUMNS, INPUTS = 5, 16


def convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Convolves with stride one; of the ways here the quickest in a step that XLA compiles.

    Args:
      inputs: [batch, height, width, in]; all sizes but the batch are known.
      kernel: [rows, columns, in, out].
      padding: zeros around the inputs, each less than the kernel's size.

    Returns:
      [batch, height', width', out], where height' is height with its padding, less rows - 1; likewise width'.
    """
    return run(inputs, kernel, _by_sliding(padding))


def convolve_alone(
    inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0)), precision: Precision = None
) -> tf.Tensor:
    """Computes `convolve`, for a step that XLA does not compile, of factors rounded to `precision` if it is given."""
    return run(inputs, kernel, _by_operations(padding, precision))


def convolve_rows(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Computes `convolve_alone` where a result may depend, by rounding, on every column of the rows that it reads."""
    rows, columns, channels, _ = kernel.shape
    if takes_frequencies(columns, channels, inputs.dtype):
        return run(inputs, kernel, by_frequencies(inputs.shape[2], rows, columns, padding))
    return convolve_alone(inputs, kernel, padding)


def takes_frequencies(columns: int, inputs: int, dtype: tf.DType = tf.float32) -> bool:
    """Whether `convolve_rows` takes a kernel by frequencies: it is wide, and their derivative is oneDNN's.

    A GPU that rounds factors would round those of the transforms, too.
    """
    on_cpu = not tf.config.get_visible_devices("GPU")
    return columns >= COLUMNS and inputs >= INPUTS and on_cpu and has_derivative(dtype)


def plain_convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Computes `convolve` by a plain operation, whose derivatives are TensorFlow's own."""
    return _slide(inputs, kernel, padding)


def _slide(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding) -> tf.Tensor:
    return tf.nn.conv2d(inputs, kernel, 1, [(0, 0), *padding, (0, 0)])


def _slide_back(outputs: tf.Tensor, kernel: tf.Tensor, padding: Padding) -> tf.Tensor:
    """Takes a cotangent of the results to the inputs: by the opposite kernel and padding."""
    (top, bottom), (left, right) = padding
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    opposite = (rows - top, rows - bottom), (columns - left, columns - right)
    return _slide(outputs, tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2]), opposite)


def _by_sliding(padding: Padding) -> Bilinear:
    def to_kernel(inputs, outputs):
        # Batch and channels change places: the outputs slide over the inputs, and the sum is over examples.
        turned = tf.transpose(inputs, [3, 1, 2, 0]), tf.transpose(outputs, [1, 2, 0, 3])
        return tf.transpose(_slide(*turned, padding), [1, 2, 0, 3])

    return Bilinear(
        tf.identity,
        tf.identity,
        lambda inputs, kernel: _slide(inputs, kernel, padding),
        lambda outputs, kernel: _slide_back(outputs, kernel, padding),
        to_kernel,
    )


def _by_operations(padding: Padding, precision: Precision) -> Bilinear:
    """Returns the convolution by TensorFlow's own operations, of rounded factors."""

    def take(maps):
        return rounded(maps, precision)

    def to_kernel(inputs, outputs):
        # The operation is slower where it adds the zeros itself.
        padded = tf.pad(inputs, [(0, 0), *padding, (0, 0)])
        rows, columns = (padded.shape[axis] - outputs.shape[axis] + 1 for axis in (1, 2))
        return tf.raw_ops.Conv2DBackpropFilter(
            input=padded,
            filter_sizes=[rows, columns, inputs.shape[-1], outputs.shape[-1]],
            out_backprop=outputs,
            strides=[1] * 4,
            padding="VALID",
        )

    return Bilinear(
        take,
        take,
        lambda inputs, kernel: _slide(inputs, take(kernel), padding),
        lambda outputs, kernel: _slide_back(outputs, take(kernel), padding),
        to_kernel,
    )

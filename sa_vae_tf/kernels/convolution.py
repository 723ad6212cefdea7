"""A convolution whose derivatives of every order are quick on a CPU.

The result, its cotangent taken to the inputs and its cotangent taken to the kernel are each bilinear, and the
derivatives of each are the other two. The first two are forward convolutions here. The third may be one too, in which
the cotangent slides over the inputs. TensorFlow's own operation takes many times as long as that in the body of a loop
that XLA compiles, and less time where XLA does not compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.inference.kept import Keep, kept
from sa_vae_tf.kernels.frequencies import Padding, convolve_by_frequencies, to_kernel_by_frequencies
from sa_vae_tf.kernels.products import Precision, rounded


class Way(NamedTuple):
    """How a convolution is computed, its derivatives apart.

    Attributes:
      forward: of inputs and kernel with padding.
      to_kernel: of inputs and a cotangent of the outputs with padding, the cotangent of the kernel.
    """

    forward: Callable[[tf.Tensor, tf.Tensor, Padding], tf.Tensor]
    to_kernel: Callable[[tf.Tensor, tf.Tensor, Padding], tf.Tensor]


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
    return _convolve(inputs, kernel, padding, SLIDING)


def convolve_alone(
    inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0)), precision: Precision = None
) -> tf.Tensor:
    """Computes `convolve`, for a step that XLA does not compile, of factors rounded to `precision` if it is given."""
    return _convolve(inputs, kernel, padding, _operations(precision))


def convolve_rows(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Computes `convolve_alone` where a result may depend, by rounding, on every column of the rows that it reads."""
    by_frequencies = is_wide(kernel.shape[1], kernel.shape[2])
    return _convolve(inputs, kernel, padding, BY_FREQUENCIES if by_frequencies else _operations())


def is_wide(columns: int, inputs: int) -> bool:
    """Whether `convolve_rows` takes a kernel by frequencies."""
    return columns >= COLUMNS and inputs >= INPUTS


def plain_convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding = ((0, 0), (0, 0))) -> tf.Tensor:
    """Computes `convolve` by a plain operation, whose derivatives are TensorFlow's own."""
    return tf.nn.conv2d(inputs, kernel, 1, [(0, 0), *padding, (0, 0)])


def _convolve(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, way: Way) -> tf.Tensor:
    @tf.custom_gradient
    def run(inputs, kernel):
        def grad(cotangent):
            return _to_inputs(cotangent, kernel, padding, way), _to_kernel(inputs, cotangent, padding, way)

        return _kept(inputs, kernel, padding, way), grad

    return run(inputs, kernel)


def _to_inputs(outputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, way: Way) -> tf.Tensor:
    """Takes a cotangent of the outputs to the inputs."""
    (top, bottom), (left, right) = padding
    rows, columns = kernel.shape[0] - 1, kernel.shape[1] - 1
    opposite = (rows - top, rows - bottom), (columns - left, columns - right)

    @tf.custom_gradient
    def run(outputs, kernel):
        def grad(cotangent):
            return _convolve(cotangent, kernel, padding, way), _to_kernel(cotangent, outputs, padding, way)

        turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        return _kept(outputs, turned, opposite, way), grad

    return run(outputs, kernel)


def _to_kernel(inputs: tf.Tensor, outputs: tf.Tensor, padding: Padding, way: Way) -> tf.Tensor:
    """Takes a cotangent of the outputs to the kernel."""

    @tf.custom_gradient
    def run(inputs, outputs):
        def grad(cotangent):
            return _to_inputs(outputs, cotangent, padding, way), _convolve(inputs, cotangent, padding, way)

        return way.to_kernel(*_unseen(inputs, outputs), padding), grad

    return run(inputs, outputs)


def _kept(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding, way: Way) -> tf.Tensor:
    """Returns the convolution, which the reverse pass of a refinement step finds again where it is kept."""

    (result,), _ = kept(lambda large: ([way.forward(*_unseen(inputs, kernel), padding)], []), Keep.ALL)
    return result


def _unseen(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns factors unseen by the tapes, which would keep what the product's own derivative needs."""
    return tf.stop_gradient(a), tf.stop_gradient(b)


def _slide(inputs: tf.Tensor, kernel: tf.Tensor, padding: Padding) -> tf.Tensor:
    return tf.nn.conv2d(inputs, kernel, 1, [(0, 0), *padding, (0, 0)])


def _to_kernel_by_sliding(inputs: tf.Tensor, outputs: tf.Tensor, padding: Padding) -> tf.Tensor:
    # Batch and channels change places: the outputs slide over the inputs, and the sum is over examples.
    turned = tf.transpose(inputs, [3, 1, 2, 0]), tf.transpose(outputs, [1, 2, 0, 3])
    return tf.transpose(_slide(*turned, padding), [1, 2, 0, 3])


def _operations(precision: Precision = None) -> Way:
    """Returns the convolution by TensorFlow's own operations, of rounded factors."""

    def forward(inputs, kernel, padding):
        return tf.cast(_slide(rounded(inputs, precision), rounded(kernel, precision), padding), inputs.dtype)

    def to_kernel(inputs, outputs, padding):
        # The operation is slower where it adds the zeros itself.
        padded = tf.pad(rounded(inputs, precision), [(0, 0), *padding, (0, 0)])
        rows, columns = (padded.shape[axis] - outputs.shape[axis] + 1 for axis in (1, 2))
        kernel = tf.raw_ops.Conv2DBackpropFilter(
            input=padded,
            filter_sizes=[rows, columns, inputs.shape[-1], outputs.shape[-1]],
            out_backprop=rounded(outputs, precision),
            strides=[1] * 4,
            padding="VALID",
        )
        return tf.cast(kernel, inputs.dtype)

    return Way(forward, to_kernel)


SLIDING = Way(_slide, _to_kernel_by_sliding)
BY_FREQUENCIES = Way(convolve_by_frequencies, to_kernel_by_frequencies)

"""A bilinear operation of maps and a kernel, whose derivatives of every order are made of three functions.

The result, its cotangent taken to the inputs and its cotangent taken to the kernel are each bilinear, and the
derivatives of each are the other two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.inference.kept import Keep, kept
from sa_vae_tf.kernels.residuals import by_tape


class Bilinear(NamedTuple):
    """How an operation and its derivatives are computed, none of which is differentiated.

    What `take_inputs` and `take_outputs` return is computed once for all that reads the same maps, and may be rounded:
    the results of the others are cast back to the type of what was given.

    Attributes:
      take_inputs: of inputs, what the others read of them.
      take_outputs: of a cotangent of the results, what the others read of it.
      forward: of taken inputs and the kernel, the result.
      to_inputs: of a taken cotangent and the kernel, the cotangent of the inputs.
      to_kernel: of taken inputs and a taken cotangent, the cotangent of the kernel.
    """

    take_inputs: Callable[[tf.Tensor], tf.Tensor]
    take_outputs: Callable[[tf.Tensor], tf.Tensor]
    forward: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    to_inputs: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    to_kernel: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def run(inputs: tf.Tensor, kernel: tf.Tensor, way: Bilinear) -> tf.Tensor:
    """Returns the operation's result, differentiable; refinement steps keep it and its cotangents (see `kept`)."""
    return by_tape(_forward(_take(inputs, way.take_inputs), kernel, way))


class _Maps(NamedTuple):
    """Inputs or a cotangent of results: as the tapes know them, and as they are taken, unseen by the tapes."""

    maps: tf.Tensor
    taken: tf.Tensor


def _take(maps: tf.Tensor, take: Callable[[tf.Tensor], tf.Tensor]) -> _Maps:
    return _Maps(maps, take(tf.stop_gradient(maps)))


def _forward(inputs: _Maps, kernel: tf.Tensor, way: Bilinear) -> tf.Tensor:
    @tf.custom_gradient
    def operation(maps, kernel):
        def grad(cotangent):
            outputs = _take(cotangent, way.take_outputs)
            return (
                by_tape(_to_inputs(outputs, kernel, way)),
                by_tape(_to_kernel(_Maps(maps, inputs.taken), outputs, way)),
            )

        return _kept(way.forward, inputs.taken, kernel), grad

    return operation(inputs.maps, kernel)


def _to_inputs(outputs: _Maps, kernel: tf.Tensor, way: Bilinear) -> tf.Tensor:
    @tf.custom_gradient
    def operation(maps, kernel):
        def grad(cotangent):
            inputs = _take(cotangent, way.take_inputs)
            return _forward(inputs, kernel, way), _to_kernel(inputs, _Maps(maps, outputs.taken), way)

        return _kept(way.to_inputs, outputs.taken, kernel), grad

    return operation(outputs.maps, kernel)


def _to_kernel(inputs: _Maps, outputs: _Maps, way: Bilinear) -> tf.Tensor:
    @tf.custom_gradient
    def operation(input_maps, output_maps):
        def grad(cotangent):
            return (
                _to_inputs(_Maps(output_maps, outputs.taken), cotangent, way),
                _forward(_Maps(input_maps, inputs.taken), cotangent, way),
            )

        return tf.cast(way.to_kernel(inputs.taken, outputs.taken), inputs.maps.dtype), grad

    return operation(inputs.maps, outputs.maps)


def _kept(compute: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], taken: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns what `compute` does, which the reverse pass of a refinement step finds again where it is kept."""

    def result(large):
        return [tf.cast(compute(taken, tf.stop_gradient(kernel)), kernel.dtype)], []

    (found,), _ = kept(result, Keep.ALL)
    return found

"""The gate of a PixelCNN's layer, whose derivatives take few passes over the maps and no curve is computed twice."""

from __future__ import annotations

import tensorflow as tf

from sa_vae_tf.kernels.fusion import compiled
from sa_vae_tf.kernels.residuals import with_residuals


def gate(*terms: tf.Tensor) -> tf.Tensor:
    """Returns tanh(a) * sigmoid(b) of the halves a, b of the last axis of a sum.

    It is for a step that XLA does not compile; what is between two products is a program of its own.

    Args:
      terms: of the sum, each [..., 2 * channels].

    Returns:
      [..., channels].
    """

    def forward(*terms):
        curves = compiled(_curves)(*terms)
        return compiled(_gated)(curves), curves

    def reverse(inputs, output, residuals, cotangent, residual_cotangents):
        (curves,) = residuals
        if residual_cotangents is None:
            found = _to_sum(curves, cotangent)
        else:
            found = compiled(_all_to_sum)(curves, cotangent, *residual_cotangents)
        return [found] * len(inputs)

    return with_residuals(forward, reverse)(*terms)


def plain_gate(*terms: tf.Tensor) -> tf.Tensor:
    """Computes `gate` by plain operations, whose derivatives are TensorFlow's own."""
    a, b = _halves(tf.add_n(terms))
    return tf.tanh(a) * tf.sigmoid(b)


def _to_sum(curves: tf.Tensor, cotangent: tf.Tensor) -> tf.Tensor:
    """Takes a cotangent of the gate to the sum of its terms, differentiable in the curves and the cotangent."""

    @tf.custom_gradient
    def run(curves, cotangent):
        def grad(direction):
            return compiled(_to_curves)(curves, cotangent, direction), compiled(_to_cotangent)(curves, direction)

        return compiled(_slope)(tf.stop_gradient(curves), tf.stop_gradient(cotangent)), grad

    return run(curves, cotangent)


def _halves(maps: tf.Tensor) -> list[tf.Tensor]:
    return tf.split(maps, 2, -1)


# The curves are a, b = tanh(x), tanh(y / 2) of the sum's halves x, y: the gate is a (1 + b) / 2.


def _scale(maps):
    channels = maps.shape[-1] // 2
    return tf.constant([1.0] * channels + [0.5] * channels, maps.dtype)


def _curves(*terms):
    total = sum(terms[1:], terms[0])
    return tf.tanh(total * _scale(total))


def _gated(curves):
    a, b = _halves(curves)
    return a * (0.5 + 0.5 * b)


def _slope(curves, cotangent):
    a, b = _halves(curves)
    return tf.concat([cotangent * (0.5 + 0.5 * b) * (1 - a * a), cotangent * a * (0.25 - 0.25 * b * b)], -1)


def _to_cotangent(curves, direction):
    (a, b), (x, y) = _halves(curves), _halves(direction)
    return x * (0.5 + 0.5 * b) * (1 - a * a) + y * a * (0.25 - 0.25 * b * b)


def _to_curves(curves, cotangent, direction):
    (a, b), (x, y) = _halves(curves), _halves(direction)
    to_a = y * (0.25 - 0.25 * b * b) - x * a * (1 + b)
    to_b = 0.5 * x * (1 - a * a) - 0.5 * y * a * b
    return tf.concat([cotangent * to_a, cotangent * to_b], -1)


def _all_to_sum(curves, cotangent, curves_cotangent):
    return _slope(curves, cotangent) + curves_cotangent * (1 - curves * curves) * _scale(curves)

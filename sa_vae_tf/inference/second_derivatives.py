"""Operations whose second derivative TensorFlow has wrong, or not at all, mended for the exact product.

Values and first derivatives stay as they are, to the bit. The mended ones take the place of TensorFlow's for the whole
process, where Keras's layers find them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def with_variance(moments: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `tf.nn.moments` with derivatives of every order.

    TensorFlow's takes the variance about the mean as about a constant. The first derivative loses nothing by that,
    since a variance is least about the mean; the second does, without a word, and with it those of
    keras.layers.LayerNormalization and GroupNormalization. For any constant c the variance is the mean of (x - c)^2
    less (mean - c)^2. So the latter, which is 0, is subtracted.
    """

    @functools.wraps(moments)
    def mended(*args, **kwargs):
        mean, variance = moments(*args, **kwargs)
        return mean, variance - tf.square(mean - tf.stop_gradient(mean))

    return mended


def as_linear(resize: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `tf.image.resize`, or another function linear in images, with derivatives of every order.

    The derivative of its derivative is then itself. TensorFlow has none of the bicubic one, and takes that of the
    bilinear one, as in keras.layers.UpSampling2D, to be zero without a word.
    """

    @functools.wraps(resize)
    def mended(images, *args, **kwargs):
        if not (tf.is_tensor(images) and tf.as_dtype(images.dtype).is_floating):
            return resize(images, *args, **kwargs)
        images = tf.convert_to_tensor(images)

        @tf.custom_gradient
        def forward(x):
            return resize(x, *args, **kwargs), backward

        @tf.custom_gradient
        def backward(cotangent):
            at = tf.stop_gradient(images)
            with tf.GradientTape() as tape:
                tape.watch(at)
                resized = resize(at, *args, **kwargs)
            gradient = tape.gradient(resized, at, cotangent)
            if gradient is None:
                raise LookupError(f"to resize images of {images.dtype.name} has no derivative by this method")
            return gradient, forward

        return forward(images)

    return mended


tf.nn.moments = with_variance(tf.nn.moments)
tf.compat.v1.nn.moments = with_variance(tf.compat.v1.nn.moments)
tf.image.resize = as_linear(tf.image.resize)
tf.image.resize_with_pad = as_linear(tf.image.resize_with_pad)

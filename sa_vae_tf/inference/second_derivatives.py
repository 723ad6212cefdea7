"""Operations whose second derivative TensorFlow has wrong, or not at all, mended for the exact product.

Values and first derivatives stay as they are, to the bit. The mended ones take the place of TensorFlow's for the whole
process, where the layers of Keras and of TensorFlow Probability find them.
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


def with_labels(cross_entropy: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    """Returns `tf.nn.softmax_cross_entropy_with_logits` with derivatives of every order to labels and logits at once.

    TensorFlow takes the derivative to the logits, softmax - labels, as one of the logits alone, so that labels which
    depend on a weight get nothing through a refinement. So the labels are constants to it, and their part of the
    derivative is that of a sum which is 0.
    """

    @functools.wraps(cross_entropy)
    def mended(labels, logits, axis=-1, name=None):
        if not tf.is_tensor(labels):
            return cross_entropy(labels, logits, axis, name)
        given = tf.stop_gradient(labels)
        found = cross_entropy(given, logits, axis, name)
        # As TensorFlow, which computes those of few bits in more.
        wide = tf.float32 if found.dtype.size < 4 else found.dtype
        nothing = (tf.cast(labels, wide) - tf.cast(given, wide)) * tf.nn.log_softmax(tf.cast(logits, wide), axis)
        return found - tf.cast(tf.reduce_sum(nothing, axis), found.dtype)

    return mended


MENDED: dict[str, dict[str, Callable[..., Any]]] = {
    "nn": {"moments": with_variance},
    "image": dict.fromkeys(
        ("resize", "resize_with_pad", "resize_images", "resize_bilinear", "resize_bicubic", "resize_image_with_pad"),
        as_linear,
    ),
}
# Other packages know TensorFlow as tensorflow.compat.v2, whose functions have places of their own.
for _module in (tf, tf.compat.v1, tf.compat.v2):
    for _part, _functions in MENDED.items():
        for _name, _mend in _functions.items():
            if _function := getattr(getattr(_module, _part), _name, None):
                setattr(getattr(_module, _part), _name, _mend(_function))
# That of compat.v1 takes labels as constants.
for _module in (tf, tf.compat.v2):
    _module.nn.softmax_cross_entropy_with_logits = with_labels(_module.nn.softmax_cross_entropy_with_logits)

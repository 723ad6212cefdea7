"""tf.nn.moments with derivatives of every order, which the exact product needs of decoders that normalise layers.

TensorFlow's takes the variance about the mean as about a constant. The first derivative loses nothing by that, since a
variance is least about the mean; the second does, without a word, and with it those of keras.layers.LayerNormalization,
GroupNormalization and keras.ops.moments. For any constant c the variance is the mean of (x - c)^2 less (mean - c)^2. So
the latter, which is 0, is subtracted: values and first derivatives stay as they are, to the bit.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_moments = tf.nn.moments


def moments(x, axes, shift=None, keepdims=False, name=None) -> Any:
    """Does what `tf.nn.moments` does, whose arguments these are."""
    mean, variance = _moments(x, axes, shift=shift, keepdims=keepdims, name=name)
    return mean, variance - tf.square(mean - tf.stop_gradient(mean))


tf.nn.moments = moments

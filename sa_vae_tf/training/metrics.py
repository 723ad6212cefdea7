"""Metrics with one value for each latent dimension, or made from them, that Keras does not have."""

from __future__ import annotations

import keras
import tensorflow as tf

ACTIVE_VARIANCE = 0.01


class MeanPerDimension(keras.metrics.Metric):
    """Mean of each column of the [batch, dimensions] tensors it is given."""

    def __init__(self, dimensions: int, name: str):
        super().__init__(name=name)
        self.total = self.add_variable([dimensions], keras.initializers.Zeros(), name="total")
        self.count = self.add_variable([], keras.initializers.Zeros(), name="count")

    def update_state(self, values: tf.Tensor) -> None:
        self.total.assign_add(tf.reduce_sum(values, 0))
        self.count.assign_add(tf.cast(tf.shape(values)[0], self.count.dtype))

    def result(self) -> tf.Tensor:
        return self.total / tf.maximum(self.count, 1.0)


class ActiveUnits(keras.metrics.Metric):
    """Number of dimensions whose posterior mean varies over examples: unbiased variance above 0.01 (Burda et al.)."""

    def __init__(self, dimensions: int, name: str):
        super().__init__(name=name)
        self.mean = self.add_variable([dimensions], keras.initializers.Zeros(), name="mean")
        self.squares = self.add_variable([dimensions], keras.initializers.Zeros(), name="squares")
        self.count = self.add_variable([], keras.initializers.Zeros(), name="count")

    def update_state(self, means: tf.Tensor) -> None:
        # Chan et al.'s merge of two sets, which loses no digits where the mean is far from zero.
        size = tf.cast(tf.shape(means)[0], self.count.dtype)
        mean = tf.reduce_mean(means, 0)
        count = self.count + size
        delta = mean - self.mean
        self.squares.assign_add(
            tf.reduce_sum(tf.square(means - mean), 0) + tf.square(delta) * (self.count * size / count)
        )
        self.mean.assign_add(delta * (size / count))
        self.count.assign(count)

    def result(self) -> tf.Tensor:
        variance = self.squares / tf.maximum(self.count - 1.0, 1.0)
        return tf.reduce_sum(tf.cast(variance > ACTIVE_VARIANCE, tf.float32))

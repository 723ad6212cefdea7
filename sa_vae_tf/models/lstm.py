"""LSTM encoder and decoder of sequences (section 4.2 and the encoder of section 4.1)."""

from __future__ import annotations

import functools
from typing import NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.inference import Posterior, keep_finite
from sa_vae_tf.models.dropout import dropout
from sa_vae_tf.models.initializers import uniform_stream


def lstm(projected: tf.Tensor, recurrent_kernel: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> tf.Tensor:
    """Runs an LSTM whose inputs are already multiplied by their kernel.

    Unlike Keras's layer it leaves the input product to the caller, who can do it once for many runs, and every
    derivative of it exists on every device.

    Args:
      projected: [time, batch, 4 * units], inputs times kernel plus bias; gates in Keras's order i, f, c, o. The
        number of time steps must be known when the graph is built.
      recurrent_kernel: [units, 4 * units].
      hidden, cell: [batch, units], the state before the first step.

    Returns:
      Hidden states, [time, batch, units].
    """
    outputs = []
    for inputs in tf.unstack(projected):
        i, f, c, o = tf.split(inputs + hidden @ recurrent_kernel, 4, -1)
        cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(c)
        hidden = tf.sigmoid(o) * tf.tanh(cell)
        outputs.append(hidden)
    return tf.stack(outputs)


class LSTMEncoder(keras.Model):
    """Reads a sequence with one LSTM layer and maps its last hidden state to a posterior.

    Args:
      vocabulary_size: number of symbols.
      embedding_dim, units, latent_dim: sizes.
      initial_range: every weight starts uniformly in plus or minus this.
      seed: of the initial weights.
      dtype: float type of the weights.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        units: int,
        latent_dim: int,
        initial_range: float = 0.1,
        seed: int = 0,
        dtype: str = "float32",
    ):
        super().__init__(name="encoder", dtype=dtype)
        uniform = functools.partial(uniform_stream(seed), initial_range)
        self.embedding = keras.layers.Embedding(
            vocabulary_size, embedding_dim, embeddings_initializer=uniform(), dtype=dtype, name="embedding"
        )
        self.lstm = keras.layers.LSTM(
            units,
            kernel_initializer=uniform(),
            recurrent_initializer=uniform(),
            bias_initializer=uniform(),
            unit_forget_bias=False,
            unroll=True,
            use_cudnn=False,
            dtype=dtype,
            name="lstm",
        )
        self.mean = keras.layers.Dense(
            latent_dim, kernel_initializer=uniform(), bias_initializer=uniform(), dtype=dtype, name="mean"
        )
        self.log_variance = keras.layers.Dense(
            latent_dim, kernel_initializer=uniform(), bias_initializer=uniform(), dtype=dtype, name="log_variance"
        )
        self.embedding.build([None, None])
        self.lstm.build([None, None, embedding_dim])
        self.mean.build([None, units])
        self.log_variance.build([None, units])
        self.built = True

    def call(self, tokens: tf.Tensor, training: bool = False) -> Posterior:
        """Maps tokens, int [batch, time], to the initial posterior, parts [batch, latent]."""
        last = self.lstm(self.embedding(tokens))
        return Posterior(self.mean(last), keep_finite(self.log_variance(last)))


class LSTMContext(NamedTuple):
    """What the decoder reads besides z: inputs times kernel, [time, batch, 4 * units], and targets, [time, batch]."""

    projected: tf.Tensor
    targets: tf.Tensor


class LSTMDecoder(keras.Model):
    """One-layer LSTM language model that starts from z and reads it at every step (section 4.2).

    The sample z gives the initial hidden state by an affine map and is fed as an input beside every word. Without
    latent variable (`latent_dim` 0, z None) it is a plain language model.

    Args:
      vocabulary_size: number of symbols.
      embedding_dim, units, latent_dim: sizes.
      dropout_rate: of the embedded words and of the LSTM's output, in training.
      initial_range: every weight starts uniformly in plus or minus this.
      seed: of the initial weights.
      dtype: float type of the weights.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        units: int,
        latent_dim: int,
        dropout_rate: float = 0.0,
        initial_range: float = 0.1,
        seed: int = 0,
        dtype: str = "float32",
    ):
        super().__init__(name="decoder", dtype=dtype)
        self.units, self.dropout_rate = units, dropout_rate
        draw = uniform_stream(seed)

        def weight(name, *shape):
            return self.add_weight(shape=shape, initializer=draw(initial_range), dtype=dtype, name=name)

        self.embedding = weight("embedding", vocabulary_size, embedding_dim)
        self.word_kernel = weight("word_kernel", embedding_dim, 4 * units)
        self.recurrent_kernel = weight("recurrent_kernel", units, 4 * units)
        self.bias = weight("bias", 4 * units)
        if latent_dim:
            self.latent_kernel = weight("latent_kernel", latent_dim, 4 * units)
            self.start_kernel = weight("start_kernel", latent_dim, units)
            self.start_bias = weight("start_bias", units)
        self.output_kernel = weight("output_kernel", units, vocabulary_size)
        self.output_bias = weight("output_bias", vocabulary_size)
        self.built = True

    def prepare(self, tokens: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> LSTMContext:
        """Embeds and projects the words of `tokens`, int [batch, time + 1], each of which but the first is predicted.

        The dropout of the embedded words is here, so all refinement steps of a training step share its mask.
        """
        tokens = tf.transpose(tokens)
        embedded = dropout(tf.gather(self.embedding.value, tokens[:-1]), self.dropout_rate, training, seed)
        return LSTMContext(tf.tensordot(embedded, self.word_kernel.value, 1) + self.bias.value, tokens[1:])

    def negative_log_likelihood(
        self, z: tf.Tensor | None, context: LSTMContext, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns -log p(words | z) in nats, [batch], summed over the words."""
        projected = context.projected
        cell = tf.zeros([tf.shape(projected)[1], self.units], projected.dtype)
        hidden = cell
        if z is not None:
            projected = projected + z @ self.latent_kernel.value
            hidden = z @ self.start_kernel.value + self.start_bias.value
        states = lstm(projected, self.recurrent_kernel.value, hidden, cell)
        states = dropout(states, self.dropout_rate, training, seed)
        logits = tf.tensordot(states, self.output_kernel.value, 1) + self.output_bias.value
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=context.targets, logits=logits)
        return tf.reduce_sum(losses, 0)

"""LSTM encoder and decoder of sequences (section 4.2 and the encoder of section 4.1)."""

from __future__ import annotations

import functools
from itertools import chain
from typing import NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.inference import Posterior, keep_finite
from sa_vae_tf.inference.draws import GENERATOR
from sa_vae_tf.kernels import KERNELS
from sa_vae_tf.kernels.softmax import PlainSoftmax, Softmax
from sa_vae_tf.models.dropout import dropout, word_dropout
from sa_vae_tf.models.initializers import uniform_stream
from sa_vae_tf.models.lstm_layer import last_states, lstm_layers


class LSTMEncoder(keras.Model):
    """Reads a sequence with an LSTM and maps the last hidden state of its last layer to a posterior.

    Args:
      vocabulary_size: number of symbols.
      embedding_dim, units, latent_dim: sizes.
      layers: of the LSTM, each with as many units.
      initial_range: every weight starts uniformly in plus or minus this.
      padding: symbol that fills up short sequences and is not read; None where there is none.
      kernels: name in `sa_vae_tf.kernels.KERNELS`.
      seed: of the initial weights.
      dtype: float type of the weights.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        units: int,
        latent_dim: int,
        layers: int = 1,
        initial_range: float = 0.1,
        padding: int | None = None,
        kernels: str = "fused",
        seed: int = 0,
        dtype: str = "float32",
    ):
        super().__init__(name="encoder", dtype=dtype)
        self.units, self.padding, self.kernels = units, padding, KERNELS[kernels]
        uniform = functools.partial(uniform_stream(seed), initial_range)

        def weight(name, *shape):
            return self.add_weight(shape=shape, initializer=uniform(), dtype=dtype, name=name)

        self.embedding = weight("embedding", vocabulary_size, embedding_dim)
        self.lstm = lstm_layers(weight, embedding_dim, units, layers)
        self.mean = keras.layers.Dense(
            latent_dim, kernel_initializer=uniform(), bias_initializer=uniform(), dtype=dtype, name="mean"
        )
        self.log_variance = keras.layers.Dense(
            latent_dim, kernel_initializer=uniform(), bias_initializer=uniform(), dtype=dtype, name="log_variance"
        )
        self.mean.build([None, units])
        self.log_variance.build([None, units])
        self.built = True

    def call(self, tokens: tf.Tensor, training: bool = False) -> Posterior:
        """Maps tokens, int [batch, time], to the initial posterior, parts [batch, latent]."""
        embedded = tf.gather(self.embedding.value, tf.transpose(tokens))
        nothing = tf.zeros([tf.shape(tokens)[0], self.units], embedded.dtype)
        start = [nothing] * len(self.lstm)
        states = last_states(
            self.lstm, self.kernels, self.lstm[0].project(embedded), tf.tile(nothing, [1, 4]), start, start
        )
        if self.padding is None:
            last = states[-1]
        else:
            lengths = tf.math.count_nonzero(tokens != self.padding, 1, dtype=tf.int32)
            last = tf.gather_nd(states, tf.stack([lengths - 1, tf.range(tf.size(lengths))], -1))
        return Posterior(self.mean(last), keep_finite(self.log_variance(last)))

    def start_from(self, decoder: LSTMDecoder) -> None:
        """Takes embedding and LSTM from a language model (the rows + INIT of Table 2)."""
        pairs = zip([self.embedding, *chain(*self.lstm)], [decoder.embedding, *chain(*decoder.lstm)], strict=True)
        for own, other in pairs:
            own.assign(other)


class LSTMContext(NamedTuple):
    """What the decoder reads besides z.

    Attributes:
      projected: [time, batch, 4 * units], inputs times kernel plus bias.
      targets: int [time, batch].
      softmax: what their likelihood reads.
    """

    projected: tf.Tensor
    targets: tf.Tensor
    softmax: Softmax | PlainSoftmax


class LSTMState(NamedTuple):
    """The decoder between two words: each layer's state, [batch, units], and z times its kernel, [batch, 4 * units]."""

    hidden: tuple[tf.Tensor, ...]
    cells: tuple[tf.Tensor, ...]
    shift: tf.Tensor


class LSTMDecoder(keras.Model):
    """LSTM language model that starts from z and reads it at every step (section 4.2, where it has one layer).

    The sample z gives the initial hidden state of every layer by an affine map and is fed to the first as an input
    beside every word. Without latent variable (`latent_dim` 0, z None) it is a plain language model.

    Args:
      vocabulary_size: number of symbols.
      embedding_dim, units, latent_dim: sizes.
      layers: of the LSTM, each with as many units.
      dropout_rate: of the embedded words and of the output of every layer, in training.
      word_dropout_rate: share of the words read that are replaced by `unknown`, in training (+ WORD-DROP of Table 2).
      initial_range: every weight starts uniformly in plus or minus this.
      padding: symbol that fills up short sequences and is not predicted; None where there is none.
      unknown: symbol of an unknown word.
      kernels: name in `sa_vae_tf.kernels.KERNELS`.
      seed: of the initial weights.
      dtype: float type of the weights.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        units: int,
        latent_dim: int,
        layers: int = 1,
        dropout_rate: float = 0.0,
        word_dropout_rate: float = 0.0,
        initial_range: float = 0.1,
        padding: int | None = None,
        unknown: int = 1,
        kernels: str = "fused",
        seed: int = 0,
        dtype: str = "float32",
    ):
        super().__init__(name="decoder", dtype=dtype)
        self.units, self.dropout_rate, self.word_dropout_rate = units, dropout_rate, word_dropout_rate
        self.padding, self.unknown, self.kernels = padding, unknown, KERNELS[kernels]
        draw = uniform_stream(seed)

        def weight(name, *shape):
            return self.add_weight(shape=shape, initializer=draw(initial_range), dtype=dtype, name=name)

        self.embedding = weight("embedding", vocabulary_size, embedding_dim)
        self.lstm = lstm_layers(weight, embedding_dim, units, layers, first_kernel="word_kernel")
        if latent_dim:
            self.latent_kernel = weight("latent_kernel", latent_dim, 4 * units)
            self.start_kernel = weight("start_kernel", latent_dim, layers * units)
            self.start_bias = weight("start_bias", layers * units)
        self.output_kernel = weight("output_kernel", units, vocabulary_size)
        self.output_bias = weight("output_bias", vocabulary_size)
        self.built = True

    def prepare(self, tokens: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> LSTMContext:
        """Embeds and projects the words of `tokens`, int [batch, time + 1], each of which but the first is predicted.

        The dropout of the embedded words is here, so all refinement steps of a training step share its mask.
        """
        words = word_dropout(tokens[:, :-1], self.word_dropout_rate, self.unknown, training, seed)
        embedded = tf.gather(self.embedding.value, tf.transpose(words))
        embedded = dropout(embedded, self.dropout_rate, training, seed)
        targets = tf.transpose(tokens[:, 1:])
        softmax = self.kernels.softmax_weights(self.output_kernel.value, self.output_bias.value, targets)
        return LSTMContext(self.lstm[0].project(embedded), targets, softmax)

    def negative_log_likelihood(
        self, z: tf.Tensor | None, context: LSTMContext, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns -log p(words | z) in nats, [batch], summed over the words."""
        projected, targets, softmax = context
        hidden, cells, shift = self.start(z, tf.shape(targets)[1])

        def drop(states, number):
            # Layers do not share their masks.
            own = seed if seed is None or number == 0 else tf.random.fold_in(seed, number, alg=GENERATOR)
            return dropout(states, self.dropout_rate, training, own)

        states = last_states(self.lstm, self.kernels, projected, shift, hidden, cells, drop)
        losses = self.kernels.word_nll(states, softmax)
        if self.padding is not None:
            losses = tf.where(targets == self.padding, tf.zeros_like(losses), losses)
        return tf.reduce_sum(losses, 0)

    def start(self, z: tf.Tensor | None, batch_size: int | tf.Tensor) -> LSTMState:
        """Returns the state before the first word, for z [batch, latent] or None."""
        dtype, layers = self.output_bias.value.dtype, len(self.lstm)
        nothing = tf.zeros([batch_size, self.units], dtype)
        if z is None:
            return LSTMState((nothing,) * layers, (nothing,) * layers, tf.zeros([batch_size, 4 * self.units], dtype))
        hidden = tf.split(z @ self.start_kernel.value + self.start_bias.value, layers, -1)
        return LSTMState(tuple(hidden), (nothing,) * layers, z @ self.latent_kernel.value)

    def step(self, words: tf.Tensor, state: LSTMState) -> tuple[tf.Tensor, LSTMState]:
        """Reads one word each, int [batch]; returns the scores of the next, [batch, vocabulary], and the new state."""
        inputs, states = tf.gather(self.embedding.value, words), []
        for number, layer in enumerate(self.lstm):
            projected = layer.project(inputs) + (state.shift if number == 0 else 0.0)
            states.append(layer.step(projected, state.hidden[number], state.cells[number]))
            inputs = states[-1][0]
        hidden, cells = zip(*states, strict=True)
        return inputs @ self.output_kernel.value + self.output_bias.value, LSTMState(hidden, cells, state.shift)

"""The generator of the synthetic task: an LSTM over the symbols, and z at the output alone (section 4.1)."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.inference.draws import GENERATOR, gumbel_noise
from sa_vae_tf.models.dropout import dropout
from sa_vae_tf.models.initializers import uniform_stream


class SyntheticContext(NamedTuple):
    """What the likelihood reads besides z.

    Attributes:
      exponentials: [batch, time, vocabulary], of the scores of all symbols where z is zero, over the largest.
      largest: [batch], the largest score where z is zero, summed over time.
      target_logit: [batch], scores of the symbols that occurred where z is zero, summed over time.
      target_slope: [batch, latent], derivative of those by z; empty without latent variable.
    """

    exponentials: tf.Tensor
    largest: tf.Tensor
    target_logit: tf.Tensor
    target_slope: tf.Tensor


class SyntheticGenerator(keras.Model):
    """h_t = LSTM(h_{t-1}, x_t); x_{t+1} ~ softmax of one affine map of [h_t, z] (section 4.1).

    The first symbol is predicted from a start symbol with an embedding of its own. As h does not depend on z, a
    refinement step costs one softmax over the vocabulary.

    Args:
      vocabulary_size, embedding_dim, units, latent_dim: sizes; latent_dim 0 for a language model.
      dropout_rate: of the embedded symbols and of h, in training.
      initial_range: every weight starts uniformly in plus or minus this,
      latent_range: but the weights that read z in plus or minus this.
      seed: of the initial weights.
      dtype: float type of the weights.
    """

    def __init__(
        self,
        vocabulary_size: int = 1000,
        embedding_dim: int = 100,
        units: int = 100,
        latent_dim: int = 2,
        dropout_rate: float = 0.0,
        initial_range: float = 0.1,
        latent_range: float = 0.1,
        seed: int = 0,
        dtype: str = "float32",
    ):
        super().__init__(name="decoder", dtype=dtype)
        self.vocabulary_size, self.latent_dim, self.dropout_rate = vocabulary_size, latent_dim, dropout_rate
        draw = uniform_stream(seed)
        # The start symbol follows the others.
        self.embedding = keras.layers.Embedding(
            vocabulary_size + 1,
            embedding_dim,
            embeddings_initializer=draw(initial_range),
            dtype=dtype,
            name="embedding",
        )
        self.lstm = keras.layers.LSTM(
            units,
            kernel_initializer=draw(initial_range),
            recurrent_initializer=draw(initial_range),
            bias_initializer=draw(initial_range),
            unit_forget_bias=False,
            return_sequences=True,
            unroll=True,
            use_cudnn=False,
            dtype=dtype,
            name="lstm",
        )
        self.output_layer = keras.layers.Dense(
            vocabulary_size,
            kernel_initializer=draw(initial_range),
            bias_initializer=draw(initial_range),
            dtype=dtype,
            name="output",
        )
        self.embedding.build([None, None])
        self.lstm.build([None, None, embedding_dim])
        self.output_layer.build([None, None, units])
        self.latent_kernel = self.add_weight(
            shape=(latent_dim, vocabulary_size), initializer=draw(latent_range), dtype=dtype, name="latent_kernel"
        )
        self.built = True

    def logits(self, tokens: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the scores of all symbols at each time where z is zero, [batch, time, vocabulary]."""
        start = tf.fill([tf.shape(tokens)[0], 1], tf.cast(self.vocabulary_size, tokens.dtype))
        seeds = [None, None] if seed is None else tf.unstack(tf.random.split(seed, alg=GENERATOR))
        embedded = dropout(self.embedding(tf.concat([start, tokens[:, :-1]], 1)), self.dropout_rate, training, seeds[0])
        return self.output_layer(dropout(self.lstm(embedded), self.dropout_rate, training, seeds[1]))

    def prepare(self, tokens: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> SyntheticContext:
        """Computes all that does not depend on z, for tokens int [batch, time], every one of which is predicted."""
        logits = self.logits(tokens, training, seed)
        target_logit = tf.reduce_sum(tf.gather(logits, tokens, batch_dims=2), 1)
        target_slope = tf.reduce_sum(tf.gather(tf.transpose(self.latent_kernel.value), tokens), 1)
        # The value does not depend on what is taken out here, so neither does its derivative.
        largest = tf.stop_gradient(tf.reduce_max(logits, -1))
        return SyntheticContext(
            tf.exp(logits - largest[..., None]), tf.reduce_sum(largest, 1), target_logit, target_slope
        )

    def negative_log_likelihood(
        self, z: tf.Tensor | None, context: SyntheticContext, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns -log p(tokens | z) in nats, [batch], summed over time."""
        if z is None:
            return _log_sum(tf.reduce_sum(context.exponentials, -1)) + context.largest - context.target_logit
        # Scores are a part that does not depend on z plus a part that does not depend on time, so a normaliser is
        # sum_v exp(a_v + b_v) = <exp(a), exp(b)>: of the exponentials only batch x vocabulary are new for a new z.
        # In float32 nothing that counts is lost while the first parts of a step differ by less than about 80 nats.
        shift = z @ self.latent_kernel.value
        largest = tf.stop_gradient(tf.reduce_max(shift, -1))
        normaliser = tf.linalg.matvec(context.exponentials, tf.exp(shift - largest[:, None]))
        steps = tf.cast(tf.shape(normaliser)[1], z.dtype)
        target = context.target_logit + tf.reduce_sum(z * context.target_slope, -1)
        return _log_sum(normaliser) + context.largest + steps * largest - target

    def sample(self, z: tf.Tensor, steps: int, seed: tf.Tensor) -> tf.Tensor:
        """Draws sequences from p(x | z).

        Args:
          z: [batch, latent].
          steps: number of symbols, at least one.
          seed: int32 [2]; the same seed gives the same sequences, on any number of cores.

        Returns:
          int32 [batch, steps].
        """
        shift = z @ self.latent_kernel.value
        tokens = tf.zeros([tf.shape(z)[0], 0], tf.int32)
        for step_seed in tf.unstack(tf.random.split(seed, steps, alg=GENERATOR)):
            # The last position of a prefix with one symbol appended does not depend on that symbol.
            logits = self.logits(tf.pad(tokens, [[0, 0], [0, 1]]))[:, -1] + shift
            noise = tf.cast(gumbel_noise(tf.shape(logits), step_seed), logits.dtype)
            drawn = tf.argmax(logits + noise, -1, tf.int32)
            tokens = tf.concat([tokens, drawn[:, None]], 1)
        return tokens


def _log_sum(normaliser: tf.Tensor) -> tf.Tensor:
    """Returns the log of the normalisers, summed over time."""
    return tf.reduce_sum(tf.math.log(normaliser), -1)

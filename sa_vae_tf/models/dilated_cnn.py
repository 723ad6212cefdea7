"""Decoder of text by dilated causal convolutions.

Yang et al. 2017, Improved Variational Autoencoders for Text Modeling using Dilated Convolutions (arXiv:1702.08139).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.inference.draws import GENERATOR
from sa_vae_tf.kernels import KERNELS
from sa_vae_tf.kernels.softmax import PlainSoftmax, Softmax
from sa_vae_tf.models.dropout import dropout, word_dropout
from sa_vae_tf.models.initializers import uniform_stream

KERNEL_SIZE = 3

# Dilations of the paper's small, medium and large model, which see the last 15, 63 and 125 words.
DILATIONS: dict[str, tuple[int, ...]] = {
    "small": (1, 2, 4),
    "medium": (1, 2, 4, 8, 16),
    "large": (1, 2, 4, 8, 16) * 2,
}


class Block(NamedTuple):
    """Weights of a residual block: 1x1 to fewer channels, dilated convolution, 1x1 back."""

    narrow_kernel: keras.Variable  # [channels, internal]
    narrow_bias: keras.Variable
    dilated_kernel: keras.Variable  # [3, internal, internal], the tap of the latest word last
    dilated_bias: keras.Variable
    widen_kernel: keras.Variable  # [internal, channels]
    widen_bias: keras.Variable


class DilatedCNNContext(NamedTuple):
    """What the decoder reads besides z.

    Attributes:
      projected: [batch, time, channels], words times their part of the first kernel, plus bias.
      targets: int [batch, time].
      softmax: what their likelihood reads.
    """

    projected: tf.Tensor
    targets: tf.Tensor
    softmax: Softmax | PlainSoftmax


class DilatedCNNState(NamedTuple):
    """What generation carries from word to word; every tensor has a leading batch axis.

    Attributes:
      latent: [batch, channels], z times its part of the first kernel; zeros without latent variable.
      pasts: for each block the last inputs of its dilated convolution, [batch, 2 * dilation, internal channels].
    """

    latent: tf.Tensor
    pasts: tuple[tf.Tensor, ...]


def causal_convolution(inputs: tf.Tensor, kernel: tf.Tensor, dilation: int) -> tf.Tensor:
    """Convolves over time without looking ahead, as one matrix product a tap.

    Compiled for a CPU the filter gradient of `tf.nn.conv1d` is very slow; the derivatives of products, of any order,
    are products.

    Args:
      inputs: [batch, past + time, in], where past is (taps - 1) * dilation.
      kernel: [taps, in, out]; the last tap reads the present.
      dilation: number of time steps between two taps.

    Returns:
      [batch, time, out].
    """
    taps = tf.unstack(kernel)
    past = (len(taps) - 1) * dilation
    terms = []
    for k, tap in enumerate(taps):
        end = k * dilation - past or None  # Counted from the last time step, as the length may be unknown.
        terms.append(tf.tensordot(inputs[:, k * dilation : end], tap, 1))
    return tf.add_n(terms)


class DilatedCNNDecoder(keras.Model):
    """Language model of residual blocks of dilated causal convolutions that read z beside every word.

    The first layer maps each embedded word and z, side by side, to `channels`. A block adds to that what a 1x1
    convolution to `internal_channels`, a dilated one of size 3 and a 1x1 back, with ReLU between them, make of it.
    The last block's output goes to a softmax. A word is predicted from z and the 1 + 2 * sum(dilations) words before
    it alone, whence small decoders have more use for z. There is no batch normalisation: the likelihood of an
    example must not depend on the others. Without latent variable (`latent_dim` 0, z None) it is a plain language
    model.

    A range that does not depend on the size, as the LSTM's, does not suit a stack of ReLUs without gates: at the
    paper's sizes plus or minus 0.1 would make each block triple its input, and smaller sizes make blocks without
    effect. So kernels of the convolutions start in the uniform range that keeps the mean square of what they read
    (He et al. 2015), the last of each block smaller by the root of the number of blocks, so that all blocks
    together add about as much as they start from, whatever their number. Biases start at zero.

    Args:
      vocabulary_size: number of symbols.
      embedding_dim, channels, internal_channels, latent_dim: sizes; the paper has 512, 1024, 512 and 32.
      dilations: of the blocks, from the first to the last; see `DILATIONS`.
      dropout_rate: of the embedded words and of what each block's dilated convolution gives, in training.
      word_dropout_rate: share of the words read that are replaced by `unknown`, in training.
      initial_range: embedding and output kernel start uniformly in plus or minus this.
      padding: symbol that fills up short sequences at their end; it is not predicted. None if there is none.
      unknown: symbol of an unknown word.
      kernels: name in `sa_vae_tf.kernels.KERNELS`.
      seed: of the initial weights.
      dtype: float type of the weights.

    Source: Yang et al. 2017; initial weights and the places of dropout are ours.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int,
        channels: int,
        internal_channels: int,
        dilations: Sequence[int],
        latent_dim: int,
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
        self.channels, self.internal_channels, self.dilations = channels, internal_channels, tuple(dilations)
        self.dropout_rate, self.word_dropout_rate = dropout_rate, word_dropout_rate
        self.padding, self.unknown, self.kernels = padding, unknown, KERNELS[kernels]
        draw = uniform_stream(seed)

        def weight(name, *shape, limit=0.0):
            return self.add_weight(shape=shape, initializer=draw(limit), dtype=dtype, name=name)

        def block(name):
            after_relu = math.sqrt(6 / internal_channels)  # A ReLU halves the mean square.
            shapes = {
                "narrow": ((channels, internal_channels), math.sqrt(3 / channels)),
                "dilated": ((KERNEL_SIZE, internal_channels, internal_channels), after_relu / math.sqrt(KERNEL_SIZE)),
                "widen": ((internal_channels, channels), after_relu / math.sqrt(len(self.dilations))),
            }
            weights = []
            for layer, (shape, limit) in shapes.items():
                weights.append(weight(f"{name}_{layer}_kernel", *shape, limit=limit))
                weights.append(weight(f"{name}_{layer}_bias", shape[-1]))
            return Block(*weights)

        side_by_side = math.sqrt(3 / (embedding_dim + latent_dim))
        self.embedding = weight("embedding", vocabulary_size, embedding_dim, limit=initial_range)
        self.word_kernel = weight("word_kernel", embedding_dim, channels, limit=side_by_side)
        self.bias = weight("bias", channels)
        if latent_dim:
            self.latent_kernel = weight("latent_kernel", latent_dim, channels, limit=side_by_side)
        self.blocks = [block(f"block_{k}") for k in range(len(self.dilations))]
        self.output_kernel = weight("output_kernel", channels, vocabulary_size, limit=initial_range)
        self.output_bias = weight("output_bias", vocabulary_size)
        self.built = True

    def prepare(self, tokens: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> DilatedCNNContext:
        """Embeds and projects the words of `tokens`, int [batch, time + 1], each of which but the first is predicted.

        The dropout of the embedded words is here, so all refinement steps of a training step share its mask.
        """
        words = word_dropout(tokens[:, :-1], self.word_dropout_rate, self.unknown, training, seed)
        targets = tokens[:, 1:]
        softmax = self.kernels.softmax_weights(self.output_kernel.value, self.output_bias.value, targets)
        return DilatedCNNContext(self._project(words, training, seed), targets, softmax)

    def negative_log_likelihood(
        self, z: tf.Tensor | None, context: DilatedCNNContext, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns -log p(words | z) in nats, [batch], summed over the words."""
        states = self.states(z, context, training, seed)
        losses = self.kernels.word_nll(states, context.softmax)
        if self.padding is not None:
            losses = tf.where(context.targets == self.padding, tf.zeros_like(losses), losses)
        return tf.reduce_sum(losses, 1)

    def states(
        self, z: tf.Tensor | None, context: DilatedCNNContext, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns what the softmax reads at each word, [batch, time, channels]."""
        state = self.start(z, tf.shape(context.projected)[0])
        return self._run_blocks(context.projected + state.latent[:, None], state.pasts, training, seed)[0]

    def start(self, z: tf.Tensor | None, batch_size: int | tf.Tensor) -> DilatedCNNState:
        """Returns the state before the first word, for z [batch, latent] or None."""

        def zeros(*shape):
            return tf.zeros([batch_size, *shape], self.compute_dtype)

        latent = zeros(self.channels) if z is None else z @ self.latent_kernel.value
        past = KERNEL_SIZE - 1
        return DilatedCNNState(latent, tuple(zeros(past * d, self.internal_channels) for d in self.dilations))

    def step(self, words: tf.Tensor, state: DilatedCNNState) -> tuple[tf.Tensor, DilatedCNNState]:
        """Reads one word.

        Args:
          words: int [batch].
          state: of `start` or of the step before.

        Returns:
          The scores of all symbols as the next word, [batch, vocabulary], and the next state.
        """
        projected = self._project(words[:, None], False, None) + state.latent[:, None]
        states, pasts = self._run_blocks(projected, state.pasts, False, None)
        return states[:, 0] @ self.output_kernel.value + self.output_bias.value, DilatedCNNState(state.latent, pasts)

    def _project(self, words: tf.Tensor, training: bool, seed: tf.Tensor | None) -> tf.Tensor:
        embedded = dropout(tf.gather(self.embedding.value, words), self.dropout_rate, training, seed)
        return _affine(embedded, self.word_kernel, self.bias)

    def _run_blocks(
        self, states: tf.Tensor, pasts: Sequence[tf.Tensor], training: bool, seed: tf.Tensor | None
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Returns the last block's output at each of the words, and the inputs that later words will look back to."""
        count, next_pasts = len(self.blocks), []
        seeds = [None] * count if seed is None else tf.unstack(tf.random.split(seed, count, alg=GENERATOR))
        for block, dilation, past, block_seed in zip(self.blocks, self.dilations, pasts, seeds, strict=True):
            narrow = tf.nn.relu(_affine(states, block.narrow_kernel, block.narrow_bias))
            narrow = tf.concat([past, narrow], 1)
            convolved = causal_convolution(narrow, block.dilated_kernel.value, dilation) + block.dilated_bias.value
            convolved = dropout(tf.nn.relu(convolved), self.dropout_rate, training, block_seed)
            states = states + _affine(convolved, block.widen_kernel, block.widen_bias)
            next_pasts.append(narrow[:, -(KERNEL_SIZE - 1) * dilation :])
        return states, tuple(next_pasts)


def _affine(x: tf.Tensor, kernel: keras.Variable, bias: keras.Variable) -> tf.Tensor:
    return tf.tensordot(x, kernel.value, 1) + bias.value

"""Words drawn from a decoder one after the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sa_vae_tf.inference.draws import GENERATOR, example_numbers, gumbel_noise_per_example

# Below this temperature the most probable word is as good as certain, and the division could overflow.
COLDEST = 1e-6


@dataclasses.dataclass(frozen=True)
class Symbols:
    """The words of a vocabulary that generation treats in their own way, by number.

    Attributes:
      pad: stands after the end.
      start: read before the first word.
      end: the last word of an example.
      forbidden: words that are never written, such as padding, start and the unknown word.
    """

    pad: int
    start: int
    end: int
    forbidden: tuple[int, ...] = ()

    def __post_init__(self):
        if self.end in self.forbidden:
            raise ValueError(f"forbidden={self.forbidden}: expected words other than the end, {self.end}")


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How words are drawn.

    Attributes:
      max_length: largest number of words of an example, its end included.
      temperature: divides the logits; 0 for the most probable word.
      top_k: number of most probable words among which is drawn; 0 for all.
      top_p: probability, in (0, 1], that the words among which is drawn have together at least; 1 for all.
    """

    max_length: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if self.max_length < 1:
            raise ValueError(f"max_length={self.max_length}: expected at least 1")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature={self.temperature}: expected a finite number that is not negative")
        if self.top_k < 0:
            raise ValueError(f"top_k={self.top_k}: expected a number that is not negative")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: expected a number in (0, 1]")


class Generated(NamedTuple):
    """Generated text.

    Attributes:
      tokens: int32 [batch, max_length], words up to the end, if it was reached, then padding.
      log_probability: float32 [batch], log p(tokens | z) of the decoder as it is, in nats: no word forbidden,
        temperature 1. Of an example without end it is that of its words as a beginning.
    """

    tokens: tf.Tensor
    log_probability: tf.Tensor


def forbid(logits: tf.Tensor, forbidden: Sequence[int]) -> tf.Tensor:
    """Returns the logits, [batch, vocabulary], with minus infinity for the forbidden words."""
    return tf.where(np.isin(np.arange(logits.shape[-1]), forbidden), -np.inf, logits)


def filter_logits(
    logits: tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    forbidden: Sequence[int] = (),
) -> tf.Tensor:
    """Returns logits of the distribution that is drawn from: forbids, divides, keeps the top k, then their nucleus.

    Of equally probable words those with lower numbers are kept first.

    Args:
      logits: float [batch, vocabulary], the vocabulary's size known.
      temperature, top_k, top_p: see `SamplingSettings`. The nucleus is the smallest set of most probable words, of
        those that the steps before it left, with probability at least `top_p`.
      forbidden: words that are never drawn; at least one word must be left.

    Returns:
      [batch, vocabulary], minus infinity for the words left out.

    Source: Fan et al. 2018, Hierarchical neural story generation (top k); Holtzman et al. 2020, The curious case of
    neural text degeneration (nucleus).
    """
    vocabulary = logits.shape[-1]
    logits = forbid(logits, forbidden)
    temperature = tf.convert_to_tensor(temperature, logits.dtype)
    cold = temperature < COLDEST
    best = tf.one_hot(tf.argmax(logits, -1), vocabulary, True, False)
    logits = tf.where(
        cold, tf.where(best, logits, -np.inf), logits / tf.where(cold, tf.ones_like(temperature), temperature)
    )
    if not top_k and top_p == 1:
        return logits
    kept, words = tf.math.top_k(logits, min(top_k or vocabulary, vocabulary))
    if top_p < 1:
        before = tf.cumsum(tf.nn.softmax(kept), -1, exclusive=True)
        kept = tf.where(before < top_p, kept, -np.inf)
    rows = tf.zeros_like(words) + tf.range(tf.shape(words)[0])[:, None]
    nothing = tf.fill(tf.shape(logits), tf.constant(-np.inf, logits.dtype))
    return tf.tensor_scatter_nd_update(nothing, tf.stack([rows, words], -1), kept)


def sample(
    decoder: Any,
    z: tf.Tensor | None,
    index: tf.Tensor,
    symbols: Symbols,
    settings: SamplingSettings,
    seed: tf.Tensor,
) -> Generated:
    """Draws one text for each example.

    A word is a function of the seed, the example's index, the words before it and z, and of no other example.

    Args:
      decoder: has `start` and `step`; see `sa_vae_tf.models`.
      z: [batch, latent], or None for a decoder without latent variable.
      index: int64 [batch], the number of each example.
      symbols: of the vocabulary.
      settings: of the draws.
      seed: int32 [2].

    Returns:
      A `Generated`.

    Raises:
      ValueError: if `index` is not an int64 vector or its length is not that of `z`.
    """
    z = None if z is None else tf.convert_to_tensor(z)
    return _sample(decoder, z, example_numbers(index, z), symbols, settings, tf.convert_to_tensor(seed, tf.int32))


@tf.function(autograph=False, reduce_retracing=True)
def _sample(decoder, z, index, symbols, settings, seed):
    return sample_in_graph(decoder, z, index, symbols, seed, **dataclasses.asdict(settings))


def sample_in_graph(
    decoder: Any,
    z: tf.Tensor | None,
    index: tf.Tensor,
    symbols: Symbols,
    seed: tf.Tensor,
    max_length: int | tf.Tensor,
    temperature: float | tf.Tensor = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Generated:
    """Draws as `sample` does, as part of a graph in which the largest length and the temperature may be tensors."""
    batch = tf.shape(index)[0]

    def step(position, words, ended, tokens, log_probability, state):
        logits, state = decoder.step(words, state)
        logits = tf.cast(logits, tf.float32)
        allowed = filter_logits(logits, temperature, top_k, top_p, symbols.forbidden)
        noise = gumbel_noise_per_example(index, logits.shape[-1:], tf.random.fold_in(seed, position, alg=GENERATOR))
        drawn = tf.argmax(allowed + noise, -1, tf.int32)
        gained = tf.gather(tf.nn.log_softmax(logits), drawn, batch_dims=1)
        words = tf.where(ended, symbols.pad, drawn)
        log_probability += tf.where(ended, 0.0, gained)
        tokens = tf.where(tf.range(tf.cast(max_length, tf.int64)) == position, words[:, None], tokens)
        return position + 1, words, ended | (words == symbols.end), tokens, log_probability, state

    _, _, _, tokens, log_probability, _ = tf.while_loop(
        lambda position, words, ended, *_: ~tf.reduce_all(ended),
        step,
        (
            tf.constant(0, tf.int64),
            tf.fill([batch], symbols.start),
            tf.fill([batch], False),
            tf.fill([batch, max_length], symbols.pad),
            tf.zeros([batch]),
            decoder.start(z, batch),
        ),
        parallel_iterations=1,
        maximum_iterations=max_length,
    )
    return Generated(tokens, log_probability)

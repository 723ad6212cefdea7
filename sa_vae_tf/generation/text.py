"""A decoder's text in words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from sa_vae_tf.generation.beam import beam_search
from sa_vae_tf.generation.sampling import SamplingSettings, Symbols, sample


class Text(NamedTuple):
    """A text, its words separated by spaces, and log p(text | z) of the decoder as it is, in nats."""

    text: str
    log_probability: float


class TextGenerator:
    """Writes text with a decoder, by draws or by beam search.

    Args:
      decoder: has `start` and `step`; see `sa_vae_tf.models`.
      vocabulary: its words.
      settings: of the draws; of them a beam search takes the largest length alone.
      beam: number of beginnings kept by beam search; 0 to draw.
      no_unknown: never write the unknown word.
    """

    def __init__(
        self,
        decoder: Any,
        vocabulary: Vocabulary,
        settings: SamplingSettings,
        beam: int = 0,
        no_unknown: bool = False,
    ):
        self.decoder, self.vocabulary, self.settings, self.beam = decoder, vocabulary, settings, beam
        unknown = {UNKNOWN, vocabulary.unknown_id} if no_unknown else set()
        self.symbols = Symbols(PAD, START, END, forbidden=tuple(sorted({PAD, START} | unknown)))

    def __call__(self, z: tf.Tensor | None, index: np.ndarray, seed: tuple[int, int]) -> list[Text]:
        """Writes one text for each example.

        Args:
          z: [batch, latent], or None for a decoder without latent variable.
          index: int64 [batch], the number of each example; its draws depend on it and on the seed alone.
          seed: of the draws.
        """
        if self.beam:
            length = self.settings.max_length
            generated = beam_search(self.decoder, z, len(index), self.symbols, self.beam, length)
        else:
            generated = sample(self.decoder, z, index, self.symbols, self.settings, tf.constant(seed))
        rows = zip(generated.tokens.numpy(), generated.log_probability.numpy(), strict=True)
        return [Text(self.vocabulary.decode(tokens), float(log_probability)) for tokens, log_probability in rows]

"""Sentences to ids and back within a graph, word for word as `sa_vae_tf.data.vocabulary` does it in Python."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.data.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary

# What Python's str.split() splits at; tf.strings.split knows the spaces of ASCII alone.
SPACES = r"[\x09-\x0d\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]+"


class Encoded(NamedTuple):
    """Sentences as ids.

    Attributes:
      tokens: int32 [batch, time], `<s> words </s>`, then padding.
      words: int32 [batch], number of words of each.
      unknown: int32 [batch], number of those that the vocabulary does not know.
      fingerprint: int64 [batch], a number made of the words of each.
    """

    tokens: tf.Tensor
    words: tf.Tensor
    unknown: tf.Tensor
    fingerprint: tf.Tensor


class GraphVocabulary(tf.Module):
    """A vocabulary as lookup tables, which a SavedModel keeps with their file as an asset.

    Args:
      file: that `Vocabulary.write` wrote.
      vocabulary: the words in it.
    """

    def __init__(self, file: Path, vocabulary: Vocabulary):
        super().__init__()
        columns = {"word": (tf.string, 0), "id": (tf.int64, 1)}

        def table(key: str, value: str, default):
            initializer = tf.lookup.TextFileInitializer(str(file), *columns[key], *columns[value], delimiter=" ")
            return tf.lookup.StaticHashTable(initializer, default)

        self.unknown_id = vocabulary.unknown_id
        self.ids = table("word", "id", UNKNOWN)
        self.words = table("id", "word", "")

    def encode(self, sentences: tf.Tensor) -> Encoded:
        """Splits sentences, string [batch] in UTF-8, into words and looks these up."""
        words = tf.strings.split(tf.strings.regex_replace(sentences, SPACES, " "))
        ids = tf.ragged.map_flat_values(self._look_up, words)
        column = tf.ones_like(sentences, tf.int32)[:, None]
        return Encoded(
            tf.concat([START * column, ids, END * column], 1).to_tensor(PAD),
            tf.cast(words.row_lengths(), tf.int32),
            tf.reduce_sum(tf.cast(ids == self.unknown_id, tf.int32), 1),
            tf.strings.to_hash_bucket_fast(tf.strings.reduce_join(words, -1, separator=" "), 2**63 - 1),
        )

    def _look_up(self, words: tf.Tensor) -> tf.Tensor:
        ids = tf.cast(self.ids.lookup(words), tf.int32)
        # Special symbols that occur in a text are words like any other, and not known.
        return tf.where(ids < len(SPECIAL), self.unknown_id, ids)

    def decode(self, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the words of ids, int32 [batch, time], without `<s>`, `</s>` and padding, string [batch]."""
        is_word = (tokens == UNKNOWN) | (tokens >= len(SPECIAL))
        words = self.words.lookup(tf.cast(tokens, tf.int64))
        return tf.strings.reduce_join(tf.ragged.boolean_mask(words, is_word), -1, separator=" ")

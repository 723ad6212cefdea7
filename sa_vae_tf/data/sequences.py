"""Batches of sequences of near-equal length, padded at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.pipeline import Share, endless, read_as_planned
from sa_vae_tf.data.records import Records, parts, shuffled
from sa_vae_tf.data.vocabulary import PAD

BATCH = {"x": tf.TensorSpec([None, None], tf.int32), "index": tf.TensorSpec([None], tf.int64)}


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceSplit:
    """One split of a corpus of sequences, with the face of `pipeline.Split`.

    Attributes:
      records: the examples, of each {"tokens": numbers of words}.
      lengths: of the first of them, those that are in the split, [count].
      length_multiple: sequences are padded to a multiple of it, which bounds the number of shapes to compile for.
    """

    records: Records
    lengths: np.ndarray
    length_multiple: int = 8

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.lengths)

    def take(self, count: int) -> SequenceSplit:
        """Returns the first `count` examples, or all of them for 0."""
        return dataclasses.replace(self, lengths=self.lengths[: count or None])

    def padded_to(self, length_multiple: int) -> SequenceSplit:
        """Returns the same examples, padded to a multiple of another length."""
        return dataclasses.replace(self, length_multiple=length_multiple)

    def steps(self, batch_size: int) -> int:
        """Returns the number of batches in which every example occurs once."""
        return sum(-(-len(part) // batch_size) for part in parts(range(self.count)))

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Returns batches of all examples, each once, in each part of the records from the shortest to the longest."""

        def plan() -> Iterator[tuple[np.ndarray, int]]:
            for part in parts(range(self.count)):
                yield from self._cut(np.arange(part.start, part.stop), batch_size)

        return read_as_planned(plan, self._read, BATCH["x"], self.steps(batch_size))

    def shuffled(self, batch_size: int, seed: int, start: int, share: Share | None = None) -> tf.data.Dataset:
        """Returns endless batches, each epoch other ones in another order, without the first `start` of them.

        The batch at a given position depends on the seed and the position alone, so that a run that was stopped
        goes on with the batches it had not seen. Examples are shuffled within a part of the records, and the parts.
        For `share` see `pipeline.Split`.
        """

        def epoch(number: int) -> Iterator[tuple[np.ndarray, int]]:
            random = np.random.default_rng([seed, number])
            for part in shuffled(parts(range(self.count)), random):
                yield from shuffled(self._cut(part.start + random.permutation(len(part)), batch_size), random)

        def plan() -> Iterator[tuple[np.ndarray, int]]:
            return endless(epoch, self.steps(batch_size), start)

        return read_as_planned(plan, self._read, BATCH["x"], tf.data.INFINITE_CARDINALITY, share)

    def _padded(self, lengths: np.ndarray) -> np.ndarray:
        return -(-lengths // self.length_multiple) * self.length_multiple

    def _cut(self, order: np.ndarray, batch_size: int) -> list[tuple[np.ndarray, int]]:
        """Returns the numbers of examples of like padded length, and the greatest one, of each batch.

        Examples of the same length keep their order. The last batch may be smaller.
        """
        padded = self._padded(self.lengths[order])
        by_length = np.argsort(padded, kind="stable")
        batches = (by_length[i : i + batch_size] for i in range(0, len(order), batch_size))
        return [(order[batch], int(padded[batch[-1]])) for batch in batches]

    def _read(self, numbers: np.ndarray, length: int) -> np.ndarray:
        x = np.full([len(numbers), length], PAD, np.int32)
        for row, number, example in zip(x, numbers, self.records.__getitems__(numbers.tolist()), strict=True):
            tokens = example["tokens"]
            if len(tokens) != self.lengths[number]:
                raise self.records.damaged(number)
            row[: len(tokens)] = tokens
        return x

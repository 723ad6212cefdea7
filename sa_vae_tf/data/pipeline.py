"""Batches for training and evaluation, from any data set of examples."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

SPLITS = ("train", "validation", "test")
# Examples that are shuffled among each other: all of a small corpus.
SHUFFLE_BUFFER = 100_000
# What a batch that is shared has beside those that are not.
FIRST = {"first": tf.TensorSpec([], tf.int32)}

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Share:
    """Which rows of each batch are read: those of one of several workers.

    Attributes:
      number: of the worker.
      count: of workers.
    """

    number: int
    count: int

    def rows(self, batch: int) -> slice:
        """Returns the rows of this worker in a batch of so many.

        A batch is cut in as many equal parts as divide both it and the workers, so that each is read equally often.
        """
        parts = math.gcd(batch, self.count)
        size = batch // parts
        return slice(self.number % parts * size, (self.number % parts + 1) * size)


def made_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the batches, two of which are made while the one before is computed with.

    TensorFlow's tuning has nothing to choose here, and an iterator that it watches waits for the tuner before it is
    deleted: after each epoch and at the end of a program.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


def endless(epoch: Callable[[int], Iterable[T]], steps: int, start: int) -> Iterator[T]:
    """Returns what all epochs have, one after the other, without the first `start` of them.

    Args:
      epoch: function of the number of an epoch, from 0, to what it has.
      steps: how much that is.
      start: how many to leave out.
    """
    first, passed = divmod(start, steps)
    return itertools.islice(itertools.chain.from_iterable(map(epoch, itertools.count(first))), passed, None)


def read_as_planned(
    plan: Callable[[], Iterable[tuple[np.ndarray, T]]],
    read: Callable[[np.ndarray, T], np.ndarray],
    x: tf.TensorSpec,
    count: int,
    share: Share | None = None,
) -> tf.data.Dataset:
    """Returns batches of examples that are read by number.

    Args:
      plan: makes, for each batch, the numbers of its examples and what else is needed to read them.
      read: function of some of the numbers, and that, to `x` of these examples.
      x: its type and shape.
      count: number of batches.
      share: the rows to read; see `Split.shuffled`.
    """

    def batches() -> Iterator[dict[str, Any]]:
        for index, how in plan():
            rows = share.rows(len(index)) if share else slice(0, len(index))
            yield {"x": read(index[rows], how), "index": index, **({"first": rows.start} if share else {})}

    batch = {"x": x, "index": tf.TensorSpec([None], tf.int64), **(FIRST if share else {})}
    data = tf.data.Dataset.from_generator(batches, output_signature=batch)
    return made_ahead(data.apply(tf.data.experimental.assert_cardinality(count)))


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a corpus.

    Attributes:
      examples: data set of what encoder and decoder read, one example an element, always in the same order.
      count: number of its examples.
    """

    examples: tf.data.Dataset
    count: int

    def take(self, count: int) -> Split:
        """Returns the first `count` examples, or all of them for 0."""
        return Split(self.examples.take(count), min(count, self.count)) if count else self

    def steps(self, batch_size: int) -> int:
        """Returns the number of batches in which every example occurs once."""
        return -(-self.count // batch_size)

    def _numbered(self) -> tf.data.Dataset:
        return self.examples.enumerate().map(lambda index, x: {"x": x, "index": index})

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Returns batches of all examples in order."""
        return made_ahead(self._numbered().batch(batch_size))

    def shuffled(self, batch_size: int, seed: int, start: int, share: Share | None = None) -> tf.data.Dataset:
        """Returns endless batches, each epoch in an order of its own, without the first `start` of them.

        The batch at a given position depends on the seed and the position alone, so that a run that was stopped
        goes on with the batches it had not seen.

        Args:
          batch_size: examples in a batch.
          seed: of the orders.
          start: position of the first batch.
          share: the rows to read; None for all. `index` has all of a batch, `x` those rows, and `first` is the number
            of the first of them.
        """
        steps = self.steps(batch_size)
        numbered = self._numbered().cache()

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            # Of this function's graph: TensorFlow mixes it into every seed, and fails where it takes it for 0.
            tf.random.set_seed(seed % (2**31 - 1) or 2**32)
            order = tf.random.split(tf.stack([tf.constant(seed, tf.int64), number]), 1)[0]
            shuffled = numbered.shuffle(SHUFFLE_BUFFER, seed=order[0], reshuffle_each_iteration=False)
            return shuffled.batch(batch_size)

        def shared(batch: dict[str, Any]) -> dict[str, Any]:
            assert share
            # The last batch of an epoch may be smaller than the others.
            whole, last = (share.rows(size) for size in (batch_size, self.count % batch_size or batch_size))
            is_whole = tf.shape(batch["index"])[0] == batch_size
            first, stop = (tf.where(is_whole, a, b) for a, b in ((whole.start, last.start), (whole.stop, last.stop)))
            return {**batch, "x": batch["x"][first:stop], "first": first}

        epochs = tf.data.Dataset.counter(start // steps).flat_map(epoch).skip(start % steps)
        return made_ahead(epochs.map(shared) if share else epochs)

"""Batches for training and evaluation, from any data set of examples."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

# Examples that are shuffled among each other: all of a small corpus.
SHUFFLE_BUFFER = 100_000


def made_ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the batches, two of which are made while the one before is computed with.

    TensorFlow's tuning has nothing to choose here, and an iterator that it watches waits, before it is deleted, as long
    again as it was in use, up to a minute: after each epoch and at the end of a program.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(2).with_options(options)


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

    def shuffled(self, batch_size: int, seed: int, start: int) -> tf.data.Dataset:
        """Returns endless batches, each epoch in an order of its own, without the first `start` of them.

        The batch at a given position depends on the seed and the position alone, so that a run that was stopped
        goes on with the batches it had not seen.
        """
        steps = self.steps(batch_size)
        numbered = self._numbered().cache()

        def epoch(number: tf.Tensor) -> tf.data.Dataset:
            # Of this function's graph: TensorFlow mixes it into every seed, and fails where it takes it for 0.
            tf.random.set_seed(seed % (2**31 - 1) or 2**32)
            order = tf.random.split(tf.stack([tf.constant(seed, tf.int64), number]), 1)[0]
            shuffled = numbered.shuffle(SHUFFLE_BUFFER, seed=order[0], reshuffle_each_iteration=False)
            return shuffled.batch(batch_size)

        epochs = tf.data.Dataset.counter(start // steps).flat_map(epoch)
        return made_ahead(epochs.skip(start % steps))

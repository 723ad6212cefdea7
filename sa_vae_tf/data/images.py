"""Batches of binary images, drawn from intensities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.pipeline import SPLITS, Share, endless, read_as_planned
from sa_vae_tf.data.records import parts, shuffled

# Training images that are held out (section 4.3), or a tenth of fewer than 20,000.
VALIDATION_IMAGES = 2000


class Intensities(Protocol):
    """Grey images in [0, 1], which are had by number, as those of an array are."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(count, height, width, 1)."""

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the images of these numbers, float32 [numbers, height, width, 1]."""


@dataclasses.dataclass(frozen=True, eq=False)
class ImageSplit:
    """One split of a corpus of images, with the face of `pipeline.Split`.

    An example is a binary image, each pixel drawn with its intensity as the probability of a one. Batches in order
    hold one draw, batches for training another in each epoch; a draw is a function of seed, split, epoch and index.

    Attributes:
      intensities: of these images and perhaps of others.
      numbers: which of them are in the split, ascending.
      seed: of the one draw.
      number: of the split among those of its corpus.
    """

    intensities: Intensities
    numbers: np.ndarray
    seed: int
    number: int

    @property
    def count(self) -> int:
        """Number of examples."""
        return len(self.numbers)

    def take(self, count: int) -> ImageSplit:
        """Returns the first `count` examples, or all of them for 0."""
        return dataclasses.replace(self, numbers=self.numbers[: count or None])

    def steps(self, batch_size: int) -> int:
        """Returns the number of batches in which every example occurs once."""
        return sum(-(-len(part) // batch_size) for part in parts(self.numbers))

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Returns batches of all examples in order, the same each time."""

        def plan() -> Iterator[tuple[np.ndarray, list[int]]]:
            for part in parts(self.numbers):
                for index in _cut(np.arange(part.start, part.stop), batch_size):
                    yield index, [self.seed, self.number, 0]

        return self._batches(plan, self.steps(batch_size))

    def shuffled(self, batch_size: int, seed: int, start: int, share: Share | None = None) -> tf.data.Dataset:
        """Returns endless batches, each epoch drawn and ordered anew, without the first `start` of them.

        The batch at a given position depends on the seed and the position alone, so that a run that was stopped
        goes on with the batches it had not seen. Examples are shuffled within a part of the records, and the parts.
        For `share` see `pipeline.Split`.
        """

        def epoch(number: int) -> Iterator[tuple[np.ndarray, list[int]]]:
            random = np.random.default_rng([seed, number])
            for part in shuffled(parts(self.numbers), random):
                for index in _cut(part.start + random.permutation(len(part)), batch_size):
                    yield index, [seed, self.number, 1 + number]

        def plan() -> Iterator[tuple[np.ndarray, list[int]]]:
            return endless(epoch, self.steps(batch_size), start)

        return self._batches(plan, tf.data.INFINITE_CARDINALITY, share)

    def _batches(
        self, plan: Callable[[], Iterator[tuple[np.ndarray, list[int]]]], count: int, share: Share | None = None
    ) -> tf.data.Dataset:
        def read(numbers: np.ndarray, seed: list[int]) -> np.ndarray:
            images = zip(self.intensities[self.numbers[numbers]], numbers, strict=True)
            return np.stack([binary(image, [*seed, i]) for image, i in images])

        x = tf.TensorSpec([None, *self.intensities.shape[1:]], tf.uint8)
        return read_as_planned(plan, read, x, count, share)


def binary(intensities: np.ndarray, seed: list[int]) -> np.ndarray:
    """Draws an image of zeros and ones, uint8, each pixel one with the probability of its intensity."""
    # A sequence of seeds is padded with zeros: the same number of them each time tells all apart.
    return (np.random.default_rng(seed).random(intensities.shape, np.float32) < intensities).astype(np.uint8)


def _cut(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def image_splits(images: Mapping[str, Intensities], seed: int) -> dict[str, ImageSplit]:
    """Returns the splits of a corpus, with validation images held out of those for training.

    Args:
      images: 'train', at least two, or 'test' or both.
      seed: of the choice of validation images, and of the one draw of each split.
    """
    chosen = {name: (of_split, np.arange(of_split.shape[0])) for name, of_split in images.items()}
    if "train" in images:
        count = images["train"].shape[0]
        held_out = min(VALIDATION_IMAGES, max(1, count // 10))
        order = np.random.default_rng(seed).permutation(count)
        chosen["train"] = images["train"], np.sort(order[held_out:])
        chosen["validation"] = images["train"], np.sort(order[:held_out])
    return {name: ImageSplit(*part, seed, SPLITS.index(name)) for name, part in chosen.items()}

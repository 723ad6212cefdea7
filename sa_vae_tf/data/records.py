"""Prepared examples, read from disk by number; what is damaged is named."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds

from sa_vae_tf.data import manifest
from sa_vae_tf.errors import UserError

# Examples whose places on disk are known at a time: an open file takes some 60 bytes of memory for each of its records.
PART = 2**19

T = TypeVar("T")


def parts(numbers: range | np.ndarray) -> list[range]:
    """Cuts numbers of examples, in ascending order, into ranges of positions, each within one part of the records."""
    if not len(numbers):
        return []
    bounds = [bisect.bisect_left(numbers, first) for first in range(0, int(numbers[-1]) + 1, PART)]
    return [range(start, stop) for start, stop in itertools.pairwise([*bounds, len(numbers)]) if start < stop]


def shuffled(items: Sequence[T], random: np.random.Generator) -> Iterator[T]:
    """Yields items in random order."""
    return (items[i] for i in random.permutation(len(items)))


class RecordsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Prepares a corpus in a format with random access, as `Records` reads it."""

    def __init__(self, **kwargs: Any):
        super().__init__(file_format=manifest.RECORDS, **kwargs)


class Records:
    """The examples of one split of prepared data.

    A record has a checksum, which is looked at when it is read. The files of one part are open at a time, so examples
    are to be read part by part, in any order within one.

    Args:
      builder: whose data is prepared, in a format with random access.
      split: name of the split.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._builder, self._split, self._info = builder, split, builder.info.splits[split]
        self._source = functools.lru_cache(maxsize=1)(self._open)

    def __len__(self) -> int:
        return self._info.num_examples

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Returns the examples of these numbers.

        Raises:
          UserError: if one cannot be read; names its file and its number in it.
        """
        try:
            return self._read(numbers)
        except RuntimeError:  # of array_record
            bad = next(filter(self._is_damaged, numbers), None)
            if bad is None:
                raise
            raise self.damaged(bad) from None

    def _read(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        for part, of_part in itertools.groupby(sorted(numbers), lambda number: number // PART):
            own = list(of_part)
            found.update(zip(own, self._source(part).__getitems__([n - part * PART for n in own]), strict=True))
        return [found[number] for number in numbers]

    def _open(self, part: int) -> Any:
        first = part * PART
        return self._builder.as_data_source(f"{self._split}[{first}:{min(first + PART, len(self))}]")

    def _is_damaged(self, number: int) -> bool:
        try:
            self._read([number])
        except RuntimeError:
            return True
        return False

    def damaged(self, number: int) -> UserError:
        """Returns the error that says that an example is damaged."""
        ends = list(itertools.accumulate(self._info.shard_lengths))
        shard = bisect.bisect_right(ends, number)
        path, record = self._info.filepaths[shard], number - (ends[shard] - self._info.shard_lengths[shard])
        return UserError(
            f"{path}: record {record} is damaged; delete {path.parent}, and the same command prepares it anew"
        )

"""Prepared examples, read from disk by number; what is damaged is named."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from sa_vae_tf.errors import UserError


class Records:
    """The examples of one split of prepared data.

    A record has a checksum, which is looked at when it is read.

    Args:
      builder: whose data is prepared, in a format with random access.
      split: name of the split.
    """

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._info = builder.info.splits[split]
        self._source = builder.as_data_source(split)

    def __len__(self) -> int:
        return self._info.num_examples

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Returns the examples of these numbers.

        Raises:
          UserError: if one cannot be read; names its file and its number in it.
        """
        try:
            return self._source.__getitems__(numbers)
        except RuntimeError:  # of array_record
            raise self.damaged(next(filter(self._is_damaged, numbers), numbers[0])) from None

    def _is_damaged(self, number: int) -> bool:
        try:
            self._source.__getitems__([number])
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

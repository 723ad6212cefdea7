"""Corpora that are prepared once and used again, by runs that start at once too."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar
from unittest import mock

import requests
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.util import DownloadError
from tensorflow_datasets.core.utils import shard_utils

from sa_vae_tf import interrupts
from sa_vae_tf.data import manifest
from sa_vae_tf.errors import DISK_FULL, UserError

logger = logging.getLogger(__name__)

# TFDS keeps a gigabyte of examples in memory, several with what Python adds to short ones, and sorts what is more in a
# thousand parts, by the first bits of a 128-bit key, each part in memory. Less is enough.
BUFFER_BYTES = 8 << 20
PART_BYTES = 32 << 20
PARTS = 1000
KEY_BITS = 128
# What writes a file keeps some 80 bytes for each of its records: many files rather than large ones.
FILE_BYTES = 16 << 20

Builder = TypeVar("Builder", bound=tfds.core.DatasetBuilder)


def data_folder(data_dir: str | None) -> Path:
    """Returns where prepared data is kept: `data_dir`, or TFDS's default for None."""
    return Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()


class SourceFile(NamedTuple):
    """A file, and what changes when it does: its size in bytes and the time of its last change."""

    path: str
    size: int
    modified_ns: int


def fingerprint(path: str | Path) -> list[SourceFile]:
    """Returns a file, or the PNGs in a folder, as they are now.

    Raises:
      UserError: if there is no such file or folder, or it is a pipe or the like.
    """
    try:
        files = pngs(path) if Path(path).is_dir() else [Path(path)]
        found = [(str(file.resolve()), file.stat()) for file in files]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not all(stat.S_ISREG(status.st_mode) for _, status in found):
        raise UserError(f"{path}: is a pipe or a device; expected a file, which is read more than once")
    return [SourceFile(name, status.st_size, status.st_mtime_ns) for name, status in found]


def pngs(folder: str | Path) -> list[Path]:
    """Returns the PNGs in a folder in the order of their names."""
    return sorted(file for file in Path(folder).iterdir() if file.suffix.lower() == ".png" and file.is_file())


def prepare(
    make: Callable[[Path], Builder], data_dir: str | None, corpus: str, files: Sequence[SourceFile] = ()
) -> Builder:
    """Returns a builder whose data is prepared, now if it was not before, and is as it was then.

    Args:
      make: function (folder of prepared data) -> builder.
      data_dir: where prepared data is kept; None for TFDS's default.
      corpus: what the message that data is being prepared calls it.
      files: what it is prepared from.

    Raises:
      UserError: if there is something in its way, it cannot be downloaded, the prepared data is damaged, a file changes
        while it is read, or what the builder raises.
    """
    try:
        folder = data_folder(data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        builder = _make(make, folder, corpus)
        if manifest.exists(builder.data_path):
            manifest.check(builder.data_path)
            return builder
        # Of two runs that start at once the second waits, and finds what the first has prepared.
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            builder = _make(make, folder, corpus)
            if not manifest.exists(builder.data_path):
                logger.info("Preparing %s in %s", corpus, builder.data_path)
                # What another program has had TFDS prepare is used as it is.
                if Path(builder.data_path).exists() and not builder.is_prepared():
                    shutil.rmtree(builder.data_path, ignore_errors=True)
                    builder = _make(make, folder, corpus)
                # TFDS would speak of a download.
                tfds.disable_progress_bar()
                try:
                    quiet = contextlib.redirect_stdout(None)
                    with interrupts.raised(), quiet, _disk_full_as_os_error(), _little_memory():
                        builder.download_and_prepare()
                finally:
                    # TFDS leaves the folder of a corpus that it could not prepare; one that holds something stays.
                    with contextlib.suppress(OSError):
                        Path(builder.data_path).parent.rmdir()
                for file in files:
                    if [file] != fingerprint(file.path):
                        shutil.rmtree(builder.data_path)
                        raise UserError(f"{file.path}: changed while it was read; give the same command again")
                manifest.write(builder.data_path)
    except (requests.RequestException, DownloadError, NonMatchingChecksumError) as error:  # the first an OSError too
        raise UserError(f"{corpus}: TFDS cannot download it ({type(error).__name__}); expected a network") from None
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise UserError(f"--data_dir={data_dir or ''}: cannot write there ({error.strerror})") from None
    return builder


def key_shift(count: int, example_bytes: int) -> int:
    """Returns by how many bits to shift an example's number, so that it is a key whose parts fit into memory.

    Args:
      count: of examples, at most.
      example_bytes: size of one, roughly.
    """
    examples_in_part = max(1, PART_BYTES // example_bytes)
    # Not more parts than are needed: each is a file that stays open.
    return KEY_BITS - max((count - 1).bit_length(), (PARTS * examples_in_part).bit_length() - 1)


def _make(make: Callable[[Path], Builder], folder: Path, corpus: str) -> Builder:
    try:
        return make(folder)
    except (ParseError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{folder}: what was prepared of {corpus} is damaged ({type(error).__name__}); delete it, and the same "
            "command prepares it anew"
        ) from None


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Makes TFDS write what it is given sooner than it would, and to smaller files."""
    # The number of files is found by the class's own attribute, whatever an instance has.
    with (
        mock.patch.object(shuffle, "MAX_MEM_BUFFER_SIZE", BUFFER_BYTES),
        mock.patch.object(shard_utils.ShardConfig, "min_shard_size", FILE_BYTES),
    ):
        yield


@contextlib.contextmanager
def _disk_full_as_os_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of array_record, which gives the cause in words alone
        for code in DISK_FULL:
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code)) from None
        raise

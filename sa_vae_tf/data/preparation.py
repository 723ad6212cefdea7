"""Corpora that are prepared once and used again, by runs that start at once too."""

from __future__ import annotations

import contextlib
import fcntl
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


def manual_folder(data_dir: str | None, manual_dir: str) -> Path:
    """Returns where corpora that were downloaded by hand lie: `manual_dir`, or TFDS's place if that is empty."""
    return Path(manual_dir).expanduser() if manual_dir else data_folder(data_dir) / "downloads" / "manual"


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
    """Returns the PNGs in a folder in the order of their names, but hidden ones, as macOS leaves beside others."""
    files = (file for file in Path(folder).iterdir() if not file.name.startswith("."))
    return sorted(file for file in files if file.suffix.lower() == ".png" and file.is_file())


def prepare(
    builder: type[Builder],
    config: tfds.core.BuilderConfig | None,
    data_dir: str | None,
    corpus: str,
    files: Sequence[SourceFile] = (),
) -> Builder:
    """Returns a builder whose data is prepared, now if it was not before, and is as it was then.

    Args:
      builder: class of the builder.
      config: of the builder; None if it has none.
      data_dir: where prepared data is kept; None for TFDS's default.
      corpus: what the message that data is being prepared calls it.
      files: what it is prepared from.

    Raises:
      UserError: if there is something in its way, it cannot be downloaded, the prepared data is damaged, a file changes
        while it is read, or what the builder raises.
    """
    folder = data_folder(data_dir)
    # Where TFDS will look. A builder reads what is there when it is made, and it must have been checked by then.
    place = folder / builder.name / (config.name if config else "") / str(builder.VERSION)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not manifest.exists(place):
            # Of two runs that start at once the second waits, and finds what the first has prepared.
            with _locked(folder):
                if not manifest.exists(place):
                    logger.info("Preparing %s in %s", corpus, place)
                    _prepare(lambda: builder(config=config, data_dir=folder), place)
                    for file in files:
                        if [file] != fingerprint(file.path):
                            shutil.rmtree(place)
                            raise UserError(f"{file.path}: changed while it was read; give the same command again")
                    manifest.write(place)
    except (requests.RequestException, DownloadError, NonMatchingChecksumError) as error:  # the first an OSError too
        raise UserError(f"{corpus}: TFDS cannot download it ({type(error).__name__}); expected a network") from None
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise UserError(f"--data_dir={folder}: cannot write there ({error.strerror})") from None
    try:
        manifest.check(place)
        return builder(config=config, data_dir=folder)
    except OSError as error:
        raise UserError(f"{error.filename or place}: cannot be read ({error.strerror})") from None


def key_shift(count: int, example_bytes: int) -> int:
    """Returns by how many bits to shift an example's number, so that it is a key whose parts fit into memory.

    Args:
      count: of examples, at most.
      example_bytes: size of one, roughly.
    """
    examples_in_part = max(1, PART_BYTES // example_bytes)
    # Not more parts than are needed: each is a file that stays open.
    return KEY_BITS - max((count - 1).bit_length(), (PARTS * examples_in_part).bit_length() - 1)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("Waiting for another process that prepares data in %s", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare(make: Callable[[], tfds.core.DatasetBuilder], place: Path) -> None:
    if place.exists():
        try:
            if make().is_prepared():  # by another program; it is used as it is
                return
        except Exception as error:  # of any kind: TFDS takes what it reads to be right
            raise UserError(
                f"{place}: what was prepared there cannot be read ({type(error).__name__}); delete that folder, and "
                "the same command prepares it anew"
            ) from None
        shutil.rmtree(place, ignore_errors=True)
    builder = make()
    # TFDS would speak of a download.
    tfds.disable_progress_bar()
    try:
        with interrupts.raised(), contextlib.redirect_stdout(None), _disk_full_as_os_error(), _little_memory():
            builder.download_and_prepare()
    finally:
        # TFDS leaves the folder of a corpus that it could not prepare; one that holds something stays.
        with contextlib.suppress(OSError):
            place.parent.rmdir()


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

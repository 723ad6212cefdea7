"""Corpora that are prepared once and used again, by runs that start at once too."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import requests
import tensorflow_datasets as tfds

from sa_vae_tf.errors import DISK_FULL, UserError

logger = logging.getLogger(__name__)

Builder = TypeVar("Builder", bound=tfds.core.DatasetBuilder)


def data_folder(data_dir: str | None) -> Path:
    """Returns where prepared data is kept: `data_dir`, or TFDS's default for None."""
    return Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()


def fingerprint(path: str | Path) -> list[tuple[str, int, int]]:
    """Returns what changes when a file, or one of those in a folder, does.

    Raises:
      UserError: if there is no such file or folder.
    """
    try:
        files = sorted(Path(path).iterdir()) if Path(path).is_dir() else [Path(path)]
        found = [(str(file.resolve()), file.stat()) for file in files]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


def prepare(make: Callable[[Path], Builder], data_dir: str | None, corpus: str) -> Builder:
    """Returns a builder whose data is prepared, now if it was not before.

    Args:
      make: function (folder of prepared data) -> builder.
      data_dir: where prepared data is kept; None for TFDS's default.
      corpus: what the message that data is being prepared calls it.

    Raises:
      UserError: if there is something in its way, it cannot be downloaded, or what the builder raises.
    """
    try:
        folder = data_folder(data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        builder = make(folder)
        if builder.is_prepared():
            return builder
        # Of two runs that start at once the second waits, and finds what the first has prepared.
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            builder = make(folder)
            if not builder.is_prepared():
                logger.info("Preparing %s in %s", corpus, builder.data_path)
                # TFDS would speak of a download.
                tfds.disable_progress_bar()
                with contextlib.redirect_stdout(None), _disk_full_as_os_error():
                    builder.download_and_prepare()
    except requests.RequestException as error:  # an OSError too
        raise UserError(f"{corpus}: TFDS cannot download it ({type(error).__name__}); expected a network") from None
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise UserError(f"--data_dir={data_dir or ''}: cannot write there ({error.strerror})") from None
    return builder


@contextlib.contextmanager
def _disk_full_as_os_error() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of array_record, which gives the cause in words alone
        for code in DISK_FULL:
            if os.strerror(code) in str(error):
                raise OSError(code, os.strerror(code)) from None
        raise

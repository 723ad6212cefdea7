"""The files that a run's data was read from: one that changes is noticed, one that was moved may be given anew."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sa_vae_tf.checksums import sha256
from sa_vae_tf.data.preparation import fingerprint
from sa_vae_tf.errors import UserError
from sa_vae_tf.files import write_atomically

if TYPE_CHECKING:
    from sa_vae_tf.training.config import Config
    from sa_vae_tf.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

# What --test_file named is written down as. It may be any file, and in each evaluation another.
TEST_FILE = "test_file"
# Settings that name a file, and what it is written down as.
FILES = {
    "train_file": "train",
    "val_file": "validation",
    "data_file": "train",
    "vocab_file": "vocabulary",
    "test_file": TEST_FILE,
}


def check_sources(run: RunFolder, sources: Mapping[str, str]) -> dict[str, Any]:
    """Checks that what a run's data was read from is still the same, where that was written down.

    A file that was written anew with the same content is the same.

    Args:
      run: folder of the run.
      sources: path of a file or folder by split.

    Returns:
      What is to be written down, by `write_sources`.

    Raises:
      UserError: if one has changed; names it.
    """
    before = _before(run)
    if not before and run.is_begun() and _file(run).exists():
        logger.warning("%s: is damaged: whether the run's files have changed since it began is not known", _file(run))
    now = {split: _state(source, before.get(split, {})) for split, source in sources.items()}
    for split, state in now.items():
        if split in before and before[split]["sha256"] != state["sha256"]:
            raise UserError(
                f"{sources[split]}: holds something else than when the run in --{run.flag}={run.path} began "
                f"({before[split]['bytes']:,} bytes then, {state['bytes']:,} now); expected what it was, or another run"
            )
    return now


def check_test_file(run: RunFolder, test_file: str) -> dict[str, Any]:
    """Returns what is to be written down of the file that --test_file names, nothing if it names none.

    Raises:
      UserError: if it cannot be read.
    """
    if not test_file:
        return {}
    try:
        return {TEST_FILE: _state(test_file, _before(run).get(TEST_FILE, {}))}
    except UserError as error:
        raise UserError(f"--test_file={error}") from None


def write_sources(run: RunFolder, states: Mapping[str, Any]) -> None:
    """Writes down what the checks above returned."""
    if states and states != _before(run):
        write_atomically(_file(run), json.dumps(states, indent=2) + "\n")


def check_kept_sources(run: RunFolder) -> None:
    """Checks, as `check_sources`, what is still where it was when that was written down."""
    paths = {split: state.get("path") for split, state in _before(run).items() if split != TEST_FILE}
    check_sources(run, {split: path for split, path in paths.items() if isinstance(path, str) and os.path.exists(path)})


def moved(run: RunFolder, there: Config, here: Config) -> Config:
    """Returns the settings of a run with the places of its files that other settings have, where these hold the same.

    Args:
      run: its folder.
      there: settings of the run.
      here: the other settings.

    Raises:
      UserError: if one of the places cannot be read.
    """
    before = _before(run)
    places: dict[str, Any] = {}
    for name, source in FILES.items():
        old, new = getattr(there, name), getattr(here, name)
        if old and new and old != new and source in before:
            try:
                state = _state(new, before[source])
            except UserError as error:
                raise UserError(f"--{name}={error}") from None
            # What lies at the old place, in other words, and has changed is told of where it is read.
            if state["sha256"] == before[source]["sha256"] or state["path"] == before[source].get("path"):
                places[name] = new
    return dataclasses.replace(there, **places)


def from_anywhere(run: RunFolder, config: Config) -> Config:
    """Returns the settings of a run with its files at the places where it read them, if they are still there.

    The names that it was given may be of the folder in which it was trained, which need not be this one. A file of
    another name, as somebody may have written into its flags.txt, is another.
    """
    before = _before(run)
    places: dict[str, Any] = {}
    for name, source in FILES.items():
        kept = before.get(source, {}).get("path")
        given = getattr(config, name)
        same = isinstance(kept, str) and Path(kept).name == Path(given).name and os.path.exists(kept)
        if given and same and not os.path.isabs(given):
            places[name] = kept
    return dataclasses.replace(config, **places)


@contextlib.contextmanager
def explaining_moved_files(run: RunFolder) -> Iterator[None]:
    """Adds, to an error that a file of a run is not there, what is to be done."""
    try:
        yield
    except UserError as error:
        config = run.read_config()
        own = tuple(f"--{name}={getattr(config, name)}: " for name in FILES)
        if os.strerror(errno.ENOENT) in str(error) and str(error).startswith(own):
            raise UserError(f"{error}; if it was moved, write its new place into {run.flags_file}") from None
        raise


def _file(run: RunFolder) -> Path:
    return run.path / "sources.json"


def _before(run: RunFolder) -> dict[str, Any]:
    """Returns what was written down, nothing if it is missing or damaged: it is a help, not part of the run."""
    if not run.is_begun():
        return {}
    try:
        read = json.loads(_file(run).read_text(encoding="utf-8"))
        return read if all({"bytes", "modified_ns", "sha256"} <= state.keys() for state in read.values()) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def _state(source: str, before: Mapping[str, Any]) -> dict[str, Any]:
    files = fingerprint(source)
    if not files:
        raise UserError(f"{source}: is a folder without .png files; expected what the data is to be read from")
    state: dict[str, Any] = {"path": os.path.abspath(source), "bytes": sum(file.size for file in files)}
    state["modified_ns"] = max(file.modified_ns for file in files)
    if all(before.get(name) == value for name, value in state.items()):
        return dict(before)
    return {**state, "sha256": sha256(*(file.path for file in files))}

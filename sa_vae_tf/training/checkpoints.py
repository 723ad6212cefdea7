"""The checkpoints of a run, in TensorFlow's format: the latest, and the best on the validation bound."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.run_folder import RunFolder

logger = logging.getLogger(__name__)

FOOTER = 48  # bytes at the end of an index


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Gives Python's error for a file that may not grow: Keras takes TensorFlow's for the end of the data."""
    try:
        yield
    except tf.errors.OutOfRangeError as error:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path)) from error


class Checkpoints:
    """The checkpoints of a run: the latest ones and the best.

    TensorFlow's format has a checksum for each tensor and for their index, so that a damaged file is noticed when it
    is read; the end of the index, which has none, and that a checkpoint is of its step, are checked here. What is in a
    folder is what counts: there is no list of checkpoints beside it that could be lost or disagree.

    Args:
      run: folder of the run.
      model: compiled model, with its optimiser built.
      state: further variables by name, of the callbacks.
    """

    def __init__(self, run: RunFolder, model: LatentVariableModel, state: Mapping[str, tf.Variable] | None = None):
        self.model = model
        metrics = [v for metric in model.metrics for v in metric.variables]
        self.metrics = _numbered("metrics", metrics)
        self.weights = {"step": model.step, **_numbered("weights", model.weights)}
        self.training = {
            **self.weights,
            **_numbered("optimizer", model.optimizer.variables),
            **self.metrics,
            **{f"state/{name}": variable for name, variable in (state or {}).items()},
            "skipped": model.skipped,
        }
        self.latest = run.path / "checkpoints" / "latest"
        self.best = run.path / "checkpoints" / "best"

    def save(self) -> Path:
        """Saves the state of training among the latest three, and returns its path."""
        return _save(self.training, self.latest, int(self.model.step), keep=3)

    def save_best(self) -> Path:
        """Saves the weights among the two that were last best, and returns their path."""
        return _save(self.weights, self.best, int(self.model.step), keep=2)

    def restore_latest(self) -> bool:
        """Restores the newest checkpoint that can be read, and returns whether there was one.

        Raises:
          UserError: if there are checkpoints and none can be read.
        """
        return _restore_newest(self.training, self.latest, "begin anew in another folder")

    def restore_best(self) -> bool:
        """Restores the weights with the best validation bound, or if there are none the latest.

        Raises:
          UserError: if there are checkpoints and none can be read.
        """
        best = _restore_newest(self.weights, self.best, "delete this folder for the latest one")
        return best or _restore_newest(self.weights, self.latest, "train in another folder")


def _numbered(group: str, variables: Sequence[keras.Variable]) -> dict[str, tf.Variable]:
    """Names variables by their place: Keras's paths are neither unique nor the same in every process."""
    return {f"{group}/{i}": variable.value for i, variable in enumerate(variables)}


def _save(variables: Mapping[str, tf.Variable], folder: Path, number: int, keep: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"ckpt-{number}"
    # Files get their names when they are whole, the index last.
    with writing(path):
        tf.raw_ops.SaveV2(
            prefix=str(path),
            tensor_names=list(variables),
            shape_and_slices=[""] * len(variables),
            tensors=[variable.value() for variable in variables.values()],
        )
    # All else goes: older ones, damaged ones from before a fallback, and what a killed process left half written.
    kept = [n for n in _numbers(folder) if n <= number][-keep:]
    for old in folder.glob("ckpt-*"):
        number_of = re.match(r"ckpt-([0-9]+)\.", old.name)
        if number_of and int(number_of[1]) not in kept:
            old.unlink()
    return path


def _numbers(folder: Path) -> list[int]:
    """Returns the numbers of a folder's checkpoints from oldest to newest."""
    matches = (re.fullmatch(r"ckpt-([0-9]+)\.index", path.name) for path in folder.glob("ckpt-*.index"))
    return sorted(int(match[1]) for match in matches if match)


def _restore(variables: Mapping[str, tf.Variable], path: Path) -> None:
    _check_footer(path.with_name(f"{path.name}.index"))
    values = tf.raw_ops.RestoreV2(
        prefix=str(path),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(variables),
        dtypes=[variable.dtype for variable in variables.values()],
    )
    # Nothing is assigned before all is known to be right.
    for (name, variable), value in zip(variables.items(), values, strict=True):
        if variable.shape != value.shape:
            raise ValueError(f"{name} of shape {value.shape}, expected {variable.shape}")
        if name == "step" and path.name != f"ckpt-{int(value)}":
            raise ValueError(f"of step {int(value)}")
    for variable, value in zip(variables.values(), values, strict=True):
        variable.assign(value)


def _check_footer(index: Path) -> None:
    """Raises ValueError if a block of an index would not lie in the file: TensorFlow makes room for what it is told.

    All else that it reads has a checksum. The last FOOTER bytes of the file are place and size of two blocks, numbers
    in groups of seven bits, then zeros and a mark.
    """
    content = index.read_bytes()
    numbers = re.findall(rb"[\x80-\xff]{0,9}[\x00-\x7f]", content[-FOOTER:])[:4]
    if len(content) < FOOTER or len(numbers) < 4:
        raise ValueError("its index ends too early")
    for number in numbers:
        if sum((byte & 0x7F) << 7 * place for place, byte in enumerate(number)) > len(content):
            raise ValueError("a block beyond the end of its index")


def _restore_newest(variables: Mapping[str, tf.Variable], folder: Path, remedy: str) -> bool:
    numbers = _numbers(folder)
    for number in reversed(numbers):
        path = folder / f"ckpt-{number}"
        try:
            _restore(variables, path)
            return True
        except (tf.errors.OpError, OSError, ValueError) as error:
            reason = error if isinstance(error, ValueError) else type(error).__name__
            logger.warning("%s cannot be read (%s)%s", path, reason, "; trying the one before" * (number > numbers[0]))
    if numbers:
        raise UserError(f"{folder}: none of its {len(numbers)} checkpoints can be read; {remedy}")
    return False

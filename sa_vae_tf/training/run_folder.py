"""The run folder: all that is needed to repeat, resume or evaluate a run. Text, TensorFlow checkpoints; no pickle.

flags.txt             the settings, as a flag file
checkpoints/latest/   the last few checkpoints
checkpoints/best/     the last two that were best on the validation bound
metrics.jsonl         one line of figures an epoch
results.json          the last evaluation
train/, validation/   TensorBoard events
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config, from_flagfile, to_flagfile
from sa_vae_tf.training.model import LatentVariableModel

logger = logging.getLogger(__name__)

# Reading a damaged checkpoint ends in one of these.
DAMAGED = (tf.errors.OpError, ValueError, OSError, AssertionError)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file whole or not at all, replacing the one that was there."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


class RunFolder:
    """A folder with one run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.flags_file = self.path / "flags.txt"
        self.metrics_file = self.path / "metrics.jsonl"

    def open_for_training(self, config: Config) -> None:
        """Makes the folder, or checks that the run in it has these settings.

        Raises:
          UserError: if the run in the folder has other settings, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.flags_file.exists():
                differing = from_flagfile(str(self.flags_file)).differing(config)
                if differing:
                    raise UserError(
                        f"--run_dir={self.path} holds a run with other settings ({'; '.join(differing)}): "
                        "choose another --run_dir, or give the same settings to go on with it"
                    )
            write_atomically(self.flags_file, to_flagfile(config))
        except OSError as error:
            raise UserError(f"--run_dir={self.path}: cannot write there ({error.strerror or error})") from None

    def read_config(self) -> Config:
        """Returns the settings of the run.

        Raises:
          UserError: if there is no run in the folder.
        """
        if not self.flags_file.exists():
            raise UserError(
                f"--run_dir={self.path}: no run there (no flags.txt); expected the folder of a training run"
            )
        return from_flagfile(str(self.flags_file))

    def append_metrics(self, figures: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl; a last line that was cut off is left out."""
        lines = []
        if self.metrics_file.exists():
            for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
                try:
                    lines.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return lines

    def forget_metrics_after(self, step: int) -> None:
        """Drops lines of metrics.jsonl that a run resumed at `step` will write again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step]
        if self.metrics_file.exists():
            write_atomically(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))

    def write_results(self, name: str, results: dict[str, Any]) -> Path:
        """Writes a JSON file and returns its path."""
        path = self.path / name
        write_atomically(path, json.dumps(results, indent=2) + "\n")
        return path


class Checkpoints:
    """The checkpoints of a run: the latest ones and the best.

    TensorFlow's format has a checksum for each tensor, so that a damaged file is noticed when it is read.

    Args:
      run: folder of the run.
      model: compiled model, with its optimiser built.
      state: further variables by name, of the callbacks.
    """

    def __init__(self, run: RunFolder, model: LatentVariableModel, state: dict[str, tf.Variable] | None = None):
        self.model = model
        by_path = lambda variables: {v.path: v.value for v in variables}  # noqa: E731
        metrics = [v for metric in model.metrics for v in metric.variables]
        self.metrics = {f"{i}": v.value for i, v in enumerate(metrics)}
        self.weights = tf.train.Checkpoint(weights=by_path(model.weights), step=model.step)
        self.training = tf.train.Checkpoint(
            weights=by_path(model.weights),
            optimizer=by_path(model.optimizer.variables),
            metrics=self.metrics,
            state=state or {},
            step=model.step,
            skipped=model.skipped,
        )
        folder = run.path / "checkpoints"
        self.latest = tf.train.CheckpointManager(self.training, str(folder / "latest"), max_to_keep=3)
        self.best = tf.train.CheckpointManager(self.weights, str(folder / "best"), max_to_keep=2)

    def save(self) -> None:
        self.latest.save(checkpoint_number=int(self.model.step))

    def save_best(self) -> None:
        self.best.save(checkpoint_number=int(self.model.step))

    def restore_latest(self) -> bool:
        """Restores the newest checkpoint that can be read, and returns whether there was one.

        Raises:
          UserError: if there are checkpoints and none can be read.
        """
        return _restore_newest(self.latest, lambda path: self.training.restore(path).assert_existing_objects_matched())

    def restore_best(self) -> bool:
        """Restores the weights with the best validation bound, or if there are none the latest.

        Raises:
          UserError: if there are checkpoints and none can be read.
        """
        restore: Callable[[str], Any] = lambda path: (  # noqa: E731
            self.weights.restore(path).expect_partial().assert_existing_objects_matched()
        )
        return _restore_newest(self.best, restore) or _restore_newest(self.latest, restore)


def _restore_newest(manager: tf.train.CheckpointManager, restore: Callable[[str], Any]) -> bool:
    paths = list(reversed(manager.checkpoints))
    for path in paths:
        try:
            restore(path)
            return True
        except DAMAGED as error:
            logger.warning("%s is damaged (%s); falling back to the one before", path, type(error).__name__)
    if paths:
        raise UserError(f"{manager.directory}: none of its {len(paths)} checkpoints can be read")
    return False

"""The run folder: all that is needed to repeat, resume or evaluate a run. Text, TensorFlow checkpoints; no pickle.

flags.txt             the settings, as a flag file
vocabulary.txt        the words that it knows, of text
checkpoints/latest/   the last few checkpoints
checkpoints/best/     the last two that were best on the validation bound
metrics.jsonl         one line of figures an epoch
results.json          the last evaluation; others under the names that --output gave them
sources.json          place, size, time and checksum of the files that its data was read from
skipped_batch.npz     the batch at which training ended because too many steps had been skipped
train/, validation/   TensorBoard events
curves, landscape     .png and .json: the figures of bin/analyze.py
.lock                 locked by the process that trains, whose number it holds
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from sa_vae_tf.errors import DISK_FULL, UserError
from sa_vae_tf.files import check_readable, write_atomically
from sa_vae_tf.messages import finite
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import from_flagfile, to_flagfile
from sa_vae_tf.training.sources import moved

logger = logging.getLogger(__name__)

# Settings that a message names.
SHOWN = 5
# JSON files of a run that are no evaluation.
OWN_JSON = ("sources.json", "curves.json", "landscape.json")


def _figures(line: bytes, where: str) -> dict[str, Any]:
    """Returns a line of metrics.jsonl: a number for each name, a whole one where it counts something."""
    try:
        figures = json.loads(line)
        sound = isinstance(figures["step"], int)
        for name, value in figures.items():
            whole = isinstance(value, int) and 0 <= value < 2**31
            sound &= whole or (isinstance(value, float) and name not in ("epoch", "step", "svi_steps"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise UserError(f"{where}: {line[:50]!r}: expected the figures of an epoch")
    return figures


class RunFolder:
    """A folder with one run.

    Args:
      path: of the folder.
      flag: what messages about the folder call it.

    Raises:
      UserError: if the path is empty, or TensorFlow could not read its checkpoints.
    """

    def __init__(self, path: str | Path, flag: str = "run_dir"):
        if not str(path):
            raise UserError(f"--{flag}: expected the folder of a training run")
        check_readable(flag, path)
        self.path = Path(path)
        self.flag = flag
        self.flags_file = self.path / "flags.txt"
        self.metrics_file = self.path / "metrics.jsonl"
        self.batch_file = self.path / "skipped_batch.npz"
        self._lock: IO[str] | None = None

    def open_for_training(self, config: Config) -> None:
        """Makes the folder, or checks that the run in it has these settings, and keeps others from training it.

        Until `close`, that is; the system takes the lock away when the process ends, however it ends.

        Raises:
          UserError: if another process trains the run, it has other settings or lost them, or the folder cannot be
            written.
        """
        if self.path.is_file():
            raise UserError(f"--{self.flag}={self.path}: is a file; expected a folder, which may be new")
        try:
            lock = self._lock = self._lock or self._take_lock()
            if self.is_begun() and not self.is_resumable():
                raise UserError(
                    f"--{self.flag}={self.path} holds a run without its settings: expected its flags.txt, or another "
                    f"--{self.flag}"
                )
            differing = self.differing(config)
            if differing:
                if len(differing) > SHOWN:
                    differing[SHOWN:] = [f"{len(differing) - SHOWN} more"]
                raise UserError(
                    f"--{self.flag}={self.path} holds a run with other settings ({'; '.join(differing)}): "
                    f"choose another --{self.flag}, or give the same settings to go on with it"
                )
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise UserError(f"--{self.flag}={self.path}: cannot write there ({error.strerror or error})") from None

    def write_settings(self, config: Config) -> bool:
        """Writes flags.txt, but not over the settings of a run that has more epochs than these ask for.

        Returns:
          Whether it did.
        """
        if config.num_epochs >= self.epochs():
            write_atomically(self.flags_file, to_flagfile(config))
            return True
        logger.warning(
            "%s has %d epochs already: --num_epochs=%d leaves nothing to train",
            self.path,
            self.epochs(),
            config.num_epochs,
        )
        return False

    def _take_lock(self) -> IO[str]:
        self.path.mkdir(parents=True, exist_ok=True)
        lock = (self.path / ".lock").open("a+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with lock:
                lock.seek(0)
                raise UserError(
                    f"--{self.flag}={self.path} is being trained by another process (process {lock.read(20)})"
                ) from None
        if os.fstat(lock.fileno()).st_nlink:
            return lock
        lock.close()  # Another process, which could not begin, has removed it meanwhile.
        return self._take_lock()

    def close(self) -> None:
        """Lets others train the run; where nothing was written no folder stays."""
        if self._lock:
            with contextlib.suppress(OSError):
                if [path.name for path in self.path.iterdir()] == [".lock"]:
                    os.unlink(self._lock.name)
                    self.path.rmdir()
            self._lock.close()
            self._lock = None

    def differing(self, config: Config) -> list[str]:
        """Returns how the settings of the run in the folder, if there is one, differ from these."""
        return moved(self, self.read_config(), config).differing(config) if self.is_resumable() else []

    def is_resumable(self) -> bool:
        """Whether there is a run that was begun, and its settings."""
        return self.flags_file.exists() and self.is_begun()

    def epochs(self) -> int:
        """Returns the number of the last epoch in metrics.jsonl, or 0."""
        return max((line.get("epoch", 0) for line in self.read_metrics()), default=0)

    def epoch_of(self, step: int) -> int:
        """Returns the number of the epoch, counted from 0, that a step ends or is in."""
        ends = [(line["step"], line["epoch"]) for line in self.read_metrics() if line.get("epoch") and line["step"]]
        last, epoch = ends[0] if ends else (step, 1)  # The first epoch has not ended.
        return (step - 1) // -(-last // epoch) if step else 0

    def is_begun(self) -> bool:
        """Whether there is anything in the folder that another run would spoil."""
        return self.metrics_file.exists() or (self.path / "checkpoints").exists()

    def read_config(self) -> Config:
        """Returns the settings of the run.

        Raises:
          UserError: if there is no run in the folder.
        """
        expected = "expected the folder of a training run"
        if self.path.is_file():
            raise UserError(f"--{self.flag}={self.path}: is a file; {expected}")
        if not self.flags_file.exists():
            raise UserError(f"--{self.flag}={self.path}: no run there (no flags.txt); {expected}")
        return from_flagfile(str(self.flags_file))

    def append_metrics(self, figures: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl, without figures that are no number, for which JSON has no word."""
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl; a last line that was cut off is left out.

        Raises:
          UserError: if another line is not what `append_metrics` writes.
        """
        *lines, cut_off = self.metrics_file.read_bytes().split(b"\n") if self.metrics_file.exists() else [b""]
        return [_figures(line, f"{self.metrics_file}: line {number}") for number, line in enumerate(lines, 1)]

    def forget_metrics_after(self, step: int, steps_per_epoch: int) -> None:
        """Drops lines of metrics.jsonl that a run which goes on at `step` will write again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step and not line["step"] % steps_per_epoch]
        if self.metrics_file.exists():
            write_atomically(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))

    def write_batch(self, batch: Mapping[str, Any]) -> None:
        """Keeps the batch at which training ended."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{name: np.asarray(value) for name, value in batch.items()})
        write_atomically(self.batch_file, content.getvalue())

    @staticmethod
    def check_output_name(name: str) -> None:
        """Checks that an evaluation may be written under this name: it must not replace anything else of a run.

        Raises:
          UserError: if it is not the name of a JSON file, or is that of one with something else in it.
        """
        if name in OWN_JSON:
            raise UserError(f"--output={name}: holds something else of the run; expected another name, as results.json")
        if name != Path(name).name or not name.endswith(".json") or not name.isprintable():
            raise UserError(f"--output={name}: expected the name of a file in the run folder, ending in .json")

    def write_results(self, name: str, results: dict[str, Any]) -> Path:
        """Writes a JSON file, with null for figures that are no number, and returns its path.

        Raises:
          UserError: if the name is not one that an evaluation may have.
        """
        self.check_output_name(name)
        return write_atomically(self.path / name, json.dumps(finite(results), indent=2, allow_nan=False) + "\n")

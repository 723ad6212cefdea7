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
import os
from pathlib import Path
from typing import Any

from sa_vae_tf.errors import DISK_FULL, UserError
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import from_flagfile, to_flagfile


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
            if self.flags_file.exists() and self.is_begun():
                differing = from_flagfile(str(self.flags_file)).differing(config)
                if differing:
                    raise UserError(
                        f"--run_dir={self.path} holds a run with other settings ({'; '.join(differing)}): "
                        "choose another --run_dir, or give the same settings to go on with it"
                    )
            write_atomically(self.flags_file, to_flagfile(config))
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise UserError(f"--run_dir={self.path}: cannot write there ({error.strerror or error})") from None

    def is_begun(self) -> bool:
        """Whether there is anything in the folder that another run would spoil."""
        return self.metrics_file.exists() or (self.path / "checkpoints").exists()

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

    def forget_metrics_after(self, step: int, steps_per_epoch: int) -> None:
        """Drops lines of metrics.jsonl that a run which goes on at `step` will write again."""
        kept = [line for line in self.read_metrics() if line["step"] <= step and not line["step"] % steps_per_epoch]
        if self.metrics_file.exists():
            write_atomically(self.metrics_file, "".join(json.dumps(line) + "\n" for line in kept))

    def write_results(self, name: str, results: dict[str, Any]) -> Path:
        """Writes a JSON file and returns its path."""
        path = self.path / name
        write_atomically(path, json.dumps(results, indent=2) + "\n")
        return path

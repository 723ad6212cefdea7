"""The runs that are disturbed: one of each kind of data, of seconds, with a checkpoint after every step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sa_vae_tf.training.config import Config
from tests import corpora, images, runs
from tests.launcher import Finished, Launcher


class Row(NamedTuple):
    """What came of one kind of fault; what did not survive is lost.

    Attributes:
      fault: in words.
      tried, survived: how often.
      note: what else was measured.
    """

    fault: str
    tried: int
    survived: int
    note: str = ""


def synthetic(folder: Path) -> Config:
    return runs.tiny("", "", num_epochs=20, checkpoint_steps=1)


def text(folder: Path) -> Config:
    return corpora.tiny("", "", corpora.write(folder), num_epochs=10, checkpoint_steps=1, dropout=0.1)


def image(folder: Path) -> Config:
    return images.tiny("", "", images.write(folder), num_epochs=6, checkpoint_steps=1)


KINDS: dict[str, Callable[[Path], Config]] = {"synthetic": synthetic, "text": text, "images": image}


class Undisturbed(NamedTuple):
    """A run that was left alone.

    Attributes:
      kind: of its data.
      config: its settings.
      seconds: that it took, start and preparation of its data included.
    """

    kind: str
    config: Config
    seconds: float

    def again(self, folder: Path) -> Config:
        """Returns the same settings for a run, and its prepared data, in another folder."""
        return dataclasses.replace(self.config, run_dir=str(folder / "run"), data_dir=str(folder / "data"))

    def ended_alike(self, config: Config) -> bool:
        """Whether another run has the same figures, weights and state of the optimiser, bit for bit."""
        try:
            runs.assert_same_end(config.run_dir, self.config.run_dir)
        except (AssertionError, OSError, IndexError) as error:
            print(f"  {config.run_dir} ended otherwise: {str(error)[:300]}")
            return False
        return True


def train(launcher: Launcher, config: Config, **options) -> Finished:
    return launcher.run("bin/train.py", *runs.arguments(config), **options)


def undisturbed(launcher: Launcher, folder: Path) -> Iterator[Undisturbed]:
    """Yields a finished run of each kind."""
    for kind, make in KINDS.items():
        own = folder / kind
        own.mkdir()
        config = dataclasses.replace(make(own), run_dir=str(own / "run"), data_dir=str(own / "data"))
        began = time.monotonic()
        ended = train(launcher, config)
        assert ended.status == 0, ended.stderr
        yield Undisturbed(kind, config, time.monotonic() - began)


def is_one_line(ended: Finished, *statuses: int) -> bool:
    """Whether a script failed as it should: one line for an error, after those that it logs, and no traceback."""
    lines = ended.stderr.splitlines()
    right = ended.status in statuses and bool(lines) and ": error: " in lines[-1] and "Traceback" not in ended.stderr
    if not right:
        print(f"  status {ended.status}: {ended.stderr[-600:]}")
    return right

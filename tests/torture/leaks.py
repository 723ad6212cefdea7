"""Resident memory of 2,000 steps of training, and of 2,000 calls of an exported scorer, after as many before them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sa_vae_tf.training.config import Config
from tests import corpora, images, runs
from tests.launcher import ROOT, Launcher
from tests.torture.runs_to_disturb import Row, Undisturbed

COUNT = 2000
# What comes before those that count fills caches, compiles, and lets the allocator find its size.
TOTAL = 2 * COUNT
SAMPLES = 200
# MiB in 1,000 steps or calls. Less is what an allocator's rounding does to such a line.
FLAT = 1.0
PAGE = 4096 / 2**20
# With the batches of these runs, an epoch of a hundred steps.
EXAMPLES = {"synthetic": 2000, "text": 1000, "images": 1660}


def rows(launcher: Launcher, whole: list[Undisturbed], folder: Path) -> Iterator[Row]:
    """Yields the slopes."""
    for run in whole:
        own = folder / f"leaks-{run.kind}"
        own.mkdir()
        yield _row(f"{COUNT:,} training steps, {run.kind}", _training(launcher, _long(run, own)))
    export = folder / "export"
    ended = launcher.run("bin/export.py", f"--run_dir={whole[1].config.run_dir}", f"--export_dir={export}")
    assert ended.status == 0, ended.stderr
    command = [sys.executable, "-m", "tests.torture.leaks", str(export / "1")]
    scored = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    yield _row(f"{COUNT:,} scoring calls, text", json.loads(scored.splitlines()[-1]))


def _row(what: str, memory: list[float]) -> Row:
    """Returns the slope of the second half."""
    half = np.array(memory[len(memory) // 2 :])
    calls = np.linspace(0, COUNT / 1000, len(half))
    # The median over all pairs: a validation takes some MiB for a moment and gives them back.
    first, second = np.triu_indices(len(half), 1)
    slope = np.median((half[second] - half[first]) / (calls[second] - calls[first]))
    return Row(f"memory of {what}", 1, int(slope < FLAT), f"{slope:+.2f} MiB in 1,000, at {half[-1]:.0f} MiB")


def _long(run: Undisturbed, folder: Path) -> Config:
    count: int = EXAMPLES[run.kind]
    data: dict[str, Any] = {"num_examples": count}
    if run.kind == "text":
        data = dict(corpora.write(folder, lines=count))
    elif run.kind == "images":
        data = {"data_file": images.write(folder, count)}
    return dataclasses.replace(run.again(folder), **data, num_epochs=TOTAL, max_steps=TOTAL, checkpoint_steps=10)


def _training(launcher: Launcher, config: Config) -> list[float]:
    """Returns the resident memory of training, by steps, in MiB."""
    process, found = launcher.start("bin/train.py", *runs.arguments(config)), {}
    statm = Path(f"/proc/{process}/statm")
    while (step := runs.newest(config.run_dir)) < TOTAL:
        try:
            found[step] = int(statm.read_text().split()[1]) * PAGE
        except (OSError, IndexError):  # It has ended.
            break
        time.sleep(0.05)
    ended = launcher.wait(process)
    assert ended.status == 0, ended.stderr
    return list(np.interp(np.linspace(0, TOTAL, SAMPLES), list(found), list(found.values())))


def score(export: str) -> list[float]:
    """Returns the resident memory, in MiB, of a process that scores texts of many lengths."""
    import tensorflow as tf

    model, memory, chance = tf.saved_model.load(export), [], np.random.default_rng(1)
    for call in range(TOTAL):
        lengths = chance.integers(1, 40, chance.integers(1, 5))
        model.score([" ".join(["the"] * length) for length in lengths], svi_steps=2)
        if call % (TOTAL // SAMPLES) == 0:
            memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * PAGE)
    return memory


if __name__ == "__main__":
    print(json.dumps(score(sys.argv[1])))

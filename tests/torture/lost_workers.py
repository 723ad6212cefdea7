"""Two processes that train together, of which one is killed; the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import runs
from tests.launcher import Launcher
from tests.torture.runs_to_disturb import Row, Undisturbed
from tests.workers import Workers, wait_for_step

# Sums in another order, over sixty steps of float32.
ROUNDING = 1e-4


def rows(launcher: Launcher, whole: list[Undisturbed], chance: random.Random, times: int) -> Iterator[Row]:
    """Yields what came of killed workers."""
    run, survived, slowest = whole[0], 0, 0.0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            config = run.again(Path(folder))
            workers, killed = Workers(launcher, config), chance.randrange(2)
            wait_for_step(config.run_dir, chance.randrange(1, 30))
            os.kill(workers.processes[killed], signal.SIGKILL)
            began = time.monotonic()
            ended = workers.wait()
            slowest = max(slowest, time.monotonic() - began)
            right = ended[killed].status == -signal.SIGKILL and ended[1 - killed].status == 75
            right &= all(ended.status == 0 for ended in Workers(launcher, config).wait())
            survived += right and _same_figures(config.run_dir, run.config.run_dir)
    yield Row("one of two workers killed, synthetic", times, survived, f"the other ended within {slowest:.1f} s")


def _same_figures(run_dir: str, other: str) -> bool:
    pairs = zip(runs.figures(run_dir), runs.figures(other), strict=True)
    return all(line == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING) for line, expected in pairs)

"""Runs that lack room on the disk or open files; with enough of it the same command goes on."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.launcher import Finished, Launcher
from tests.torture.runs_to_disturb import Row, Undisturbed, is_one_line, train


def rows(launcher: Launcher, whole: list[Undisturbed], chance: random.Random, times: int) -> Iterator[Row]:
    """Yields what came of limits on each resource."""
    for run in whole:
        limits = [{"FSIZE": int(10 ** chance.uniform(2, 5))} for _ in range(times)]
        yield Row(f"disk full, {run.kind}", *_limited(launcher, run, limits, lambda ended: is_one_line(ended, 1, 2)))
    # A run has up to fifteen files open; scripts ask for room for more before they begin.
    files = [{"NOFILE": chance.randrange(8, 16)} for _ in range(times)]
    yield Row("too few open files, text", *_limited(launcher, whole[1], files, lambda ended: is_one_line(ended, 1, 2)))


def _limited(launcher: Launcher, run: Undisturbed, limits: list[dict[str, int]], right) -> tuple[int, int, str]:
    survived = failed = 0
    for limit in limits:
        with tempfile.TemporaryDirectory() as folder:
            config = run.again(Path(folder))
            ended: Finished = train(launcher, config, limits=limit)
            failed += ended.status != 0
            own = ended.status == 0 or right(ended)
            survived += own and train(launcher, config).status == 0 and run.ended_alike(config)
    return len(limits), survived, f"{failed} of them ended the run"

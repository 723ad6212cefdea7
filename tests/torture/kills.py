"""Runs that are killed, told to end, and stopped for a while, at any moment; the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import runs
from tests.launcher import Launcher
from tests.torture.runs_to_disturb import Row, Undisturbed, train

# In one run, before it may go on to its end.
AT_MOST = 5


def rows(launcher: Launcher, whole: list[Undisturbed], moments: random.Random, times: int) -> Iterator[Row]:
    """Yields what came of `times` signals of each kind to runs of each kind."""
    for run in whole:
        yield _signalled(launcher, run, moments, [signal.SIGKILL], times, "kill -9")
        yield _signalled(launcher, run, moments, [signal.SIGTERM, signal.SIGINT], times // 2, "SIGTERM or SIGINT")
    yield _paused(launcher, whole[0], moments, times // 4)


def _signalled(
    launcher: Launcher, run: Undisturbed, moments: random.Random, signals: list[int], times: int, name: str
) -> Row:
    tried = survived = 0
    waited = [0.0]
    while tried < times:
        with tempfile.TemporaryDirectory() as folder:
            config, sent, right = run.again(Path(folder)), 0, True
            while sent < min(AT_MOST, times - tried):
                process = launcher.start("bin/train.py", *runs.arguments(config))
                time.sleep(moments.uniform(0, run.seconds))
                number = moments.choice(signals)
                os.kill(process, number)
                began = time.monotonic()
                ended = launcher.wait(process)
                if ended.status == 0:  # It was done before.
                    break
                sent += 1
                waited.append(time.monotonic() - began)
                # While nothing is trained yet a signal has its usual effect.
                right &= ended.status in {-number, 128 + number} and "Traceback" not in ended.stderr
            ended = train(launcher, config)
            right &= ended.status == 0 and run.ended_alike(config)
            tried, survived = tried + sent, survived + sent * right
    note = "" if signals == [signal.SIGKILL] else f"ended within {max(waited):.1f} s"
    return Row(f"{name} at any moment, {run.kind}", tried, survived, note)


def _paused(launcher: Launcher, run: Undisturbed, moments: random.Random, times: int) -> Row:
    survived = 0
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            config = run.again(Path(folder))
            process = launcher.start("bin/train.py", *runs.arguments(config))
            for number in (signal.SIGSTOP, signal.SIGCONT):
                time.sleep(moments.uniform(0, run.seconds / 2))
                os.kill(process, number)
            survived += launcher.wait(process).status == 0 and run.ended_alike(config)
    return Row("stopped for seconds (SIGSTOP), synthetic", times, survived)

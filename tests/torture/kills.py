"""Runs and scoring that are killed, told to end, and stopped for a while, at any moment; the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import corpora, runs
from tests.launcher import Launcher
from tests.torture.runs_to_disturb import Row, Undisturbed, train

# In one run, before it may go on to its end.
AT_MOST = 5
# Seconds until a script has imported what it needs, where that is done before it begins.
START = 0.2


def rows(
    launcher: Launcher, whole: list[Undisturbed], moments: random.Random, times: int, folder: Path
) -> Iterator[Row]:
    """Yields what came of `times` signals of each kind to runs of each kind."""
    for run in whole:
        yield _signalled(launcher, run, moments, [signal.SIGKILL], times, "kill -9")
        yield _signalled(launcher, run, moments, [signal.SIGTERM, signal.SIGINT], times // 2, "SIGTERM or SIGINT")
    yield _paused(launcher, whole[0], moments, times // 4)
    yield _scoring(launcher, whole[1], moments, times, folder)


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


def _scoring(launcher: Launcher, run: Undisturbed, moments: random.Random, times: int, folder: Path) -> Row:
    export, lines, whole = folder / "kills-export", folder / "kills-lines.txt", folder / "kills-whole.jsonl"
    ended = launcher.run("bin/export.py", f"--run_dir={run.config.run_dir}", f"--export_dir={export}")
    assert ended.status == 0, ended.stderr
    words = [" ".join(moments.choices(corpora.WORDS, k=moments.randint(1, 14))) for _ in range(400)]
    lines.write_text("\n".join(words), encoding="utf-8")

    def command(output: Path) -> tuple[str, ...]:
        return "bin/score.py", f"--saved_model={export}/1", f"--input={lines}", f"--output={output}", "--batch_size=1"

    began = time.monotonic()
    assert launcher.run(*command(whole)).status == 0
    seconds = time.monotonic() - began
    tried = survived = 0
    while tried < times:
        output, sent, right = folder / "kills.jsonl", 0, True
        while sent < min(AT_MOST, times - tried):
            process = launcher.start(*command(output))
            time.sleep(moments.uniform(START, seconds))
            os.kill(process, signal.SIGINT)
            ended = launcher.wait(process)
            if output.exists():  # It was done before.
                break
            sent += 1
            right &= ended.status == 130 and len(ended.stderr.splitlines()) == 1
        if not output.exists():
            right &= launcher.run(*command(output)).status == 0
        right &= output.read_bytes() == whole.read_bytes()
        output.unlink()
        tried, survived = tried + sent, survived + sent * right
    return Row("SIGINT while it scores, text", tried, survived)

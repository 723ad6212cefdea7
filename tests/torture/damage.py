"""Files that are cut off, emptied, deleted or have a bit flipped while nothing runs."""

from __future__ import annotations

import dataclasses
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests import runs
from tests.launcher import Launcher
from tests.torture.runs_to_disturb import Row, Undisturbed, is_one_line, train


def damage(file: Path, chance: random.Random) -> str:
    """Damages a file and returns how."""
    content = bytearray(file.read_bytes())
    how = chance.choice(["flipped", "cut off", "emptied", "deleted"])
    if how == "deleted":
        file.unlink()
        return how
    if how == "flipped" and content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif how == "cut off" and content:
        del content[chance.randrange(len(content)) :]
    else:
        content.clear()
    file.write_bytes(content)
    return how


def rows(launcher: Launcher, whole: list[Undisturbed], chance: random.Random, times: int) -> Iterator[Row]:
    """Yields what came of damage to checkpoints, to prepared data and to the files that it was read from."""
    for run in whole:
        yield Row(f"newest checkpoint damaged, {run.kind}", *_checkpoints(launcher, run, chance, times, newest=True))
    yield Row("all checkpoints damaged, text", *_checkpoints(launcher, whole[1], chance, times // 2, newest=False))
    for run in whole:
        yield Row(f"prepared data damaged, {run.kind}", *_prepared(launcher, run, chance, times))
    yield Row("source changed, text", *_changed(launcher, whole[1], times // 4))


def _begun(launcher: Launcher, run: Undisturbed, folder: Path):
    """Returns a run that was stopped half-way."""
    config = run.again(folder)
    last = runs.newest(run.config.run_dir)
    assert train(launcher, dataclasses.replace(config, max_steps=last // 2)).status == 0
    return config


def _each(
    launcher: Launcher, run: Undisturbed, times: int, disturb: Callable[[Path], None], right: Callable[..., bool]
) -> tuple[int, int]:
    """Disturbs a begun run so many times, goes on with it, and returns how often that was and went right."""
    survived = 0
    with tempfile.TemporaryDirectory() as begun:
        config = _begun(launcher, run, Path(begun))
        for _ in range(times):
            with tempfile.TemporaryDirectory() as folder:
                copy = run.again(Path(folder))
                shutil.copytree(config.run_dir, copy.run_dir)
                shutil.copytree(config.data_dir, copy.data_dir)
                disturb(Path(folder))
                survived += right(train(launcher, copy), copy)
    return times, survived


def _checkpoints(launcher, run: Undisturbed, chance: random.Random, times: int, newest: bool) -> tuple[int, int]:
    def disturb(folder: Path) -> None:
        latest = folder / "run" / "checkpoints" / "latest"
        for number in runs.numbers(latest)[-1:] if newest else runs.numbers(latest):
            damage(chance.choice(sorted(latest.glob(f"ckpt-{number}.*"))), chance)

    def right(ended, config) -> bool:
        return ended.status == 0 and run.ended_alike(config) or not newest and is_one_line(ended, 2)

    return _each(launcher, run, times, disturb, right)


def _prepared(launcher, run: Undisturbed, chance: random.Random, times: int) -> tuple[int, int]:
    def disturb(folder: Path) -> None:
        files = [file for file in (folder / "data").rglob("*") if file.is_file() and file.name != ".lock"]
        damage(chance.choice(sorted(files)), chance)

    def right(ended, config) -> bool:
        # What is not read, or was written anew, does no harm.
        return ended.status == 0 and run.ended_alike(config) or is_one_line(ended, 2)

    return _each(launcher, run, times, disturb, right)


def _changed(launcher, run: Undisturbed, times: int) -> tuple[int, int]:
    source = Path(run.config.train_file)
    content = source.read_bytes()

    def right(ended, config) -> bool:
        return is_one_line(ended, 2) and f"{source}: holds something else than when the run" in ended.stderr

    # While the run is begun, the file is as it was.
    try:
        return _each(launcher, run, times, lambda folder: source.write_bytes(content + b"the cat\n") and None, right)
    finally:
        source.write_bytes(content)

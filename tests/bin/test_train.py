"""Training as processes that are killed, run out of disk, find damaged checkpoints or diverge."""

import dataclasses
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from sa_vae_tf.training.config import Config
from tests import runs
from tests.bin.test_errors import assert_one_line

FULL = "the disk is full; what was written before is whole"
# Ten steps an epoch, a checkpoint after each; weights so few that events soon take more room.
SMALL = dataclasses.replace(
    runs.TINY,
    method="vae",
    batch_size=5,
    num_epochs=4,
    embedding_dim=1,
    units=1,
    checkpoint_steps=1,
    optimizer="adam",
    learning_rate=0.05,
)


def train(launcher, config: Config, **options):
    return launcher.run("bin/train.py", *runs.arguments(config), **options)


@pytest.fixture(scope="module")
def config(data_dir):
    return dataclasses.replace(SMALL, data_dir=data_dir)


@pytest.fixture(scope="module")
def undisturbed(launcher, config, tmp_path_factory):
    """A run that was never stopped."""
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    ended = train(launcher, dataclasses.replace(config, run_dir=str(path)))
    assert ended.status == 0, ended.stderr
    assert f"Trained: {path}." in ended.stdout
    assert runs.numbers(path / "checkpoints" / "latest")[-1] == 40
    return path


@pytest.fixture(scope="module")
def begun(launcher, config, tmp_path_factory):
    """The same run stopped in its second epoch."""
    path = tmp_path_factory.mktemp("runs") / "begun"
    assert train(launcher, dataclasses.replace(config, run_dir=str(path), max_steps=13)).status == 0
    return path


@pytest.fixture
def stopped(begun, config, tmp_path):
    """Settings of a copy of that run."""
    path = tmp_path / "run"
    shutil.copytree(begun, path)
    return dataclasses.replace(config, run_dir=str(path))


def wait_for(launcher, process: int, config: Config, step: int) -> None:
    """Waits until a run has saved a step."""
    limit = time.monotonic() + 120
    while runs.newest(config.run_dir) < step:
        assert time.monotonic() < limit, launcher.wait(process).stderr
        time.sleep(0.002)


def test_interrupted_and_killed_within_epochs(launcher, config, undisturbed, tmp_path):
    config = dataclasses.replace(config, run_dir=str(tmp_path / "run"))
    for wanted, end, status in ((4, signal.SIGINT, 130), (11, signal.SIGTERM, 143), (18, signal.SIGKILL, -9)):
        process = launcher.start("bin/train.py", *runs.arguments(config))
        wait_for(launcher, process, config, wanted)
        time.sleep(random.uniform(0, 0.03))
        os.kill(process, end)
        ended = launcher.wait(process)
        assert ended.status == status
        assert "Traceback" not in ended.stderr
        assert wanted <= runs.newest(config.run_dir) < 40
    ended = train(launcher, config)
    assert ended.status == 0
    assert "Going on with" in ended.stderr
    runs.assert_same_end(config.run_dir, undisturbed)


def test_two_processes_do_not_train_one_run(launcher, config, undisturbed, tmp_path):
    config = dataclasses.replace(config, run_dir=str(tmp_path / "run"))
    first = launcher.start("bin/train.py", *runs.arguments(config))
    wait_for(launcher, first, config, 0)
    line = f"train.py: error: --run_dir={config.run_dir} is being trained by another process (process {first})"
    os.kill(first, signal.SIGSTOP)
    assert_one_line(train(launcher, config), 2, line)
    os.kill(first, signal.SIGCONT)
    assert launcher.wait(first).status == 0
    runs.assert_same_end(config.run_dir, undisturbed)


@pytest.mark.slow
def test_killed_at_five_random_moments(launcher, data_dir, tmp_path):
    whole = runs.tiny(
        tmp_path / "whole", data_dir, num_examples=200, num_epochs=10, jit_compile=True, checkpoint_steps=1, dropout=0.1
    )
    began = time.monotonic()
    assert train(launcher, whole).status == 0
    seconds = time.monotonic() - began
    killed = dataclasses.replace(whole, run_dir=str(tmp_path / "killed"))
    seed = random.randrange(1000)
    print("seed of the moments:", seed)  # Shown where the test fails.
    moments = random.Random(seed)
    progress = []
    for attempt in range(5):
        process = launcher.start("bin/train.py", *runs.arguments(killed))
        # One anywhere from the start on, start-up and compilation included; the others once there is something new.
        if attempt == 0:
            time.sleep(moments.uniform(0, 0.8 * seconds))
        else:
            wait_for(launcher, process, killed, min(runs.newest(killed.run_dir) + moments.choice((1, 8, 15)), 95))
            time.sleep(moments.uniform(0, 0.5))
        os.kill(process, signal.SIGKILL)
        assert launcher.wait(process).status in (-signal.SIGKILL, 0)
        progress.append(runs.newest(killed.run_dir))
    print("newest checkpoints:", progress)
    assert train(launcher, killed).status == 0
    runs.assert_same_end(killed.run_dir, whole.run_dir)


def test_too_many_skipped_steps(launcher, config, tmp_path):
    config = dataclasses.replace(config, run_dir=str(tmp_path), skip_norm=1e-9, max_skipped_steps=2)
    assert_one_line(
        train(launcher, config), 3, "train.py: error: by step 3, 3 steps were skipped", "checkpoints/latest/ckpt-3"
    )
    state = runs.tensors(tmp_path / "checkpoints" / "latest")
    assert state["skipped"] == 3
    learned = [value for name, value in state.items() if name.startswith(("weights/", "optimizer/"))]
    assert all(np.all(np.isfinite(value)) for value in learned)


# --- A full disk, by a limit on the size of each file.


@pytest.mark.slow
def test_no_room_for_a_checkpoint_then_for_figures_then_enough(launcher, stopped, undisturbed):
    before = runs.newest(stopped.run_dir)
    ended = train(launcher, stopped, limits={"FSIZE": 20_000})
    assert ended.status == 1
    information, error = ended.stderr.splitlines()
    assert information.endswith(f"at step {before}")
    assert FULL in error
    assert runs.newest(stopped.run_dir) == before

    metrics = Path(stopped.run_dir, "metrics.jsonl")
    [first] = metrics.read_text().splitlines(keepends=True)
    # A line that is kept, so long that the next one finds no room.
    metrics.write_text(json.dumps({**json.loads(first), **{f"figure {i}": 0.5 for i in range(10_000)}}) + "\n" + first)
    ended = train(launcher, stopped, limits={"FSIZE": metrics.stat().st_size + 100})
    assert ended.status == 1
    assert FULL in ended.stderr
    assert "Traceback" not in ended.stderr
    assert runs.newest(stopped.run_dir) == 19  # The epoch's end comes after its figures.

    assert train(launcher, stopped).status == 0
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[1:]))
    runs.assert_same_end(stopped.run_dir, undisturbed)


def test_no_room_for_the_first_checkpoint(launcher, config, tmp_path):
    config = dataclasses.replace(config, run_dir=str(tmp_path))
    assert_one_line(train(launcher, config, limits={"FSIZE": 20_000}), 1, FULL)
    assert_one_line(train(launcher, config, limits={"FSIZE": 500}), 1, FULL)  # Nor for the settings.
    assert train(launcher, dataclasses.replace(config, num_epochs=0)).status == 0


@pytest.mark.slow
def test_no_room_for_events(launcher, stopped):
    folder = Path(stopped.run_dir, "checkpoints", "latest")
    room = max(path.stat().st_size for path in folder.iterdir()) + 1000
    endless = dataclasses.replace(stopped, num_epochs=1000, log_steps=1, checkpoint_steps=0)
    ended = train(launcher, endless, limits={"FSIZE": room})
    assert ended.status == 1
    assert FULL in ended.stderr
    assert "Traceback" not in ended.stderr
    assert max(path.stat().st_size for path in Path(stopped.run_dir, "train").iterdir()) == room
    assert runs.newest(stopped.run_dir) > 40
    assert train(launcher, dataclasses.replace(stopped, max_steps=1)).status == 0


def test_no_room_for_the_data(launcher, config, tmp_path):
    config = dataclasses.replace(config, run_dir=str(tmp_path / "run"), data_dir=str(tmp_path / "data"), num_epochs=0)
    ended = train(launcher, config, limits={"FSIZE": 2_000})
    assert ended.status == 1
    assert FULL in ended.stderr
    assert "Traceback" not in ended.stderr
    assert train(launcher, config).status == 0


# --- Damage.


def test_the_newest_checkpoint_is_damaged(launcher, stopped, undisturbed):
    latest = Path(stopped.run_dir, "checkpoints", "latest")
    path = latest / "ckpt-13.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-100])
    ended = train(launcher, stopped)
    assert ended.status == 0
    warning, information = ended.stderr.splitlines()[:2]
    assert warning.startswith(f"train.py: WARNING: {latest}/ckpt-13 cannot be read (")
    assert information.endswith("at step 12")
    runs.assert_same_end(stopped.run_dir, undisturbed)


def test_all_checkpoints_are_damaged(launcher, stopped):
    latest = Path(stopped.run_dir, "checkpoints", "latest")
    for path in latest.glob("*.index"):
        path.write_bytes(b"no index")
    ended = train(launcher, stopped)
    assert ended.status == 2
    warnings, last = ended.stderr.splitlines()[:-1], ended.stderr.splitlines()[-1]
    assert last == f"train.py: error: {latest}: none of its 3 checkpoints can be read; begin anew in another folder"
    assert [line.split()[2] for line in warnings] == [f"{latest}/ckpt-{step}" for step in (13, 12, 11)]

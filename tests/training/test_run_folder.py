"""The run folder."""

import dataclasses
import errno
import fcntl
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sa_vae_tf.errors import UserError
from sa_vae_tf.training import run_folder as module
from sa_vae_tf.training.config import FREE_TO_CHANGE, Config
from sa_vae_tf.training.run_folder import RunFolder
from tests import runs

SETTINGS = dataclasses.replace(runs.TINY, run_dir="somewhere", optimizer="adam", embedding_dim=1, units=1)


def begun(path, config: Config) -> RunFolder:
    run = RunFolder(path)
    run.open_for_training(config)
    run.write_settings(config)
    (path / "checkpoints").mkdir()
    return run


def test_settings_are_written_and_read(tmp_path):
    config = dataclasses.replace(SETTINGS, svi_rate_mean=1 / 3)
    run = begun(tmp_path / "a" / "b", config)
    assert run.read_config() == config
    run.open_for_training(config)
    # What changes no step may change, and is what counts from then on.
    changed = dataclasses.replace(config, num_epochs=77, log_steps=3)
    assert {"num_epochs", "log_steps"} <= set(FREE_TO_CHANGE)
    run.open_for_training(changed)
    assert run.read_config() == config
    run.write_settings(changed)
    assert run.read_config() == changed


def test_other_settings_are_refused_and_named(tmp_path):
    run = begun(tmp_path, SETTINGS)
    with pytest.raises(UserError) as error:
        run.open_for_training(dataclasses.replace(SETTINGS, units=3, method="vae"))
    message = str(error.value)
    assert message.startswith(f"--run_dir={tmp_path} holds a run with other settings (--units is 1 there and 3 here; ")
    assert "--method is sa_vae there and vae here" in message
    assert "\n" not in message
    assert run.read_config() == SETTINGS


def test_a_folder_in_which_nothing_was_saved_takes_other_settings(tmp_path):
    run = RunFolder(tmp_path)
    run.write_settings(SETTINGS)
    other = dataclasses.replace(SETTINGS, units=3)
    run.open_for_training(other)
    run.write_settings(other)
    assert run.read_config() == other


def test_a_run_that_could_not_begin_leaves_nothing(tmp_path):
    run = RunFolder(tmp_path / "run")
    for _ in range(2):
        run.open_for_training(SETTINGS)
        run.close()
        assert list(tmp_path.iterdir()) == []
    run.open_for_training(SETTINGS)
    (run.path / "vocabulary.txt").touch()
    run.close()
    assert {path.name for path in run.path.iterdir()} == {".lock", "vocabulary.txt"}


def test_a_lock_that_another_process_removed_is_taken_anew(tmp_path, monkeypatch):
    run, flock = RunFolder(tmp_path / "run"), fcntl.flock

    def after_the_other_has_closed(*arguments):
        monkeypatch.setattr(module.fcntl, "flock", flock)
        (run.path / ".lock").unlink()
        run.path.rmdir()
        flock(*arguments)

    monkeypatch.setattr(module.fcntl, "flock", after_the_other_has_closed)
    run.open_for_training(SETTINGS)
    with Path(run.path, ".lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_run_without_its_settings_is_left_alone(tmp_path):
    run = begun(tmp_path, SETTINGS)
    run.close()
    run.flags_file.unlink()
    with pytest.raises(UserError, match=f"^--run_dir={tmp_path} holds a run without its settings: expected its flags"):
        RunFolder(tmp_path).open_for_training(SETTINGS)
    assert not run.flags_file.exists()


def test_fewer_epochs_than_there_are_change_nothing(tmp_path, caplog):
    config = dataclasses.replace(SETTINGS, num_epochs=5)
    run = begun(tmp_path, config)
    assert run.epochs() == 0
    for epoch in (1, 2, 3):
        run.append_metrics({"epoch": epoch, "step": 3 * epoch})
    assert run.epochs() == 3
    for epochs in (3, 4):
        assert run.write_settings(dataclasses.replace(config, num_epochs=epochs))
        assert run.read_config().num_epochs == epochs
    assert not caplog.records
    assert not run.write_settings(dataclasses.replace(config, num_epochs=2))
    assert run.read_config().num_epochs == 4
    [record] = caplog.records
    assert record.getMessage() == f"{tmp_path} has 3 epochs already: --num_epochs=2 leaves nothing to train"


def test_the_epoch_of_a_step(tmp_path):
    run = RunFolder(tmp_path)
    assert [run.epoch_of(step) for step in (0, 1, 3, 4)] == [0, 0, 0, 0]
    for epoch, step in ((1, 3), (2, 6), (3, 7)):
        run.append_metrics({"epoch": epoch, "step": step})
    assert [run.epoch_of(step) for step in range(9)] == [0, 0, 0, 0, 1, 1, 1, 2, 2]


def test_one_process_trains_a_run_until_it_ends(tmp_path):
    # A process that locks as `open_for_training` does, and stays; this one would take a while to import all of it.
    code = """
import fcntl, os, sys, time
lock = open(sys.argv[1], "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
print(os.getpid(), end="", file=lock, flush=True)
print("locked", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        message = f"^--run_dir={tmp_path} is being trained by another process \\(process {other.pid}\\)$"
        with pytest.raises(UserError, match=message):
            RunFolder(tmp_path).open_for_training(SETTINGS)
        assert not (tmp_path / "flags.txt").exists()
        other.send_signal(signal.SIGKILL)
    run = RunFolder(tmp_path)
    run.open_for_training(SETTINGS)
    with pytest.raises(UserError, match=f"process {os.getpid()}"):
        RunFolder(tmp_path).open_for_training(SETTINGS)
    run.close()
    again = RunFolder(tmp_path)
    again.open_for_training(SETTINGS)
    assert (tmp_path / ".lock").read_text() == str(os.getpid())
    with Path(tmp_path, ".lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path, message in (("file", "is a file; expected a folder"), ("file/run", "cannot write there")):
        with pytest.raises(UserError, match=f"^--run_dir={tmp_path / path}: {message}"):
            RunFolder(tmp_path / path).open_for_training(SETTINGS)


def test_a_full_disk_is_not_called_unwritable(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        RunFolder(tmp_path).write_settings(SETTINGS)
    assert not (tmp_path / "flags.txt").exists()


def test_a_folder_whose_checkpoints_could_not_be_read(tmp_path):
    for name in ("a[1]", "a\\b"):
        with pytest.raises(UserError, match="TensorFlow could not read what it writes there; expected a path without"):
            RunFolder(tmp_path / name).open_for_training(SETTINGS)
    assert not list(tmp_path.iterdir())


def test_no_run_there(tmp_path):
    with pytest.raises(UserError, match="^--run_dir: expected the folder of a training run$"):
        RunFolder("")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"^--run_dir={tmp_path}/file: is a file; expected the folder of a training"):
        RunFolder(tmp_path / "file").read_config()
    with pytest.raises(UserError, match=f"^--compare={tmp_path}: no run there"):
        RunFolder(tmp_path, flag="compare").read_config()
    with pytest.raises(UserError, match=f"^--run_dir={tmp_path}: no run there"):
        RunFolder(tmp_path).read_config()


def test_damaged_settings(tmp_path):
    run = begun(tmp_path, SETTINGS)
    run.flags_file.write_bytes(b"\xff\xff\n")
    for call in (run.read_config, lambda: run.open_for_training(SETTINGS)):
        with pytest.raises(UserError, match=f"^{run.flags_file}: "):
            call()


def test_figures_are_appended_and_a_line_that_was_cut_off_is_left_out(tmp_path):
    run = RunFolder(tmp_path)
    assert run.read_metrics() == []
    lines = [{"epoch": n + 1, "step": 3 * n + 3, "val_nll_bound": 1 / 3} for n in range(3)]
    for line in lines:
        run.append_metrics(line)
    assert run.read_metrics() == lines
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 4, "step": 12, "val_n')
    assert run.read_metrics() == lines


def test_figures_that_will_be_written_again_are_dropped(tmp_path):
    run = RunFolder(tmp_path)
    run.forget_metrics_after(5, steps_per_epoch=3)
    assert not run.metrics_file.exists()
    # Two epochs, a stop within the third, a line cut off.
    lines = [{"step": step} for step in (3, 6, 7)]
    run.metrics_file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9')
    run.forget_metrics_after(7, steps_per_epoch=3)
    assert run.metrics_file.read_text() == '{"step": 3}\n{"step": 6}\n'
    run.forget_metrics_after(5, steps_per_epoch=3)
    assert run.metrics_file.read_text() == '{"step": 3}\n'


def test_results(tmp_path):
    figures = {"nll_bound": 1.5, "nll_iw": None, "kl": math.nan, "perplexity_bound": math.inf, "split": "test"}
    path = RunFolder(tmp_path).write_results("results.json", figures)
    assert path == tmp_path / "results.json"
    written = json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON.
    assert written == {"nll_bound": 1.5, "nll_iw": None, "kl": None, "perplexity_bound": None, "split": "test"}


@pytest.mark.parametrize(
    "name",
    ["", "flags.txt", "metrics.jsonl", "checkpoints", "train", "a/b.json", "../b.json", "/b.json", "results.JSON"],
)
def test_results_replace_nothing_else(tmp_path, name):
    message = f"^--output={name}: expected the name of a file in the run folder, ending in .json$"
    with pytest.raises(UserError, match=message):
        RunFolder.check_output_name(name)
    with pytest.raises(UserError, match=message):
        RunFolder(tmp_path).write_results(name, {})
    RunFolder.check_output_name("test.json")


@pytest.mark.parametrize("name", ["sources.json", "curves.json", "landscape.json"])
def test_results_do_not_replace_a_file_of_the_run(name):
    with pytest.raises(UserError, match=f"^--output={name}: holds something else of the run; expected another name"):
        RunFolder.check_output_name(name)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"3",
        b"{}",
        b'{"step": "3"}',
        b'{"step": 3.5}',
        b'{"step": -3}',
        b'{"step": 2147483648}',
        b'{"step": 3, "epoch": 1.0}',
        b'{"step": 3, "svi_steps": 2.5}',
        b'{"step": 3, "svi_steps": 2147483648}',
        b'{"step": 3, "x": null}',
        b"\xff",
        b"[" * 9999,
    ],
)
def test_a_damaged_line_of_figures(line, tmp_path):
    run = RunFolder(tmp_path)
    run.metrics_file.write_bytes(
        b'{"step": 2147483647, "svi_steps": 3, "val_perplexity": 1e300}\n' + line + b'\n{"step": 6}\n'
    )
    with pytest.raises(UserError, match=f"^{run.metrics_file}: line 2: b'.*': expected the figures of an epoch$"):
        run.read_metrics()

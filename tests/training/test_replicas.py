"""Training on several devices and in several processes, beside training on one."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

from sa_vae_tf.training.config import Config
from sa_vae_tf.training.replicas import Replicas, _part
from tests import corpora, images, runs
from tests.bin.test_errors import assert_one_line
from tests.workers import Workers, wait_for_step

# Three steps an epoch, the last with ten examples, which four devices cannot share evenly.
EPOCHS = 20
# Sums in another order, over sixty steps of float32.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def alone(launcher, data_dir, tmp_path_factory) -> Config:
    """The settings of a finished run on one device."""
    path = tmp_path_factory.mktemp("alone") / "run"
    config = runs.tiny(path, data_dir, num_epochs=EPOCHS, device="cpu", svi_clip_norm=1.0, kl_warmup_epochs=1.0)
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    return config


def assert_same_figures(run_dir: str | Path, other: str | Path, tolerance: float = ROUNDING) -> None:
    lines = runs.figures(run_dir), runs.figures(other)
    assert len(lines[0]) == len(lines[1]) > 1
    for line, expected in zip(*lines, strict=True):
        assert line == pytest.approx(expected, rel=tolerance, abs=tolerance)


def test_copies_take_the_steps_and_settings_of_the_model():
    def some_model(settings):
        return SimpleNamespace(steps=3, settings=settings, values=None)

    made = iter(["its own", "another's"])
    devices = SimpleNamespace(worker_devices=("CPU:0",) * 3)
    strategy = SimpleNamespace(extended=devices)
    model = some_model("chosen")
    replicas = Replicas(strategy, model, lambda: some_model(next(made)), jit_compile=False)
    assert [copy.settings for copy in replicas.models] == ["chosen"] * 3
    model.steps = 7
    replicas.trace_anew()
    assert [copy.steps for copy in replicas.models] == [7] * 3


@pytest.mark.parametrize(
    ("rows", "devices", "expected"),
    [
        (4, 2, [(0, 2), (2, 4)]),
        (6, 4, [(0, 3), (3, 6), (0, 3), (3, 6)]),  # As many parts as divide both.
        (3, 2, [(0, 3)] * 2),
        (3, 3, [(0, 1), (1, 2), (2, 3)]),
    ],
)
def test_rows_of_each_device(rows, devices, expected):
    for number, (first, end) in enumerate(expected):
        part, before = _part({"index": tf.range(rows), "x": 10 * tf.range(rows)}, number, devices)
        assert int(before) == first
        assert part["index"].numpy().tolist() == list(range(first, end))
        assert part["x"].numpy().tolist() == list(range(10 * first, 10 * end, 10))


@pytest.mark.parametrize("replicas", [2, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 4))])
def test_devices_make_the_losses_of_one(replicas, alone, launcher, tmp_path):
    config = dataclasses.replace(alone, run_dir=str(tmp_path / "run"), strategy="mirrored", replicas=replicas)
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert ended.status == 0, ended.stderr
    assert_same_figures(config.run_dir, alone.run_dir)
    assert ("--batch_size=20 is no multiple" in ended.stderr) is bool(20 % replicas)


@pytest.mark.slow
def test_trainings_in_one_process(alone, tmp_path):
    # A second strategy's messages would be taken for those of the first, whose model has other shapes.
    script = (
        "import dataclasses, sys\n"
        "from sa_vae_tf.training.flags import from_flagfile\n"
        "from sa_vae_tf.training.train import train\n"
        "for units in (4, 5):\n"
        "    config = dataclasses.replace(from_flagfile(sys.argv[1]), strategy='mirrored', replicas=2, num_epochs=1)\n"
        "    train(dataclasses.replace(config, units=units, run_dir=f'{sys.argv[2]}/{units}'), verbose=0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, f"{alone.run_dir}/flags.txt", tmp_path], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert all(runs.figures(tmp_path / units) for units in ("4", "5"))


@pytest.mark.slow
def test_compiled_devices_with_a_schedule(alone, launcher, tmp_path):
    # XLA draws other noise than the plain graph, so it is compared with itself.
    one = dataclasses.replace(
        alone, run_dir=str(tmp_path / "one"), jit_compile=True, svi_steps_schedule="2:1", num_epochs=4
    )
    two = dataclasses.replace(one, run_dir=str(tmp_path / "two"), strategy="mirrored", replicas=2)
    for config in (one, two):
        ended = launcher.run("bin/train.py", *runs.arguments(config))
        assert ended.status == 0, ended.stderr
    assert_same_figures(two.run_dir, one.run_dir)


@pytest.mark.slow
def test_processes_make_the_losses_of_one_and_go_on_together(alone, launcher, tmp_path):
    config = dataclasses.replace(alone, run_dir=str(tmp_path / "run"), checkpoint_steps=1)
    # A signal to the worker that does not write.
    stopped = Workers(launcher, config)
    wait_for_step(config.run_dir, 1)
    os.kill(stopped.processes[1], signal.SIGTERM)
    for ended in stopped.wait():
        assert ended.status == 143, ended.stderr
    # One of them killed: the other does not wait for ever.
    for number in (1, 0):
        lost = Workers(launcher, config)
        wait_for_step(config.run_dir, runs.newest(config.run_dir) + 1)
        os.kill(lost.processes[number], signal.SIGKILL)
        ended = lost.wait()
        assert ended[number].status == -signal.SIGKILL
        assert ended[1 - number].status == 75, ended[1 - number]
        assert ended[1 - number].stderr.splitlines()[-1].startswith("train.py: error: a worker was lost (")
    for ended in Workers(launcher, config).wait():
        assert ended.status == 0, ended.stderr
    assert_same_figures(config.run_dir, alone.run_dir)


@pytest.mark.slow
def test_processes_that_differ_are_refused(launcher, data_dir, tmp_path):
    files = corpora.write(tmp_path)
    config = corpora.tiny(tmp_path / "run", data_dir, files, device="cpu")
    (tmp_path / "other").mkdir()
    other = dataclasses.replace(config, train_file=str(tmp_path / "other" / "train.txt"))
    words = Path(config.train_file).read_text()
    for text, refused in ((words, False), ("".join(reversed(words.splitlines(keepends=True))), True)):
        Path(other.train_file).write_text(text)
        for ended in Workers(launcher, config, other).wait():
            assert (ended.status == 2) is refused, ended.stderr
            assert ("error: --strategy=multi_worker: the workers differ in settings" in ended.stderr) is refused
    for ended in Workers(launcher, config, dataclasses.replace(config, svi_rate_mean=0.5)).wait():
        assert ended.status == 2, ended.stderr
        assert "error: --strategy=multi_worker: the workers differ in settings" in ended.stderr


@pytest.mark.slow
def test_processes_read_their_rows_of_texts(launcher, data_dir, tmp_path):
    # Ten texts of other lengths in each batch, padded alike by both.
    config = corpora.tiny(tmp_path / "one", data_dir, corpora.write(tmp_path), num_epochs=2, device="cpu")
    config = dataclasses.replace(config, jit_compile=True)
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    spread = dataclasses.replace(config, run_dir=str(tmp_path / "spread"))
    for ended in Workers(launcher, spread).wait():
        assert ended.status == 0, ended.stderr
    assert_same_figures(spread.run_dir, config.run_dir)


@pytest.mark.slow
@pytest.mark.parametrize(("compiled", "kernels"), [(False, "fused"), (True, "fused"), (False, "hybrid")])
def test_texts_in_parts_on_two_devices(compiled, kernels, launcher, data_dir, tmp_path):
    files = corpora.write(tmp_path)
    settings = {"num_epochs": 2, "device": "cpu", "jit_compile": compiled, "kernels": kernels}
    whole = corpora.tiny(tmp_path / "one", data_dir, files, **settings)
    # Ten texts are two parts of five, each taken one text after the other.
    spread = dataclasses.replace(
        whole, run_dir=str(tmp_path / "spread"), strategy="mirrored", replicas=2, words_at_once=1
    )
    for config in (whole, spread):
        ended = launcher.run("bin/train.py", *runs.arguments(config))
        assert ended.status == 0, ended.stderr
    assert_same_figures(spread.run_dir, whole.run_dir)


@pytest.mark.slow
@pytest.mark.parametrize(("replicas", "compiled"), [(2, False), (4, False), (2, True)])
def test_batch_normalisation_sees_the_whole_batch(replicas, compiled, launcher, data_dir, tmp_path):
    settings = {"jit_compile": compiled, "kernels": "fused"}
    config = images.tiny(tmp_path / "one", data_dir, images.write(tmp_path), num_epochs=2, device="cpu", **settings)
    spread = dataclasses.replace(config, run_dir=str(tmp_path / "spread"), strategy="mirrored", replicas=replicas)
    for each in (config, spread):
        ended = launcher.run("bin/train.py", *runs.arguments(each))
        assert ended.status == 0, ended.stderr
    # Moments by another formula, whose difference of squares has fewer digits.
    assert_same_figures(spread.run_dir, config.run_dir, tolerance=1e-3)


@pytest.mark.parametrize(
    "described",
    [
        "",
        "{",
        "[]",
        '{"cluster": {}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": false}}',
        '{"cluster": {"worker": ["a:b"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "chief": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_workers_that_are_not_described(described, alone, launcher, tmp_path):
    config = dataclasses.replace(alone, run_dir=str(tmp_path / "run"), strategy="multi_worker")
    process = launcher.start("bin/train.py", *runs.arguments(config), environment={"TF_CONFIG": described})
    line = f"train.py: error: --strategy=multi_worker: TF_CONFIG={described}: expected {{"
    assert_one_line(launcher.wait(process), 2, line)

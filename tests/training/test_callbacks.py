"""What happens beside the training steps, with a model that only counts."""

import functools
import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.errors import TrainingDiverged
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training import callbacks as module
from sa_vae_tf.training.callbacks import EpochFigures, RefinementSchedule, SaveCheckpoints, SkippedSteps, TensorBoard
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.schedules import kl_weight
from tests import runs

STEPS_PER_EPOCH = 4


class CountingModel(SimpleNamespace):
    """What the callbacks know of a model."""

    def __init__(self, method: str = "vae"):
        super().__init__(
            method=METHODS[method],
            step=0,
            skipped=0,
            steps=7,
            set_calls=[],
            kl_weight=lambda step: min(1.0, step / 8),
            optimizer=SimpleNamespace(learning_rate=0.5),
            kl_per_dimension=SimpleNamespace(result=lambda: tf.constant([0.25, 3.0])),
        )

    def set_steps(self, steps):
        self.set_calls.append(steps)
        self.steps = steps


def train(callbacks, model, batches=STEPS_PER_EPOCH, epoch=0, logs=None):
    """Calls what `fit` calls in an epoch."""
    for callback in callbacks:
        callback.set_model(model)
        callback.on_train_begin()
        callback.on_epoch_begin(epoch)
    for batch in range(batches):
        for callback in callbacks:
            callback.on_train_batch_begin(batch)
        model.step += 1
        for callback in callbacks:
            callback.on_train_batch_end(batch, {"loss": float(model.step)})
    logs = {"loss": 2.0, "val_kl": 3.25, "val_nll_bound": 20.0, "val_active_units": 2.0, **(logs or {})}
    for callback in callbacks:
        callback.on_epoch_end(epoch, logs)
    return logs


def test_the_number_of_steps_is_set_where_it_changes():
    model = CountingModel()
    schedule = RefinementSchedule(lambda epoch: 7 if epoch < 2 else 3)
    schedule.set_model(model)
    for epoch in (0, 1, 2, 3):
        schedule.on_epoch_begin(epoch)
    assert model.set_calls == [3]
    # A run that is gone on with may begin anywhere.
    model = CountingModel()
    schedule.set_model(model)
    schedule.on_epoch_begin(3)
    assert model.steps == 3


def test_too_many_skipped_steps(tmp_path):
    saved = []
    checkpoints = SimpleNamespace(save=lambda: saved.append(1) or "folder/ckpt-4")
    callback = SkippedSteps(2, checkpoints, RunFolder(tmp_path), lambda step: {"x": np.array([step])})
    model = CountingModel()
    model.skipped = 2
    train([callback], model)
    assert not saved
    model.skipped = 3
    with pytest.raises(TrainingDiverged, match=r"3 steps .* more than --max_skipped_steps=2; .* folder/ckpt-4,"):
        callback.on_train_batch_end(0, {})
    assert saved == [1]
    with np.load(tmp_path / "skipped_batch.npz") as batch:
        assert batch["x"] == [int(model.step) - 1]
    with pytest.raises(TrainingDiverged):
        callback.check()


def test_figures_of_an_epoch(tmp_path, monkeypatch):
    # Begin and end of each batch but the first, which may be compiled and of which no end is asked for.
    clock = iter([0, 10, 12, 13, 15, 16, 18])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    model = CountingModel()
    train([EpochFigures(RunFolder(tmp_path), STEPS_PER_EPOCH, examples_per_step=50)], model, epoch=2)
    [line] = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert line == {
        "epoch": 3,
        "step": 4,
        "loss": 2.0,
        "val_kl": 3.25,
        "val_nll_bound": 20.0,
        "val_active_units": 2.0,
        "kl_weight": 0.375,
        "svi_steps": 7,
        "learning_rate": 0.5,
        "step_seconds": 2.0,
        "steps_per_second": 0.5,
        "examples_per_second": 25.0,
    }


def test_an_epoch_of_one_batch_has_no_time(tmp_path):
    logs = train([EpochFigures(RunFolder(tmp_path), 1, examples_per_step=50)], CountingModel(), batches=1)
    assert not logs.keys() & runs.TIMES


def test_a_collapsed_posterior_is_told_once_and_not_during_the_warm_up(tmp_path, caplog):
    model = CountingModel()
    figures = EpochFigures(RunFolder(tmp_path), STEPS_PER_EPOCH, examples_per_step=50)
    collapsed = {"val_kl": 0.09, "val_active_units": 0.0}
    with caplog.at_level(logging.WARNING, "sa_vae_tf"):
        train([figures], model, logs=collapsed)  # At the fourth step the KL weight is below a half.
        assert caplog.text == ""
        train([figures], model, epoch=1)
        train([figures], model, epoch=2, logs={"val_kl": 0.11})
        assert caplog.text == ""
        train([figures], model, epoch=3, logs=collapsed)
        train([figures], model, epoch=4, logs=collapsed)
    [record] = caplog.records
    assert "epoch 4: the posterior has collapsed, KL 0.090 nats; it tells nothing of x" in record.getMessage()


def test_a_collapse_at_the_end_of_a_cycle_is_told(tmp_path, caplog):
    model = CountingModel()
    model.kl_weight = functools.partial(kl_weight, start=0.1, warmup_steps=2, cycle_steps=STEPS_PER_EPOCH)
    logs = train([EpochFigures(RunFolder(tmp_path), STEPS_PER_EPOCH, 50)], model, logs={"val_kl": 0.0})
    assert logs["kl_weight"] == 1
    assert "epoch 1: the posterior has collapsed" in caplog.text


def test_without_latent_variable_nothing_collapses(tmp_path, caplog):
    model = CountingModel("lm")
    callback = EpochFigures(RunFolder(tmp_path), STEPS_PER_EPOCH, examples_per_step=50)
    callback.set_model(model)
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"val_nll_bound": 3.0})
    assert caplog.text == ""


@pytest.mark.parametrize("every_steps", [1, 3, 100])
def test_tensorboard_has_every_epoch_and_points_within(every_steps, tmp_path):
    model = CountingModel()
    callback = TensorBoard(RunFolder(tmp_path), every_steps)
    for epoch in (0, 1):
        train([callback], model, epoch=epoch)
    # Read before the writers are closed: a run that is killed keeps its finished epochs.
    found = runs.events(tmp_path / "train")
    assert found.pop("epoch/loss") == [(4, 2.0), (8, 2.0)]
    points = [(step, step) for step in range(1, 9) if step % every_steps == 0]
    assert found == ({"step/loss": points} if points else {})
    assert runs.events(tmp_path / "validation") == {
        "epoch/kl": [(4, 3.25), (8, 3.25)],
        "epoch/nll_bound": [(4, 20.0), (8, 20.0)],
        "epoch/active_units": [(4, 2.0), (8, 2.0)],
        "kl_per_dimension/0": [(4, 0.25), (8, 0.25)],
        "kl_per_dimension/1": [(4, 3.0), (8, 3.0)],
    }


def test_tensorboard_has_the_text_of_every_epoch(tmp_path):
    written = iter([{"samples": "    one"}, {"samples": "    two"}])
    model = CountingModel()
    callback = TensorBoard(RunFolder(tmp_path), 100, lambda: next(written))
    for epoch in (0, 1):
        train([callback], model, epoch=epoch)
    [path] = (tmp_path / "validation").iterdir()  # TensorBoard reads on in the newest file of a folder alone.
    found = [
        (event.step, tf.make_ndarray(value.tensor).item())
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == "samples"
    ]
    assert found == [(4, b"    one"), (8, b"    two")]


def test_a_run_with_nothing_to_do_makes_no_empty_events(tmp_path):
    TensorBoard(RunFolder(tmp_path), 1).set_model(CountingModel())
    assert list(tmp_path.iterdir()) == []


class Recorder(SimpleNamespace):
    """Takes down at which steps something was saved."""

    def __init__(self, model):
        super().__init__(model=model, latest=[], best=[], metrics={"mean": tf.Variable(5.0)})

    def save(self):
        self.latest.append(self.model.step)

    def save_best(self):
        self.best.append(self.model.step)


def saver(model, improved=False, every_steps=0, every_minutes=0.0, last=100):
    recorder = Recorder(model)
    rule = SimpleNamespace(improved=improved)
    return SaveCheckpoints(recorder, rule, every_steps, every_minutes, STEPS_PER_EPOCH, last), recorder


def test_a_checkpoint_after_each_epoch_and_the_best():
    model = CountingModel()
    callback, recorder = saver(model)
    train([callback], model)
    assert (recorder.latest, recorder.best) == ([4], [])
    callback.rule.improved = True
    train([callback], model, epoch=1)
    assert (recorder.latest, recorder.best) == ([4, 8], [8])


def test_checkpoints_by_steps():
    model = CountingModel()
    callback, recorder = saver(model, every_steps=2)
    train([callback], model)
    train([callback], model, epoch=1)
    # At an epoch's end once, after its validation.
    assert recorder.latest == [2, 4, 6, 8]


def test_checkpoints_by_minutes(monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    model = CountingModel()
    callback, recorder = saver(model, every_minutes=2)
    callback.set_model(model)
    for seconds in (60, 119, 121, 180, 240, 242):
        clock[0], model.step = 1000.0 + seconds, seconds * STEPS_PER_EPOCH + 1
        callback.on_train_batch_end(0)
    assert recorder.latest == [121 * STEPS_PER_EPOCH + 1, 242 * STEPS_PER_EPOCH + 1]


@pytest.mark.parametrize("last", [100, STEPS_PER_EPOCH - 1])
@pytest.mark.parametrize("every_minutes", [5.0, 0.0])
def test_a_checkpoint_before_a_step_with_a_validation(every_minutes, last, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    model = CountingModel()
    callback, recorder = saver(model, every_minutes=every_minutes, last=last)
    callback.set_model(model)
    end = min(last, STEPS_PER_EPOCH)
    for model.step in range(1, end + 1):
        clock[0] += 6 if model.step == end - 1 else 0.1
        callback.on_train_batch_end(0)
    assert recorder.latest == ([end - 1] if every_minutes else [])


def test_a_last_step_within_an_epoch_is_saved_after_its_validation_and_is_no_best():
    model = CountingModel()
    callback, recorder = saver(model, improved=True, last=6, every_steps=1)
    train([callback], model)
    [mean] = recorder.metrics.values()
    for model.step in (5, 6):
        mean.assign(model.step)
        callback.on_train_batch_end(0)
    assert recorder.latest == [1, 2, 3, 4, 5]
    mean.assign(0.0)  # As the validation does.
    callback.on_epoch_end(1, {})
    assert (recorder.latest, recorder.best) == ([1, 2, 3, 4, 5, 6], [4])
    assert float(mean) == 6


def test_means_of_an_unfinished_epoch_go_on_where_they_were():
    model = CountingModel()
    model.step = 6
    callback, recorder = saver(model)
    [mean] = recorder.metrics.values()
    callback.set_model(model)
    mean.assign(0.0)  # As `fit` does.
    callback.on_epoch_begin(1)
    assert float(mean) == 5
    model.step = 8
    mean.assign(0.0)
    callback.on_epoch_begin(2)
    assert float(mean) == 0

"""Whole runs, in this process: what is trained, what a stop changes (nothing), and how a run ends."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.errors import TrainingDiverged, UserError
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.training import train as train_module
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks import TASKS
from sa_vae_tf.training.train import train
from tests import corpora, runs

RESUMED = {
    "sgd": {"method": "sa_vae", "dropout": 0.2, "kl_warmup_epochs": 1.5, "learning_rate": 0.5},
    # Adam with a rate so high that no epoch is better than the first: the rate rule is at work from epoch 2 on.
    "adam": {
        "method": "svi",
        "optimizer": "adam",
        "learning_rate": 1.0,
        "svi_steps_schedule": "1:1",
        "lr_decay_start_epoch": 2,
    },
}


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", ["sgd", pytest.param("adam", marks=pytest.mark.slow)])
def test_a_stopped_run_ends_as_one_that_was_not(case, tmp_path, data_dir):
    config = runs.tiny(tmp_path / "whole", data_dir, num_epochs=3, **RESUMED[case])
    train(config, verbose=0)
    lines = runs.figures(tmp_path / "whole")
    assert [line["step"] for line in lines] == [3, 6, 9]
    rates = [line["learning_rate"] for line in lines]
    if case == "adam":
        assert rates == [1.0, 1.0, 0.5]
        assert [line["svi_steps"] for line in lines] == [2, 1, 1]
    else:
        assert rates == [0.5] * 3

    stopped = dataclasses.replace(config, run_dir=str(tmp_path / "stopped"))
    # In the second epoch, and at its end.
    for step in (4, 6):
        train(dataclasses.replace(stopped, max_steps=step), verbose=0)
        assert runs.figures(stopped.run_dir)[-1]["step"] == step
    before = contents(tmp_path / "stopped")
    train(dataclasses.replace(stopped, max_steps=step), verbose=0)
    assert contents(tmp_path / "stopped") == before  # There was nothing left to do.
    train(stopped, verbose=0)
    runs.assert_same_end(stopped.run_dir, config.run_dir)


@pytest.mark.parametrize(
    ("batch_size", "devices", "shown"),
    [
        (32, 1, ""),
        (30, 1, ""),
        (31, 1, " 1 are computed at a time where 15 "),
        (34, 1, " 2 "),
        (34, 2, " 1 "),
        (8, 1, ""),
    ],
)
def test_a_batch_size_with_few_divisors(batch_size, devices, shown, caplog):
    config = Config(data="text", train_file="a", val_file="b", max_length=198, batch_size=batch_size)
    train_module._warn_of_small_parts(config, 3000, devices)
    train_module._warn_of_small_parts(config, 0, devices)
    assert shown in caplog.text
    assert bool(caplog.text) == bool(shown)


@pytest.mark.parametrize("there", [True, False])
def test_a_processor_without_products_of_bfloat16(there, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(train_module, "multiplies_bfloat16", lambda: there)
    config = Config(data="text", train_file="a", val_file="b", kernels="bfloat16")
    assert train_module._kernels(RunFolder(tmp_path / "run"), config) == "bfloat16"
    assert ("--kernels=bfloat16: this processor has no products of that type" in caplog.text) is not there


def test_the_rate_rule_ends_training(tmp_path, data_dir):
    config = runs.tiny(
        tmp_path,
        data_dir,
        method="vae",
        optimizer="adam",
        learning_rate=1.0,
        lr_decay_start_epoch=1,
        min_learning_rate=0.3,
        num_epochs=9,
    )
    train(config, verbose=0)
    lines = runs.figures(tmp_path)
    # With half of the last one's rate there was none.
    assert lines[-1]["learning_rate"] / 2 < 0.3 <= lines[-1]["learning_rate"]
    assert len(lines) < 9
    before = contents(tmp_path)
    train(config, verbose=0)
    assert contents(tmp_path) == before


def test_too_many_skipped_steps_end_the_run_with_its_last_good_weights(tmp_path, data_dir):
    # On a slow machine minutes would add a checkpoint before the first epoch's last step.
    settings = {"skip_norm": 1e-9, "max_skipped_steps": 4, "checkpoint_minutes": 0.0}
    config = runs.tiny(tmp_path, data_dir, method="vae", **settings)
    for max_steps in (0, 0, 5):  # Started again, it does not go on, nor has it ended well where that was the last step.
        with pytest.raises(TrainingDiverged, match=r"by step 5, 5 steps were skipped .*checkpoints/latest/ckpt-5") as e:
            train(dataclasses.replace(config, max_steps=max_steps), verbose=0)
        assert "\n" not in str(e.value)
    [line] = runs.figures(tmp_path)
    assert line["skipped_steps"] == 3
    # The batch of the fifth step, the second of the second epoch.
    data = TASKS["synthetic"].data(config, ("train",), None).splits["train"]
    *_, expected = data.shuffled(config.batch_size, config.seed, 0).take(5)
    with np.load(tmp_path / "skipped_batch.npz") as batch:
        assert set(batch) == {"x", "index"}
        for name, value in batch.items():
            np.testing.assert_array_equal(value, expected[name])
    latest = tmp_path / "checkpoints" / "latest"
    assert runs.numbers(latest) == [0, 3, 5]
    last = runs.tensors(latest)
    assert (last["step"], last["skipped"]) == (5, 5)
    for path in latest.glob("ckpt-[35].*"):
        path.unlink()
    for name, value in runs.tensors(latest).items():
        if name.startswith(("weights/", "optimizer/")):
            np.testing.assert_array_equal(last[name], value)


def test_svi_under_the_oracle_trains_nothing_but_has_a_checkpoint(tmp_path, data_dir, caplog):
    with caplog.at_level(logging.INFO, "sa_vae_tf"):
        train(runs.tiny(tmp_path, data_dir, method="svi", generator="oracle"), verbose=0)
    assert "Nothing to train" in caplog.text
    assert runs.numbers(tmp_path / "checkpoints" / "latest") == [0]


@pytest.mark.parametrize(("hvp", "warned"), [("exact", False), ("finite_difference", True), ("authors", True)])
def test_differences_over_relus_are_warned_of(tmp_path, data_dir, caplog, hvp, warned):
    config = corpora.tiny(tmp_path / "run", data_dir, corpora.write(tmp_path), decoder="cnn", hvp=hvp, num_epochs=0)
    with caplog.at_level(logging.WARNING, "sa_vae_tf"):
        train(config, verbose=0)
    assert ("kinks of the relus" in caplog.text) == warned


def test_patience_and_a_shortened_reverse_pass_train_and_evaluate(tmp_path, data_dir):
    config = runs.tiny(tmp_path / "run", data_dir, svi_steps=6, svi_patience=1, reverse_steps=2, num_epochs=1)
    results = evaluate(train(config, verbose=0), "validation", iw_samples=0, gap_steps=0)
    assert 0 < results["svi_steps_taken"] < results["svi_steps"] == 6
    # With one step, which is the last, one that is differentiated is all.
    short, whole = (
        train(runs.tiny(tmp_path / str(m), data_dir, svi_steps=1, reverse_steps=m, num_epochs=1), verbose=0)
        for m in (1, -1)
    )
    assert runs.figures(short.path) == runs.figures(whole.path)


def test_other_settings_do_not_touch_the_folder(tmp_path, data_dir):
    config = runs.tiny(tmp_path, data_dir, num_epochs=0)
    train(config, verbose=0)
    before = (tmp_path / "flags.txt").read_bytes()
    with pytest.raises(UserError, match=r"--seed is 1 there and 2 here"):
        train(dataclasses.replace(config, seed=2), verbose=0)
    assert (tmp_path / "flags.txt").read_bytes() == before


def test_an_empty_run_dir_is_the_default_one(tmp_path, data_dir, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = train(dataclasses.replace(runs.TINY, data_dir=data_dir, num_epochs=0, seed=5), verbose=0)
    assert str(run.path) == "runs/synthetic-learned-sa_vae-5"
    assert (run.path / "flags.txt").exists()


def test_settings_reach_what_fits_the_model(tmp_path, data_dir, monkeypatch):
    fits = []
    monkeypatch.setattr(LatentVariableModel, "fit", lambda model, batches, **given: fits.append(given))
    settings = {"max_steps": 7, "eval_batch_size": 30, "checkpoint_steps": 11, "checkpoint_minutes": 1.5,
                "log_steps": 13, "max_skipped_steps": 17, "max_eval_examples": 40}  # fmt: skip
    train(runs.tiny(tmp_path, data_dir, method="vae", **settings))
    # Three steps an epoch for fifty examples: two epochs, and a step of the third.
    assert [(fit["initial_epoch"], fit["epochs"], fit["steps_per_epoch"]) for fit in fits] == [(0, 2, 3), (2, 3, 1)]
    assert [len(batch["index"]) for batch in fits[0]["validation_data"]] == [30, 10]
    by_kind = {type(callback).__name__: callback for callback in fits[0]["callbacks"]}
    assert by_kind["EpochCount"].epochs == 3
    figures, saves = by_kind["EpochFigures"], by_kind["SaveCheckpoints"]
    assert (figures.steps_per_epoch, figures.examples_per_step) == (3, pytest.approx(50 / 3))
    assert (saves.every_steps, saves.every_minutes, saves.steps_per_epoch, saves.last) == (11, 1.5, 3, 7)
    assert by_kind["TensorBoard"].every_steps == 13
    assert by_kind["SkippedSteps"].limit == 17
    # What changes the rate comes after what notes it down, what saves after all that has a state.
    names = list(by_kind)
    assert names.index("EpochFigures") < names.index("LearningRateRule") < names.index("SaveCheckpoints")


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 7))
def test_calls_of_fit_do_every_step_once_and_end_at_epochs_ends(step, last, steps_per_epoch):
    for first, end, steps in train_module._fits(step, last, steps_per_epoch):
        assert first == step // steps_per_epoch
        if end > first + 1:
            assert (step % steps_per_epoch, steps) == (0, steps_per_epoch)
        step += (end - first) * steps
        assert step == last or step % steps_per_epoch == 0
    assert step >= last


def test_the_settings_of_a_run_say_where_its_data_is_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = runs.tiny("run", "data", num_epochs=0)
    for name, kept in (("data", tmp_path / "data"), ("~/data", tmp_path / "home" / "data")):
        run = train(dataclasses.replace(config, data_dir=name))
        assert run.read_config().data_dir == str(kept)
        assert kept.is_dir()
    text = Config(data="text", train_file="a", val_file="b", data_dir="~/data", manual_dir="by_hand")
    found = train_module._from_anywhere(text)
    assert (found.data_dir, found.manual_dir) == (str(tmp_path / "home" / "data"), str(tmp_path / "by_hand"))
    assert train_module._from_anywhere(Config()) == Config()


def test_settings_of_the_whole_run(tmp_path, data_dir):
    # The rate is halved after each epoch from the second on, whatever the bounds; validation is of seven examples.
    settings = {"lr_decay_start_epoch": 2, "lr_decay_always": True, "max_eval_examples": 7, "num_epochs": 4}
    config = runs.tiny(tmp_path, data_dir, method="vae", learning_rate=0.01, optimizer="adam", **settings)
    run = train(config, verbose=0)
    lines = runs.figures(tmp_path)
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.01, 0.01, 0.005, 0.0025])
    best = min(line["val_nll_bound"] for line in lines)
    results = evaluate(run, "validation", iw_samples=0, gap_steps=0, max_examples=7)
    assert results["nll_bound"] == pytest.approx(best, rel=1e-5)
    assert results["examples"] == 7

"""Results that an earlier command left, and the process that makes them."""

import dataclasses
import signal
import sys

import pytest

from sa_vae_tf.analysis import experiments
from sa_vae_tf.analysis.experiments import check_runs, evaluated, in_process, read_results
from sa_vae_tf.errors import TrainingDiverged, UserError, WorkerLost
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.sources import check_sources, write_sources
from tests import runs


def test_results(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"nll_bound": 1.5, "nll_iw": null}\n')
    assert read_results(path) == {"nll_bound": 1.5, "nll_iw": None}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 99_999])
def test_damaged_results(content, tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: damaged; expected the results of an evaluation"):
        read_results(path)


def test_an_evaluation_is_of_the_training_that_is_asked_for(tmp_path, monkeypatch):
    config = runs.tiny(tmp_path / "run", "")

    def in_this_process(function, *arguments):
        made.append((arguments[0].num_epochs, arguments[0].max_steps))
        return function(*arguments)

    def train(config):
        run = RunFolder(config.run_dir)
        run.write_settings(config)
        run.append_metrics({"epoch": config.num_epochs, "step": 3 * config.num_epochs})
        if config.num_epochs == 4:
            raise MemoryError
        return run

    made = []
    monkeypatch.setattr(experiments, "in_process", in_this_process)
    monkeypatch.setattr(experiments, "train", train)
    monkeypatch.setattr(experiments, "evaluate", lambda run: {"nll_bound": float(run.epochs())})
    for epochs, steps in ((2, 0), (2, 0), (3, 0), (3, 0), (3, 8), (3, 8)):
        asked = dataclasses.replace(config, num_epochs=epochs, max_steps=steps)
        assert evaluated(asked, "table.json") == {"nll_bound": epochs}
    assert made == [(2, 0), (3, 0), (3, 8)]
    # A training that was begun, and ended before its evaluation, has none.
    asked = dataclasses.replace(config, num_epochs=4)
    for _ in range(2):
        with pytest.raises(MemoryError):
            evaluated(asked, "table.json")
    assert made[3:] == [(4, 0), (4, 0)]


def test_what_is_wrong_with_a_run_folder_names_the_flag_of_all_of_them(tmp_path, monkeypatch):
    config = runs.tiny(tmp_path / "run", "")
    monkeypatch.setattr(experiments, "set_up_logging", lambda: None)
    other = RunFolder(config.run_dir)
    other.open_for_training(config)
    with pytest.raises(UserError, match=f"^--runs: {other.path} is being trained by another process "):
        experiments._train(config)
    other.close()

    def diverge(config):
        raise TrainingDiverged("try a lower --learning_rate, in a new --run_dir")

    monkeypatch.setattr(experiments, "train", diverge)
    with pytest.raises(TrainingDiverged, match="in a new --runs$"):
        experiments._train(config)


def test_an_evaluation_is_of_the_test_file_as_it_is(tmp_path, monkeypatch):
    files = {"train_file": "a", "val_file": "a", "test_file": str(tmp_path / "b.txt")}
    config = Config(run_dir=str(tmp_path / "run"), data="text", **files)
    run = RunFolder(config.run_dir)
    run.write_settings(config)
    monkeypatch.setattr(experiments, "in_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(experiments, "train", lambda config: run)
    monkeypatch.setattr(experiments, "evaluate", lambda run: {"made": made.append(1) or len(made)})
    made = []
    for text, expected in (("a b\n", 1), ("a b\n", 1), ("a c\n", 2), ("a c\n", 2)):
        (tmp_path / "b.txt").write_text(text)
        assert evaluated(config, "table.json") == {"made": expected}
    (tmp_path / "b.txt").unlink()
    with pytest.raises(UserError, match="b.txt: cannot be read"):
        evaluated(config, "table.json")


def test_a_run_whose_data_has_changed_is_in_the_way(tmp_path):
    (tmp_path / "a.txt").write_text("a b\n")
    config = runs.tiny(tmp_path / "run", "")
    run = RunFolder(config.run_dir)
    run.write_settings(config)
    run.append_metrics({"epoch": 1, "step": 3})
    write_sources(run, check_sources(run, {"train": str(tmp_path / "a.txt")}))
    check_runs([config], config)
    (tmp_path / "a.txt").write_text("a c\n")
    with pytest.raises(UserError, match=f"holds something else than when the run in --runs={run.path} began"):
        check_runs([config], config)


def test_a_run_of_more_steps_is_in_the_way(tmp_path):
    config = runs.tiny(tmp_path / "run", "", num_epochs=3)
    run = RunFolder(config.run_dir)
    run.write_settings(config)
    for epoch in (1, 2):
        run.append_metrics({"epoch": epoch, "step": 5 * epoch})
    for allowed in (0, 10, 12):
        check_runs([dataclasses.replace(config, max_steps=allowed)], config)
    with pytest.raises(UserError, match=r"other settings \(it has 10 steps and --max_steps is 9 here\)"):
        check_runs([dataclasses.replace(config, max_steps=9)], config)


def test_settings_that_no_run_takes_are_told(caplog, tmp_path):
    base = runs.tiny(tmp_path / "none", str(tmp_path), seed=9, method="svi", svi_steps=7, num_epochs=3)
    caplog.set_level("INFO")
    check_runs([base], base)
    assert not caplog.messages
    check_runs(
        [dataclasses.replace(base, seed=seed, method=method) for seed in (1, 2) for method in ("lm", "svi")], base
    )
    assert caplog.messages == ["Not used, since the rows set it themselves: --seed=9"]


def test_a_process_that_is_killed():
    with pytest.raises(WorkerLost, match="the process that trains and evaluates was ended"):
        in_process(signal.raise_signal, signal.SIGKILL)


@pytest.mark.slow
def test_what_a_process_raises_is_raised():
    with pytest.raises(SystemExit, match="3"):
        in_process(sys.exit, 3)
    with pytest.raises(UserError, match="no file there"):
        in_process(_refuse, "no file there")


def _refuse(message):
    raise UserError(message)

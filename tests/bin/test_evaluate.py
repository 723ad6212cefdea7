"""Training, evaluation and figures by the scripts, one after the other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.analysis.example_bound import fixed_noise
from sa_vae_tf.analysis.figure1 import NOISE_PAIRS
from sa_vae_tf.evaluation import amortization_gap, mutual_information
from sa_vae_tf.inference import Draw, Posterior, draw_per_example
from sa_vae_tf.training.load import load_best, read_split
from sa_vae_tf.training.run_folder import RunFolder
from tests import runs
from tests.launcher import ROOT

KEYS = {
    "nll_bound",
    "reconstruction",
    "kl",
    "nll_iw",
    "iw_samples",
    "mutual_information",
    "active_units",
    "amortization_gap",
    "examples",
    "svi_steps",
}


@pytest.fixture(scope="module")
def config(data_dir, tmp_path_factory):
    # With the oracle, whose runs have a landscape; more steps of refinement from the second epoch on, which is better.
    path = tmp_path_factory.mktemp("runs") / "sa_vae"
    return runs.tiny(
        path, data_dir, generator="oracle", svi_steps=1, svi_steps_schedule="1:6", num_epochs=3, log_steps=2
    )


@pytest.fixture(scope="module")
def run_dir(launcher, config):
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert ended.status == 0, ended.stderr
    return config.run_dir


@pytest.fixture(scope="module")
def evaluate(launcher, run_dir, config):
    def run(*arguments: str) -> tuple[dict, str]:
        ended = launcher.run("bin/evaluate.py", f"--run_dir={run_dir}", "--output=some.json", *arguments)
        assert (ended.status, ended.stderr) == (0, "")
        with open(f"{run_dir}/some.json", encoding="utf-8") as file:
            return json.load(file), ended.stdout

    return run


def test_the_bound_is_that_of_the_best_epoch(evaluate, run_dir):
    results, table = evaluate("--split=validation", "--iw_samples=3", "--gap_steps=2")
    assert set(results) >= KEYS
    best = min(runs.figures(run_dir), key=lambda line: line["val_nll_bound"])
    assert best["epoch"] > 1  # Otherwise the number of steps would say nothing.
    assert (results["step"], results["svi_steps"]) == (best["step"], best["svi_steps"]) == (best["step"], 6)
    for name in ("nll_bound", "reconstruction", "kl", "initial_bound", "active_units"):
        # Means of the same numbers, in float32 there and float64 here.
        assert results[name] == pytest.approx(best[f"val_{name}"], rel=1e-5), name
    assert (results["examples"], results["iw_samples"]) == (50, 3)
    assert results["nll_iw"] < results["nll_bound"]
    for name in KEYS:
        assert name in table
    assert f"Results: {run_dir}/some.json" in table


def test_figures_of_the_posteriors(evaluate, run_dir):
    results, _ = evaluate("--split=validation", "--iw_samples=0", "--gap_steps=6", "--seed=3")
    run = RunFolder(run_dir)
    config, model, _, vocabulary_file = load_best(run)
    _, data = read_split(run, config, vocabulary_file, "validation")
    batch = next(iter(data.in_order(50)))
    inferred = model.infer(batch, seed=3)
    information = mutual_information(*(part.numpy() for part in inferred.refined), [3, 2])
    # Of one batch here as there; sums of float32 in another order.
    assert results["mutual_information"] == pytest.approx(information.aggregate, rel=1e-4)
    assert results["mutual_information_in_batch"] == pytest.approx(information.in_batch, rel=1e-4)
    key = tf.constant([3, 1])
    steps, final = (draw_per_example(inferred.initial, batch["index"], n, k)[0] for n, k in ((6, key), (10, key + 1)))
    gap = amortization_gap(inferred.bound, inferred.initial, inferred.context, steps, final, model.settings).gap
    assert results["amortization_gap"] == pytest.approx(float(tf.reduce_mean(gap)), rel=1e-4)
    assert results["amortization_gap"] > 0.1


def test_another_start_number_of_steps_and_of_examples(evaluate):
    results, _ = evaluate(
        "--svi_init=zero", "--svi_steps=0", "--max_eval_examples=7", "--iw_samples=0", "--gap_steps=2"
    )
    assert (results["examples"], results["svi_steps"], results["svi_init"]) == (7, 0, "zero")
    assert results["kl"] == results["active_units"] == 0
    assert results["mutual_information"] == pytest.approx(0, abs=1e-12)  # Rounding of float64.
    assert results["nll_bound"] == results["initial_bound"] == pytest.approx(results["reconstruction"])
    assert results["nll_iw"] is None
    # A gap is the encoder's.
    assert results["amortization_gap"] is results["gap_steps"] is None


def test_a_start_of_noise_of_ones_own_tells_nothing_of_x(evaluate):
    results, _ = evaluate("--svi_init=random", "--max_eval_examples=7", "--iw_samples=0", "--gap_steps=0")
    assert results["kl"] > 0
    assert results["mutual_information"] is results["mutual_information_in_batch"] is results["active_units"] is None


def test_what_has_no_meaning(launcher, run_dir, tmp_path):
    ended = launcher.run("bin/evaluate.py", f"--run_dir={run_dir}", "--split=train", "--test_file=some.txt")
    expected = "evaluate.py: error: --test_file=some.txt: is the test split; expected no --split=train beside it\n"
    assert (ended.status, ended.stderr) == (2, expected)


def test_results_are_there_where_nobody_reads_what_is_printed(launcher, run_dir, tmp_path):
    script = tmp_path / "evaluate.py"
    nobody = "import os, sys; reading, writing = os.pipe(); os.close(reading); sys.stdout = open(writing, 'w', 1)\n"
    script.write_text(f"{nobody}import runpy; runpy.run_path({str(ROOT / 'bin/evaluate.py')!r}, run_name='__main__')")
    flags = [f"--run_dir={run_dir}", "--max_eval_examples=7", "--iw_samples=0", "--gap_steps=0", "--output=unread.json"]
    assert launcher.run(script, *flags) == (141, "", "")
    assert json.loads(Path(run_dir, "unread.json").read_text(encoding="utf-8"))["examples"] == 7


def test_tensorboard_shows_the_run(run_dir):
    lines = runs.figures(run_dir)
    train, validation = (runs.events(Path(run_dir, part)) for part in ("train", "validation"))
    for name in ("nll_bound", "reconstruction", "kl", "loss", "gradient_norm", "skipped_steps", "learning_rate"):
        expected = [(line["step"], pytest.approx(line[name])) for line in lines]
        assert train[f"epoch/{name}"] == expected
    for name in ("nll_bound", "reconstruction", "kl", "active_units", "initial_bound"):
        expected = [(line["step"], pytest.approx(line[f"val_{name}"])) for line in lines]
        assert validation[f"epoch/{name}"] == expected
    by_dimension = [validation[f"kl_per_dimension/{dimension}"] for dimension in (0, 1)]
    for line, *kl in zip(lines, *by_dimension, strict=True):
        assert sum(value for _, value in kl) == pytest.approx(line["val_kl"], rel=1e-5)
    for name in ("step_seconds", "steps_per_second", "examples_per_second"):
        assert all(value > 0 for _, value in train[f"epoch/{name}"])
    assert [step for step, _ in train["step/nll_bound"]] == [2, 4, 6, 8]


def assert_landscape(run_dir, other, example):
    """Asserts that the landscape is that of this test example, and its optimum better than where the run ends up."""
    landscape = json.loads(Path(run_dir, "landscape.json").read_text(encoding="utf-8"))
    run = RunFolder(run_dir)
    config, model, _, vocabulary_file = load_best(run)
    _, data = read_split(run, config, vocabulary_file, "test")
    batch = next(iter(data.in_order(1).skip(example)))
    path = model.infer(batch).path
    # The same float32 operations.
    np.testing.assert_allclose(landscape["trajectories"]["sa_vae"], path.mean[:, 0], rtol=1e-5)
    assert landscape["trajectories"][other] == landscape["trajectories"]["sa_vae"]
    # The example under each draw, in one batch.
    draw = Draw(tf.constant(fixed_noise(NOISE_PAIRS, 2), tf.float32), tf.zeros([2], tf.int32))
    context = model.decoder.prepare(tf.repeat(batch["x"], len(draw.noise), axis=0))

    def bound(*posterior):
        parts = (tf.broadcast_to(tf.cast(part, tf.float32), draw.noise.shape) for part in posterior)
        bounds = model.decoder_bound(1.0, training=False)(Posterior(*parts), context, draw)
        return float(tf.reduce_mean(bounds))

    optimum = bound(landscape["optimum_mean"], landscape["optimum_log_variance"])
    # Means of 64 float32, which are summed in another order.
    assert landscape["optimum_bound"] == pytest.approx(optimum, rel=1e-5)
    assert optimum < bound(*(part[-1, 0] for part in path))


def test_figures(launcher, run_dir, tmp_path):
    shutil.copytree(run_dir, tmp_path / "copy")
    ended = launcher.run("bin/analyze.py", f"--run_dir={run_dir}", f"--compare={tmp_path}/copy", "--example=3")
    assert (ended.status, ended.stderr) == (0, "")
    for name in ("curves", "landscape"):
        assert f"{run_dir}/{name}.png" in ended.stdout
        assert tf.io.decode_png(tf.io.read_file(f"{run_dir}/{name}.png")).shape[0] > 100
    assert_landscape(run_dir, "copy", 3)
    assert "The runs differ" not in ended.stdout
    with open(f"{run_dir}/curves.json", encoding="utf-8") as file:
        curves = json.load(file)
    assert set(curves) == {"sa_vae", "copy"}  # By folder, where the method is the same.
    lines = runs.figures(run_dir)
    assert curves["copy"]["val_nll_bound"] == [line["val_nll_bound"] for line in lines]
    best = min(lines, key=lambda line: line["val_nll_bound"])
    assert f"copy: validation bound {best['val_nll_bound']:.2f} at best, in epoch {best['epoch']}\n" in ended.stdout
    # A run of the same name and method, on other examples.
    shutil.copytree(run_dir, tmp_path / "other" / "sa_vae")
    flags = tmp_path / "other" / "sa_vae" / "flags.txt"
    flags.write_text(flags.read_text().replace("--data_seed=0", "--data_seed=7") + "--num_examples=49\n")
    ended = launcher.run("bin/analyze.py", f"--run_dir={run_dir}", f"--compare={flags.parent}")
    assert (ended.status, ended.stderr) == (0, "")
    assert "No landscape: the runs have oracles or examples of their own, by --seed, --data_seed or" in ended.stdout
    assert "The runs differ in --num_examples: their bounds may be of different data or words\n" in ended.stdout
    with open(f"{run_dir}/curves.json", encoding="utf-8") as file:
        assert set(json.load(file)) == {run_dir, str(flags.parent)}
    before = {path: path.stat().st_mtime_ns for path in Path(run_dir).iterdir()}
    ended = launcher.run("bin/analyze.py", f"--run_dir={run_dir}", "--example=50")
    assert (ended.status, ended.stderr) == (2, "analyze.py: error: --example=50: expected a number from 0 to 49\n")
    assert {path: path.stat().st_mtime_ns for path in Path(run_dir).iterdir()} == before


def test_figures_of_a_run_of_which_nothing_is_learned(launcher, run_dir, data_dir, tmp_path):
    config = runs.tiny(tmp_path / "svi", data_dir, generator="oracle", method="svi")
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    ended = launcher.run("bin/analyze.py", f"--run_dir={config.run_dir}")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout == (
        f"Landscape: {config.run_dir}/landscape.png\n"
        "No learning curves: of this generator and method nothing is learned\n"
    )
    assert not Path(config.run_dir, "curves.png").exists()
    ended = launcher.run("bin/analyze.py", f"--run_dir={config.run_dir}", f"--compare={run_dir}")
    assert (ended.status, ended.stderr) == (0, "")
    assert set(json.loads(Path(config.run_dir, "landscape.json").read_text())["trajectories"]) == {"SVI", "SA-VAE"}
    assert set(json.loads(Path(config.run_dir, "curves.json").read_text())) == {"SA-VAE"}

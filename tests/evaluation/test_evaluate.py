"""The evaluation of a run: in what batches, and which figures it has."""

import inspect
import re

import numpy as np

from sa_vae_tf.evaluation import evaluate as module
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.training.train import train
from tests import runs


def test_a_run_trained_from_noise_of_ones_own_tells_nothing_of_x(data_dir, tmp_path):
    changes = {"method": "svi", "svi_init": "random", "eval_batch_size": 20, "num_epochs": 0}
    run, told = train(runs.tiny(tmp_path, data_dir, **changes), verbose=0), []
    results = evaluate(run, iw_samples=0, gap_steps=0, progress=lambda *of: told.append(of))
    assert told == [(20, 50), (40, 50), (50, 50)]
    assert results["svi_init"] == "random"
    assert results["kl"] > 0
    assert results["mutual_information"] is results["mutual_information_in_batch"] is results["active_units"] is None


def test_what_is_evaluated_where_nothing_is_said(launcher):
    shown = launcher.run("bin/evaluate.py", "--help").stdout
    of_script = dict(re.findall(r"--(\w+): [^)]*?\(default: '(\d+)'\)", shown))
    assert of_script == {"iw_samples": "500", "gap_steps": "200", "max_eval_examples": "0", "seed": "0"}
    of_function = {name: parameter.default for name, parameter in inspect.signature(evaluate).parameters.items()}
    assert {name: str(of_function[name]) for name in ("iw_samples", "gap_steps", "seed")}.items() <= of_script.items()
    assert of_function["max_examples"] == 0


def test_one_example_from_the_encoder_by_name(data_dir, tmp_path):
    run = train(runs.tiny(tmp_path, data_dir, method="vae", seed=3, num_epochs=0), verbose=0)
    results = evaluate(run, svi_init="encoder", iw_samples=2, gap_steps=1, max_examples=1, seed=5)
    assert results["amortization_gap"] is not None  # As where the encoder is the start because nothing else is said.
    assert (results["examples"], results["seed"], results["step"], results["active_units"]) == (1, 3, 0, 0)
    assert evaluate(run, iw_samples=2, gap_steps=1, max_examples=1, seed=5) == results


def test_figures_of_batches_in_any_order_are_those_of_the_examples():
    batches = [{"index": np.array(index), "mean": 10.0 * np.array(index)} for index in ([3, 0], [2, 1])]
    told: list[tuple[int, int]] = []
    columns = module._columns(batches, 4, lambda *of: told.append(of))
    np.testing.assert_array_equal(columns["mean"], [0, 10, 20, 30])
    assert told == [(2, 4), (4, 4)]

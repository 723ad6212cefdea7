"""Figure 2: its bounds are those of an evaluation with as many steps; what is drawn."""

import dataclasses
import json

import numpy as np
import pytest

from sa_vae_tf.analysis import figure2
from sa_vae_tf.analysis.figure2 import Curve, bound_by_steps, draw, reproduce
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.training.train import train
from tests import corpora

# Steps large enough for the bound to move, and few shapes: most of the time is TensorFlow's, making a graph for each.
CHANGES = {"svi_rate_mean": 0.3, "svi_rate_log_variance": 0.3, "length_multiple": 16}


@pytest.fixture(scope="module")
def base(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp("figure2")
    # Thirteen examples: the last batch has three.
    return corpora.tiny(folder / "run", data_dir, corpora.write(folder), max_eval_examples=13, **CHANGES)


@pytest.fixture(scope="module")
def run(base):
    return train(base, verbose=0)


@pytest.mark.parametrize(("start", "fewer"), [("encoder", 0), pytest.param("random", 1, marks=pytest.mark.slow)])
def test_each_bound_is_that_of_an_evaluation(run, start, fewer):
    curve = bound_by_steps(run, 4, start, max_examples=13)
    options = {"svi_init": start, "max_examples": 13, "iw_samples": 0, "gap_steps": 0}
    assert curve.bound.shape == (5,)
    assert len(set(curve.bound)) == 5
    for steps in (fewer, 4):
        results = evaluate(run, svi_steps=steps, **options)
        # The same float32 operations, but in a graph of their own.
        assert curve.bound[steps] == pytest.approx(results["nll_bound"], rel=1e-6)
        assert curve.perplexity[steps] == pytest.approx(results["perplexity_bound"], rel=1e-5)


def test_both_panels_from_the_runs_of_the_table(base, tmp_path, monkeypatch):
    trained, computed = [], []

    def bound_by_steps(run, steps, svi_init, split, max_examples):
        computed.append((run.path.name, steps, svi_init, split, max_examples))
        return Curve(np.linspace(330, 320, steps + 1), np.linspace(62, 60, steps + 1))

    monkeypatch.setattr(figure2, "evaluated", lambda config, *name, **options: trained.append(config.run_dir))
    monkeypatch.setattr(figure2, "bound_by_steps", bound_by_steps)
    paths = reproduce(dataclasses.replace(base, seed=3), tmp_path / "runs", tmp_path / "docs")
    names = ["vae-3", "svi-2-3", "vae-svi-2-3", "sa-vae-2-3"]
    assert trained == [str(tmp_path / "runs" / name) for name in names]
    encoders = [name for name in names if name != "svi-2-3"]  # SVI has none.
    assert computed == [
        *((name, 4, "random", "test", 13) for name in names),
        *((name, 4, "encoder", "test", 13) for name in encoders),
    ]
    assert [path.name for path in paths] == ["figure2.png", "figure2.json"]
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    numbers = json.loads(paths[1].read_text())
    assert list(numbers["random"]) == ["VAE", "SVI", "VAE+SVI", "SA-VAE"]
    assert list(numbers["encoder"]) == ["VAE", "VAE+SVI", "SA-VAE"]
    assert numbers["encoder"]["VAE"] == {"bound": [330, 327.5, 325, 322.5, 320], "perplexity": [62, 61.5, 61, 60.5, 60]}


def test_the_scale_is_that_of_the_best_of_each_curve(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figure2, "save", lambda figure, path, numbers: drawn.append(figure))
    low, high = Curve(np.array([400.0, 331.0, 327.0]), None), Curve(np.array([340.0, 332.0, 331.0]), None)
    best_at_first = Curve(np.array([325.0, 350.0, 360.0]), None)
    curves = {"random": {"VAE": best_at_first, "SVI": high, "SA-VAE": low}, "encoder": {"SA-VAE": low}}
    draw(curves, tmp_path / "figure2.png", 1)
    left, right = drawn[0].axes
    assert left.get_ylim() == right.get_ylim()
    bottom, top = left.get_ylim()
    assert bottom < 325
    assert 331 < top < 340
    for axes in (left, right):
        [mark] = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert mark.get_xdata() == [1, 1]
    [line] = [line for line in right.lines if line.get_label() == "SA-VAE"]
    np.testing.assert_array_equal(line.get_xydata(), [[0, 400], [1, 331], [2, 327]])

"""The Keras model: what a training step and an evaluation do, for every method."""

import dataclasses
import itertools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data.pipeline import Split
from sa_vae_tf.inference import METHODS, PRODUCTS, Posterior, RefinementSettings, refine
from sa_vae_tf.models import LSTMEncoder, SyntheticGenerator
from sa_vae_tf.training import model as model_module
from sa_vae_tf.training.build import build_model
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.step import draws
from tests import runs

VOCABULARY = 9


class Spoilt(SyntheticGenerator):
    """A decoder whose likelihood can be made huge, or not a number."""

    def __init__(self):
        super().__init__(VOCABULARY, 3, 4, 2, initial_range=0.5, latent_range=0.5)
        self.factor = tf.Variable(1.0, trainable=False)

    def negative_log_likelihood(self, z, context, training=False, seed=None):
        return self.factor * super().negative_log_likelihood(z, context, training, seed)


def make(method: str = "sa_vae", steps: int = 2, decoder=None, **options) -> LatentVariableModel:
    latent = 2 if METHODS[method].latent else 0
    model = LatentVariableModel(
        LSTMEncoder(VOCABULARY, 3, 4, 2, initial_range=0.5) if METHODS[method].encoder else None,
        decoder or SyntheticGenerator(VOCABULARY, 3, 4, latent, initial_range=0.5, latent_range=0.5),
        method,
        latent_dim=2,
        settings=RefinementSettings(0.1, 0.1),
        steps=steps,
        **options,
    )
    model.compile(optimizer="adam", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def batch(size: int = 6, seed: int = 1) -> dict[str, tf.Tensor]:
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY, [size, 5])
    return {"x": tf.constant(tokens, tf.int32), "index": tf.range(size, dtype=tf.int64)}


def snapshot(variables) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


def assert_equal(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, e)


# --- Training steps.


@pytest.mark.parametrize(
    ("method", "product", "generator"),
    [
        *((method, "exact", "learned") for method in METHODS),
        # Nothing is computed ahead of the authors' products, whatever the method.
        *itertools.product(["lm", "vae"], ["authors"], ["learned"]),
        *(("sa_vae", product, "learned") for product in PRODUCTS if product != "exact"),
        # The oracle has a latent variable.
        *((method, "exact", "oracle") for method in METHODS if method != "lm"),
    ],
)
def test_every_method_trains(method, product, generator):
    config = dataclasses.replace(runs.TINY, method=method, hvp=product, generator=generator, dropout=0.1)
    model = build_model(config, steps_per_epoch=3)
    model.jit_compile, model.run_eagerly = False, True
    fixed = snapshot(model.decoder.weights)
    learned = snapshot(model.trainable_variables)
    tokens = tf.constant(np.random.default_rng(1).integers(0, 1000, [6, 5]), tf.int32)
    for _ in range(2):
        logs = model.train_step({"x": tokens, "index": tf.range(6, dtype=tf.int64)})
    expected = {"loss", "nll_bound", "gradient_norm", "skipped_steps"}
    assert set(logs) == (expected | {"reconstruction", "kl"} if method != "lm" else expected)
    assert all(np.isfinite(value) for value in logs.values())
    assert (int(model.step), int(model.skipped)) == (2, 0)
    if generator == "oracle":
        assert_equal(snapshot(model.decoder.weights), fixed)
    # Each weight is learned, but those of symbols that do not occur.
    for variable, before in zip(model.trainable_variables, learned, strict=True):
        assert np.any(variable.numpy() != before) or not variable.shape.num_elements(), variable.path


class Tied(keras.Model):
    """Encoder and decoder of numbers by the same weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight, self.built = weight, True

    def call(self, x, training=False):
        return Posterior(x * self.weight, tf.zeros_like(x))

    def prepare(self, x, training=False, seed=None):
        return x

    def negative_log_likelihood(self, z, x, training=False, seed=None):
        return tf.reduce_sum(tf.square(z * self.weight - x), -1)


@pytest.mark.parametrize("at_once", [0, 6])
def test_a_weight_of_both_models(at_once):
    weight, x = keras.Variable([0.3, 0.7]), tf.random.stateless_normal([6, 2], [1, 2])
    model = LatentVariableModel(
        Tied(weight), Tied(weight), "vae", 2, RefinementSettings(0.1, 0.1), 0, entries_at_once=at_once
    )
    model.compile(optimizer=keras.optimizers.SGD(1.0), run_eagerly=True)
    rows = {"x": x, "index": tf.range(6, dtype=tf.int64)}
    noise, before = draws(model, rows)[0]["final"], weight.numpy()
    model.train_step(rows)
    # Of mean((z w - x)^2) + (mean^2) / 2, where mean = x w, and z = mean + noise.
    mean = x * before
    error = (mean + noise) * before - x
    gradient = np.mean(2 * error * (x * before + mean + noise) + mean * x, 0)
    np.testing.assert_allclose(before - weight.numpy(), gradient, rtol=1e-5)


def test_without_refinement_sa_vae_is_vae():
    models = [make(method, steps=0, seed=3) for method in ("sa_vae", "vae")]
    for step in range(3):
        logs = [model.train_step(batch(seed=step)) for model in models]
        assert {name: float(value) for name, value in logs[0].items()} == {n: float(v) for n, v in logs[1].items()}
    assert_equal(*(snapshot([*model.weights, *model.optimizer.variables]) for model in models))


def test_noise_is_a_function_of_seed_and_step():
    def bound(seed, step):
        model = make("vae", steps=0, seed=seed)
        model.step.assign(step)
        return float(model.train_step(batch())["nll_bound"])

    assert bound(1, 0) == bound(1, 0)
    assert len({bound(1, 0), bound(2, 0), bound(1, 1), bound(2, 1)}) == 4


def test_figures_of_training_are_means_over_examples_with_the_whole_kl():
    # The loss has the KL weight, the bound that is reported has not.
    model = make("vae", kl_weight=lambda step: tf.constant(0.25))
    first = model.train_step(batch(6))
    np.testing.assert_allclose(first["nll_bound"], first["reconstruction"] + first["kl"], rtol=1e-6)
    np.testing.assert_allclose(first["loss"], first["reconstruction"] + 0.25 * first["kl"], rtol=1e-6)
    # Free bits are in the loss alone, too.
    free = make("vae", kl_weight=lambda step: tf.constant(0.25), free_bits=0.5).train_step(batch(6))
    assert free["loss"] > first["loss"] + 0.01
    for name in ("nll_bound", "reconstruction", "kl"):
        np.testing.assert_allclose(free[name], first[name], rtol=1e-6)
    second = make("vae", kl_weight=lambda step: tf.constant(0.25))
    second.set_weights(model.get_weights())
    second.step.assign(1)
    alone = float(second.train_step(batch(2))["kl"])
    both = float(model.train_step(batch(2))["kl"])
    np.testing.assert_allclose(both, (6 * float(first["kl"]) + 2 * alone) / 8, rtol=1e-5)


@pytest.mark.parametrize("method", ["vae", "sa_vae"])
def test_steps_that_are_not_finite_or_huge_are_skipped_and_counted(method):
    decoder = Spoilt()
    model = make(method, decoder=decoder, skip_norm=1e4)
    train_step = tf.function(model.train_step, autograph=False)  # As in `fit`: skipping is part of the graph.
    good = {name: float(value) for name, value in train_step(batch()).items()}
    assert good["skipped_steps"] == 0
    before = snapshot([*model.weights, *model.optimizer.variables])
    for count, factor in enumerate((math.nan, math.inf, 1e30, 1e7), 1):
        decoder.factor.assign(factor)
        logs = train_step(batch())
        # The figures are those of the steps that were taken.
        assert {**good, "skipped_steps": count} == {name: float(value) for name, value in logs.items()}
        assert_equal(snapshot([*model.weights, *model.optimizer.variables]), before)
        assert int(model.step) == 1 + count
    decoder.factor.assign(1.0)
    assert float(train_step(batch())["skipped_steps"]) == 4
    after = snapshot([*model.weights, *model.optimizer.variables])
    assert any(np.any(new != old) for new, old in zip(after, before, strict=True))


def test_a_step_at_the_limit_is_taken():
    norm = float(make("vae").train_step(batch())["gradient_norm"])
    for limit, skipped in ((norm, 0), (norm * 0.999, 1)):
        logs = make("vae", skip_norm=limit).train_step(batch())
        assert int(logs["skipped_steps"]) == skipped
        # Of no step there is no mean, least of all a loss of zero.
        assert all(np.isnan(logs[name]) == bool(skipped) for name in ("loss", "kl", "gradient_norm"))


def test_free_bits_are_of_training_alone():
    bounds = [make("vae", free_bits=free_bits).test_step(batch())["nll_bound"] for free_bits in (0.0, 5.0)]
    assert float(bounds[0]) == float(bounds[1])


def test_weights_along_the_path_count():
    losses = []
    for weights in (None, (0.0, 0.0, 1.0), (0.0, 0.0, 2.0), (1.0, 0.0, 1.0)):
        logs = make(path_weights=lambda steps, weights=weights: weights).train_step(batch())
        losses.append(float(logs["loss"]))
        assert float(logs["nll_bound"]) == pytest.approx(losses[0])
    np.testing.assert_allclose(losses[1:3], [losses[0], 2 * losses[0]], rtol=1e-6)
    assert losses[3] > 1.5 * losses[0]


# --- Evaluation.


@pytest.mark.parametrize("method", ["lm", "vae", "svi", "sa_vae"])
def test_evaluation_does_not_depend_on_the_batch_size(method):
    options = {"svi_init": "random"} if method == "svi" else {}
    model = make(method, **options)
    model.compile(optimizer="adam")
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, [50, 5])
    split = Split(tf.data.Dataset.from_tensor_slices(tokens.astype(np.int32)), 50)
    figures = [model.evaluate(split.in_order(size), verbose=0, return_dict=True) for size in (50, 7, 1)]
    names = set() if method == "lm" else {"reconstruction", "kl", "initial_bound"}
    units = {"active_units"} if method in ("vae", "sa_vae") else set()  # Of a start of noise all would be active.
    assert set(figures[0]) == {"nll_bound"} | names | units
    for other in figures[1:]:
        for name, value in figures[0].items():
            # Sums in another order, in float32; other noise would show in the first digits.
            assert other[name] == pytest.approx(value, rel=1e-5), name
    if method != "lm":
        assert figures[0]["kl"] > 0
        assert figures[0]["nll_bound"] == pytest.approx(figures[0]["reconstruction"] + figures[0]["kl"], rel=1e-5)


def test_the_same_example_has_the_same_posterior_alone_and_in_a_batch():
    model = make()
    examples = batch(50)
    whole = model.infer(examples, seed=4)
    for size in (1, 7):
        rows = slice(20, 20 + size)
        part = model.infer({name: value[rows] for name, value in examples.items()}, seed=4)
        for a, b in zip(part.refined, whole.refined, strict=True):
            np.testing.assert_allclose(a, b[rows], rtol=1e-5, atol=1e-6)  # Products of other shapes, in float32.
        np.testing.assert_allclose(part.bound_at(part.refined), whole.bound_at(whole.refined)[rows], rtol=1e-5)


def test_evaluation_changes_nothing_and_needs_no_luck():
    model = make(seed=1)
    other = make(seed=2)  # The seed is that of training noise.
    before = snapshot(model.weights)
    first = {name: float(value) for name, value in model.test_step(batch()).items()}
    assert_equal(snapshot(model.weights), before)
    assert int(model.step) == 0
    assert first == {name: float(value) for name, value in other.test_step(batch()).items()}


def test_refinement_in_evaluation():
    model = make(steps=8)
    bounds = {}
    for steps in (None, 0, 8, 30):
        inferred = model.infer(batch(40), steps=steps)
        bounds[steps] = float(tf.reduce_mean(inferred.bound_at(inferred.refined)))
        initial = float(tf.reduce_mean(inferred.bound_at(inferred.initial)))
        assert inferred.path.mean.shape[0] == (8 if steps is None else steps) + 1
        # Under the noise of the final draw whatever the number of steps.
        assert initial == pytest.approx(bounds.setdefault("initial", initial), rel=1e-6)
    assert bounds[None] == bounds[8]
    assert bounds[0] == bounds["initial"]
    assert bounds[30] < bounds[8] < bounds[0]


def test_starts_of_the_refinement():
    model = make()
    zero, randomly = model.infer(batch(), svi_init="zero"), model.infer(batch(), svi_init="random")
    assert not np.any(zero.initial.mean)
    assert not np.any(zero.initial.log_variance)
    assert not np.any(randomly.initial.log_variance)
    assert 0.3 < np.std(randomly.initial.mean) < 3
    encoded = model.infer(batch()).initial
    for a, b in zip(encoded, model.encoder(batch()["x"]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_refines_as_training_does(monkeypatch):
    seen = {}

    def recorded(bound, initial, context, step_draws, settings):
        seen.update(initial=initial, noise=step_draws.noise, settings=settings)
        return refine(bound, initial, context, step_draws, settings)

    monkeypatch.setattr(model_module, "refine", recorded)
    model = make()
    model.settings = RefinementSettings(0.2, 0.1, momentum=0.3, clip_norm=0.5, keep=(1, 1, 1))
    model.infer(batch(), svi_init="random")
    # Of what is not differentiated nothing is kept.
    assert dataclasses.replace(seen["settings"], keep=(1, 1, 1)) == model.settings
    # The start's noise is no step's.
    assert not any(np.any(seen["initial"].mean == noise) for noise in seen["noise"])


def test_another_number_of_steps_from_the_next_step_on():
    model = make(steps=3)
    model.compile(optimizer="adam")
    split = Split(tf.data.Dataset.from_tensor_slices(batch(10)["x"]), 10)
    for steps in (3, 0):
        model.set_steps(steps)
        figures = model.evaluate(split.in_order(10), verbose=0, return_dict=True)
        assert (figures["nll_bound"] == pytest.approx(figures["initial_bound"], rel=1e-6)) == (steps == 0)

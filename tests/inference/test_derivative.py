"""The derivative through the refinement: exact products, finite differences, shortened refinements."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import RefinementSettings, negative_elbo, refine
from sa_vae_tf.models import LSTMDecoder, SyntheticGenerator
from tests.inference import toy
from tests.inference.toy import CLIPS, EXACT, RATES, path_loss, weighted_loss


@pytest.mark.parametrize(
    ("steps", "momentum", "clip"),
    [
        *itertools.product([0, 1, 5], [0.0, 0.5], CLIPS),
        # These take seconds.
        *[(20, 0.5, "none"), (20, 0.0, "example"), (20, 0.5, "example"), (20, 0.5, "batch")],
    ],
)
def test_exact_product_is_the_derivative_of_the_unrolled_loop(steps, momentum, clip):
    problem = toy.make(steps, dropout_rate=0.3)
    refinement = RefinementSettings(**RATES, **CLIPS[clip], momentum=momentum)
    expected = toy.derivative(toy.unrolled, problem, refinement)
    assert toy.relative_error(toy.derivative(refine, problem, refinement), expected) < EXACT
    assert all(np.any(gradient) for gradient in expected)


@pytest.mark.parametrize("clip", ["example", "batch"])
def test_the_clips_of_these_tests_fire_in_part(clip):
    # Otherwise the tests above would say little about clipping. One step moves by rate times clipped gradient.
    problem = toy.make(20, dropout_rate=0.3)
    context = problem.decoder.prepare(problem.tokens)
    refinement = RefinementSettings(**RATES, **CLIPS[clip], momentum=0.0)
    path = refine(problem.bound, problem.initial, context, problem.step_draws, refinement).path
    scale = 1 if clip == "example" else problem.tokens.shape[0]
    for part, rate in zip(path, (0.15, 0.1), strict=True):
        lengths = np.linalg.norm(np.diff(part, axis=0) / rate / scale, axis=-1 if clip == "example" else (-2, -1))
        fired = lengths > CLIPS[clip]["clip_norm"] - 1e-4
        assert 0 < fired.mean() < 1


@pytest.mark.parametrize("product", ["exact", "finite_difference"])
@pytest.mark.parametrize("loss", [weighted_loss, path_loss])
@pytest.mark.parametrize("clip", ["none", "example"])
def test_losses_of_the_path_and_of_the_bounds_along_it(loss, clip, product):
    problem = toy.make(5, dropout_rate=0.3)
    refinement = RefinementSettings(**RATES, **CLIPS[clip], product=product)
    expected = toy.derivative(toy.unrolled, problem, refinement, loss)
    tolerance = EXACT if product == "exact" else 1e-5  # Error of a central difference.
    assert toy.relative_error(toy.derivative(refine, problem, refinement, loss), expected) < tolerance
    assert toy.relative_error(expected, toy.derivative(toy.unrolled, problem, refinement)) > 0.1


@pytest.mark.parametrize(
    ("product", "momentum"),
    [
        ("exact", 0.5),
        pytest.param("exact", 0.0, marks=pytest.mark.slow),
        pytest.param("finite_difference", 0.5, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "shortened",
    [{"patience": 1}, {"patience": 2}, *({"reverse_steps": m} for m in (0, 1, 3, 5, 9))]
    + [{"patience": 1, "reverse_steps": 1}, {"patience": 2, "reverse_steps": 2}],
    ids=str,
)
@pytest.mark.parametrize("loss", [pytest.param(toy.final_loss, marks=pytest.mark.slow), path_loss])
def test_shortened_refinements_are_those_of_the_unrolled_loop(loss, shortened, momentum, product):
    problem = toy.make(5, dropout_rate=0.3)
    refinement = RefinementSettings(**RATES, clip_norm=1.0, momentum=momentum, product=product, **shortened)
    arguments = problem.bound, problem.initial, problem.decoder.prepare(problem.tokens), problem.step_draws, refinement
    refined, expected = refine(*arguments), toy.unrolled(*arguments)
    assert toy.relative_error(refined.path, expected.path) < 1e-13
    np.testing.assert_array_equal(refined.steps, expected.steps)
    within = np.arange(5)[:, None] < refined.steps
    assert toy.relative_error(refined.bounds, tf.where(within, expected.bounds, 0)) < 1e-13
    if "patience" in shortened:
        assert len(set(refined.steps.numpy())) > 1  # Otherwise this would say little.
    tolerance = EXACT if product == "exact" else 1e-5  # Error of a central difference.
    expected = toy.derivative(toy.unrolled, problem, refinement, loss)
    assert toy.relative_error(toy.derivative(refine, problem, refinement, loss), expected) < tolerance


def test_a_shortened_reverse_pass_with_a_clip_over_the_batch():
    problem = toy.make(5, dropout_rate=0.3)
    refinement = RefinementSettings(**RATES, **CLIPS["batch"], reverse_steps=2)
    expected = toy.derivative(toy.unrolled, problem, refinement)
    assert toy.relative_error(toy.derivative(refine, problem, refinement), expected) < EXACT


def test_all_steps_differentiated_are_the_true_derivative_and_none_goes_straight_through():
    problem = toy.make(5)
    whole = toy.derivative(refine, problem, RefinementSettings(**RATES))
    same = toy.derivative(refine, problem, RefinementSettings(**RATES, reverse_steps=5))
    assert toy.relative_error(same, whole) < 1e-14
    refined = refine(problem.bound, problem.initial, problem.decoder.prepare(problem.tokens), problem.step_draws,
                     RefinementSettings(**RATES))  # fmt: skip
    with tf.GradientTape() as tape:
        tape.watch(refined.posterior)
        loss = toy.final_loss(problem, refined, problem.decoder.prepare(problem.tokens))
    straight = toy.derivative(refine, problem, RefinementSettings(**RATES, reverse_steps=0))[1:3]
    assert toy.relative_error(straight, list(tape.gradient(loss, refined.posterior))) < 1e-14


@pytest.mark.parametrize("compiled", [False, True])
def test_shortened_in_a_graph(compiled):
    problem = toy.make(5, dtype=tf.float32)
    refinement = RefinementSettings(**RATES, patience=1, reverse_steps=2)
    in_graph = tf.function(lambda: toy.derivative(refine, problem, refinement), jit_compile=compiled)
    expected = toy.derivative(refine, problem, refinement)
    assert toy.relative_error(in_graph(), expected) < 3e-5  # Rounding, a few hundred times 6e-8.


def test_path_and_bounds_are_those_of_the_unrolled_loop():
    problem = toy.make(5, dropout_rate=0.3)
    context = problem.decoder.prepare(problem.tokens)
    arguments = problem.bound, problem.initial, context, problem.step_draws, RefinementSettings(**RATES)
    refined, expected = refine(*arguments), toy.unrolled(*arguments)
    assert refined.path.mean.shape == [6, 6, 3]
    assert refined.bounds.shape == [5, 6]
    assert toy.relative_error(refined, expected) < 1e-13
    for part, last in zip(refined.path, refined.posterior, strict=True):
        np.testing.assert_array_equal(part[-1], last)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(tf.float64, 1e-5), (tf.float32, 1e-3)])
def test_finite_difference_is_near_the_exact_derivative(dtype, tolerance, clip):
    # Truncation and rounding of a central difference at the default step of each type.
    problem = toy.make(5, dropout_rate=0.3, dtype=dtype)
    refinement = RefinementSettings(**RATES, **CLIPS[clip], product="finite_difference")
    expected = toy.derivative(toy.unrolled, toy.make(5, dropout_rate=0.3), RefinementSettings(**RATES, **CLIPS[clip]))
    assert toy.relative_error(toy.derivative(refine, problem, refinement), expected) < tolerance


def test_float32_exact():
    problem = toy.make(5, dropout_rate=0.3, dtype=tf.float32)
    expected = toy.derivative(toy.unrolled, toy.make(5, dropout_rate=0.3), RefinementSettings(**RATES))
    actual = toy.derivative(refine, problem, RefinementSettings(**RATES))
    assert all(a.dtype == tf.float32 for a in actual)
    assert toy.relative_error(actual, expected) < 3e-5  # Rounding, a few hundred times 6e-8.


def derivative_of_model(run, decoder, tokens, initial, step_draws, final_draw, refinement):
    seed = tf.constant([3, 4])
    bound = negative_elbo(lambda z, context, seed: decoder.negative_log_likelihood(z, context, True, seed), 0.7)
    with tf.GradientTape() as tape:
        tape.watch(initial)
        context = decoder.prepare(tokens, True, seed)
        refined = run(bound, initial, context, step_draws, refinement)
        weighted = tf.reduce_sum(refined.bounds, 0) + bound(refined.posterior, context, final_draw)
        value = tf.reduce_mean(weighted)
    sources = [*initial, *(variable.value for variable in decoder.trainable_variables)]
    return [value, *map(tf.convert_to_tensor, tape.gradient(value, sources))]


@pytest.mark.parametrize("model", [LSTMDecoder, SyntheticGenerator])
def test_exact_product_with_the_keras_decoders(model):
    decoder = model(7, 3, 4, 3, dropout_rate=0.4, initial_range=1.0, dtype="float64", seed=1)
    problem = toy.make(4, batch=3)
    tokens = tf.constant(np.random.default_rng(2).integers(0, 7, [3, 6]))
    refinement = RefinementSettings(**RATES, clip_norm=1.5)
    arguments = decoder, tokens, problem.initial, problem.step_draws, problem.final_draw, refinement
    expected = derivative_of_model(toy.unrolled, *arguments)
    assert toy.relative_error(derivative_of_model(refine, *arguments), expected) < EXACT

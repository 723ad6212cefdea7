"""Each method's gradients, against its definition computed apart.

With lambda_0 = encoder(x) and lambda_K the refined posterior:

| method | the decoder learns from | the encoder learns from |
|---|---|---|
| lm | likelihood without z | - |
| vae | ELBO(lambda_0) | ELBO(lambda_0) |
| svi | ELBO(lambda_K fixed) | - |
| vae_svi | ELBO(lambda_K fixed) | ELBO(lambda_0), decoder fixed |
| vae_svi_kl | ELBO(lambda_K fixed) | KL[q(lambda_0) || q(lambda_K fixed)] |
| sa_vae | total derivative of ELBO(lambda_K) | total derivative of ELBO(lambda_K) |
"""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from sa_vae_tf.inference import METHODS, LocalInference, Posterior, RefinementSettings, keep_finite
from sa_vae_tf.inference.methods import Objective
from tests.inference import toy

REFINEMENT = RefinementSettings(0.15, 0.1, momentum=0.5, clip_norm=2.0)
# Two orders of summation in float64.
CLOSE = 1e-11

rng = np.random.default_rng(5)
INPUTS = tf.constant(rng.normal(size=[6, 4]))
ENCODER = [tf.Variable(0.5 * rng.normal(size=[4, 3])) for _ in range(2)]


def encode() -> Posterior:
    return Posterior(INPUTS @ ENCODER[0], keep_finite(INPUTS @ ENCODER[1]))


def bound_at(problem: toy.Problem, posterior: Posterior | None) -> tf.Tensor:
    return problem.bound(posterior, problem.decoder.prepare(problem.tokens), problem.final_draw)


def refine_plainly(problem: toy.Problem) -> toy.Refined:
    context = problem.decoder.prepare(problem.tokens)
    return toy.unrolled(problem.bound, encode(), context, problem.step_draws, REFINEMENT)


def constant(posterior: Posterior) -> Posterior:
    return Posterior(*(tf.constant(part.numpy()) for part in posterior))


def gradients(loss: Callable[[], tf.Tensor], variables: list) -> list[np.ndarray]:
    """Returns the gradient of a loss, zero where it has none."""
    with tf.GradientTape() as tape:
        value = loss()
    found = tape.gradient(value, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g).numpy() for g in found]


def objective(problem: toy.Problem, method: str, **options) -> Objective:
    context = problem.decoder.prepare(problem.tokens)
    local = LocalInference(problem.bound, context, problem.step_draws, problem.final_draw, REFINEMENT, **options)
    return METHODS[method].objective(local, encode() if METHODS[method].latent else None)


def learned(problem: toy.Problem, method: str, **options) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns the method's gradients to encoder and decoder."""
    both = gradients(lambda: objective(problem, method, **options).loss, [*ENCODER, *problem.variables])
    return both[: len(ENCODER)], both[len(ENCODER) :]


def assert_zero(values: list[np.ndarray]) -> None:
    assert not any(np.any(value) for value in values)


@pytest.fixture
def problem() -> toy.Problem:
    return toy.make(4, dropout_rate=0.3)


def test_lm(problem):
    to_encoder, to_decoder = learned(problem, "lm")
    expected = gradients(lambda: tf.reduce_mean(bound_at(problem, None)), problem.variables)
    assert toy.relative_error(to_decoder, expected) < CLOSE
    assert_zero(to_encoder)
    assert objective(problem, "lm").posterior is None


def test_vae(problem):
    to_encoder, to_decoder = learned(problem, "vae")
    expected = gradients(lambda: tf.reduce_mean(bound_at(problem, encode())), [*ENCODER, *problem.variables])
    assert toy.relative_error([*to_encoder, *to_decoder], expected) < CLOSE


def expected_of_refined_and_fixed(problem: toy.Problem) -> list[np.ndarray]:
    refined = constant(refine_plainly(problem).posterior)
    return gradients(lambda: tf.reduce_mean(bound_at(problem, refined)), problem.variables)


def test_svi(problem):
    to_encoder, to_decoder = learned(problem, "svi")
    assert toy.relative_error(to_decoder, expected_of_refined_and_fixed(problem)) < CLOSE
    assert_zero(to_encoder)
    # Fixing it matters: the total derivative is another.
    assert toy.relative_error(to_decoder, learned(problem, "sa_vae")[1]) > 1e-2


def test_vae_svi(problem):
    to_encoder, to_decoder = learned(problem, "vae_svi")
    assert toy.relative_error(to_decoder, expected_of_refined_and_fixed(problem)) < CLOSE
    expected = gradients(lambda: tf.reduce_mean(bound_at(problem, encode())), ENCODER)
    assert toy.relative_error(to_encoder, expected) < CLOSE


def test_vae_svi_kl(problem):
    to_encoder, to_decoder = learned(problem, "vae_svi_kl")
    assert toy.relative_error(to_decoder, expected_of_refined_and_fixed(problem)) < CLOSE
    refined = constant(refine_plainly(problem).posterior)

    def distribution(posterior):
        return tfp.distributions.MultivariateNormalDiag(posterior.mean, tf.exp(0.5 * posterior.log_variance))

    def kl(forward):
        pair = distribution(encode()), distribution(refined)
        return tf.reduce_mean(tfp.distributions.kl_divergence(*(pair if forward else pair[::-1])))

    assert toy.relative_error(to_encoder, gradients(lambda: kl(True), ENCODER)) < CLOSE
    assert toy.relative_error(to_encoder, gradients(lambda: kl(False), ENCODER)) > 1e-2
    result = objective(problem, "vae_svi_kl")
    np.testing.assert_allclose(result.loss, tf.reduce_mean(result.bound) + kl(True), rtol=1e-12)


@pytest.mark.parametrize("weights", [None, (0.5, 0.1, 0.2, 0.3, 0.9)])
def test_sa_vae(problem, weights):
    def loss():
        refined = refine_plainly(problem)
        bounds = tf.concat([refined.bounds, bound_at(problem, refined.posterior)[None]], 0)
        expected_weights = tf.constant(weights or (0.0, 0.0, 0.0, 0.0, 1.0), tf.float64)
        return tf.tensordot(expected_weights, tf.reduce_mean(bounds, 1), 1)

    to_encoder, to_decoder = learned(problem, "sa_vae", bound_weights=weights)
    expected = gradients(loss, [*ENCODER, *problem.variables])
    assert toy.relative_error([*to_encoder, *to_decoder], expected) < 1e-10
    np.testing.assert_allclose(objective(problem, "sa_vae", bound_weights=weights).loss, loss(), rtol=1e-12)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0,) * 6])
def test_weights_of_another_number_of_steps_are_refused(problem, weights):
    with pytest.raises(ValueError, match="expected 5 weights for 4 steps"):
        objective(problem, "sa_vae", bound_weights=weights)


@pytest.mark.parametrize(
    "changes", [{"product": "authors", "clip_scope": "batch"}, {"reverse_steps": 2}, {"patience": 1}]
)
def test_weights_of_bounds_without_derivatives_are_refused(problem, changes):
    settings = RefinementSettings(**changes)
    local = LocalInference(problem.bound, None, problem.step_draws, problem.final_draw, settings, (1.0,) * 5)
    with pytest.raises(ValueError, match="bound_weights=.*: expected None, since the bounds are not differentiated"):
        METHODS["sa_vae"].objective(local, encode())


@pytest.mark.parametrize("weights", [None, (1.0,)])
def test_sa_vae_without_steps_is_vae(weights):
    problem = toy.make(0, dropout_rate=0.3)
    sa_vae, vae = learned(problem, "sa_vae", bound_weights=weights), learned(problem, "vae")
    assert toy.relative_error(sa_vae, vae) < CLOSE
    assert toy.relative_error(objective(problem, "sa_vae").loss, objective(problem, "vae").loss) < CLOSE


def test_weighting_the_initial_bound_alone_is_vae_under_its_draw():
    problem = toy.make(3)
    problem.final_draw = tf.nest.map_structure(lambda part: part[0], problem.step_draws)
    sa_vae = learned(problem, "sa_vae", bound_weights=(1.0, 0.0, 0.0, 0.0))
    assert toy.relative_error(sa_vae, learned(problem, "vae")) < CLOSE


# Of a loss no more is promised than that it is a scalar whose gradient trains: a method that is not here may have any
# value of it, as vae_svi_kl does. These learn from one bound alone, beside which vae_svi has a term that is worth zero;
# so the loss that a run reports is that bound.
LOSS_IS_THE_MEAN_BOUND = ("lm", "vae", "svi", "vae_svi", "sa_vae")


@pytest.mark.parametrize("method", METHODS)
def test_reported_bound_and_posterior(problem, method):
    """What is reported is of the posterior that the decoder learns from."""
    result = objective(problem, method)
    assert result.loss.shape == []
    assert result.bound.shape == [6]
    if method == "lm":
        expected = None
    elif method == "vae":
        expected = encode()
    else:
        expected = refine_plainly(problem).posterior
    np.testing.assert_allclose(result.bound, bound_at(problem, expected), rtol=1e-12)
    if expected is not None:
        assert toy.relative_error(result.posterior, expected) < CLOSE
    if method in LOSS_IS_THE_MEAN_BOUND:
        np.testing.assert_allclose(result.loss, tf.reduce_mean(result.bound), rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_needs_are_told_truly(problem, method):
    to_encoder, to_decoder = learned(problem, method)
    assert any(np.any(value) for value in to_decoder)
    assert any(np.any(value) for value in to_encoder) == METHODS[method].encoder
    shorter = toy.make(4, dropout_rate=0.3)
    shorter.step_draws = tf.nest.map_structure(lambda part: part[:1], shorter.step_draws)
    changed = toy.relative_error(objective(shorter, method).bound, objective(problem, method).bound) > 1e-9
    assert changed == METHODS[method].refines
    assert (objective(problem, method).posterior is not None) == METHODS[method].latent

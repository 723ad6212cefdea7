"""The likelihood of a synthetic generator, by samples of the prior and by quadrature."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.evaluation import nll_by_prior_samples, nll_by_quadrature, true_likelihood
from sa_vae_tf.models import SyntheticGenerator


def generator(vocabulary_size=12, latent_range=1.0, dtype="float64", **sizes):
    return SyntheticGenerator(
        vocabulary_size,
        embedding_dim=4,
        units=5,
        initial_range=1.0,
        latent_range=latent_range,
        seed=3,
        dtype=dtype,
        **sizes,
    )


def tokens(examples, steps=5, vocabulary_size=12):
    return np.random.default_rng(0).integers(0, vocabulary_size, [examples, steps])


def by_decoder(model, x, z, weights):
    """-log sum_m weights_m p(x | z_m) by the decoder's own likelihood."""
    context = model.prepare(tf.constant(np.repeat(x, len(z), 0)))
    nll = model.negative_log_likelihood(tf.constant(np.tile(z, [len(x), 1])), context)
    return -np.log(np.reshape(np.exp(-nll), [len(x), len(z)]) @ weights)


@pytest.mark.parametrize(("examples_at_once", "latents_at_once"), [(500, 1024), (3, 4), (7, 1)])
def test_prior_samples_against_the_decoder(monkeypatch, examples_at_once, latents_at_once):
    monkeypatch.setattr(true_likelihood, "EXAMPLES_AT_ONCE", examples_at_once)
    monkeypatch.setattr(true_likelihood, "LATENTS_AT_ONCE", latents_at_once)
    model, x = generator(), tokens(7)
    z = tf.cast(tf.random.stateless_normal([10, 2], [4, 5], alg="philox"), tf.float64)
    np.testing.assert_allclose(
        nll_by_prior_samples(model, x, 10, (4, 5)), by_decoder(model, x, z, np.full(10, 0.1)), rtol=1e-12
    )


def test_where_nothing_is_said_samples_are_as_many_as_the_papers():
    model, x = generator(), tokens(2)
    np.testing.assert_array_equal(nll_by_prior_samples(model, x), nll_by_prior_samples(model, x, 1000, (0, 0)))


def test_quadrature_against_gauss_and_hermite():
    # A posterior about as wide as the prior is within reach of 60 nodes for the prior's weight.
    model, x = generator(), tokens(3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    z = np.array(list(itertools.product(nodes, nodes)))
    weights = np.outer(weights, weights).ravel() / (2 * np.pi)
    # The prior beyond the disc of radius 6 is 1.5e-8 of it.
    np.testing.assert_allclose(nll_by_quadrature(model, x), by_decoder(model, x, z, weights), rtol=0, atol=1e-7)


def test_probabilities_of_all_sequences_sum_to_one():
    model = generator(vocabulary_size=6, latent_range=5.0)
    everything = np.array(list(itertools.product(range(6), repeat=3)))
    assert np.sum(np.exp(-nll_by_quadrature(model, everything))) == pytest.approx(1, abs=1e-7)
    assert np.sum(np.exp(-nll_by_prior_samples(model, everything, 100))) == pytest.approx(1, abs=1e-12)


def test_the_grid_is_fine_enough_for_the_narrow_posteriors_of_the_oracle():
    model = generator(vocabulary_size=200, latent_range=5.0)
    x = model.sample(tf.random.stateless_normal([200, 2], [1, 2], dtype=tf.float64), 5, tf.constant([3, 4])).numpy()
    fine = nll_by_quadrature(model, x, spacing=0.05)
    np.testing.assert_allclose(nll_by_quadrature(model, x), fine, rtol=0, atol=1e-6)
    # Samples of the prior give too high a value in expectation, by half the weights' relative variance.
    few = np.mean([nll_by_prior_samples(model, x, 100, (seed, 0)) for seed in range(8)], 0)
    many = np.mean([nll_by_prior_samples(model, x, 1000, (seed, 0)) for seed in range(8)], 0)
    error = np.std(few - fine) / np.sqrt(len(x))
    assert np.mean(few - fine) > 3 * error
    # A tenth of it is expected of ten times as many, which is less than the noise of this comparison.
    assert abs(np.mean(many - fine)) < 0.3 * np.mean(few - fine)


def test_single_precision_at_the_scale_of_the_oracle():
    x = tokens(6, vocabulary_size=200)
    narrow = generator(vocabulary_size=200, latent_range=5.0, dtype="float32")
    wide = generator(vocabulary_size=200, latent_range=5.0)
    for one, other in zip(wide.weights, narrow.weights, strict=True):
        one.assign(other.value)
    # Sums of positive terms in float32: about 1e-6 relative, in log likelihoods of some 50 nats.
    np.testing.assert_allclose(nll_by_quadrature(narrow, x), nll_by_quadrature(wide, x), rtol=0, atol=1e-4)


def test_scores_that_all_rise_alike_change_nothing():
    # Of which the exponentials are beyond float32.
    model, x = generator(dtype="float32"), tokens(3)
    before = nll_by_quadrature(model, x, spacing=0.5)
    model.latent_kernel.assign(model.latent_kernel + 100.0)
    # Scores of some hundreds at each of five steps, in float32.
    np.testing.assert_allclose(nll_by_quadrature(model, x, spacing=0.5), before, rtol=0, atol=2e-3)


def test_errors():
    model = generator()
    with pytest.raises(ValueError, match="samples=0"):
        nll_by_prior_samples(model, tokens(2), 0)
    with pytest.raises(ValueError, match="tokens of shape"):
        nll_by_prior_samples(model, tokens(2)[0])
    with pytest.raises(ValueError, match="tokens of shape"):
        nll_by_quadrature(model, tokens(2) * 1.0)
    with pytest.raises(ValueError, match="spacing=0"):
        nll_by_quadrature(model, tokens(2), spacing=0)
    with pytest.raises(ValueError, match="latent_dim=3"):
        nll_by_quadrature(generator(latent_dim=3), tokens(2))

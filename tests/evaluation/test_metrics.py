"""Mutual information, active units and amortization gap, against closed forms and plain rewrites."""

import statistics

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from sa_vae_tf.evaluation import active_units, amortization_gap, metrics, mutual_information
from sa_vae_tf.inference import Draw, Posterior, RefinementSettings, draw_per_example, negative_elbo, refine
from tests.evaluation import linear_gaussian as model


def random_posterior(examples, latent):
    random = np.random.default_rng(2)
    return random.standard_normal([examples, latent]), random.uniform(-3, 0, [examples, latent])


def test_mutual_information_of_correlated_gaussians():
    # x ~ N(0, 1), z | x ~ N(a x, v): log(1 + a^2 / v) / 2 nats in each dimension. Means at the quantiles of their
    # distribution stand for all of it to within 1e-3.
    quantiles = np.vectorize(statistics.NormalDist().inv_cdf)((np.arange(60) + 0.5) / 60)
    x = np.stack(np.meshgrid(quantiles, quantiles), -1).reshape(-1, 2)
    mean, log_variance = x * [1.0, 0.5], np.broadcast_to(np.log([0.5, 0.2]), x.shape)
    expected = 0.5 * np.log(1 + 1 / 0.5) + 0.5 * np.log(1 + 0.25 / 0.2)
    result = mutual_information(mean, log_variance, seed=(0, 0), samples=2)
    # Standard error: about 1 nat of spread over sqrt(7,200) samples, 0.012.
    assert result.aggregate == pytest.approx(expected, abs=0.04)
    assert result.kl == pytest.approx(result.aggregate + result.aggregate_kl, rel=1e-12)
    variance = np.array([1.5, 0.45])
    assert result.aggregate_kl == pytest.approx(0.5 * np.sum(variance - 1 - np.log(variance)), abs=0.04)


@pytest.mark.parametrize(("examples", "batch_size", "pairs_at_once"), [(24, 8, 2**22), (25, 8, 60), (5, 32, 1)])
def test_mutual_information_against_tfp(monkeypatch, examples, batch_size, pairs_at_once):
    monkeypatch.setattr(metrics, "PAIRS_AT_ONCE", pairs_at_once)
    mean, log_variance = random_posterior(examples, 3)
    result = mutual_information(mean, log_variance, seed=(1, 2), samples=2, batch_size=batch_size)

    noise = tf.random.stateless_normal([2, examples, 3], [1, 2], dtype=tf.float64)
    z = mean + np.exp(0.5 * log_variance) * noise

    def information(rows, of):
        """The sum over `rows` of log q(z | x) - log q(z) with the aggregate posterior of the examples `of`."""
        normal = tfp.distributions.MultivariateNormalDiag
        conditional = normal(mean[rows], np.exp(0.5 * log_variance[rows])).log_prob(z[:, rows])
        components = normal(mean[of], np.exp(0.5 * log_variance[of]))
        count = len(mean[of])
        mixture = tfp.distributions.MixtureSameFamily(tfp.distributions.Categorical(logits=np.zeros(count)), components)
        return np.sum(conditional - mixture.log_prob(z[:, rows])) / (2 * examples)

    batches = [slice(start, start + batch_size) for start in range(0, examples, batch_size)]
    assert result.aggregate == pytest.approx(information(slice(None), slice(None)), rel=1e-10)
    assert result.in_batch == pytest.approx(sum(information(batch, batch) for batch in batches), rel=1e-10)
    prior = tfp.distributions.Normal(np.zeros(3), np.ones(3))
    kl = tfp.distributions.kl_divergence(tfp.distributions.Normal(mean, np.exp(0.5 * log_variance)), prior)
    assert result.kl == pytest.approx(np.mean(np.sum(kl, -1)), rel=1e-12)


def test_posteriors_of_float32_are_taken_as_they_are():
    mean, log_variance = (part.astype(np.float32) for part in random_posterior(12, 3))
    wide = mutual_information(mean.astype(np.float64), log_variance.astype(np.float64), (1, 2))
    for kind in (np.asarray, tf.constant):
        assert mutual_information(kind(mean), kind(log_variance), (1, 2)) == wide


def test_mutual_information_is_of_one_draw_each_and_of_batches_of_32():
    posteriors = random_posterior(70, 2)
    assert mutual_information(*posteriors, (1, 2)) == mutual_information(*posteriors, (1, 2), samples=1, batch_size=32)


def test_a_collapsed_posterior_carries_no_information():
    result = mutual_information(np.zeros([50, 4]), np.zeros([50, 4]), seed=(0, 0))
    np.testing.assert_allclose(result, 0, atol=1e-12)


def test_posteriors_that_do_not_overlap_tell_the_example():
    mean = 10.0 * np.arange(48)[:, None]
    result = mutual_information(mean, np.full_like(mean, -6.0), seed=(0, 0), batch_size=16)
    # The multiplied-out squares reach 1e8 here, of which float64 keeps 1e-8.
    assert result.aggregate == pytest.approx(np.log(48), abs=1e-6)
    assert result.in_batch == pytest.approx(np.log(16), abs=1e-6)


def test_mutual_information_errors():
    with pytest.raises(ValueError, match="log_variance of shape"):
        mutual_information(np.zeros([3, 2]), np.zeros([3, 1]), seed=(0, 0))
    with pytest.raises(ValueError, match="samples=0"):
        mutual_information(np.zeros([3, 2]), np.zeros([3, 2]), seed=(0, 0), samples=0)
    with pytest.raises(ValueError, match="batch_size=0"):
        mutual_information(np.zeros([3, 2]), np.zeros([3, 2]), seed=(0, 0), batch_size=0)


def test_active_units_by_unbiased_variance():
    # Two examples: the unbiased variance of (0, d) is d^2 / 2, the biased one d^2 / 4.
    means = np.array([[0.0, 5.0, 0.0, 0.0], [1.0, 5.0, 0.1415, 0.1414]])
    np.testing.assert_array_equal(active_units(means), [True, False, True, False])
    np.testing.assert_array_equal(active_units(means, threshold=0.1), [True, False, False, False])
    with pytest.raises(ValueError, match="at least two examples"):
        active_units(means[:1])


def gap_of(x, initial, steps=200, final=64, index=None, **options):
    index = tf.range(len(x), dtype=tf.int64) if index is None else index
    step_draws, _ = draw_per_example(initial, index, steps, tf.constant([1, 2]))
    final_draws, _ = draw_per_example(initial, index, final, tf.constant([3, 4]))
    settings = RefinementSettings(step_size_mean=0.02, step_size_log_variance=0.02, **options)
    bound = negative_elbo(model.negative_log_likelihood)
    return tf.function(amortization_gap)(bound, initial, x, step_draws, final_draws, settings)


@pytest.fixture(scope="module")
def gap():
    x = model.examples(40)
    mean, log_variance = model.exact_posterior(x)
    initial = Posterior(mean + 0.5, log_variance + 1.0)
    return x, initial, gap_of(x, initial)


def test_amortization_gap_is_the_kl_to_the_exact_posterior(gap):
    x, initial, result = gap
    exact = model.exact_posterior(x)
    expected = initial.kl_to(exact).numpy()
    np.testing.assert_array_equal(result.gap, result.initial_bound - result.converged_bound)
    # The mean over 40 examples of 64 draws each, whose spread is about 4 nats: standard error 0.08.
    assert np.mean(result.gap) == pytest.approx(expected.mean(), abs=0.3)
    # What the converged posterior itself still lacks is small against the gap of about 4 nats.
    assert np.mean(result.converged.kl_to(exact)) < 0.02 * expected.mean()


def test_both_posteriors_of_a_gap_are_compared_under_all_final_draws(gap):
    x, initial, result = gap
    draws, _ = draw_per_example(initial, tf.range(40, dtype=tf.int64), 64, tf.constant([3, 4]))
    bound = negative_elbo(model.negative_log_likelihood)
    for posterior, found in ((initial, result.initial_bound), (result.converged, result.converged_bound)):
        # Each example under each draw, in one batch.
        rows = Posterior(*(tf.tile(part, [64, 1]) for part in posterior))
        each = bound(rows, tf.tile(x, [64, 1]), Draw(tf.reshape(draws.noise, rows.mean.shape), draws.seed[0]))
        np.testing.assert_allclose(found, np.mean(np.reshape(each, [64, 40]), 0), rtol=1e-9)


def test_the_averaged_path_is_nearer_to_the_optimum_than_its_last_point(gap):
    x, initial, result = gap
    step_draws, _ = draw_per_example(initial, tf.range(40, dtype=tf.int64), 200, tf.constant([1, 2]))
    settings = RefinementSettings(step_size_mean=0.02, step_size_log_variance=0.02)
    bound = negative_elbo(model.negative_log_likelihood)
    path = tf.function(refine)(bound, initial, x, step_draws, settings).path
    for part, converged in zip(path, result.converged, strict=True):
        np.testing.assert_allclose(np.mean(part[100:], 0), converged, rtol=1e-6)
    exact = model.exact_posterior(x)
    last = Posterior(path.mean[-1], path.log_variance[-1])
    assert np.mean(result.converged.kl_to(exact)) < 0.5 * np.mean(last.kl_to(exact))


def test_an_examples_gap_does_not_depend_on_its_batch_nor_on_patience(gap):
    x, initial, result = gap
    rows = [7, 3]
    some = gap_of(
        tf.gather(x, rows),
        Posterior(*(tf.gather(p, rows) for p in initial)),
        index=tf.constant(rows, tf.int64),
        patience=1,
    )
    # Rounding differs with the batch and the refinement carries it on.
    np.testing.assert_allclose(some.gap, result.gap.numpy()[rows], rtol=1e-9)


def test_a_gap_does_not_ask_how_the_refinement_is_differentiated():
    # The context holds floats, through which the authors' product has no derivative.
    x = model.examples(3)
    initial = Posterior(*(part + 0.5 for part in model.exact_posterior(x)))
    exact, authors = (
        gap_of(x, initial, product=product, clip_scope="batch").gap.numpy() for product in ("exact", "authors")
    )
    np.testing.assert_array_equal(exact, authors)

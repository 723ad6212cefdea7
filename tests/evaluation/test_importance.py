"""The importance-weighted likelihood, on a model whose likelihood is known."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.evaluation import importance_weighted_nll
from sa_vae_tf.inference import Draw, Posterior, negative_elbo, noise_per_example
from tests.evaluation import linear_gaussian as model

SEED = tf.constant([5, 6])


def indices(count):
    return tf.range(count, dtype=tf.int64)


def off_posterior(x):
    """A proposal a bit off: displaced, and wider."""
    mean, log_variance = model.exact_posterior(x)
    return Posterior(mean + 0.2, log_variance + 0.4)


def estimate(x, posterior, samples, index=None):
    index = indices(len(x)) if index is None else index
    return importance_weighted_nll(model.negative_log_likelihood, posterior, x, index, samples, SEED)


@pytest.mark.parametrize("samples", [1, 6])
def test_exact_posterior_gives_the_likelihood_whatever_the_samples(samples):
    x = model.examples(10)
    result = estimate(x, model.exact_posterior(x), samples)
    # Every weight is p(x); float64.
    np.testing.assert_allclose(result.nll, model.exact_nll(x), rtol=1e-12)
    np.testing.assert_allclose(result.effective_samples, samples, rtol=1e-12)


def test_against_numpy():
    x, samples = model.examples(6), 10
    posterior = off_posterior(x)
    result = estimate(x, posterior, samples)
    noise_seed = tf.random.split(SEED, 2, alg="philox")[0]
    noise = [
        noise_per_example(indices(6), [3], tf.random.fold_in(noise_seed, number, alg="philox"), tf.float64)
        for number in range(samples)
    ]
    noise = np.stack(noise, 1)
    mean, log_variance = (part.numpy()[:, None] for part in posterior)
    z = mean + np.exp(0.5 * log_variance) * noise

    def log_normal(value, mean, variance):
        return np.sum(-0.5 * (value - mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance), -1)

    weights = np.exp(
        log_normal(x.numpy()[:, None], z @ model.LOADINGS.T, model.DEVIATION**2)
        + log_normal(z, 0.0, np.array(1.0))
        - log_normal(z, mean, np.exp(log_variance))
    )
    np.testing.assert_allclose(result.nll, -np.log(weights.mean(1)), rtol=1e-10)
    np.testing.assert_allclose(result.effective_samples, weights.sum(1) ** 2 / (weights**2).sum(1), rtol=1e-10)


def test_from_the_bound_down_to_the_likelihood_as_samples_grow():
    # The same example under 400 indices: 400 independent estimates.
    x = tf.repeat(model.examples(1), 400, axis=0)
    posterior = off_posterior(x)
    noise = noise_per_example(indices(400), [3], tf.constant([7, 8]), tf.float64)
    bound = negative_elbo(model.negative_log_likelihood)(posterior, x, Draw(noise, SEED)).numpy()
    means, errors = [], []
    for samples in (1, 4, 16):
        values = tf.function(estimate)(x, posterior, samples).nll.numpy()
        means.append(values.mean())
        errors.append(values.std() / np.sqrt(len(values)))
    # One sample estimates the bound; each mean is that of 400 values.
    assert abs(means[0] - bound.mean()) < 6 * errors[0]
    assert means == sorted(means, reverse=True)
    true = model.exact_nll(x)[0]
    assert means[-1] > true - 4 * errors[-1]
    # The excess falls as 1 / S once it is small: half the relative variance of the mean weight.
    assert means[-1] - true < (means[0] - true) / 6


def test_an_examples_estimate_does_not_depend_on_its_batch():
    x = model.examples(6)
    whole = estimate(x, off_posterior(x), 9)
    part = tf.gather(x, [4, 2])
    some = estimate(part, off_posterior(part), 9, index=tf.constant([4, 2], tf.int64))
    np.testing.assert_allclose(some.nll, whole.nll.numpy()[[4, 2]], rtol=1e-13)


@pytest.mark.parametrize("compiled", [False, True])
def test_in_a_graph(compiled):
    x = model.examples(4)
    posterior = off_posterior(x)
    graph = tf.function(lambda p: estimate(x, p, 10), jit_compile=compiled)
    np.testing.assert_allclose(graph(posterior).nll, estimate(x, posterior, 10).nll, rtol=1e-9)


def test_a_number_of_samples_that_the_graph_does_not_know():
    x = model.examples(4)
    graph = tf.function(lambda samples: estimate(x, off_posterior(x), samples))
    expected = estimate(x, off_posterior(x), 3)
    for one, other in zip(graph(tf.constant(3)), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_latent_size_that_the_graph_does_not_know():
    x = model.examples(4)
    wide = tf.TensorSpec([None, None], tf.float64)
    graph = tf.function(lambda *parts: estimate(x, Posterior(*parts), 10), input_signature=[wide, wide])
    posterior = off_posterior(x)
    np.testing.assert_allclose(graph(*posterior).nll, estimate(x, posterior, 10).nll, rtol=1e-9)
    arrays = Posterior(*(part.numpy() for part in posterior))
    np.testing.assert_array_equal(estimate(x, arrays, 10).nll, estimate(x, posterior, 10).nll)


def test_weights_beyond_the_range_of_floats():
    # exp(-1e4) is zero and exp(1e4) infinite in float32. A sample may be impossible; of one example all are.
    def nll(z, context, seed):
        impossible = tf.stack([z[0, 0] > 0, True])
        return tf.where(impossible, np.inf, 1e4) + 0 * z[:, 0]

    prior = Posterior(tf.zeros([2, 3]), tf.zeros([2, 3]))
    nll_estimate = tf.function(lambda: importance_weighted_nll(nll, prior, None, indices(2), 400, SEED))().nll
    # About a half of the samples is impossible: log 2 = 0.69 more than 1e4, with standard error 0.05.
    assert 1e4 + 0.49 < nll_estimate[0] < 1e4 + 0.89
    assert nll_estimate[1] == np.inf


def test_every_sample_has_a_seed_of_its_own():
    seeds = []

    def nll(z, x, seed):
        seeds.append(tuple(seed.numpy().tolist()))
        return tf.zeros_like(z[:, 0])

    importance_weighted_nll(nll, Posterior(tf.zeros([2, 3]), tf.zeros([2, 3])), None, indices(2), 5, SEED)
    assert len(set(seeds)) == len(seeds) == 5


def test_memory_is_that_of_one_call():
    sizes = []

    def nll(z, x, seed):
        sizes.append(z.shape[0])
        return tf.zeros_like(z[:, 0])

    prior = Posterior(tf.zeros([4, 2]), tf.zeros([4, 2]))
    tf.function(lambda: importance_weighted_nll(nll, prior, None, indices(4), 5000, SEED))()
    assert sizes == [4]


@pytest.mark.parametrize(
    "wrong",
    [lambda nll: tf.reduce_sum(nll), lambda nll: nll[:, None], lambda nll: tf.cast(nll, tf.float32)],
    ids=["the sum", "a column", "another type"],
)
def test_a_likelihood_that_is_not_one_number_for_each_example(wrong):
    x = model.examples(3)
    with pytest.raises(ValueError, match=r"^negative_log_likelihood returned .*: expected float64 \[batch\]"):
        importance_weighted_nll(
            lambda z, x, seed: wrong(model.negative_log_likelihood(z, x, seed=seed)),
            off_posterior(x), x, indices(3), 2, SEED,
        )  # fmt: skip


def test_an_index_of_other_examples():
    x = model.examples(3)
    with pytest.raises(ValueError, match=r"index of shape \(1,\): expected one number for each example"):
        estimate(x, off_posterior(x), 2, index=indices(1))


def test_no_samples_refused():
    x = model.examples(2)
    with pytest.raises(ValueError, match="samples=0"):
        estimate(x, off_posterior(x), 0)

"""The bound and its draws."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import Draw, Posterior, draw, negative_elbo
from sa_vae_tf.inference.bound import charged_kl


def gaussian(z, context, seed):
    """-log N(x; z, I)."""
    return 0.5 * tf.reduce_sum((context - z) ** 2 + np.log(2 * np.pi), -1)


def test_expected_bound_is_tight_at_the_true_posterior():
    # x = z + noise: the posterior is N(x / 2, I / 2), the marginal N(0, 2 I). The bound is quadratic in the noise and
    # without mixed terms, so noise of +1 and of -1 averages it exactly.
    x = tf.constant([[0.3, -1.2], [2.0, 0.5]], tf.float64)
    bound = negative_elbo(gaussian)

    def expected_bound(posterior):
        seed = tf.zeros([2], tf.int32)
        return 0.5 * sum(bound(posterior, x, Draw(sign * tf.ones_like(x), seed)) for sign in (1.0, -1.0))

    marginal = 0.5 * tf.reduce_sum(x**2 / 2 + np.log(4 * np.pi), -1)
    true = Posterior(x / 2, tf.fill([2, 2], tf.constant(np.log(0.5), tf.float64)))
    np.testing.assert_allclose(expected_bound(true), marginal, rtol=1e-13)
    other = Posterior(x / 3, tf.zeros_like(x))
    np.testing.assert_allclose(expected_bound(other), marginal + other.kl_to(true), rtol=1e-13)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_kl_weight(dtype):
    x, posterior = tf.ones([2, 3], dtype), Posterior(tf.fill([2, 3], tf.constant(0.5, dtype)), tf.ones([2, 3], dtype))
    drawn = Draw(tf.ones([2, 3], dtype), tf.zeros([2], tf.int32))
    likelihood = negative_elbo(gaussian, 0.0)(posterior, x, drawn)
    np.testing.assert_array_equal(likelihood, gaussian(posterior.sample(drawn.noise), x, None))
    for weight in (0.7, tf.constant(0.7, dtype), tf.Variable(0.7, dtype=dtype), np.float64(0.7)):
        value = negative_elbo(gaussian, weight)(posterior, x, drawn)
        assert value.dtype == dtype
        # In float64, 0.7 must not have been through float32 (an error of 1e-8).
        tolerance = 1e-14 if dtype == tf.float64 else 1e-6
        np.testing.assert_allclose(value, likelihood + tf.constant(0.7, dtype) * posterior.kl(), rtol=tolerance)
    # A weight of another float type, as a float32 schedule beside a float64 model.
    other = tf.constant(0.5, tf.float32 if dtype == tf.float64 else tf.float64)
    np.testing.assert_allclose(negative_elbo(gaussian, other)(posterior, x, drawn), likelihood + 0.5 * posterior.kl())


def test_without_latent_variable():
    seen = []

    def likelihood(z, context, seed):
        seen.append((z, context, seed))
        return tf.ones([2])

    drawn = Draw(tf.zeros([2, 3]), tf.constant([1, 2]))
    np.testing.assert_array_equal(negative_elbo(likelihood)(None, "context", drawn), np.ones(2))
    ((z, context, seed),) = seen
    assert z is None
    assert context == "context"
    assert seed is drawn.seed


def test_a_kl_weight_for_each_example():
    posterior = Posterior(tf.ones([2, 3]), tf.ones([2, 3]))
    drawn = Draw(tf.zeros([2, 3]), tf.zeros([2], tf.int32))
    x = tf.zeros([2, 3])
    both = negative_elbo(gaussian, tf.constant([0.2, 0.7]))(posterior, x, drawn)
    each = [negative_elbo(gaussian, weight)(posterior, x, drawn)[i] for i, weight in enumerate((0.2, 0.7))]
    np.testing.assert_allclose(both, each, rtol=1e-6)
    with pytest.raises(ValueError, match=r"kl_weight of shape \(2, 1\): expected a scalar, or \(2,\)"):
        negative_elbo(gaussian, tf.fill([2, 1], 0.5))(posterior, x, drawn)


@pytest.mark.parametrize(("free_bits", "charged"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (1.0, 2.0)])
def test_each_dimension_is_charged_its_free_bits_at_least(free_bits, charged):
    # A mean of one is half a nat from the prior, the prior itself none.
    posterior = Posterior(tf.constant([[1.0, 0.0]]), tf.zeros([1, 2]))
    assert charged_kl(posterior, free_bits).numpy().tolist() == [charged]


@pytest.mark.parametrize("free_bits", [tf.constant(0.5), -1.0, None])
def test_free_bits_are_a_number(free_bits):
    with pytest.raises(ValueError, match=r"^free_bits=.*: expected a number of Python or NumPy that is not negative"):
        negative_elbo(gaussian, free_bits=free_bits)


@pytest.mark.parametrize("value", [None, np.zeros(2, np.float32)], ids=["nothing", "array"])
def test_a_likelihood_that_is_no_tensor_is_refused(value):
    posterior = Posterior(tf.zeros([2, 3]), tf.zeros([2, 3]))
    with pytest.raises(ValueError, match=r"^negative_log_likelihood returned a (NoneType|ndarray): expected a tensor"):
        negative_elbo(lambda z, context, seed: value)(posterior, None, Draw(posterior.mean, tf.zeros([2], tf.int32)))


@pytest.mark.parametrize(
    ("dtype", "shape"), [(tf.float32, [2, 1]), (tf.float32, []), (tf.bfloat16, [2])], ids=["matrix", "mean", "type"]
)
def test_a_likelihood_that_is_not_one_of_each_example_is_refused(dtype, shape):
    posterior = Posterior(tf.zeros([2, 3]), tf.zeros([2, 3]))
    bound = negative_elbo(lambda z, context, seed: tf.zeros(shape, dtype))
    with pytest.raises(ValueError, match=r"negative_log_likelihood returned .*: expected float32 \[batch\]"):
        bound(posterior, None, Draw(posterior.mean, tf.zeros([2], tf.int32)))


def test_a_posterior_of_other_rank_is_refused():
    posterior = Posterior(tf.zeros([4, 5, 3]), tf.zeros([4, 5, 3]))
    with pytest.raises(ValueError, match=r"posterior of shape \(4, 5, 3\): expected \[batch, latent\]"):
        negative_elbo(lambda z, context, seed: tf.zeros([4]))(posterior, None, draw(posterior, 0)[1])


def test_a_draw_for_another_batch_is_refused():
    posterior = Posterior(tf.zeros([3, 2]), tf.zeros([3, 2]))
    bound = negative_elbo(lambda z, context, seed: tf.reduce_sum(z, -1))
    with pytest.raises(ValueError, match=r"draw of noise \(1, 2\): expected that of the posterior, \(3, 2\)"):
        bound(posterior, None, Draw(tf.zeros([1, 2]), tf.zeros([2], tf.int32)))


LIKE = Posterior(tf.zeros([4, 3]), tf.zeros([4, 3]))


def test_draws_are_of_the_seed():
    first, second = draw(LIKE, 5, tf.constant([1, 2])), draw(LIKE, 5, tf.constant([1, 2]))
    tf.nest.map_structure(np.testing.assert_array_equal, first, second)
    other = draw(LIKE, 5, tf.constant([1, 3]))
    assert not np.any(np.isclose(first[0].noise, other[0].noise, rtol=0, atol=1e-7))
    in_graph = tf.function(lambda: draw(LIKE, 5, tf.constant([1, 2])))()
    tf.nest.map_structure(np.testing.assert_array_equal, first, in_graph)


def test_draws_without_seed():
    tf.random.set_seed(1)
    first, second = draw(LIKE, 2), draw(LIKE, 2)
    assert np.all(first[1].noise != second[1].noise)
    tf.random.set_seed(1)
    tf.nest.map_structure(np.testing.assert_array_equal, draw(LIKE, 2), first)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("steps", [0, 3])
def test_draws_have_the_shape_of_the_posterior(steps, dtype):
    like = Posterior(*(tf.cast(part, dtype) for part in LIKE))
    step_draws, final_draw = draw(like, steps, tf.constant([1, 2]))
    assert step_draws.noise.shape == [steps, 4, 3]
    assert step_draws.noise.dtype == final_draw.noise.dtype == dtype
    assert step_draws.seed.shape == [steps, 2]
    assert final_draw.noise.shape == [4, 3]
    assert final_draw.seed.shape == [2]
    assert final_draw.seed.dtype == tf.int32


def test_draws_are_standard_normal_and_all_different():
    step_draws, final_draw = draw(Posterior(tf.zeros([500, 4]), tf.zeros([500, 4])), 9, tf.constant([3, 4]))
    noise = np.concatenate([step_draws.noise, final_draw.noise[None]]).reshape(10, -1)
    # 20,000 numbers: the standard errors of the mean and of the variance are 0.007 and 0.01; five of them.
    assert abs(noise.mean()) < 0.035
    assert abs(noise.var() - 1) < 0.05
    # 45 correlations of 2,000 pairs with standard error 0.022; five of them.
    assert np.max(np.abs(np.corrcoef(noise) - np.eye(10))) < 0.11
    seeds = np.concatenate([step_draws.seed, final_draw.seed[None]])
    assert len(np.unique(seeds, axis=0)) == 10

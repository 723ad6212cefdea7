"""The diagonal Gaussian and the limits of its log variance."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sa_vae_tf.inference import Posterior, keep_finite, prior_like

posteriors = st.builds(
    lambda mean, log_variance: Posterior(tf.constant(mean), tf.constant(log_variance)),
    arrays(np.float64, (2, 3), elements=st.floats(-5, 5)),
    arrays(np.float64, (2, 3), elements=st.floats(-6, 6)),
)
several = settings(deadline=None, max_examples=30, derandomize=True)
# Rounding of float64 where terms of up to e^12 * 100 are summed.
CLOSE: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


def distribution(posterior: Posterior) -> tfp.distributions.Distribution:
    return tfp.distributions.MultivariateNormalDiag(posterior.mean, tf.exp(0.5 * posterior.log_variance))


@several
@given(posteriors)
def test_kl_to_the_prior(posterior):
    np.testing.assert_allclose(posterior.kl(), posterior.kl_to(prior_like(posterior)), **CLOSE)
    np.testing.assert_allclose(posterior.kl(), tf.reduce_sum(posterior.kl_per_dimension(), -1), **CLOSE)
    expected = tfp.distributions.kl_divergence(distribution(posterior), distribution(prior_like(posterior)))
    np.testing.assert_allclose(posterior.kl(), expected, **CLOSE)
    assert np.all(posterior.kl_per_dimension() >= -1e-15)  # Rounding of exp(x) - 1 - x.


@several
@given(posteriors, posteriors)
def test_kl_to_another(posterior, other):
    expected = tfp.distributions.kl_divergence(distribution(posterior), distribution(other))
    np.testing.assert_allclose(posterior.kl_to(other), expected, **CLOSE)
    np.testing.assert_array_equal(posterior.kl_to(posterior), np.zeros(2))


@several
@given(posteriors, arrays(np.float64, (2, 3), elements=st.floats(-5, 5)))
def test_log_prob(posterior, z):
    np.testing.assert_allclose(posterior.log_prob(tf.constant(z)), distribution(posterior).log_prob(z), **CLOSE)


def test_kl_in_closed_form():
    # 0.5 * (variance + mean^2 - 1 - log variance), by hand.
    posterior = Posterior(tf.constant([[0.0, 1.0, 0.0]]), tf.constant([[0.0, 0.0, np.log(4.0)]], tf.float32))
    expected = [[0.0, 0.5, 0.5 * (3 - np.log(4.0))]]
    np.testing.assert_allclose(posterior.kl_per_dimension(), expected, rtol=1e-6)  # Rounding of float32.


def test_sample():
    posterior = Posterior(tf.constant([1.0, -2.0]), tf.constant([np.log(9.0), np.log(0.25)], tf.float32))
    np.testing.assert_allclose(posterior.sample(tf.constant([1.0, 2.0])), [4.0, -1.0], rtol=1e-6)
    np.testing.assert_allclose(posterior.sample(tf.zeros([5, 2])), np.tile([1.0, -2.0], [5, 1]))


def test_stop_gradient_stops_both_parts():
    posterior = Posterior(tf.constant([[1.0]]), tf.constant([[1.0]]))
    with tf.GradientTape() as tape:
        tape.watch(posterior)
        stopped = posterior.stop_gradient()
        value = tf.reduce_sum(stopped.mean * stopped.log_variance)
    assert tape.gradient(value, posterior) == Posterior(None, None)
    np.testing.assert_array_equal(stopped, posterior)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_keep_finite(dtype):
    values = tf.constant([-np.inf, -25.0, -20.0, -19.5, 0.0, 19.5, 20.0, 25.0, np.inf], dtype)
    kept = keep_finite(values)
    np.testing.assert_array_equal(kept, [-20, -20, -20, -19.5, 0, 19.5, 20, 20, 20])
    assert kept.dtype == dtype
    assert np.all(np.isfinite(tf.exp(kept)))


@pytest.mark.parametrize(
    ("slope", "expected"),
    [
        (1.0, [0, 0, 1, 1, 1, 1, 1]),  # Descent lowers the value: no further at the lower limit, back from the upper.
        (-1.0, [1, 1, 1, 1, 1, 0, 0]),
    ],
)
def test_keep_finite_lets_values_come_back(slope, expected):
    values = tf.constant([-25.0, -20.0, -19.5, 0.0, 19.5, 20.0, 25.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = slope * tf.reduce_sum(keep_finite(values))
    np.testing.assert_array_equal(tape.gradient(loss, values), slope * np.array(expected))

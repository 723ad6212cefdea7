"""Metrics by latent dimension."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.training.metrics import ActiveUnits, MeanPerDimension


def feed(metric: keras.metrics.Metric, values: np.ndarray, cuts: list[int]) -> np.ndarray:
    for part in np.split(values.astype(np.float32), sorted(cuts)):
        if len(part):
            metric.update_state(part)
    return np.asarray(metric.result())


@given(st.lists(st.integers(0, 30), max_size=4))
def test_mean_of_each_dimension_over_batches_of_any_size(cuts):
    values = np.random.default_rng(1).normal(size=[30, 3]) + [0, 10, -5]
    # Sums of 30 numbers in float32.
    np.testing.assert_allclose(feed(MeanPerDimension(3, "kl"), values, cuts), values.mean(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("metric", [MeanPerDimension(3, "kl"), ActiveUnits(3, "active")])
def test_nothing_seen_is_zero_as_after_a_reset(metric):
    assert not np.any(metric.result())
    values = np.random.default_rng(1).normal(size=[9, 3])
    first = feed(metric, values, [4])
    assert np.any(first)
    metric.reset_state()
    assert not np.any(metric.result())
    np.testing.assert_array_equal(feed(metric, values, [4]), first)


@given(st.lists(st.integers(0, 50), max_size=4))
def test_active_units_by_the_unbiased_variance_of_the_means(cuts):
    # Standard deviations about the limit of 0.1; means far from zero, where a sum of squares would lose all digits.
    deviations = np.array([0, 0.05, 0.099, 0.101, 0.2, 1])
    sample = np.random.default_rng(2).normal(size=[50, 6])
    sample = (sample - sample.mean(0)) / sample.std(0, ddof=1)
    for offset in (0, 100):
        assert feed(ActiveUnits(6, "active"), sample * deviations + offset, cuts) == 3


def test_the_limit_is_for_the_unbiased_variance():
    # Of two values 0 and d the unbiased variance is d^2 / 2, the biased one d^2 / 4.
    assert feed(ActiveUnits(1, "active"), np.array([[0.0], [0.15]]), []) == 1
    assert feed(ActiveUnits(1, "active"), np.array([[0.0], [0.14]]), []) == 0


def test_one_example_varies_in_nothing():
    assert feed(ActiveUnits(2, "active"), np.array([[3.0, -4.0]]), []) == 0

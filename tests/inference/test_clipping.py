"""Clips by norm."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sa_vae_tf.inference import Posterior
from sa_vae_tf.inference.clipping import SLACK, clip_cotangent, clip_gradient, clip_jointly, coefficient

BATCH = 4
parts = arrays(np.float64, (BATCH, 3), elements=st.floats(-10, 10, allow_subnormal=False))
posteriors = st.builds(lambda mean, log_variance: Posterior(tf.constant(mean), tf.constant(log_variance)), parts, parts)
limits = st.floats(0.01, 20)
several = settings(deadline=None, max_examples=40, derandomize=True)


def as_array(posterior: Posterior) -> np.ndarray:
    return np.stack([part.numpy() for part in posterior])


@several
@given(posteriors, limits)
def test_steps_of_each_example(gradient, limit):
    before, after = as_array(gradient), as_array(clip_gradient(gradient, limit, "example"))
    lengths = np.linalg.norm(before, axis=-1)
    small = lengths <= limit - SLACK
    np.testing.assert_array_equal(after[small], before[small])
    assert np.all(np.linalg.norm(after, axis=-1) <= np.minimum(lengths, limit) + 1e-12)
    # The direction stays and, but for the slack, a long vector keeps just the limit.
    expected = before * np.minimum(1, limit / np.maximum(lengths, 1e-12))[..., None]
    np.testing.assert_allclose(after, expected, rtol=2 * SLACK / limit, atol=1e-12)


@several
@given(posteriors, limits)
def test_steps_over_the_batch(gradient, limit):
    before, after = as_array(gradient), as_array(clip_gradient(gradient, limit, "batch"))
    for b, a in zip(before, after, strict=True):
        length = np.linalg.norm(b) / BATCH  # That of the gradient of the mean.
        if length <= limit - SLACK:
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, b * min(1, limit / (length + 1e-6)), rtol=1e-12, atol=1e-200)


@several
@given(posteriors, limits)
def test_cotangent_of_each_example(cotangent, limit):
    before, after = as_array(cotangent), as_array(clip_cotangent(cotangent, limit, "example"))
    lengths = np.sqrt(np.sum(np.square(BATCH * before), axis=(0, 2)))  # Both parts, on the scale of one bound.
    expected = before * np.minimum(1, limit / (lengths + 1e-6))[None, :, None]
    np.testing.assert_allclose(after, expected, rtol=1e-12, atol=1e-200)


@several
@given(posteriors, limits)
def test_cotangent_over_the_batch(cotangent, limit):
    before, after = as_array(cotangent), as_array(clip_cotangent(cotangent, limit, "batch"))
    np.testing.assert_allclose(after, before * min(1, limit / (np.linalg.norm(before) + 1e-6)), rtol=1e-12, atol=1e-200)


@several
@given(st.lists(parts, min_size=1, max_size=3), limits)
def test_joint_clip(tensors, limit):
    after = clip_jointly([tf.constant(t) for t in tensors], limit)
    factor = min(1, limit / (np.linalg.norm(tensors) + 1e-6))
    for a, t in zip(after, tensors, strict=True):
        np.testing.assert_allclose(a, factor * t, rtol=1e-12, atol=1e-200)


@pytest.mark.parametrize("scope", ["example", "batch"])
def test_no_limit_changes_nothing(scope):
    gradient = Posterior(tf.fill([2, 3], 1e6), tf.fill([2, 3], -1e6))
    assert clip_gradient(gradient, None, scope) is gradient
    assert clip_cotangent(gradient, None, scope) is gradient
    assert clip_jointly(gradient, None) == list(gradient)
    assert clip_jointly([], 1.0) == []


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("scope", ["example", "batch"])
@pytest.mark.parametrize("compiled", [False, True])
def test_zero_gradients_have_finite_derivatives(compiled, scope, dtype):
    # The length of a vector has none at zero; an example without gradient must not spoil its batch.
    gradient = Posterior(tf.zeros([2, 3], dtype), tf.zeros([2, 3], dtype))

    @tf.function(jit_compile=compiled)
    def differentiated():
        with tf.GradientTape() as tape:
            tape.watch(gradient)
            clipped = clip_gradient(gradient, 1.0, scope)
            value = tf.reduce_sum(tf.stack(clipped))
        return clipped, tape.gradient(value, gradient)

    clipped, derivative = differentiated()
    np.testing.assert_array_equal(tf.stack(clipped), np.zeros([2, 2, 3]))
    np.testing.assert_array_equal(tf.stack(derivative), np.ones([2, 2, 3]))


def test_coefficient_is_the_authors_formula():
    squares = tf.constant([0.0, 0.25, 1.0, 4.0], tf.float64)
    np.testing.assert_allclose(coefficient(squares, 1.0), [1, 1, 1 / (1 + 1e-6), 1 / (2 + 1e-6)], rtol=1e-15)

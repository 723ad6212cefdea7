"""Draws from the prior and lines between latent variables."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.generation import draw_from_prior, interpolate


def test_prior_belongs_to_the_example_and_is_standard_normal():
    z = tf.function(draw_from_prior)(tf.range(5000, dtype=tf.int64), 4, tf.constant([1, 2])).numpy()
    some = draw_from_prior(tf.constant([70, 3], tf.int64), 4, tf.constant([1, 2]))
    # The bits are the same; a graph's erfinv may round otherwise.
    np.testing.assert_allclose(some, z[[70, 3]], rtol=1e-5)
    # Standard errors: mean and correlation 1 / sqrt(5000) = 0.014, variance 0.02; five of each, and a fixed seed.
    assert np.abs(z.mean(0)).max() < 0.07
    assert np.abs(np.cov(z.T) - np.eye(4)).max() < 0.1


def test_interpolation_is_the_line():
    z_a, z_b = np.random.default_rng(0).standard_normal([2, 3, 4]).astype(np.float32)
    line = interpolate(z_a, z_b, 5)
    assert line.shape == [3, 5, 4]
    np.testing.assert_array_equal(line[:, 0], z_a)
    np.testing.assert_array_equal(line[:, -1], z_b)
    # Two float32 roundings of numbers of size one.
    np.testing.assert_allclose(line[:, 1], 0.75 * z_a + 0.25 * z_b, atol=1e-6)
    np.testing.assert_allclose(line.numpy()[:, ::-1], interpolate(z_b, z_a, 5), atol=1e-6)


def test_interpolation_from_nothing_and_through_it():
    z = tf.constant([[2.0, -4.0]])
    np.testing.assert_allclose(interpolate(tf.zeros_like(z), z, 3)[:, 1], [[1, -2]])
    np.testing.assert_allclose(interpolate(-z, z, 3)[:, 1], [[0, 0]], atol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="points=1: expected at least 2"):
        interpolate(tf.zeros([1, 2]), tf.ones([1, 2]), 1)

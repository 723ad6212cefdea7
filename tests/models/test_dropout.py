"""Dropout with a seed."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.models.dropout import dropout

SEED = tf.constant([1, 2])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_drops_and_scales(rate, dtype):
    x = tf.constant(np.random.default_rng(0).uniform(1, 2, [100, 200]), dtype)
    dropped = dropout(x, rate, True, SEED)
    assert dropped.dtype == dtype
    kept = dropped.numpy() != 0
    np.testing.assert_allclose(dropped.numpy()[kept], x.numpy()[kept] / (1 - rate), rtol=1e-6)
    # 20,000 units: the standard error of the share is at most 0.0035; five of them.
    assert abs(kept.mean() - (1 - rate)) < 0.018
    assert abs(dropped.numpy().mean() / x.numpy().mean() - 1) < 0.04


def test_mask_is_of_the_seed():
    x = tf.ones([50, 50])
    np.testing.assert_array_equal(dropout(x, 0.5, True, SEED), dropout(2 * x, 0.5, True, SEED) / 2)
    assert np.any(dropout(x, 0.5, True, SEED) != dropout(x, 0.5, True, SEED + 1))
    in_graph = tf.function(lambda: dropout(x, 0.5, True, SEED))()
    np.testing.assert_array_equal(in_graph, dropout(x, 0.5, True, SEED))


def test_derivative_has_the_same_mask():
    x = tf.ones([50, 50])
    with tf.GradientTape() as tape:
        tape.watch(x)
        dropped = dropout(x, 0.3, True, SEED)
    np.testing.assert_array_equal(tape.gradient(dropped, x), dropped)


def test_not_in_evaluation():
    x = tf.ones([5, 5])
    assert dropout(x, 0.5, False, SEED) is x
    assert dropout(x, 0.5, False, None) is x
    assert dropout(x, 0.0, True, None) is x

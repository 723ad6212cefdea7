"""Dropout with a seed."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.models.dropout import dropout, word_dropout

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
    for other in ([1, 3], [2, 2]):
        assert np.any(dropout(x, 0.5, True, SEED) != dropout(x, 0.5, True, tf.constant(other)))
    in_graph = tf.function(lambda: dropout(x, 0.5, True, SEED))()
    np.testing.assert_array_equal(in_graph, dropout(x, 0.5, True, SEED))


def test_masks_of_neighbouring_seeds_are_no_rearrangements_of_each_other():
    masks = [dropout(tf.ones([1024]), 0.5, True, tf.constant(seed)).numpy() == 0 for seed in ([4, 7], [5, 7])]
    places = np.arange(1024)
    agreements = [np.mean(masks[0] == masks[1][places ^ k]) for k in places]
    # Of 1,024 chance agreements of 1,024 units: a standard error of 0.016; five of them.
    assert np.max(np.abs(np.array(agreements) - 0.5)) < 0.08


def test_words_are_not_dropped_by_the_mask_of_the_embedded_ones():
    words = word_dropout(tf.zeros([30, 40], tf.int32), 0.5, 1, True, SEED).numpy()[:, 1:] == 1
    units = dropout(tf.ones([30, 40]), 0.5, True, SEED).numpy()[:, 1:] == 0
    # 1,170 places: a standard error of 0.015; five of them.
    assert abs(np.mean(words == units) - 0.5) < 0.075


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

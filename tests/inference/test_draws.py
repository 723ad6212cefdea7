"""Draws that belong to an example."""

import statistics

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import Posterior, draw, draw_per_example, noise_per_example
from sa_vae_tf.inference.draws import _gumbel, gumbel_noise

SEED = tf.constant([3, 4])


def posterior(batch, latent=2, dtype=tf.float32):
    return Posterior(tf.zeros([batch, latent], dtype), tf.zeros([batch, latent], dtype))


def test_layout_is_that_of_inference_draw():
    per_example = draw_per_example(posterior(4), tf.range(4, dtype=tf.int64), 5, SEED)
    ordinary = draw(posterior(4), 5, SEED)
    for one, other in zip(tf.nest.flatten(per_example), tf.nest.flatten(ordinary), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype


def test_dropout_has_other_seeds_than_the_noise():
    steps, final = draw(posterior(4), 5, SEED)
    noise = np.concatenate([steps.noise, final.noise[None]])
    seeds = [*steps.seed.numpy(), final.seed.numpy()]
    assert len({tuple(seed) for seed in seeds}) == len(seeds)
    for seed in seeds:
        assert not np.any(tf.random.stateless_normal(noise.shape, seed) == noise)


def test_no_steps():
    steps, final = draw_per_example(posterior(4), tf.range(4, dtype=tf.int64), 0, SEED)
    assert steps.noise.shape == [0, 4, 2]
    assert final.noise.shape == [4, 2]


def test_an_examples_draws_do_not_depend_on_its_batch():
    whole = draw_per_example(posterior(6), tf.range(10, 16, dtype=tf.int64), 3, SEED)
    part = draw_per_example(posterior(2), tf.constant([14, 11], tf.int64), 3, SEED)
    np.testing.assert_array_equal(part[0].noise, whole[0].noise.numpy()[:, [4, 1]])
    np.testing.assert_array_equal(part[1].noise, whole[1].noise.numpy()[[4, 1]])
    np.testing.assert_array_equal(part[0].seed, whole[0].seed)


def test_final_draw_does_not_depend_on_the_number_of_steps():
    index = tf.range(4, dtype=tf.int64)
    np.testing.assert_array_equal(
        draw_per_example(posterior(4), index, 0, SEED)[1].noise, draw_per_example(posterior(4), index, 7, SEED)[1].noise
    )


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_eager_graph_and_xla_agree(dtype):
    def noise(index, seed):
        return noise_per_example(index, [50, 3], seed, dtype)

    index = tf.range(8, dtype=tf.int64)
    eager = noise(index, SEED)
    assert eager.dtype == dtype
    # The bits are the same. Near the ends two evaluations of erfinv differ by some ulps of one minus its argument.
    tolerance = 1e-4 if dtype == tf.float32 else 1e-9
    for compiled in (False, True):
        np.testing.assert_allclose(tf.function(noise, jit_compile=compiled)(index, SEED), eager, atol=tolerance)


def test_draws_compile_with_a_batch_of_unknown_size():
    @tf.function(
        jit_compile=True,
        input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int64), tf.TensorSpec([2], tf.int32)],
    )
    def draws(mean, index, seed):
        return draw_per_example(Posterior(mean, mean), index, 3, seed)

    steps, final = draws(tf.zeros([5, 2]), tf.range(5, dtype=tf.int64), SEED)
    assert steps.noise.shape == [3, 5, 2]
    assert final.noise.shape == [5, 2]


def test_a_number_of_steps_that_the_graph_does_not_know():
    index = tf.range(5, dtype=tf.int64)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def draws(steps):
        return draw_per_example(posterior(5), index, steps, SEED)

    for steps in (0, 3):
        for one, other in zip(
            draws(tf.constant(steps)), draw_per_example(posterior(5), index, steps, SEED), strict=True
        ):
            np.testing.assert_array_equal(one.noise, other.noise)
            np.testing.assert_array_equal(one.seed, other.seed)


def test_a_latent_size_that_the_graph_does_not_know():
    like, index = posterior(4), tf.range(4, dtype=tf.int64)
    wide = tf.TensorSpec([None, None], like.mean.dtype)
    graph = tf.function(
        lambda *parts: draw_per_example(Posterior(*parts), index, 2, SEED), input_signature=[wide, wide]
    )
    for found, expected in zip(graph(*like), draw_per_example(like, index, 2, SEED), strict=True):
        np.testing.assert_allclose(found.noise, expected.noise, rtol=1e-6)  # Of the inverse error function in a graph.


def test_seeds_and_indices_give_unrelated_noise():
    # 2**32 + 1 and 1 have their low halves in common.
    index = tf.constant([0, 1, 2**32 + 1, 2**40], tf.int64)
    noise = np.concatenate([noise_per_example(index, [4000], tf.constant(seed)) for seed in ([0, 0], [0, 1], [1, 0])])
    correlation = np.corrcoef(noise) - np.eye(len(noise))
    # Standard error 1 / sqrt(4000) = 0.016; the largest of 66 stays below 4.5 of them but once in 2,000 times.
    assert np.abs(correlation).max() < 4.5 / np.sqrt(4000)


def test_noise_is_standard_normal():
    noise = np.sort(noise_per_example(tf.range(200, dtype=tf.int64), [500], SEED).numpy().ravel())
    distribution = np.vectorize(statistics.NormalDist().cdf)(noise[::50])
    expected = (np.arange(len(noise)) + 0.5)[::50] / len(noise)
    # Kolmogorov and Smirnov: 1.95 / sqrt(100,000) is exceeded once in 1,000 times.
    assert np.abs(distribution - expected).max() < 1.95 / np.sqrt(len(noise))
    # Across examples at a fixed place, too: standard error of the mean square sqrt(2 / 200) = 0.1, for 20 places.
    places = noise_per_example(tf.range(200, dtype=tf.int64), [20], SEED).numpy()
    assert np.abs(np.mean(places**2, 0) - 1).max() < 0.45


def test_errors():
    with pytest.raises(ValueError, match="index: expected an int64 vector, got int32"):
        noise_per_example(tf.range(3), [2], SEED)
    with pytest.raises(ValueError, match="dtype=int32"):
        noise_per_example(tf.range(3, dtype=tf.int64), [2], SEED, tf.int32)
    with pytest.raises(ValueError, match="steps=-1"):
        draw_per_example(posterior(3), tf.range(3, dtype=tf.int64), -1, SEED)
    with pytest.raises(ValueError, match="one number for each example"):
        draw_per_example(posterior(3), tf.range(4, dtype=tf.int64), 1, SEED)


def test_gumbel_noise_at_its_ends():
    # Of probabilities 2**-24, a half and a little more, and 1 - 2**-24.
    noise = _gumbel(tf.constant([0, 2**31, 2**32 - 1], tf.uint32))
    expected = [-np.log(24 * np.log(2)), -np.log(np.log(2)), 24 * np.log(2)]
    np.testing.assert_allclose(noise, expected, rtol=1e-6)


def test_gumbel_noise_is_gumbel_and_finite():
    noise = gumbel_noise([200, 500], tf.constant([3, 4])).numpy()
    assert noise.min() > -2.9
    assert noise.max() < 16.7
    # 100,000 draws; Kolmogorov's statistic times the root of their number exceeds 2.2 once in 10,000 times.
    expected = np.exp(-np.exp(-np.sort(noise.ravel())))
    statistic = np.abs(expected - np.arange(0.5, noise.size) / noise.size).max()
    assert statistic * np.sqrt(noise.size) < 2.2

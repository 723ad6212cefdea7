"""The generator of the synthetic task."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.models import SyntheticGenerator
from tests.models import numpy_lstm

BATCH, VOCABULARY, EMBEDDING, UNITS, LATENT, LENGTH = 3, 7, 4, 5, 2, 6
rng = np.random.default_rng(0)
TOKENS = rng.integers(0, VOCABULARY, [BATCH, LENGTH])
Z = tf.constant(rng.normal(size=[BATCH, LATENT]))
# Two orders of summation in float64, in sums of order ten.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def make(
    vocabulary=VOCABULARY, latent=LATENT, dropout_rate=0.0, dtype="float64", latent_range=2.0
) -> SyntheticGenerator:
    return SyntheticGenerator(
        vocabulary, EMBEDDING, UNITS, latent, dropout_rate, 1.0, latent_range, seed=1, dtype=dtype
    )


def likelihood(generator, tokens, z) -> np.ndarray:
    return generator.negative_log_likelihood(z, generator.prepare(tf.constant(tokens))).numpy()


@pytest.mark.parametrize("latent", [LATENT, 0])
def test_likelihood_is_the_softmax_of_the_model_in_numpy(latent):
    generator = make(latent=latent)
    weights = numpy_lstm.weights(generator)
    start = np.full([BATCH, 1], VOCABULARY)
    inputs = weights["embedding/embeddings"][np.concatenate([start, TOKENS[:, :-1]], 1)]
    cell = [weights[f"lstm/lstm_cell/{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
    states = numpy_lstm.lstm(inputs, *cell, hidden=np.zeros([BATCH, UNITS]))
    kernel = weights["output/kernel"]
    if latent:
        # The paper's form: one affine map of the state and z side by side.
        states = np.concatenate([states, np.repeat(Z.numpy()[:, None], LENGTH, 1)], -1)
        kernel = np.concatenate([kernel, weights["latent_kernel"]])
    logits = states @ kernel + weights["output/bias"]
    expected = numpy_lstm.negative_log_likelihood(logits, TOKENS)
    np.testing.assert_allclose(likelihood(generator, TOKENS, Z if latent else None), expected, **CLOSE)


def test_derivative_is_that_of_the_softmax():
    # The likelihood is put together from sums made before z is known; all must lead back to every weight.
    generator = make()
    sources = [Z, *(variable.value for variable in generator.trainable_variables)]
    inputs = np.concatenate([np.full([BATCH, 1], VOCABULARY), TOKENS[:, :-1]], 1)

    def gradient(likelihood):
        with tf.GradientTape() as tape:
            tape.watch(Z)
            value = likelihood()
        return [tf.convert_to_tensor(g).numpy() for g in tape.gradient(value, sources)]

    def plain():
        logits = generator.output_layer(generator.lstm(generator.embedding(inputs)))
        logits += (Z @ generator.latent_kernel.value)[:, None]
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=TOKENS, logits=logits)

    actual = gradient(lambda: generator.negative_log_likelihood(Z, generator.prepare(tf.constant(TOKENS))))
    for a, e in zip(actual, gradient(plain), strict=True):
        np.testing.assert_allclose(a, e, **CLOSE)


def test_scores_far_apart():
    # As in a refinement that runs far out: scores hundreds apart must neither overflow nor vanish.
    z = np.array([[100.0, -40.0], [0.0, 0.0], [-300.0, 200.0]])
    exact, single = make(), make(dtype="float32")
    for variable, other in zip(exact.weights, single.weights, strict=True):
        variable.assign(tf.cast(other.value, tf.float64))
    expected = likelihood(exact, TOKENS, tf.constant(z))
    assert expected.max() > 500
    # Rounding of 6e-8 of numbers up to a thousand, which may cancel.
    np.testing.assert_allclose(likelihood(single, TOKENS, tf.constant(z, tf.float32)), expected, rtol=1e-5, atol=2e-3)
    with tf.GradientTape() as tape:
        variable = tf.Variable(z, dtype=tf.float32)
        value = single.negative_log_likelihood(variable, single.prepare(tf.constant(TOKENS)))
    assert np.all(np.isfinite(tape.gradient(value, variable)))


@pytest.mark.parametrize("latent", [LATENT, 0])
def test_probabilities_sum_to_one(latent):
    generator = make(3, latent)
    tokens = numpy_lstm.all_sequences(3, 3)
    z = tf.repeat(Z[:1], 27, 0) if latent else None
    probabilities = np.exp(-likelihood(generator, tokens, z))
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-10)
    assert probabilities.max() > 2 * probabilities.min()


def test_without_latent_variable_is_z_zero():
    generator = make()
    np.testing.assert_allclose(
        likelihood(generator, TOKENS, None), likelihood(generator, TOKENS, tf.zeros_like(Z)), **CLOSE
    )


def test_causal():
    # What is appended to a prefix leaves the prefix's probability: those of all that may follow sum to it.
    generator = make()
    for length in range(1, LENGTH):
        prefix = TOKENS[:1, :length]
        appended = np.concatenate([np.repeat(prefix, VOCABULARY, 0), np.arange(VOCABULARY)[:, None]], 1)
        total = np.sum(np.exp(-likelihood(generator, appended, tf.repeat(Z[:1], VOCABULARY, 0))))
        np.testing.assert_allclose(total, np.exp(-likelihood(generator, prefix, Z[:1]))[0], rtol=1e-12)


def test_dropout():
    generator = make(dropout_rate=0.5)

    def value(*arguments):
        return generator.negative_log_likelihood(Z, generator.prepare(tf.constant(TOKENS), *arguments)).numpy()

    seed = tf.constant([1, 2])
    np.testing.assert_array_equal(value(True, seed), value(True, seed))
    assert np.all(value(True, seed) != value(True, seed + 1))
    assert np.all(value(True, seed) != value())
    np.testing.assert_array_equal(value(False, seed), value())


def test_dropout_of_what_the_lstm_reads_and_of_what_it_gives():
    generator, read = SyntheticGenerator(UNITS, UNITS, UNITS, latent_dim=0, dropout_rate=0.25), []

    def ones(embedded):
        read.append(embedded)
        return tf.ones_like(embedded)

    generator.lstm, generator.output_layer = ones, tf.identity
    given = generator.logits(tf.constant(rng.integers(0, UNITS, [40, 20])), True, tf.constant([1, 2]))
    masks = [states.numpy() == 0 for states in (read[0], given)]
    # 4,000 units: a standard error of 0.007, of what agrees by chance 0.008; five of them.
    for mask in masks:
        assert abs(mask.mean() - 0.25) < 0.035
    assert abs(np.mean(masks[0] == masks[1]) - (0.25**2 + 0.75**2)) < 0.04


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_are_of_the_seed(dtype):
    generator = make(dtype=dtype)
    z = tf.cast(tf.repeat(Z[:1], 50, 0), dtype)
    first = generator.sample(z, 4, tf.constant([1, 2]))
    assert first.dtype == tf.int32
    assert first.shape == [50, 4]
    np.testing.assert_array_equal(first, generator.sample(z, 4, tf.constant([1, 2])))
    assert np.any(first != generator.sample(z, 4, tf.constant([1, 3])))
    assert np.min(first) >= 0
    assert np.max(first) < VOCABULARY
    assert len(np.unique(first, axis=0)) > 10


def test_samples_have_the_model_s_frequencies():
    generator, count = make(3), 20_000
    z = tf.repeat(Z[:1], count, 0)
    drawn = generator.sample(z, 2, tf.constant([5, 6])).numpy()
    sequences = numpy_lstm.all_sequences(3, 2)
    observed = np.array([np.sum(np.all(drawn == sequence, 1)) for sequence in sequences])
    expected = count * np.exp(-likelihood(generator, sequences, tf.repeat(Z[:1], 9, 0)))
    assert observed.sum() == count
    # Chi-squared with 8 degrees of freedom: beyond 43 once in a million; a wrong model gives hundreds.
    assert np.sum((observed - expected) ** 2 / expected) < 43
    assert np.sum((observed - count / 9) ** 2 / (count / 9)) > 500


def test_samples_depend_on_z():
    generator = make(3, latent_range=20.0)
    z = tf.constant([[1.0, 0.0]] * 20 + [[-1.0, 0.0]] * 20, tf.float64)
    drawn = generator.sample(z, 5, tf.constant([1, 2])).numpy()
    # The weights of z are so large that each half repeats its favourite symbol.
    kernel = generator.latent_kernel.numpy()
    assert np.mean(drawn[:20] == np.argmax(kernel[0])) > 0.9
    assert np.mean(drawn[20:] == np.argmin(kernel[0])) > 0.9


def test_initial_weights_are_of_the_seed_and_in_range():
    first, same, other = (SyntheticGenerator(50, 8, 8, 2, 0.0, 0.1, 5.0, seed=seed) for seed in (1, 1, 2))
    for variable, again, another in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(variable, again)
        assert np.any(variable.numpy() != another.numpy())
        limit = 5.0 if "latent_kernel" in variable.path else 0.1
        assert 0.9 * limit < np.max(np.abs(variable)) <= limit

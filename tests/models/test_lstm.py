"""The LSTM encoder and decoder."""

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.models import LSTMDecoder, LSTMEncoder
from sa_vae_tf.models.dropout import word_dropout
from tests.models import numpy_lstm

BATCH, VOCABULARY, EMBEDDING, UNITS, LATENT, LENGTH = 3, 7, 4, 5, 2, 6
rng = np.random.default_rng(0)
TOKENS = rng.integers(0, VOCABULARY, [BATCH, LENGTH])
Z = tf.constant(rng.normal(size=[BATCH, LATENT]))
# Two orders of summation in float64, in sums of order ten.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
make_decoder = functools.partial(LSTMDecoder, VOCABULARY, EMBEDDING, UNITS, initial_range=1.0, dtype="float64")


def likelihood(decoder: LSTMDecoder, tokens, z) -> np.ndarray:
    return decoder.negative_log_likelihood(z, decoder.prepare(tf.constant(tokens))).numpy()


def logits_in_numpy(decoder: LSTMDecoder, tokens: np.ndarray, z: np.ndarray | None) -> np.ndarray:
    w = numpy_lstm.weights(decoder)
    inputs = w["embedding"][tokens[:, :-1]]
    kernel, layers = w["word_kernel"], len(decoder.lstm)
    hidden = [np.zeros([len(tokens), UNITS])] * layers
    if z is not None:
        # The paper's form: z beside every word, and the first hidden states an affine map of it.
        inputs = np.concatenate([inputs, np.repeat(z[:, None], inputs.shape[1], 1)], -1)
        kernel = np.concatenate([kernel, w["latent_kernel"]])
        hidden = np.split(z @ w["start_kernel"] + w["start_bias"], layers, -1)
    states = numpy_lstm.lstm(inputs, kernel, w["recurrent_kernel"], w["bias"], hidden=hidden[0])
    for number in range(2, layers + 1):
        weights = (w[f"{name}_{number}"] for name in ("kernel", "recurrent_kernel", "bias"))
        states = numpy_lstm.lstm(states, *weights, hidden=hidden[number - 1])
    return states @ w["output_kernel"] + w["output_bias"]


@pytest.mark.parametrize("layers", [1, 3])
def test_decoder_is_the_one_in_numpy(layers):
    decoder = make_decoder(LATENT, layers)
    expected = numpy_lstm.negative_log_likelihood(logits_in_numpy(decoder, TOKENS, Z.numpy()), TOKENS[:, 1:])
    np.testing.assert_allclose(likelihood(decoder, TOKENS, Z), expected, **CLOSE)


@pytest.mark.parametrize(("layers", "above"), [(1, set()), (2, {"kernel_2", "recurrent_kernel_2", "bias_2"})])
def test_decoder_without_latent_variable_is_a_language_model(layers, above):
    decoder = make_decoder(0, layers)
    assert set(numpy_lstm.weights(decoder)) == above | {
        *("embedding", "word_kernel", "recurrent_kernel", "bias", "output_kernel", "output_bias")
    }
    expected = numpy_lstm.negative_log_likelihood(logits_in_numpy(decoder, TOKENS, None), TOKENS[:, 1:])
    np.testing.assert_allclose(likelihood(decoder, TOKENS, None), expected, **CLOSE)


@pytest.mark.parametrize("latent", [LATENT, 0])
def test_probabilities_sum_to_one(latent):
    decoder = LSTMDecoder(3, EMBEDDING, UNITS, latent, initial_range=1.0, dtype="float64", seed=2)
    words = numpy_lstm.all_sequences(3, 3)
    tokens = np.concatenate([np.ones([27, 1], np.int32), words], 1)  # The first token is given.
    z = tf.repeat(Z[:1], 27, 0) if latent else None
    probabilities = np.exp(-likelihood(decoder, tokens, z))
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-10)
    assert probabilities.max() > 2 * probabilities.min()


def test_decoder_is_causal():
    # What is appended to a prefix leaves the prefix's probability: those of all that may follow sum to it.
    decoder = make_decoder(LATENT)
    z = tf.repeat(Z[:1], VOCABULARY, 0)
    for length in range(2, LENGTH):
        prefix = TOKENS[:1, :length]
        appended = np.concatenate([np.repeat(prefix, VOCABULARY, 0), np.arange(VOCABULARY)[:, None]], 1)
        total = np.sum(np.exp(-likelihood(decoder, appended, z)))
        np.testing.assert_allclose(total, np.exp(-likelihood(decoder, prefix, Z[:1]))[0], rtol=1e-12)


def test_decoder_context_is_causal():
    tokens = TOKENS.copy()
    tokens[:, 3] = (tokens[:, 3] + 1) % VOCABULARY
    before, after = (make_decoder(LATENT).prepare(tf.constant(t)).projected.numpy() for t in (TOKENS, tokens))
    np.testing.assert_array_equal(before[:3], after[:3])
    np.testing.assert_array_equal(before[4:], after[4:])
    assert np.all(np.any(before[3] != after[3], -1))


def test_the_last_token_is_only_predicted():
    decoder = make_decoder(LATENT)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(likelihood_tensor(decoder, [[0, 1, 2]], Z[:1]))
    touched = tape.gradient(value, decoder.embedding.value)
    np.testing.assert_array_equal(np.unique(touched.indices), [0, 1])


def likelihood_tensor(decoder, tokens, z):
    return decoder.negative_log_likelihood(z, decoder.prepare(tf.constant(tokens)))


def test_dropout_of_words_and_of_outputs():
    decoder = make_decoder(LATENT, dropout_rate=0.5)
    tokens, seed, other = tf.constant(TOKENS), tf.constant([1, 2]), tf.constant([3, 4])
    plain = decoder.prepare(tokens)
    np.testing.assert_array_equal(decoder.prepare(tokens, False, seed).projected, plain.projected)
    np.testing.assert_array_equal(
        decoder.prepare(tokens, True, seed).projected, decoder.prepare(tokens, True, seed).projected
    )
    assert np.any(decoder.prepare(tokens, True, seed).projected != decoder.prepare(tokens, True, other).projected)
    values = [decoder.negative_log_likelihood(Z, plain, True, s).numpy() for s in (seed, seed, other)]
    np.testing.assert_array_equal(values[0], values[1])
    assert np.all(values[0] != values[2])
    np.testing.assert_array_equal(
        decoder.negative_log_likelihood(Z, plain, False, seed), decoder.negative_log_likelihood(Z, plain)
    )


def test_float32_is_near_float64():
    decoder, exact = (LSTMDecoder(VOCABULARY, EMBEDDING, UNITS, LATENT, dtype=d) for d in ("float32", "float64"))
    for variable, other in zip(exact.weights, decoder.weights, strict=True):
        variable.assign(tf.cast(other.value, tf.float64))
    # Rounding of 6e-8 in some tens of terms.
    z = tf.cast(Z, tf.float32)
    expected = likelihood(exact, TOKENS, tf.cast(z, tf.float64))
    np.testing.assert_allclose(likelihood(decoder, TOKENS, z), expected, rtol=2e-6)


@pytest.mark.parametrize("layers", [1, 3])
def test_encoder_is_the_one_in_numpy(layers):
    encoder = LSTMEncoder(VOCABULARY, EMBEDDING, UNITS, LATENT, layers, initial_range=1.0, dtype="float64", seed=3)
    w = numpy_lstm.weights(encoder)
    states = w["embedding"][TOKENS]
    for end in ("", "_2", "_3")[:layers]:
        weights = (w[name + end] for name in ("kernel", "recurrent_kernel", "bias"))
        states = numpy_lstm.lstm(states, *weights, hidden=np.zeros([BATCH, UNITS]))
    posterior = encoder(tf.constant(TOKENS))
    for part, name in zip(posterior, ("mean", "log_variance"), strict=True):
        np.testing.assert_allclose(part, states[:, -1] @ w[f"{name}/kernel"] + w[f"{name}/bias"], **CLOSE)


def test_encoder_keeps_the_log_variance_finite():
    encoder = LSTMEncoder(VOCABULARY, EMBEDDING, UNITS, LATENT)
    encoder.log_variance.bias.assign([1e6, -1e6])
    np.testing.assert_array_equal(encoder(tf.constant(TOKENS)).log_variance, [[20.0, -20.0]] * BATCH)


@pytest.mark.parametrize("model", [LSTMEncoder, LSTMDecoder])
def test_initial_weights_are_of_the_seed_and_in_range(model):
    first, same, other = (model(50, 8, 8, 4, initial_range=0.3, seed=seed) for seed in (1, 1, 2))
    for variable, again, another in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(variable, again)
        assert np.any(variable.numpy() != another.numpy())
        assert np.max(np.abs(variable)) <= 0.3
    assert np.max(np.abs(first.weights[0])) > 0.29  # The largest of 400 numbers.
    # No two weights from the same stream: their first numbers differ.
    assert len({float(np.ravel(variable)[0]) for variable in first.weights}) == len(first.weights)


def padded(tokens: np.ndarray, more: int) -> np.ndarray:
    return np.pad(tokens, [[0, 0], [0, more]])


def test_padding_is_neither_read_nor_predicted():
    # Symbol 0 fills up; no other place has it.
    tokens = np.where(TOKENS == 0, 1, TOKENS)
    decoder = make_decoder(LATENT, padding=0)
    np.testing.assert_allclose(likelihood(decoder, padded(tokens, 3), Z), likelihood(decoder, tokens, Z), **CLOSE)
    encoder = LSTMEncoder(VOCABULARY, EMBEDDING, UNITS, LATENT, initial_range=1.0, padding=0, dtype="float64")
    for one, other in zip(encoder(tf.constant(padded(tokens, 3))), encoder(tf.constant(tokens)), strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


def test_an_example_does_not_depend_on_its_batch():
    tokens = np.where(TOKENS == 0, 1, TOKENS)
    tokens[0, 3:] = 0
    decoder = make_decoder(LATENT, padding=0)
    together = likelihood(decoder, tokens, Z)
    np.testing.assert_allclose(likelihood(decoder, tokens[:1, :3], Z[:1]), together[:1], **CLOSE)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("latent", [LATENT, 0])
def test_stepping_is_the_likelihood_word_by_word(latent, layers):
    decoder = make_decoder(latent, layers)
    z = Z if latent else None
    state, total = decoder.start(z, BATCH), np.zeros(BATCH)
    for t in range(LENGTH - 1):
        logits, state = decoder.step(tf.constant(TOKENS[:, t]), state)
        total -= tf.gather(tf.nn.log_softmax(logits), TOKENS[:, t + 1], batch_dims=1).numpy()
    np.testing.assert_allclose(total, likelihood(decoder, TOKENS, z), **CLOSE)


def test_layers_do_not_share_their_masks():
    # With half of the units dropped, two layers with one mask would drop the same half.
    decoder = make_decoder(LATENT, 3, dropout_rate=0.5)
    seen = []

    def ones(projected, *_):
        seen.append(projected)
        return tf.ones([*projected.shape[:2], UNITS], tf.float64)

    def zeros(states, *_):
        seen.append(states)
        return tf.zeros(states.shape[:2], tf.float64)

    decoder.kernels = decoder.kernels._replace(hidden_states=ones, word_nll=zeros)
    for layer in decoder.lstm[1:]:
        layer.kernel.assign(tf.eye(UNITS, 4 * UNITS))
        layer.bias.assign(tf.zeros([4 * UNITS]))
    decoder.negative_log_likelihood(Z, decoder.prepare(tf.constant(TOKENS)), True, tf.constant([1, 2]))
    masks = [states[..., :UNITS].numpy() == 0 for states in seen[1:]]
    assert len(masks) == 3
    for one, other in itertools.combinations(masks, 2):
        assert np.any(one != other)


@pytest.mark.parametrize("layers", [1, 2])
def test_products_with_the_hessian_are_those_of_the_plain_kernels(layers):
    def product(kernels):
        decoder = make_decoder(LATENT, layers, kernels=kernels)
        z = tf.Variable(Z)
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                value = tf.reduce_sum(likelihood_tensor(decoder, TOKENS, z))
            slope = tf.reduce_sum(inner.gradient(value, z) ** 2)
        return outer.gradient(slope, [z, *decoder.lstm[-1]])

    for fused, plain in zip(product("fused"), product("plain"), strict=True):
        np.testing.assert_allclose(fused, plain, rtol=1e-10, atol=1e-10)


def test_the_plain_kernels_give_the_same():
    fused, plain = make_decoder(LATENT, seed=5), make_decoder(LATENT, seed=5, kernels="plain")
    np.testing.assert_allclose(likelihood(fused, TOKENS, Z), likelihood(plain, TOKENS, Z), **CLOSE)
    fused, plain = (
        LSTMEncoder(VOCABULARY, EMBEDDING, UNITS, LATENT, dtype="float64", kernels=k) for k in ("fused", "plain")
    )
    np.testing.assert_allclose(fused(tf.constant(TOKENS)).mean, plain(tf.constant(TOKENS)).mean, **CLOSE)


def test_word_dropout_replaces_words_by_the_unknown_one():
    words = tf.constant(rng.integers(2, VOCABULARY, [200, 20]))
    seed = tf.constant([3, 4])
    np.testing.assert_array_equal(word_dropout(words, 0.25, 1, False, seed), words)
    dropped = word_dropout(words, 0.25, 1, True, seed).numpy()
    np.testing.assert_array_equal(dropped, word_dropout(words, 0.25, 1, True, seed))
    changed = dropped != words.numpy()
    assert np.all(dropped[changed] == 1)
    assert not changed[:, 0].any()
    # 3,800 draws: a standard deviation of 0.007.
    assert abs(changed[:, 1:].mean() - 0.25) < 0.03


def test_word_dropout_is_of_the_words_read_not_of_those_predicted():
    decoder = make_decoder(LATENT, word_dropout_rate=1.0, unknown=5)
    context = decoder.prepare(tf.constant(TOKENS), True, tf.constant([1, 2]))
    np.testing.assert_array_equal(context.targets, TOKENS[:, 1:].T)
    unknown = np.concatenate([TOKENS[:, :1], np.full_like(TOKENS[:, 1:], 5)], 1)
    np.testing.assert_allclose(context.projected, decoder.prepare(tf.constant(unknown)).projected, **CLOSE)


@pytest.mark.parametrize("layers", [1, 2])
def test_encoder_starts_from_a_language_model(layers):
    language_model = make_decoder(0, layers)
    encoder = LSTMEncoder(VOCABULARY, EMBEDDING, UNITS, LATENT, layers, dtype="float64")
    encoder.start_from(language_model)
    np.testing.assert_array_equal(encoder.embedding, language_model.embedding)
    for own, other in zip(encoder.lstm, language_model.lstm, strict=True):
        for part, theirs in zip(own, other, strict=True):
            np.testing.assert_array_equal(part, theirs)

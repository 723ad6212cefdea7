"""The dilated CNN decoder."""

import functools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import Draw, Posterior, RefinementSettings, negative_elbo, refine
from sa_vae_tf.models.dilated_cnn import DILATIONS, DilatedCNNDecoder
from tests.inference.toy import relative_error
from tests.models import numpy_lstm

BATCH, VOCABULARY, EMBEDDING, CHANNELS, INTERNAL, LATENT, LENGTH = 3, 7, 4, 6, 5, 2, 12
TINY = (1, 2, 1)
PAD = 0
rng = np.random.default_rng(0)
TOKENS = rng.integers(1, VOCABULARY, [BATCH, LENGTH])
Z = tf.constant(rng.normal(size=[BATCH, LATENT]))
# Two orders of summation in float64, in sums of order ten.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}


def make(latent=LATENT, vocabulary=VOCABULARY, dilations=TINY, dtype="float64", **options) -> DilatedCNNDecoder:
    """Returns a decoder with weights of order one and biases that are not zero."""
    decoder = DilatedCNNDecoder(
        vocabulary, EMBEDDING, CHANNELS, INTERNAL, dilations, latent, dtype=dtype, initial_range=1.0, **options
    )
    generator = np.random.default_rng(1)
    for variable in decoder.weights:
        if variable.name.endswith("bias"):
            variable.assign(generator.normal(size=variable.shape))
    return decoder


def likelihood(decoder: DilatedCNNDecoder, tokens, z) -> np.ndarray:
    return decoder.negative_log_likelihood(z, decoder.prepare(tf.constant(tokens))).numpy()


def logits_in_numpy(decoder: DilatedCNNDecoder, tokens: np.ndarray, z: np.ndarray | None) -> np.ndarray:
    w = numpy_lstm.weights(decoder)
    x, kernel = w["embedding"][tokens[:, :-1]], w["word_kernel"]
    if z is not None:
        # The paper's form: z beside every word.
        x = np.concatenate([x, np.repeat(z[:, None], x.shape[1], 1)], -1)
        kernel = np.concatenate([kernel, w["latent_kernel"]])
    x = x @ kernel + w["bias"]
    for k, dilation in enumerate(decoder.dilations):
        block = {name.removeprefix(f"block_{k}_"): v for name, v in w.items() if name.startswith(f"block_{k}_")}
        narrow = np.maximum(x @ block["narrow_kernel"] + block["narrow_bias"], 0)
        wide = np.empty_like(x)
        for t in range(x.shape[1]):
            total = block["dilated_bias"]
            for tap, back in enumerate((2 * dilation, dilation, 0)):
                if t >= back:
                    total = total + narrow[:, t - back] @ block["dilated_kernel"][tap]
            wide[:, t] = np.maximum(total, 0) @ block["widen_kernel"] + block["widen_bias"]
        x = x + wide
    return x @ w["output_kernel"] + w["output_bias"]


@pytest.mark.parametrize("latent", [LATENT, 0])
@pytest.mark.parametrize("length", [LENGTH, 2])  # The second is shorter than the reach of any tap.
def test_is_the_one_in_numpy(latent, length):
    decoder, tokens, z = make(latent), TOKENS[:, :length], Z if latent else None
    logits = logits_in_numpy(decoder, tokens, None if z is None else z.numpy())
    expected = numpy_lstm.negative_log_likelihood(logits, tokens[:, 1:])
    np.testing.assert_allclose(likelihood(decoder, tokens, z), expected, **CLOSE)


def test_without_latent_variable_has_no_weights_for_it():
    with_latent, without = (set(numpy_lstm.weights(make(latent))) for latent in (LATENT, 0))
    assert with_latent - without == {"latent_kernel"}


@pytest.mark.parametrize(("size", "receptive_field"), [("small", 15), ("medium", 63), ("large", 125)])
def test_reads_the_receptive_field_of_the_paper_and_nothing_else(size, receptive_field):
    decoder, steps = make(dilations=DILATIONS[size]), receptive_field + 3
    assert receptive_field == 1 + 2 * sum(DILATIONS[size])
    for block in decoder.blocks:
        # No ReLU holds anything back, so that what is reached is all that any weights can reach.
        block.narrow_bias.assign(tf.fill([INTERNAL], 1e6))
        block.dilated_bias.assign(tf.fill([INTERNAL], 1e8))
    projected = tf.constant(rng.normal(size=[1, steps, CHANNELS]))
    context = decoder.prepare(tf.zeros([1, steps + 1], tf.int32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(projected)
        states = decoder.states(Z[:1], context._replace(projected=projected))
        logits = tf.tensordot(states, decoder.output_kernel.value, 1)[0]
        chosen = {t: logits[t] for t in (0, 5, steps - 3, steps - 1)}
    for t, target in chosen.items():
        jacobian = tape.jacobian(target, projected, experimental_use_pfor=False)[:, 0]
        reached = np.any(jacobian.numpy() != 0, axis=(0, 2))  # By time of the input.
        times = np.arange(steps)
        np.testing.assert_array_equal(reached, (times > t - receptive_field) & (times <= t))


@pytest.mark.parametrize("latent", [LATENT, 0])
def test_probabilities_sum_to_one(latent):
    decoder = make(latent, vocabulary=4)
    words = numpy_lstm.all_sequences(4, 2)
    tokens = np.concatenate([np.ones([16, 1], np.int32), words], 1)  # The first token is given.
    z = tf.repeat(Z[:1], 16, 0) if latent else None
    probabilities = np.exp(-likelihood(decoder, tokens, z))
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-12)
    assert probabilities.max() > 2 * probabilities.min()


def test_padding_and_batch_do_not_matter():
    decoder, lengths = make(padding=PAD), (LENGTH, 5, 2)
    tokens = np.full([BATCH, LENGTH + 4], PAD)
    for row, length in enumerate(lengths):
        tokens[row, :length] = TOKENS[row, :length]
    together = likelihood(decoder, tokens, Z)
    for row, length in enumerate(lengths):
        alone = likelihood(decoder, TOKENS[row : row + 1, :length], Z[row : row + 1])
        np.testing.assert_allclose(together[row], alone[0], **CLOSE)
    # Without a padding symbol, the same words count.
    assert np.all(likelihood(make(), tokens, Z) > together + 0.1)


def test_padding_has_no_derivative():
    decoder = make(padding=PAD)
    with tf.GradientTape() as tape:
        context = decoder.prepare(tf.constant([[1, 2, 3, PAD, PAD]]))
        value = decoder.negative_log_likelihood(Z[:1], context)
    gradient = tape.gradient(value, context.projected).numpy()[0]
    np.testing.assert_array_equal(np.any(gradient != 0, -1), [True, True, False, False])


def test_dropout_of_words_and_in_every_block():
    decoder = make(dropout_rate=0.5)
    tokens, seed, other = tf.constant(TOKENS), tf.constant([1, 2]), tf.constant([3, 4])
    plain = decoder.prepare(tokens)
    np.testing.assert_array_equal(decoder.prepare(tokens, False, seed).projected, plain.projected)
    masked, again, another = (decoder.prepare(tokens, True, s).projected.numpy() for s in (seed, seed, other))
    np.testing.assert_array_equal(masked, again)
    assert np.any(masked != another)
    values = [decoder.negative_log_likelihood(Z, plain, True, s).numpy() for s in (seed, seed, other)]
    np.testing.assert_array_equal(values[0], values[1])
    assert np.all(values[0] != values[2])
    np.testing.assert_array_equal(
        decoder.negative_log_likelihood(Z, plain, False, seed), decoder.negative_log_likelihood(Z, plain)
    )
    # A block whose last kernel is the only one that is not zero still drops, and no two blocks drop the same.
    drops = []
    for k in range(len(TINY)):
        for j, block in enumerate(decoder.blocks):
            block.narrow_kernel.assign(tf.zeros_like(block.narrow_kernel))
            block.dilated_kernel.assign(tf.zeros_like(block.dilated_kernel))
            block.dilated_bias.assign(tf.fill([INTERNAL], float(j == k)))
            block.widen_bias.assign(tf.zeros([CHANNELS]))
            block.widen_kernel.assign(tf.eye(INTERNAL, CHANNELS))
        added = decoder.states(Z, plain, True, seed) - decoder.states(Z, plain) + 1.0
        drops.append(np.round(added.numpy()[..., :INTERNAL]))
    for drop in drops:
        np.testing.assert_array_equal(np.unique(drop), [0, 2])
    assert np.any(drops[0] != drops[1])
    assert np.any(drops[1] != drops[2])


def test_word_dropout_is_of_the_words_read_not_of_those_predicted():
    decoder = make(word_dropout_rate=1.0, unknown=5)
    context = decoder.prepare(tf.constant(TOKENS), True, tf.constant([1, 2]))
    np.testing.assert_array_equal(context.targets, TOKENS[:, 1:])
    unknown = np.concatenate([TOKENS[:, :1], np.full_like(TOKENS[:, 1:], 5)], 1)
    np.testing.assert_allclose(context.projected, decoder.prepare(tf.constant(unknown)).projected, **CLOSE)


@pytest.mark.parametrize("latent", [LATENT, 0])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-10)])
def test_steps_have_the_likelihood_of_the_whole(dtype, tolerance, latent):
    decoder = make(latent, dtype=dtype)
    z = tf.cast(Z, dtype) if latent else None
    state, total = decoder.start(z, BATCH), np.zeros(BATCH)
    for t in range(LENGTH - 1):
        logits, state = decoder.step(tf.constant(TOKENS[:, t]), state)
        total += tf.nn.sparse_softmax_cross_entropy_with_logits(labels=TOKENS[:, t + 1], logits=logits).numpy()
    np.testing.assert_allclose(total, likelihood(decoder, TOKENS, z), rtol=tolerance)


def test_state_of_generation_can_be_gathered():
    # As a beam search does: examples in another order, one of them twice.
    decoder, order = make(), [2, 0, 0, 1]
    _, state = decoder.step(tf.constant(TOKENS[:, 0]), decoder.start(Z, BATCH))
    gathered = tf.nest.map_structure(lambda t: tf.gather(t, order), state)
    logits, _ = decoder.step(tf.constant(TOKENS[order, 1]), gathered)
    expected, _ = decoder.step(tf.constant(TOKENS[:, 1]), state)
    np.testing.assert_allclose(logits, tf.gather(expected, order), **CLOSE)


def test_step_in_a_loop_of_the_graph():
    # The state keeps its shapes, as a loop needs; the words are the likeliest ones.
    decoder = make()

    @tf.function(input_signature=[tf.TensorSpec([None, LATENT], tf.float64)])
    def greedy(z):
        count = tf.shape(z)[0]
        words, state = tf.ones([count], tf.int64), decoder.start(z, count)
        for _ in tf.range(5):
            logits, state = decoder.step(words, state)
            words = tf.argmax(logits, -1)
        return words

    words, state = tf.ones([BATCH], tf.int64), decoder.start(Z, BATCH)
    for _ in range(5):
        logits, state = decoder.step(words, state)
        words = tf.argmax(logits, -1)
    np.testing.assert_array_equal(greedy(Z), words)


def derivative_through_refinement(decoder: DilatedCNNDecoder, product: str) -> list[tf.Tensor]:
    """Returns a loss after three steps, with dropout, and its derivatives to posterior, context and weights."""
    normal = np.random.default_rng(2).normal
    initial = Posterior(tf.constant(normal(size=[BATCH, LATENT])), tf.constant(0.5 * normal(size=[BATCH, LATENT])))
    draws = Draw(tf.constant(normal(size=[3, BATCH, LATENT])), tf.constant([[1, 2], [3, 4], [5, 6]]))
    bound = negative_elbo(lambda z, context, seed: decoder.negative_log_likelihood(z, context, True, seed))
    settings = RefinementSettings(0.05, 0.05, clip_norm=5.0, product=product)
    with tf.GradientTape() as tape:
        tape.watch(initial)
        context = decoder.prepare(tf.constant(TOKENS), True, tf.constant([7, 8]))
        refined = refine(bound, initial, context, draws, settings)
        final = Draw(tf.constant(normal(size=[BATCH, LATENT])), tf.constant([9, 10]))
        loss = tf.reduce_mean(bound(refined.posterior, context, final))
    sources = [*initial, context.projected, *(variable.value for variable in decoder.trainable_variables)]
    gradients = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [loss, *map(tf.convert_to_tensor, gradients)]


def test_second_derivatives_are_those_of_finite_differences():
    decoder = make(dropout_rate=0.2)
    exact = derivative_through_refinement(decoder, "exact")
    difference = derivative_through_refinement(decoder, "finite_difference")
    # A central difference: its step is 1e-5, squared, and rounding over the step.
    assert relative_error(exact, difference) < 1e-5


@pytest.mark.parametrize("latent", [LATENT, 0])
def test_compiled_and_with_sizes_unknown_to_the_graph(latent):
    decoder = make(latent, padding=PAD)

    def value_and_gradient(tokens, z):
        with tf.GradientTape() as tape:
            value = decoder.negative_log_likelihood(z if latent else None, decoder.prepare(tokens))
        weights = [variable.value for variable in decoder.trainable_variables]
        return value, [tf.convert_to_tensor(g) for g in tape.gradient(value, weights)]

    signature = [tf.TensorSpec([None, None], tf.int64), tf.TensorSpec([None, LATENT], tf.float64)]
    expected = value_and_gradient(tf.constant(TOKENS), Z)
    for options in ({"jit_compile": True}, {"input_signature": signature}):
        actual = tf.function(value_and_gradient, autograph=False, **options)(tf.constant(TOKENS), Z)
        for a, e in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-11)


def test_float32_is_near_float64():
    decoder, exact = make(dtype="float32"), make(dtype="float64")
    for variable, other in zip(exact.weights, decoder.weights, strict=True):
        variable.assign(tf.cast(other.value, tf.float64))
    # Rounding of 6e-8 in some tens of terms.
    z = tf.cast(Z, tf.float32)
    expected = likelihood(exact, TOKENS, tf.cast(z, tf.float64))
    np.testing.assert_allclose(likelihood(decoder, TOKENS, z), expected, rtol=5e-6)


@pytest.mark.parametrize("size", DILATIONS)
@pytest.mark.parametrize("width", [16, 256])
def test_initial_weights_keep_the_scale_at_every_depth_and_width(size, width):
    decoder = DilatedCNNDecoder(50, width, 2 * width, width, DILATIONS[size], 0, seed=3)
    context = decoder.prepare(tf.constant(rng.integers(0, 50, [4, 200])))
    scale = np.std(decoder.states(None, context)) / np.std(context.projected)
    # The blocks add about as much as they start from: root 2, and what three blocks differ from their expectation.
    assert 1.1 < scale < 2.5


def test_initial_weights_are_of_the_seed():
    make_one = functools.partial(DilatedCNNDecoder, 50, 8, 16, 8, TINY, 4, initial_range=0.3)
    first, same, other = make_one(seed=1), make_one(seed=1), make_one(seed=2)
    for variable, again, another in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(variable, again)
        if variable.name.endswith("bias"):
            np.testing.assert_array_equal(variable, np.zeros_like(variable))
        else:
            assert np.any(variable.numpy() != another.numpy())
    for variable in (first.embedding, first.output_kernel):
        assert 0.29 < np.max(np.abs(variable)) <= 0.3  # The largest of 400 numbers.
    # No two kernels from the same stream.
    kernels = [variable.numpy() for variable in first.weights if not variable.name.endswith("bias")]
    assert len({float(np.ravel(kernel)[0] / np.max(np.abs(kernel))) for kernel in kernels}) == len(kernels)

"""The fused kernels against the plain ones: values, first and second derivatives."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference.kept import Keep, keeping
from sa_vae_tf.kernels import KERNELS, Kernels, lstm, products, softmax
from sa_vae_tf.kernels.scan import UNROLLED

FUSED, HYBRID, PLAIN = KERNELS["fused"], KERNELS["hybrid"], KERNELS["plain"]
COLUMNS = functools.partial(lstm.hidden_states, large=0)
BATCH, UNITS, VOCABULARY = 4, 5, 9
# Two orders of summation in float64, in sums of order ten.
CLOSE: dict[str, Any] = {"rtol": 1e-11, "atol": 1e-12}
MODES = {
    "eager": lambda f: f,
    "graph": lambda f: tf.function(f, autograph=False),
    "xla": lambda f: tf.function(f, autograph=False, jit_compile=True),
}


def in_graphs(values, everywhere):
    """Returns values with modes: of one value all, of the others by default the graph alone."""
    slow = pytest.mark.slow
    cases = itertools.product(values, MODES)
    return [pytest.param(v, m, marks=() if m == "graph" or v == everywhere else slow) for v, m in cases]


def lstm_inputs(time: int) -> list[tf.Tensor]:
    """Projected inputs, shift, recurrent kernel, first hidden state and cell."""
    rng = np.random.default_rng(time)
    shapes = [time, BATCH, 4 * UNITS], [BATCH, 4 * UNITS], [UNITS, 4 * UNITS], [BATCH, UNITS], [BATCH, UNITS]
    return [tf.constant(rng.normal(size=shape)) for shape in shapes]


def softmax_inputs(rows: int) -> list[tf.Tensor]:
    """States, kernel and bias."""
    rng = np.random.default_rng(rows)
    return [tf.constant(rng.normal(size=s)) for s in ([rows, UNITS], [UNITS, VOCABULARY], [VOCABULARY])]


def nll(kernels: Kernels, targets: tf.Tensor):
    """The function of states, kernel and bias that gives the words' likelihood."""
    return lambda states, kernel, bias: kernels.word_nll(states, kernels.softmax_weights(kernel, bias, targets))


def words(rows: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(rows + 1).integers(0, VOCABULARY, [rows]))


def waves(like: tf.Tensor, phase: float = 0.0) -> tf.Tensor:
    """A tensor of the shape of `like` without symmetries."""
    return tf.reshape(tf.sin(tf.cast(tf.range(tf.size(like)), like.dtype) + phase), tf.shape(like))


def derivatives(function, inputs: list[tf.Tensor], local: list[int], weight: float):
    """Returns value, first derivatives to `local` inputs, and the derivatives that a product by `exact` takes.

    These are of <first derivatives, direction> + weight * (a scalar of the value), to all inputs.
    """
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            value = function(*inputs)
            scalar = tf.reduce_sum(waves(value) * value * value)
        first = inner.gradient(scalar, [inputs[i] for i in local])
        pairing = tf.add_n([tf.reduce_sum(g * waves(g, i)) for i, g in enumerate(first)])
        objective = pairing + weight * tf.reduce_sum(waves(value, 1.0) * value)
    return value, first, outer.gradient(objective, inputs)


def compare(fused, plain, inputs, local, mode):
    for weight in (0.0, 0.7):
        actual = MODES[mode](lambda x, w=weight: derivatives(fused, x, local, w))(inputs)
        expected = tf.function(lambda x, w=weight: derivatives(plain, x, local, w), autograph=False)(inputs)
        for a, e in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(a, e, **CLOSE)
            assert np.max(np.abs(e)) > 1e-3


@pytest.mark.parametrize(("time", "mode"), in_graphs([1, 3, UNROLLED + 4], everywhere=UNROLLED + 4))
def test_lstm(time, mode):
    # The refinement's gradient goes to shift and first hidden state; their second derivatives go everywhere.
    compare(FUSED.hidden_states, PLAIN.hidden_states, lstm_inputs(time), [1, 3], mode)


def test_lstm_with_every_input_local():
    compare(FUSED.hidden_states, PLAIN.hidden_states, lstm_inputs(3), [0, 1, 3, 4], "graph")


@pytest.mark.parametrize(("filled", "mode"), in_graphs([1, BATCH, 6], everywhere=6))
def test_lstm_whose_examples_are_columns(filled, mode, monkeypatch):
    monkeypatch.setattr(lstm, "FILLED", filled)
    compare(COLUMNS, PLAIN.hidden_states, lstm_inputs(UNROLLED + 1), [1, 3], mode)


@pytest.mark.parametrize("function", [FUSED.hidden_states, COLUMNS], ids=["rows", "columns"])
def test_lstm_whose_factors_have_columns_added(function, monkeypatch):
    # The kernel has a multiple of so many columns, and its transposed.
    monkeypatch.setattr(products, "CROWDED", UNITS)
    compare(function, PLAIN.hidden_states, lstm_inputs(UNROLLED + 1), [1, 3], "graph")


def test_programs_of_their_own_compute_the_same(monkeypatch):
    monkeypatch.setattr(softmax, "COLUMNS", 5)
    targets = words(6)
    compare(HYBRID.hidden_states, PLAIN.hidden_states, lstm_inputs(3), [1, 3], "graph")
    compare(nll(HYBRID, targets), nll(PLAIN, targets), softmax_inputs(6), [0], "graph")


@pytest.fixture(params=["exponentials kept", "computed again"])
def exponentials(request):
    """The reverse pass of the softmax has the exponentials of the forward pass, or computes probabilities."""
    with contextlib.nullcontext() if request.param == "exponentials kept" else keeping(Keep.NOTHING):
        yield


@pytest.mark.parametrize("mode", MODES)
def test_softmax(mode, exponentials):
    targets = words(6)
    compare(nll(FUSED, targets), nll(PLAIN, targets), softmax_inputs(6), [0], mode)


def test_derivatives_of_derivatives_to_weights_are_refused():
    states, kernel, bias = softmax_inputs(6)
    with tf.GradientTape() as outer:
        outer.watch(kernel)
        with tf.GradientTape() as inner:
            inner.watch(kernel)
            value = tf.reduce_sum(nll(FUSED, words(6))(states, kernel, bias))
        first = inner.gradient(value, kernel)
    with pytest.raises(LookupError, match="this derivative of a hand-written kernel has none itself"):
        outer.gradient(first, kernel)


def recurrence(kernels):
    return kernels.hidden_states, lstm_inputs(3), 3


def likelihood(kernels):
    return nll(kernels, words(6)), softmax_inputs(6), 0


def maps(kernels):
    rng = np.random.default_rng(1)
    return kernels.convolve, [tf.constant(rng.normal(size=s)) for s in ([2, 4, 4, 3], [3, 3, 3, 2])], 0


OPERATIONS = pytest.mark.parametrize("operation", [recurrence, likelihood, maps])


@OPERATIONS
@pytest.mark.parametrize("kernels", [FUSED, PLAIN], ids=["fused", "plain"])
def test_a_derivative_in_a_vectorized_map_is_right_or_refused(operation, kernels):
    """It forgets hand-written derivatives; what it would find in their place is wrong."""
    run, inputs, place = operation(kernels)

    def gradient(each):
        several = tf.stack([inputs[place], 2 * inputs[place]])
        with tf.GradientTape() as tape:
            tape.watch(several)
            results = each(lambda x: tf.reduce_sum(run(*inputs[:place], x, *inputs[place + 1 :]) ** 2), several)
        return tape.gradient(results, several)

    if kernels is PLAIN:
        np.testing.assert_allclose(gradient(tf.vectorized_map), gradient(tf.map_fn), **CLOSE)
    else:
        with pytest.raises(LookupError, match="lose the derivatives of hand-written kernels; expected tf.map_fn"):
            gradient(tf.vectorized_map)


def slope_of_the_second_loss(operation, kernels):
    """Derivative of the second of two first derivatives of one result."""
    run, inputs, place = operation(kernels)
    x = inputs[place]
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape(persistent=True) as inner:
            inner.watch(x)
            squares = run(*inputs[:place], x, *inputs[place + 1 :]) ** 2
            losses = tf.reduce_sum(squares[0]), tf.reduce_sum(squares[1])
        slopes = [tf.reduce_sum(inner.gradient(loss, x) * waves(x)) for loss in losses]
    return outer.gradient(slopes[1], x)


@pytest.mark.parametrize("operation", [recurrence, maps])
def test_of_two_first_derivatives_the_second_has_one(operation):
    fused, plain = (slope_of_the_second_loss(operation, kernels) for kernels in (FUSED, PLAIN))
    np.testing.assert_allclose(fused, plain, **CLOSE)


def test_of_two_first_derivatives_of_a_likelihood_the_second_has_none():
    """It is not differentiable as the first is, and what would be found in its place is wrong."""
    with pytest.raises(LookupError, match="of a hand-written kernel has none itself"):
        slope_of_the_second_loss(likelihood, FUSED)


@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_rounded_factors(mode, exponentials):
    targets = words(6)
    rounded = KERNELS["bfloat16"]
    cases = [
        (rounded.hidden_states, PLAIN.hidden_states, lstm_inputs(UNROLLED + 1), [1, 3]),
        (functools.partial(rounded.hidden_states, large=0), PLAIN.hidden_states, lstm_inputs(UNROLLED + 1), [1, 3]),
        (nll(rounded, targets), nll(PLAIN, targets), softmax_inputs(6), [0]),
    ]
    for function, plain, inputs, local in cases:
        actual = MODES[mode](lambda x, f=function, local=local: derivatives(f, x, local, 0.7))(inputs)
        expected = MODES["graph"](lambda x, f=plain, local=local: derivatives(f, x, local, 0.7))(inputs)
        for a, e in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
            # Factors of eight bits, and chains of up to nine products.
            assert 0 < np.max(np.abs(a - e)) < 0.05 * np.max(np.abs(e))


@pytest.mark.parametrize(("columns", "mode"), in_graphs([1, 2, 5], everywhere=2))
def test_softmax_in_blocks(columns, mode, exponentials, monkeypatch):
    # Of one word each, of two but for one, and of five and four.
    monkeypatch.setattr(softmax, "COLUMNS", columns)
    monkeypatch.setattr(products, "ALIGNED", 1)
    test_softmax(mode, exponentials)


@pytest.mark.parametrize("mode", MODES)
def test_first_derivatives_alone(mode, exponentials):
    targets = words(6)
    cases = [
        (FUSED.hidden_states, PLAIN.hidden_states, lstm_inputs(UNROLLED + 1)),
        (nll(FUSED, targets), nll(PLAIN, targets), softmax_inputs(6)),
    ]
    for fused, plain, inputs in cases:
        results = []
        for function in (fused, plain):

            def first(x, function=function):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    value = tf.reduce_sum(waves(function(*x)) * function(*x))
                return tape.gradient(value, x)

            results.append(MODES[mode](first)(inputs) if function is fused else MODES["graph"](first)(inputs))
        for actual, expected in zip(*results, strict=True):
            np.testing.assert_allclose(actual, expected, **CLOSE)


@pytest.mark.parametrize("function", [FUSED.hidden_states, COLUMNS], ids=["rows", "columns"])
def test_time_and_batch_may_be_unknown_when_the_graph_is_built(function):
    free = [[None, None, 4 * UNITS], [None, 4 * UNITS], [UNITS, 4 * UNITS], [None, UNITS], [None, UNITS]]

    @tf.function(input_signature=[[tf.TensorSpec(shape, tf.float64) for shape in free]])
    def fused(inputs):
        return derivatives(function, inputs, [1, 3], 0.7)

    inputs = lstm_inputs(11)
    expected = derivatives(FUSED.hidden_states, inputs, [1, 3], 0.7)
    for a, e in zip(tf.nest.flatten(fused(inputs)), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(a, e, **CLOSE)


def test_a_derivative_taken_twice_is_the_same():
    # The second call may not take the first one's zero cotangents for what they are.
    inputs, targets = softmax_inputs(5), words(5)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        value = tf.reduce_sum(nll(FUSED, targets)(*inputs))
    for first, second in zip(tape.gradient(value, inputs), tape.gradient(value, inputs), strict=True):
        np.testing.assert_allclose(first, second, **CLOSE)


def test_lstm_is_the_one_of_keras():
    layer = keras.layers.LSTM(UNITS, return_sequences=True, bias_initializer="normal", dtype="float64")
    rng = np.random.default_rng(0)
    inputs, hidden, cell = (tf.constant(rng.normal(size=size)) for size in ([3, 11, 2], [3, UNITS], [3, UNITS]))
    expected = layer(inputs, initial_state=[hidden, cell])
    kernel, recurrent_kernel, bias = layer.get_weights()
    projected = tf.transpose(inputs, [1, 0, 2]) @ kernel
    shift = tf.zeros([3, 4 * UNITS], tf.float64) + bias
    states = FUSED.hidden_states(projected, shift, recurrent_kernel, hidden, cell)
    np.testing.assert_allclose(states, np.swapaxes(expected.numpy(), 0, 1), **CLOSE)


def test_large_scores_stay_finite():
    states, kernel, bias = softmax_inputs(6)
    with tf.GradientTape() as tape:
        tape.watch(states)
        value = nll(FUSED, words(6))(1e4 * states, kernel, bias)
    assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(tape.gradient(value, states)))


def test_a_block_of_words_that_are_ruled_out(exponentials, monkeypatch):
    monkeypatch.setattr(softmax, "COLUMNS", 5)
    targets = tf.constant([5, 6, 7, 8, 5, 6])
    states, kernel, bias = softmax_inputs(6)
    ruled_out = tf.where(tf.range(VOCABULARY) < 5, -np.inf, bias)
    compare(nll(FUSED, targets), nll(PLAIN, targets), [states, kernel, ruled_out], [0], "graph")

"""The convolution against TensorFlow's: values and derivatives."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.kernels.convolution import (
    convolve,
    convolve_alone,
    convolve_rows,
    plain_convolve,
    takes_frequencies,
)
from sa_vae_tf.training.build import build_model
from tests import images
from tests.kernels.test_kernels import CLOSE, MODES, waves


def plain(inputs: tf.Tensor, kernel: tf.Tensor, padding=((0, 0), (0, 0))) -> tf.Tensor:
    return tf.nn.conv2d(tf.pad(inputs, [(0, 0), *padding, (0, 0)]), kernel, 1, "VALID")


def arguments(rows: int, columns: int, channels: int = 3) -> list[tf.Tensor]:
    """Inputs and a kernel of which no two sizes are the same."""
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape)) for shape in ([2, 6, 7, channels], [rows, columns, channels, 4])]


def derivatives(function, inputs: list[tf.Tensor], order: int) -> list[tf.Tensor]:
    """Returns the value, and for each order the derivatives of a weighted sum of all those before."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        results = derivatives(function, inputs, order - 1) if order else [function(*inputs)]
        objective = tf.add_n([tf.reduce_sum(waves(r, i) * (r if order else r * r)) for i, r in enumerate(results)])
    return results + tape.gradient(objective, inputs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("convolve", [convolve, convolve_alone])
@pytest.mark.parametrize(
    ("rows", "columns", "padding"),
    [
        (1, 1, ((0, 0), (0, 0))),
        (3, 2, ((0, 0), (0, 0))),
        (6, 7, ((0, 0), (0, 0))),
        (3, 3, ((1, 1), (1, 1))),
        (3, 5, ((2, 0), (2, 2))),
        (1, 4, ((0, 0), (1, 3))),
    ],
)
def test_values_and_first_and_second_derivatives(rows, columns, padding, convolve, mode):
    inputs = arguments(rows, columns)
    ours, theirs = (lambda *inputs, f=f: f(*inputs, padding) for f in (convolve, plain))
    actual = MODES[mode](lambda *inputs: derivatives(ours, list(inputs), 1))(*inputs)
    expected = tf.function(autograph=False, func=lambda *inputs: derivatives(theirs, list(inputs), 1))(*inputs)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, **CLOSE)


has_frequencies = pytest.mark.skipif(
    not takes_frequencies(columns=5, inputs=16), reason="TensorFlow has no derivative of a convolution of groups here"
)


@has_frequencies
@pytest.mark.parametrize(
    ("rows", "columns", "padding"),
    [(3, 5, ((2, 0), (2, 2))), (6, 7, ((5, 0), (3, 3))), (1, 6, ((0, 0), (1, 4))), (3, 5, ((1, 2), (2, 1)))],
)
def test_by_frequencies(rows, columns, padding):
    exact = arguments(rows, columns, channels=16)
    expected = tf.function(autograph=False, func=lambda: derivatives(lambda *i: plain(*i, padding), exact, 1))()
    inputs = [tf.cast(x, tf.float32) for x in exact]
    graph = tf.function(autograph=False, func=lambda: derivatives(lambda *i: convolve_rows(*i, padding), inputs, 1))
    for a, e in zip(graph(), expected, strict=True):
        # Some roundings of float32, 6e-8 each, of sums of some hundred terms.
        assert np.linalg.norm(a.numpy() - e) < 2e-6 * np.linalg.norm(e)
    kinds = operations(lambda: convolve_rows(*inputs, padding))
    assert "MatMul" in " ".join(kinds)  # Of the transforms.
    assert "MatMul" not in " ".join(operations(lambda: convolve(*inputs, padding)))


@has_frequencies
def test_rounding_by_frequencies_stays_in_the_rows_that_are_read():
    inputs, kernel = (tf.cast(x, tf.float32) for x in arguments(3, 5, channels=16))
    padding = (2, 0), (2, 2)
    found, expected = (f(inputs, kernel, padding).numpy() for f in (convolve_rows, convolve))
    # Some ten roundings of float32, 6e-8 each, of what is as large as the sums.
    assert np.linalg.norm(found - expected) < 1e-6 * np.linalg.norm(expected)
    # Without the rows from the fourth on, the first three results stay as they are to the bit.
    below = tf.concat([inputs[:, :3], tf.zeros_like(inputs[:, 3:])], 1)
    np.testing.assert_array_equal(convolve_rows(below, kernel, padding)[:, :3], found[:, :3])


@pytest.mark.parametrize("convolve", [convolve, convolve_alone])
def test_third_derivatives(convolve):
    inputs = arguments(3, 2)
    actual = tf.function(autograph=False, func=lambda: derivatives(convolve, inputs, 2))()
    expected = tf.function(autograph=False, func=lambda: derivatives(plain, inputs, 2))()
    for a, e in zip(actual, expected, strict=True):
        # Sums of some thousand terms, up to a million in size.
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10 * np.max(np.abs(e)))


@pytest.mark.parametrize(("convolve", "columns"), [(convolve, 2), (convolve_alone, 2), (convolve_rows, 5)])
def test_batch_may_be_unknown_when_the_graph_is_built(convolve, columns):
    inputs, kernel = arguments(3, columns, channels=16)
    signature = [tf.TensorSpec([None, *inputs.shape[1:]], tf.float64), tf.TensorSpec(kernel.shape, tf.float64)]
    graph = tf.function(
        autograph=False, func=lambda *inputs: derivatives(convolve, list(inputs), 1), input_signature=signature
    )
    for a, e in zip(graph(inputs, kernel), derivatives(plain, [inputs, kernel], 1), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-12 * np.max(np.abs(e)))


def test_rounded_factors():
    """In values and derivatives, those of factors with eight bits; sums are of some fifty products."""
    inputs = arguments(3, 2)
    actual = derivatives(lambda *inputs: convolve_alone(*inputs, precision=tf.bfloat16), inputs, 1)
    expected = derivatives(plain, inputs, 1)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        distance = np.linalg.norm(a - e) / np.linalg.norm(e)
        assert 1e-4 < distance < 2e-2, distance  # 2^-9 is a rounding's error, and derivatives have several.


def test_the_plain_form():
    inputs = arguments(3, 2)
    padding = ((2, 0), (0, 1))
    actual = derivatives(lambda *inputs: plain_convolve(*inputs, padding), inputs, 1)
    expected = derivatives(lambda *inputs: plain(*inputs, padding), inputs, 1)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, **CLOSE)


def operations(function) -> set[str]:
    """Returns the kinds of operations in a function's graph and in the functions that it calls."""
    graph = tf.function(function, autograph=False).get_concrete_function().graph.as_graph_def()
    nodes = itertools.chain(graph.node, *(called.node_def for called in graph.library.function))
    return {node.op for node in nodes}


@pytest.mark.parametrize(
    ("convolve", "columns", "expected"),
    [(convolve, 2, set()), (convolve_alone, 2, {"Conv2DBackpropFilter"})],
)
def test_only_where_xla_does_not_compile_is_the_cotangent_of_a_kernel_left_to_tensorflow(convolve, columns, expected):
    # In a training step compiled for a CPU it would take most of the time.
    inputs = arguments(3, columns, channels=16)
    found = operations(lambda: derivatives(convolve, inputs, 1))
    assert "Conv2D" in found
    assert {name for name in found if "Backprop" in name} == expected


@has_frequencies
def test_by_frequencies_the_cotangent_of_a_kernel_is_one_operation():
    inputs = [tf.cast(x, tf.float32) for x in arguments(3, 5, channels=16)]
    assert "Conv2DBackpropFilter" in operations(lambda: derivatives(convolve_rows, inputs, 1))


def test_no_frequencies_where_their_derivative_is_not_one_operation():
    # A CPU has it of float32 alone, if at all.
    assert not takes_frequencies(9, 32, tf.float64)
    assert "Conv2DBackpropFilter" in operations(lambda: derivatives(convolve_rows, arguments(3, 5, channels=16), 1))


@pytest.mark.parametrize("product", ["exact", "finite_difference", "authors"])
def test_none_in_a_whole_training_step(product):
    model = build_model(images.tiny("somewhere", "nowhere", "images.npz", svi_steps=2, hvp=product))
    x = tf.zeros([3, 8, 6, 1], tf.uint8)
    found = operations(lambda: model.train_step({"x": x, "index": tf.range(3, dtype=tf.int64)}))
    assert "Conv2D" in found
    assert not {name for name in found if "Backprop" in name}

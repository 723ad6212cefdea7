"""The gate against plain TensorFlow: values and derivatives."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.kernels.gate import gate, plain_gate
from tests.kernels.test_kernels import CLOSE, MODES, waves


def arguments(terms: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(terms)
    return [tf.constant(rng.normal(size=[2, 3, 4, 6])) for _ in range(terms)]


def derivatives(function, terms: list[tf.Tensor], order: int) -> list[tf.Tensor]:
    """Returns the value, and for each order the derivatives of a weighted sum of all those before."""
    with tf.GradientTape() as tape:
        tape.watch(terms)
        results = derivatives(function, terms, order - 1) if order else [function(*terms)]
        objective = tf.add_n([tf.reduce_sum(waves(r, i) * (r if order else r * r)) for i, r in enumerate(results)])
    return results + tape.gradient(objective, terms)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_values_and_derivatives(order, terms, mode):
    inputs = arguments(terms)
    actual = MODES[mode](lambda *inputs: derivatives(gate, list(inputs), order))(*inputs)
    for a, e in zip(actual, derivatives(plain_gate, inputs, order), strict=True):
        np.testing.assert_allclose(a, e, **CLOSE)


def test_the_plain_form():
    (x,) = arguments(1)
    half = x.numpy()
    np.testing.assert_allclose(plain_gate(x), np.tanh(half[..., :3]) / (1 + np.exp(-half[..., 3:])), rtol=1e-12)


def test_arguments_far_out():
    x = tf.constant([[-1e4, 1e4, 1e4, -1e4, 1e4, 1e4]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = gate(x)
    np.testing.assert_array_equal(result, [[0.0, 1.0, 1.0]])
    np.testing.assert_array_equal(tape.gradient(result, x), tf.zeros([1, 6]))

"""Random bits of many examples at once, beside TensorFlow's own of one after the other."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import noise_per_example
from sa_vae_tf.inference.draws import GENERATOR
from sa_vae_tf.inference.philox import bits_of_examples

INDEX = [0, 1, 2**31, 2**62 - 1, 12345678901, -1]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [tf.uint32, tf.uint64])
def test_the_bits_are_those_that_tensorflow_draws_for_each_example(dtype, compiled):
    draw = tf.function(bits_of_examples, jit_compile=compiled)
    for common in (0, 7, -(2**63), 2**63 - 1):
        for size in (1, 4, 5, 30):
            expected = [
                tf.random.stateless_uniform([size], [common, number], None, None, dtype, alg=GENERATOR)
                for number in INDEX
            ]
            np.testing.assert_array_equal(draw(tf.constant(common, tf.int64), INDEX, size, dtype), expected)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_gpu_has_the_noise_of_a_cpu(dtype, monkeypatch):
    arguments = tf.constant(INDEX, tf.int64), [3, 5], tf.constant([-1, 2])
    on_cpu = noise_per_example(*arguments, dtype)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0"])
    for size in (3, tf.constant(3)):  # of which a graph knows nothing
        drawn = tf.function(lambda size=size: noise_per_example(arguments[0], [size, 5], arguments[2], dtype))()
        np.testing.assert_array_equal(drawn, on_cpu)

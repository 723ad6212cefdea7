"""From settings to a compiled model."""

import math

import pytest
import tensorflow as tf

from sa_vae_tf.training.build import build_model, set_up_tensorflow
from sa_vae_tf.training.config import Config


@pytest.mark.parametrize(
    ("settings", "rounds"),
    [
        ({}, True),
        ({"tensor_float_32": False}, False),
        # Differences of gradients of rounded products are differences of what was rounded.
        ({"hvp": "finite_difference"}, False),
        ({"hvp": "authors"}, False),
        ({"hvp": "authors", "method": "vae"}, True),
    ],
)
def test_where_a_gpu_may_round(settings, rounds):
    try:
        set_up_tensorflow(Config(**settings))
        assert tf.config.experimental.tensor_float_32_execution_enabled() is rounds
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)


def test_no_limit_of_the_gradient():
    assert build_model(Config(skip_norm=0)).skip_norm == math.inf

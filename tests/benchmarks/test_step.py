"""The step of plain double backpropagation that the step is timed beside."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.benchmarks import unrolled
from sa_vae_tf.benchmarks.sizes import SIZES, make
from sa_vae_tf.benchmarks.step import benchmark_parts
from sa_vae_tf.training.config import Config

TINY = Config(**{**SIZES["small"], "vocab_size": 46, "embedding_dim": 6, "units": 8, "batch_size": 4, "svi_steps": 3,
                 "svi_clip_norm": 0.5, "bound_weights": "uniform", "jit_compile": False})  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{}, pytest.param({"bound_weights": "final", "svi_clip_norm": 0.0}, marks=pytest.mark.slow)]
)
def test_plain_double_backpropagation_learns_the_same(changes):
    config = dataclasses.replace(TINY, **changes)
    (model, batch), (plain, _) = make(config), make(dataclasses.replace(config, kernels="plain"))
    before = [v.numpy() for v in model.trainable_variables]
    tf.function(model.train_step, autograph=False)(batch)
    tf.function(unrolled.train_step(plain), autograph=False)(batch)
    for own, other, start in zip(model.trainable_variables, plain.trainable_variables, before, strict=True):
        # Two orders of summation in float32, of changes of up to 0.1.
        np.testing.assert_allclose(own, other, atol=2e-6)
        assert np.any(own != start)


def test_parts():
    lines = benchmark_parts(TINY, repeats=1)
    assert [line["part"] for line in lines] == ["encoder", "refinement", "reverse", "bound", "optimizer"]
    assert all(line["products_s"] > 0 and line["traffic_s"] > 0 for line in lines[:-1])

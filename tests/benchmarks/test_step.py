"""The step of plain double backpropagation that the step is timed beside."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.benchmarks import step, unrolled
from sa_vae_tf.benchmarks.cost import parts_cost
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


def test_figures_of_the_parts(monkeypatch):
    made, seconds = make(TINY), iter([1.0, 2.0, 7.0, 3.0, 4.0])
    monkeypatch.setattr(step, "make", lambda config: made)
    monkeypatch.setattr(step, "_time", lambda part, config, repeats: next(seconds))
    monkeypatch.setattr(step, "matrix_product_rate", lambda: 1e6)
    monkeypatch.setattr(step, "memory_rate", lambda: 1e3)
    lines = benchmark_parts(TINY, repeats=1)
    # The reverse pass is timed with the refinement before it.
    assert [line["median_s"] for line in lines] == [1, 2, 5, 3, 4]
    costs = parts_cost(TINY, 3, made[0].settings)
    for line in lines[:-1]:
        cost = costs[line["part"]]
        assert line["products_s"] == pytest.approx(cost.flops / 1e6, rel=1e-3)
        assert line["traffic_s"] == pytest.approx(cost.bytes / 1e3, rel=1e-3)
    assert lines[-1]["products_s"] == lines[-1]["traffic_s"] == 0

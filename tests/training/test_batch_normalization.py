"""What moves the averages of batch normalisation, and what does not."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.training.build import build_model
from sa_vae_tf.training.checkpoints import Checkpoints
from sa_vae_tf.training.run_folder import RunFolder
from tests import images

CONFIG = images.tiny("somewhere", "nowhere", "images.npz")
BATCH = {
    "x": (images.bars(15) > np.random.default_rng(0).random([15, 8, 6, 1])).astype(np.uint8),
    "index": np.arange(15),
}


def build(**changes):
    return build_model(dataclasses.replace(CONFIG, **changes))


def averages(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.encoder.non_trainable_weights]


def assert_equal(some, others) -> None:
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("changes", [{"svi_steps": 0}, {"svi_steps": 3}])
def test_a_training_step_moves_them_once_whatever_the_refinement(changes):
    model, alone = build(**changes), build()
    before = averages(model)
    assert len(before) == 8  # A mean and a variance for each of two convolutions in two blocks.
    tf.function(model.train_step, autograph=False)(BATCH)
    alone.encoder(BATCH["x"], training=True)
    for own, expected, old in zip(averages(model), averages(alone), before, strict=True):
        assert np.any(own != old)
        # The same operations in a graph.
        np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_skipped_step_does_not_move_them(compiled):
    model = build(skip_norm=1e-9)
    before, weights = averages(model), model.get_weights()
    step = tf.function(model.train_step, autograph=False, jit_compile=compiled)
    step(BATCH)
    assert int(model.skipped) == 1
    assert_equal(averages(model), before)
    assert_equal(model.get_weights(), weights)
    model = build()
    model.encoder.weights[0].assign(np.nan * model.encoder.weights[0])
    before = averages(model)
    tf.function(model.train_step, autograph=False, jit_compile=compiled)(BATCH)
    assert int(model.skipped) == 1
    assert_equal(averages(model), before)


def test_evaluation_uses_them_and_leaves_them():
    model = build()
    for _ in range(3):
        model.train_step(BATCH)
    before = averages(model)
    whole = model.infer(BATCH)
    model.test_step(BATCH)
    assert_equal(averages(model), before)
    # So that an example's posterior does not depend on the others.
    few = model.infer({name: values[4:6] for name, values in BATCH.items()})
    for of_whole, of_few in zip((*whole.initial, *whole.refined), (*few.initial, *few.refined), strict=True):
        np.testing.assert_allclose(of_few, of_whole[4:6], rtol=1e-5, atol=1e-6)
    for variable in model.encoder.non_trainable_weights:
        variable.assign(variable + 0.5)
    moved = model.infer(BATCH)
    assert np.abs(moved.initial.mean - whole.initial.mean).max() > 1e-3


def test_checkpoints_keep_them(tmp_path):
    model, run = build(), RunFolder(tmp_path)
    model.train_step(BATCH)
    Checkpoints(run, model).save()
    Checkpoints(run, model).save_best()
    for restore in ("restore_latest", "restore_best"):
        other = build(seed=2)
        assert np.any(averages(other)[0] != averages(model)[0])
        assert getattr(Checkpoints(run, other), restore)()
        assert_equal(averages(other), averages(model))

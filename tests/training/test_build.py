"""From settings to a compiled model."""

import functools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data.vocabulary import SPECIAL, Vocabulary
from sa_vae_tf.training import build
from sa_vae_tf.training.build import build_model, set_up_tensorflow
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.tasks import TASKS


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


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({}, 1),
        ({"device": "gpu"}, 1),
        ({"device": "cpu"}, 0),
        ({"strategy": "mirrored"}, 4),
        ({"strategy": "mirrored", "replicas": 2}, 2),
        ({"strategy": "mirrored", "replicas": 9}, 4),
        ({"strategy": "multi_worker"}, 4),
        ({"strategy": "mirrored", "device": "cpu"}, 0),
    ],
)
def test_gpus_that_are_not_computed_on_are_left_to_others(settings, seen, monkeypatch):
    gpus = [f"GPU:{number}" for number in range(4)]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else ["CPU:0"])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: shown.append((devices, kind)))
    shown: list[Any] = []
    set_up_tensorflow(Config(**settings))
    assert shown == [(gpus[:seen], "GPU")]


def test_a_gpu_that_tensorflow_does_not_see_is_told_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(build, "DRIVER", tmp_path / "version")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    set_up_tensorflow(Config())
    assert not caplog.records
    (tmp_path / "version").write_text("NVRM version: ...")
    for device in ("auto", "cpu"):
        set_up_tensorflow(Config(device=device))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # It is not to see one.
    set_up_tensorflow(Config())
    [record] = caplog.records
    assert "TensorFlow sees no GPU, though there is a driver" in record.getMessage()


@pytest.mark.parametrize(
    ("settings", "gpus", "devices", "examples"),
    [
        ({}, 0, 1, 32),
        ({"strategy": "mirrored", "replicas": 2}, 0, 2, 32),  # whose memory is one
        ({"strategy": "mirrored", "replicas": 3}, 0, 3, 96),  # which all compute the same
        ({"strategy": "mirrored"}, 4, 4, 8),
        ({"strategy": "multi_worker"}, 0, 2, 16),
        ({"words_at_once": 3 * 202}, 0, 1, 3),
        ({"words_at_once": 3 * 202, "strategy": "mirrored", "replicas": 2}, 0, 2, 6),
    ],
)
def test_what_is_kept_is_that_of_the_devices_that_share_a_memory(settings, gpus, devices, examples, monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus * ["GPU"])
    config = Config(**SMALL["text"], batch_size=32, **settings)
    assert build._largest_part(config, VOCABULARY, devices).shape == [examples, 202]


def test_no_limit_of_the_gradient():
    assert build_model(Config(skip_norm=0)).skip_norm == math.inf


VOCABULARY = Vocabulary.from_counts(dict.fromkeys("abcdefg", 3))
SMALL: dict[str, dict[str, Any]] = {
    "synthetic": {"generator": "learned", "embedding_dim": 4, "units": 4},
    "text": {"data": "text", "train_file": "train.txt", "val_file": "val.txt", "embedding_dim": 4, "units": 4,
             "cnn_channels": 4, "cnn_internal_channels": 4, "cnn_size": "small"},
    "image": {"data": "image", "data_file": "images.npy", "image_height": 5, "image_width": 4,
              "encoder_channels": "3,3", "pixelcnn_kernels": "3,3", "pixelcnn_channels": 2},
}  # fmt: skip
# In these the initial weights are what a setting changes.
INITIAL = {"initial_range", "latent_range"}


@functools.cache
def learned(**settings: Any) -> list[np.ndarray]:
    """Returns a model's weights after a step from fixed ones; those that it begins with for settings of `INITIAL`."""
    config = Config(**{"svi_steps": 3, "latent_dim": 3, "batch_size": 4, "jit_compile": False, **settings})
    model = build_model(config, VOCABULARY, steps_per_epoch=8)
    if INITIAL & settings.keys():
        return [weights.numpy() for weights in model.trainable_variables]
    generator = np.random.default_rng(1)
    for weights in model.trainable_variables:
        weights.assign(generator.normal(scale=0.5, size=weights.shape))
    model.step.assign(3)
    example = TASKS[config.data].example(config)
    # Of text words that are known, with neither end nor padding.
    low, high, shape = {
        "synthetic": (0, 1000, example.shape),
        "text": (len(SPECIAL), len(VOCABULARY), [6]),
        "image": (0, 2, example.shape),
    }[config.data]
    x = tf.constant(generator.integers(low, high, [4, *shape]), example.dtype)
    model.train_step({"x": x, "index": tf.range(4, dtype=tf.int64)})
    return [weights.numpy() for weights in model.trainable_variables]


@pytest.mark.parametrize(
    ("data", "name", "value", "beside"),
    [
        ("text", "seed", 2, {}),
        ("text", "decoder", "cnn", {}),
        ("text", "dropout", 0.5, {}),
        ("text", "word_dropout", 0.5, {}),
        ("text", "initial_range", 0.2, {}),
        ("text", "kernels", "bfloat16", {}),
        ("text", "method", "vae_svi", {}),
        ("text", "svi_steps", 2, {}),
        ("text", "svi_patience", 1, {"svi_rate_mean": 1.0, "svi_rate_log_variance": 1.0}),
        ("text", "svi_init", "random", {"method": "svi"}),
        ("text", "svi_rate_mean", 0.05, {}),
        ("text", "svi_rate_log_variance", 0.05, {}),
        ("text", "svi_momentum", 0.9, {}),
        ("text", "svi_clip_norm", 0.01, {}),
        ("text", "svi_clip_scope", "batch", {"svi_clip_norm": 0.01}),
        ("text", "hvp", "authors", {}),
        ("text", "hvp_step", 0.5, {"hvp": "finite_difference"}),
        ("text", "reverse_steps", 1, {}),
        ("text", "hvp_clip_norm", 1e-3, {}),
        ("text", "bound_weights", "uniform", {}),
        ("text", "kl_warmup_epochs", 1.0, {}),
        ("text", "kl_start", 0.5, {"kl_warmup_epochs": 1.0}),
        ("text", "kl_cycle_epochs", 0.25, {"kl_warmup_epochs": 0.25}),
        ("text", "free_bits", 1.0, {}),
        ("text", "optimizer", "adam", {}),
        ("text", "learning_rate", 0.5, {}),
        ("text", "clip_norm", 1e-3, {}),
        ("text", "skip_norm", 1e-3, {}),
        ("synthetic", "dropout", 0.5, {}),
        ("synthetic", "latent_range", 0.2, {}),
        ("image", "pixelcnn_shift_every_layer", True, {}),
        ("image", "seed", 2, {}),
    ],
)  # fmt: skip
def test_settings_reach_the_step(data, name, value, beside):
    others = {**SMALL[data], **beside}
    usual = {name: getattr(Config, name)} if name in INITIAL else {}  # Not named where it need not: the result is kept.
    without, with_it = learned(**others, **usual), learned(**{**others, name: value})
    if [weights.shape for weights in without] == [weights.shape for weights in with_it]:
        # Weights are of order one, and a step that is repeated is the same to the last bit (the test below).
        distance = max(np.abs(a - b).max() for a, b in zip(without, with_it, strict=True))
        assert distance > 1e-6, name


def test_a_step_is_the_same_when_it_is_repeated():
    again = learned.__wrapped__(**SMALL["text"])
    for a, b in zip(learned(**SMALL["text"]), again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_devices_of_a_strategy_compute_what_one_would():
    strategy = SimpleNamespace(extended=SimpleNamespace(worker_devices=("CPU:0", "CPU:0")), num_replicas_in_sync=2)
    settings = {"kl_warmup_epochs": 2.0, "free_bits": 0.5, "strategy": "mirrored", "replicas": 2, "words_at_once": 9}
    model = build_model(Config(**{**SMALL["text"], **settings}), VOCABULARY, steps_per_epoch=10, strategy=strategy)
    # XLA compiles what a device computes, not the step around it.
    assert (model.jit_compile, model.replicas.jit_compile) == (False, True)
    first, other = model.replicas.models
    assert first is model
    assert other is not model
    assert min(first.settings.keep) > 0
    for name in ("settings", "steps", "free_bits", "entries_at_once", "seed", "skip_norm", "latent_dim", "method"):
        assert getattr(other, name) == getattr(first, name)
    # Half of the warm-up, from 0.1 to 1 over twenty steps.
    assert [float(copy.kl_weight(tf.constant(10, tf.int64))) for copy in (first, other)] == pytest.approx([0.55] * 2)
    assert [v.shape for v in first.trainable_variables] == [v.shape for v in other.trainable_variables]


@pytest.mark.parametrize("generator", ["oracle", "learned"])
@pytest.mark.parametrize("method", ["svi", "vae"])
def test_settings_tell_before_there_is_a_model_whether_it_learns(generator, method):
    config = Config(data="synthetic", generator=generator, method=method, embedding_dim=2, units=2)
    assert config.learns == bool(build_model(config).trainable_variables)

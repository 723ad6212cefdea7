"""The kernels and the compilation of a run, by device and size."""

import pytest
import tensorflow as tf

from sa_vae_tf.training import compilation
from sa_vae_tf.training.compilation import compiles, kernels, multiplies_bfloat16
from sa_vae_tf.training.config import Config

TEXT = {"data": "text", "train_file": "a", "val_file": "b"}
IMAGE = {"data": "image", "data_file": "a.npy"}


@pytest.fixture
def gpus(monkeypatch):
    """Returns a list of the GPUs that TensorFlow is said to see."""
    seen: list[str] = []
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: seen if kind == "GPU" else ["CPU:0"])
    return seen


@pytest.mark.parametrize(
    ("settings", "on_cpu"),
    [
        ({}, ("fused", True)),
        ({**TEXT, "units": 256}, ("fused", True)),
        ({**TEXT, "units": 257}, ("hybrid", False)),
        ({**TEXT, "units": 257, "decoder": "cnn"}, ("fused", True)),
        (IMAGE, ("hybrid", False)),
        ({**IMAGE, "jit_compile": False}, ("hybrid", False)),
        ({**IMAGE, "kernels": "bfloat16"}, ("bfloat16", False)),
    ],
)
def test_large_sizes_are_compiled_in_pieces_on_a_cpu_alone(settings, on_cpu, gpus):
    config = Config(**settings)
    assert (kernels(config), compiles(config)) == on_cpu
    gpus.append("GPU:0")
    whole = "fused" if config.jit_compile else "hybrid"
    assert kernels(config) == (whole if config.kernels == "auto" else config.kernels)
    assert compiles(config) is config.jit_compile


@pytest.mark.parametrize("name", ["fused", "plain"])
def test_what_is_asked_for_is_taken(name, gpus):
    for kind in (TEXT, IMAGE):
        config = Config(**kind, units=1024 if kind is TEXT else 100, kernels=name)
        assert (kernels(config), compiles(config)) == (name, True)
    assert not compiles(Config(jit_compile=False))


def test_xla_is_off_where_determinism_is_asked_for(gpus):
    assert not compiles(Config(deterministic=True))
    assert kernels(Config(**TEXT, deterministic=True)) == "fused"
    gpus.append("GPU:0")
    assert not compiles(Config(deterministic=True))
    # Its recurrences are compiled, whatever the size.
    assert [kernels(Config(**kind, deterministic=True)) for kind in (TEXT, {})] == ["hybrid", "fused"]


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("flags\t\t: fpu avx2 fma\n", False),
        ("flags\t\t: fpu avx512_bf16 fma\n", True),
        ("Features\t: fp asimd bf16\n", True),
        (None, True),
    ],
)
def test_processors_with_products_of_bfloat16(says, expected, gpus, tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "CPU", tmp_path / "cpuinfo")
    if says:
        (tmp_path / "cpuinfo").write_text(says)
    assert multiplies_bfloat16() is expected
    capability = {"old": (7, 5), "new": (8, 9)}
    monkeypatch.setattr(
        tf.config.experimental,
        "get_device_details",
        lambda gpu: {"compute_capability": capability[gpu]} if gpu in capability else {},
    )
    for seen, multiplies in ((["new"], True), (["new", "old"], False), (["of AMD"], True)):
        gpus[:] = seen
        assert multiplies_bfloat16() is multiplies

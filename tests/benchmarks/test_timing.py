"""Time, memory and rates."""

import types

import pytest
import tensorflow as tf

from sa_vae_tf.benchmarks import timing


def test_the_median_is_of_calls_and_of_what_a_device_has_yet_to_end(monkeypatch):
    clock = [0.0]
    queued = [9.0, 3.0, 1.0, 2.0]

    def sync():
        clock[0] += queued.pop(0)

    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(tf.test.experimental, "sync_devices", sync)
    assert timing.seconds(lambda: None, repeats=3) == 2  # without the first


def test_memory_is_that_of_the_gpu_where_there_is_one(monkeypatch):
    assert 2**27 < timing.peak_memory() < 2**36  # TensorFlow alone takes some hundred MiB.
    gpus = [tf.config.LogicalDevice(f"/device:GPU:{number}", "GPU") for number in range(2)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, "get_memory_info", {"GPU:0": {"peak": 5}, "GPU:1": {"peak": 7}}.get)
    assert timing.peak_memory() == 7


@pytest.mark.parametrize(("rate", "expected"), [("matrix_product_rate", 2 * 2048**3), ("memory_rate", 8 * 2**26)])
def test_rates_are_of_what_is_computed_in_a_second(rate, expected, monkeypatch):
    def seconds(call, repeats):
        call()
        return 0.5

    monkeypatch.setattr(timing, "seconds", seconds)
    assert getattr(timing, rate)() == 2 * expected

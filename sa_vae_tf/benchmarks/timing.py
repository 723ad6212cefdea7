"""Time and memory of this process, and the rates of the machine that it runs on."""

from __future__ import annotations

import pathlib
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sa_vae_tf.training.compilation import on_gpu


def seconds(call: Callable[[], Any], repeats: int) -> float:
    """Returns the median time of a call and what it computes, after one to compile and to warm up."""
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        call()
        tf.test.experimental.sync_devices()  # A GPU may not have ended yet.
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def figure(value: float) -> float:
    """Returns a measured value with the digits that mean something."""
    return float(f"{value:.4g}")


def peak_memory() -> int:
    """Returns the largest resident memory of this process so far, in bytes; of GPUs, the most used on one of them."""
    if gpus := tf.config.list_logical_devices("GPU"):
        return max(tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus)
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # What getrusage says is at least the memory of the process that started this one.
        return 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def matrix_product_rate() -> float:
    """Returns the FLOP/s of a large float32 matrix product in TensorFlow's graph mode."""
    size = 8192 if on_gpu() else 2048  # of which no launch takes a part that counts
    a = tf.random.stateless_normal([size, size], [0, 0])
    product = tf.function(lambda: tf.reduce_sum(a @ a), autograph=False)
    return 2 * size**3 / seconds(lambda: product().numpy(), repeats=5)


def memory_rate() -> float:
    """Returns the bytes that are read and written in a second by adding one to many float32 numbers."""
    size = 2**28 if on_gpu() else 2**26
    numbers = tf.Variable(tf.zeros([size]))

    @tf.function(autograph=False, jit_compile=True)
    def add() -> None:  # What it returned would be written as well.
        numbers.assign_add(tf.ones_like(numbers))

    return 2 * 4 * size / seconds(add, repeats=5)

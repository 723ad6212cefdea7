"""Time and memory of one training step, beside the matrix-product rate of the same process."""

from __future__ import annotations

import pathlib
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.inference import METHODS, RefinementSettings
from sa_vae_tf.models import LSTMDecoder, LSTMEncoder, SyntheticGenerator
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.parts import words_at_once


class Size(NamedTuple):
    """Sizes of a sequence model and of its batch; `length` counts the predicted symbols."""

    vocabulary: int
    embedding: int
    units: int
    latent: int
    length: int
    batch: int


# The text model at the sizes of the synthetic task, of a small corpus, and of the paper's Yahoo experiment.
SIZES = {
    "small": Size(1000, 100, 100, 2, 5, 50),
    "medium": Size(5000, 128, 256, 32, 40, 32),
    "paper": Size(20000, 512, 1024, 32, 80, 32),
    "synthetic": Size(1000, 100, 100, 2, 5, 50),
}


def benchmark(config: str, method: str, steps: int, product: str, jit_compile: bool, repeats: int) -> dict[str, Any]:
    """Times training steps on random symbols.

    Args:
      config: name in `SIZES`; 'synthetic' is the generator of the synthetic task, the others the text model.
      method: name in `sa_vae_tf.inference.METHODS`.
      steps: refinement steps, K.
      product: kind of Hessian-vector product.
      jit_compile: whether XLA compiles the step.
      repeats: number of timed steps, after two that are not timed.

    Returns:
      `median_s`, seconds a step; `peak_gib`, largest resident memory of the process so far; `gflops`, rate of the
      step's matrix products; `peak_share`, that rate over the rate of a large product in the same process; and
      what was measured.
    """
    size = SIZES[config]
    synthetic = config == "synthetic"
    length = size.length if synthetic else size.length + 1  # the text model is also given what is not predicted
    tokens = tf.random.stateless_uniform([size.batch, length], [0, 1], 0, size.vocabulary, tf.int32)
    kind = SyntheticGenerator if synthetic else LSTMDecoder
    latent = size.latent if METHODS[method].latent else 0
    encoder = LSTMEncoder(size.vocabulary, size.embedding, size.units, size.latent)
    model = LatentVariableModel(
        encoder=encoder if METHODS[method].encoder else None,
        decoder=kind(size.vocabulary, size.embedding, size.units, latent),
        method=method,
        latent_dim=size.latent,
        settings=RefinementSettings(
            step_size_mean=1 / size.batch,
            step_size_log_variance=1 / size.batch,
            product=product,
            clip_scope="batch" if product == "authors" else "example",
        ),
        steps=steps if METHODS[method].refines else 0,
        words_at_once=0 if synthetic or product == "authors" else words_at_once(size.vocabulary),
    )
    model.compile(optimizer=keras.optimizers.SGD(1.0, global_clipnorm=5.0))
    model.optimizer.build(model.trainable_variables)
    step = tf.function(model.train_step, autograph=False, jit_compile=jit_compile)
    batch = {"x": tokens, "index": tf.range(size.batch, dtype=tf.int64)}
    seconds = _seconds(lambda: step(batch)["nll_bound"].numpy(), repeats)
    flops = step_flops(size, method, model.steps, synthetic)
    peak = matrix_product_rate()
    return {
        "config": config,
        "method": method,
        "svi_steps": model.steps,
        "hvp": product,
        "jit_compile": jit_compile,
        "median_s": round(seconds, 5),
        "peak_gib": round(peak_memory() / 2**30, 3),
        "gflops": round(flops / seconds / 1e9, 1),
        "peak_share": round(flops / seconds / peak, 3),
        "peak_gflops": round(peak / 1e9, 1),
        "repeats": repeats,
        "tensorflow": tf.__version__,
    }


def peak_memory() -> int:
    """Returns the largest resident memory of this process so far, in bytes."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # What getrusage says is at least the memory of the process that started this one.
        return 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def matrix_product_rate(size: int = 2048, repeats: int = 5) -> float:
    """Returns the FLOP/s of a large float32 matrix product in TensorFlow's graph mode."""
    a = tf.random.stateless_normal([size, size], [0, 0])
    product = tf.function(lambda: tf.reduce_sum(a @ a), autograph=False)
    return 2 * size**3 / _seconds(lambda: product().numpy(), repeats)


def step_flops(size: Size, method: str, steps: int, synthetic: bool) -> float:
    """Counts the floating-point operations of the matrix products of a step, exact products assumed.

    A product costs two operations for each multiplication, its reverse twice as much when both factors need a
    derivative and as much again when one does. Element-wise work is not counted.
    """
    positions = size.batch * size.length
    words = 2 * positions * size.embedding * 4 * size.units
    recurrence = 2 * positions * size.units * 4 * size.units
    output = 2 * positions * size.units * size.vocabulary
    encoder = 3 * (words + recurrence) if METHODS[method].encoder else 0
    if synthetic:
        # The latent variable enters at the output, through a product of batch x latent x vocabulary.
        local = 2 * size.batch * size.latent * size.vocabulary
        once = 3 * (words + recurrence + output)
    else:
        local = recurrence + output
        once = 3 * words
    # A refinement step: forward, and back to the posterior. Its reverse: both again, and the reverse of both.
    forward, reverse = 2 * local, 6 * local
    passes = steps * (forward + (reverse if method == "sa_vae" else 0))
    own_bound = 2 * local if method == "vae_svi" else 0
    return encoder + once + passes + own_bound + 3 * local


def _seconds(call: Callable[[], Any], repeats: int) -> float:
    """Returns the median time of a call, after two calls to compile and to warm up."""
    call(), call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)

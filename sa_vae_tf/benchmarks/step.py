"""Time and memory of a training step and of its parts, beside the rates of the machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sa_vae_tf.benchmarks import unrolled
from sa_vae_tf.benchmarks.cost import Cost, parts_cost, step_cost
from sa_vae_tf.benchmarks.sizes import make
from sa_vae_tf.benchmarks.timing import figure, matrix_product_rate, memory_rate, peak_memory, seconds
from sa_vae_tf.inference import Posterior, draw, refine
from sa_vae_tf.training.compilation import compiles, kernels
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.strategies import make_strategy


def benchmark_step(config: Config, repeats: int, compare: bool = False) -> dict[str, Any]:
    """Times training steps on a random batch.

    Args:
      config: settings.
      repeats: number of timed steps, after one that is not timed.
      compare: also times the step that TensorFlow's own differentiation makes of plain kernels (see `unrolled`). XLA
        does not compile that: it takes many minutes, and what comes out of it is hundreds of times slower.

    Returns:
      `median_s`, seconds a step; `peak_gib`, largest memory so far (`timing.peak_memory`); `gflops`, rate of the
      step's matrix products; `peak_share`, that rate over the rate of a large product in the same process, of a device
      times their number; `traffic_s`, what the step's bytes (see `cost`) would take alone; with `compare`,
      `unrolled_s` and `unrolled_gib`, the memory after both; and what was measured.
    """
    strategy = make_strategy(config)
    model, batch = make(config, strategy)
    # What is spread is compiled device by device.
    step = tf.function(model.train_step, autograph=False, jit_compile=model.jit_compile)
    time = seconds(lambda: step(batch)["nll_bound"].numpy(), repeats)
    memory = peak_memory()
    cost = sum(step_cost(config, model.steps, model.settings).values(), Cost())
    devices = strategy.num_replicas_in_sync if strategy else 1
    # What is measured here is one device.
    peak, traffic = devices * matrix_product_rate(), devices * memory_rate()
    figures = {
        "method": config.method,
        "svi_steps": model.steps,
        "hvp": config.hvp,
        "reverse_steps": config.reverse_steps,
        "svi_patience": config.svi_patience,
        "kernels": kernels(config),
        "kept_mib": config.kept_mib,
        "kept_steps": list(model.settings.keep),
        "replicas": devices,
        "jit_compile": (model.replicas or model).jit_compile,
        "median_s": figure(time),
        "peak_gib": figure(memory / 2**30),
        "gflops": figure(cost.flops / time / 1e9),
        "peak_share": figure(cost.flops / time / peak),
        "peak_gflops": figure(peak / 1e9),
        "traffic_s": figure(cost.bytes / traffic),
        "repeats": repeats,
        "tensorflow": tf.__version__,
    }
    if compare:
        plain, _ = make(dataclasses.replace(config, kernels="plain"))
        other = tf.function(unrolled.train_step(plain), autograph=False)
        figures["unrolled_s"] = figure(seconds(lambda: other(batch).numpy(), repeats))
        figures["unrolled_gib"] = figure(peak_memory() / 2**30)
    return figures


def benchmark_parts(config: Config, repeats: int) -> list[dict[str, Any]]:
    """Times the parts of a training step of SA-VAE, each compiled alone; a batch is not taken in parts.

    Args:
      config: settings.
      repeats: as for `benchmark_step`.

    Returns:
      Of each part its name and `median_s`: the encoder and its derivative, the refinement, its reverse pass, the last
      bound and its derivative, the optimiser.
    """
    model, batch = make(config)
    times = {name: _time(part, config, repeats) for name, part in _parts(model, batch).items()}
    # What is differentiated is computed first.
    times["reverse"] -= times["refinement"]
    peak, memory, cost = matrix_product_rate(), memory_rate(), parts_cost(config, model.steps, model.settings)
    return [
        {
            "part": name,
            "svi_steps": model.steps,
            "hvp": config.hvp,
            "median_s": figure(time),
            "products_s": figure(cost.get(name, Cost()).flops / peak),
            "traffic_s": figure(cost.get(name, Cost()).bytes / memory),
        }
        for name, time in times.items()
    ]


def _time(function: Callable, config: Config, repeats: int) -> float:
    run = tf.function(function, autograph=False, jit_compile=compiles(config))
    return seconds(lambda: [t.numpy() for t in run()], repeats)


def _parts(model: LatentVariableModel, batch: dict[str, tf.Tensor]) -> dict[str, Callable[[], Any]]:
    """Returns functions that compute a part each, and return what makes sure that it was computed."""
    x, seed = batch["x"], tf.constant([1, 2])
    zeros = tf.zeros([len(batch["index"]), model.latent_dim])
    step_draws, final_draw = draw(Posterior(zeros, zeros), model.steps, seed)
    bound = model.decoder_bound(1.0, training=True)
    variables = model.decoder.trainable_variables
    own_encoder = model.encoder
    assert own_encoder is not None

    def encoder():
        with tf.GradientTape() as tape:
            total = tf.add_n([tf.reduce_sum(part) for part in own_encoder(x, training=True)])
        return _sums(tape.gradient(total, own_encoder.trainable_variables))

    def refined(initial):
        context = model.decoder.prepare(x, training=True, seed=seed)
        return refine(bound, initial, context, step_draws, model.settings).posterior

    def refinement():
        return _sums(refined(Posterior(zeros, zeros)))

    def reverse():
        with tf.GradientTape() as tape:
            initial = Posterior(zeros, zeros)
            tape.watch(initial)
            total = tf.add_n([tf.reduce_sum(part) for part in refined(initial)])
        return _sums(tape.gradient(total, [*initial, *variables], unconnected_gradients="zero"))

    def last_bound():
        with tf.GradientTape() as tape:
            posterior = Posterior(zeros, zeros)
            tape.watch(posterior)
            total = tf.reduce_sum(bound(posterior, model.decoder.prepare(x, training=True, seed=seed), final_draw))
        return _sums(tape.gradient(total, [*posterior, *variables], unconnected_gradients="zero"))

    def optimizer():
        model.optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
        return [model.optimizer.iterations.value]

    return {
        "encoder": encoder,
        "refinement": refinement,
        "reverse": reverse,
        "bound": last_bound,
        "optimizer": optimizer,
    }


def _sums(tensors: Any) -> list[tf.Tensor]:
    return [tf.reduce_sum(tf.convert_to_tensor(tensor)) for tensor in tensors]

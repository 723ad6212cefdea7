"""What rounded factors change in a training step."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from sa_vae_tf.benchmarks.sizes import make
from sa_vae_tf.benchmarks.timing import figure
from sa_vae_tf.training.compilation import compiles, kernels
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.step import draws, figures_and_gradients


def benchmark_rounding(config: Config) -> dict[str, Any]:
    """Compares the first training step on a random batch with that of the fused kernels in float32.

    Args:
      config: settings, with other kernels.

    Returns:
      `gradient_distance`, the norm of the gradient's difference over the gradient's norm; `loss_distance`, the
      difference of the losses over the loss.
    """
    # Noise is another draw where XLA compiles a step as a whole.
    reference = dataclasses.replace(config, kernels="fused", jit_compile=compiles(config))
    (loss, gradients), (exact_loss, exact) = (_loss_and_gradients(c) for c in (config, reference))
    difference = tf.linalg.global_norm([a - b for a, b in zip(gradients, exact, strict=True)])
    return {
        "kernels": kernels(config),
        "svi_steps": config.steps_at(0),
        "gradient_distance": figure(float(difference / tf.linalg.global_norm(exact))),
        "loss_distance": figure(abs(float(loss - exact_loss)) / abs(float(exact_loss))),
    }


def _loss_and_gradients(config: Config) -> tuple[tf.Tensor, list[tf.Tensor]]:
    model, batch = make(config)

    @tf.function(autograph=False, jit_compile=compiles(config))
    def learn() -> list[tf.Tensor]:
        return figures_and_gradients(model, *draws(model, batch))

    learned = learn()
    return learned[0], learned[len(learned) - len(model.trainable_variables) :]

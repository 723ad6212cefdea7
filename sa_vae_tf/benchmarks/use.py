"""Time of what a trained model is used for: samples from the prior, and evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.benchmarks.sizes import make
from sa_vae_tf.benchmarks.timing import figure, peak_memory, seconds
from sa_vae_tf.data.vocabulary import END, PAD, START
from sa_vae_tf.evaluation.importance import importance_weighted_nll
from sa_vae_tf.generation.sampling import SamplingSettings, Symbols, sample
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.training.config import Config


def benchmark_sampling(config: Config, repeats: int) -> dict[str, Any]:
    """Times the drawing of as many texts or images as a batch has, all of the greatest length.

    Returns:
      `median_s`, seconds for all of them; `examples_per_second`; `peak_gib`.
    """
    model, _ = make(config)
    index, seed = np.arange(config.batch_size), tf.constant([1, 2])
    z = model.draw_from_prior(index, seed)

    # The same objects in each call: for others it would be traced anew.
    symbols, settings = Symbols(PAD, START, END, (PAD, START)), SamplingSettings(config.max_length + 1)

    def draw() -> Any:
        if config.data == "image":
            return sample_images(model.decoder, z, index, seed).images.numpy()
        return sample(model.decoder, z, index, symbols, settings, seed)[0].numpy()

    return _figures(seconds(draw, repeats), config)


def benchmark_evaluation(config: Config, repeats: int, iw_samples: int) -> dict[str, Any]:
    """Times the evaluation of a batch: its refinement, its bound and its importance-weighted NLL.

    Returns:
      As `benchmark_sampling`, and `iw_samples`, None without latent variable.
    """
    model, batch = make(config)

    @tf.function(autograph=False, jit_compile=model.jit_compile)
    def nll():
        inferred = model.infer(batch)
        bound = inferred.bound_at(inferred.refined)
        if inferred.refined is None:
            return bound
        return (
            bound
            + importance_weighted_nll(
                model.decoder.negative_log_likelihood,
                inferred.refined,
                inferred.context,
                batch["index"],
                iw_samples,
                tf.constant([1, 2]),
            ).nll
        )

    figures = _figures(seconds(lambda: nll().numpy(), repeats), config)
    return {**figures, "iw_samples": iw_samples if model.method.latent else None}


def _figures(time: float, config: Config) -> dict[str, Any]:
    return {
        "median_s": figure(time),
        "examples_per_second": figure(config.batch_size / time),
        "peak_gib": figure(peak_memory() / 2**30),
    }

"""The training step of SA-VAE as TensorFlow differentiates it without help: the K steps in one tape, kept whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from sa_vae_tf.inference import METHODS, Posterior
from sa_vae_tf.inference.clipping import clip_gradient
from sa_vae_tf.inference.draws import Draw
from sa_vae_tf.inference.methods import LocalInference
from sa_vae_tf.inference.posterior import keep_finite
from sa_vae_tf.inference.products import LocalBound, bound_and_gradient
from sa_vae_tf.inference.refine import Refined
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.step import draws


class UnrolledInference(LocalInference):
    """Refinement without a derivative of its own."""

    def refine(self, initial: Posterior) -> Refined:
        """Returns what `inference.refine` does, step by step under the caller's tape."""
        settings, at = self.settings, initial
        velocity, path, bounds = Posterior(*map(tf.zeros_like, at)), [at], []
        for k in range(self.step_draws.noise.shape[0]):
            value, gradient = bound_and_gradient(self._step_bound(k), at)
            clipped = clip_gradient(gradient, settings.clip_norm, settings.clip_scope)
            velocity = Posterior(*(settings.momentum * v - g for v, g in zip(velocity, clipped, strict=True)))
            at = Posterior(
                at.mean + settings.step_size_mean * velocity.mean,
                keep_finite(at.log_variance + settings.step_size_log_variance * velocity.log_variance),
            )
            path.append(at)
            bounds.append(value)
        whole = Posterior(tf.stack([p.mean for p in path]), tf.stack([p.log_variance for p in path]))
        return Refined(at, whole, tf.stack(bounds), tf.fill(tf.shape(at.mean)[:1], len(bounds)))

    def _step_bound(self, k: int) -> LocalBound:
        draw = tf.nest.map_structure(lambda t: t[k], self.step_draws)
        return lambda posterior: self.bound(posterior, self.context, draw)


def train_step(model: LatentVariableModel) -> Callable[[dict[str, Any]], tf.Tensor]:
    """Returns the training step on whole batches, function (batch) -> loss, of a model with refinement steps."""

    def step(batch: dict[str, Any]) -> tf.Tensor:
        rows, seeds = draws(model, batch)
        with tf.GradientTape() as tape:
            initial = model.initial_posterior(rows["x"], "encoder", rows["start"], training=True)
            local = UnrolledInference(
                model.decoder_bound(model.kl_weight(model.step), training=True),
                model.decoder.prepare(rows["x"], training=True, seed=seeds["prepare"]),
                Draw(tf.transpose(rows["steps"], [1, 0, 2]), seeds["steps"]),
                Draw(rows["final"], seeds["final"]),
                model.settings,
                model.path_weights(model.steps),
            )
            loss = METHODS["sa_vae"].objective(local, initial).loss
        variables = model.trainable_variables
        model.optimizer.apply(tape.gradient(loss, variables, unconnected_gradients="zero"), variables)
        return loss

    return step

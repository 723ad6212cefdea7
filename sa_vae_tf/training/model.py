"""The Keras model that ties an encoder, a decoder and a method together for `compile` and `fit`."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sa_vae_tf.generation import draw_from_prior
from sa_vae_tf.inference import (
    METHODS,
    Bound,
    Draw,
    Posterior,
    RefinementSettings,
    draw_per_example,
    negative_elbo,
    prior_like,
    refine,
)
from sa_vae_tf.training.metrics import ActiveUnits, MeanPerDimension
from sa_vae_tf.training.replicas import Replicas
from sa_vae_tf.training.step import draws, figures_and_gradients


class Inferred(NamedTuple):
    """The posteriors of a batch without any learning, and what is needed to evaluate bounds under them.

    Attributes:
      initial, refined: posteriors before and after the refinement; None without latent variable.
      path: the posterior before each refinement step and after the last, parts [K + 1, batch, latent].
      steps: int32 [batch], refinement steps that each example took.
      context: what the decoder reads besides z.
      bound: function (posterior, context, draw) -> [batch] with KL weight one.
      final_draw: the draw under which bounds are reported.
    """

    initial: Posterior | None
    refined: Posterior | None
    path: Posterior | None
    steps: tf.Tensor | None
    context: Any
    bound: Bound
    final_draw: Draw

    @property
    def posterior(self) -> Posterior:
        """The refined posterior, of a model that has a latent variable."""
        assert self.refined is not None
        return self.refined

    def bound_at(self, posterior: Posterior | None) -> tf.Tensor:
        """Returns the bound under the final draw, [batch]."""
        return self.bound(posterior, self.context, self.final_draw)


class LatentVariableModel(keras.Model):
    """A decoder with, by method, a latent variable, an encoder and refined inference.

    Batches are dicts of `x`, what encoder and decoder read, and `index`, int64 [batch], the number of each example
    in its data set, from which evaluation draws the example's noise.

    Args:
      encoder: maps (x, training) to the initial posterior; None for methods without encoder.
      decoder: keeps the contract of `sa_vae_tf.models`.
      method: name in `sa_vae_tf.inference.METHODS`.
      latent_dim: dimensions of z.
      settings: of the refinement.
      steps: number of refinement steps; may be set anew between epochs with `set_steps`.
      svi_init: start of the refinement without encoder, 'zero' or 'random'.
      path_weights: function of the number of steps to the weights of the weighted bound, or None.
      kl_weight: function of the step to the KL weight in training.
      free_bits: KL of each latent dimension, in nats, that costs nothing in training.
      skip_norm: a step with a larger gradient is skipped.
      entries_at_once: entries of `x`, [batch, ...], that a training step gives the decoder at once; a larger batch is
        taken in equal parts, whose gradients are added. 0 for whole batches.
      seed: of the noise in training.
    """

    def __init__(
        self,
        encoder: keras.Model | None,
        decoder: keras.Model,
        method: str,
        latent_dim: int,
        settings: RefinementSettings,
        steps: int,
        svi_init: str = "zero",
        path_weights: Callable[[int], tuple[float, ...] | None] = lambda steps: None,
        kl_weight: Callable[[tf.Tensor], tf.Tensor] = lambda step: tf.constant(1.0),
        free_bits: float = 0.0,
        skip_norm: float = 1e4,
        entries_at_once: int = 0,
        seed: int = 0,
    ):
        super().__init__(name=method)
        self.encoder, self.decoder, self.method = encoder, decoder, METHODS[method]
        self.latent_dim, self.settings, self.svi_init = latent_dim, settings, svi_init
        self.steps = steps if self.method.refines else 0
        self.path_weights, self.kl_weight, self.free_bits = path_weights, kl_weight, free_bits
        self.skip_norm, self.entries_at_once, self.seed = skip_norm, entries_at_once, seed
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self.skipped = tf.Variable(0, dtype=tf.int64, trainable=False, name="skipped_steps")
        names = ["loss", "nll_bound"]
        if self.method.latent:
            names += ["reconstruction", "kl", "initial_bound"]
        self.shown = {name: keras.metrics.Mean(name) for name in names}
        # Their names in a training step.
        self.figures = tuple(name for name in names if name != "initial_bound")
        self.gradient_norm = keras.metrics.Mean("gradient_norm")
        self.active_units = ActiveUnits(latent_dim, name="active_units")
        self.kl_per_dimension = MeanPerDimension(latent_dim, name="kl_per_dimension")
        # Where a batch is spread over several devices; None for one.
        self.replicas: Replicas | None = None
        self.built = True

    def set_steps(self, steps: int) -> None:
        """Changes the number of refinement steps; the next step is compiled anew."""
        self.steps = steps
        if self.replicas:
            self.replicas.trace_anew()
        self.make_train_function(force=True)
        self.make_test_function(force=True)

    @property
    def start(self) -> str | None:
        """Where the refinement starts, 'encoder', 'zero' or 'random'; None without latent variable."""
        if not self.method.latent:
            return None
        return "encoder" if self.method.encoder else self.svi_init

    def draw_from_prior(self, index: np.ndarray | tf.Tensor, seed: tf.Tensor) -> tf.Tensor | None:
        """Draws z for examples of these numbers, see `generation.draw_from_prior`; None without latent variable."""
        return draw_from_prior(index, self.latent_dim, seed) if self.method.latent else None

    def initial_posterior(self, x: Any, svi_init: str, noise: tf.Tensor, training: bool) -> Posterior:
        """Returns the encoder's posterior, or for 'zero' and 'random' one that does not depend on x."""
        if svi_init == "encoder":
            assert self.encoder is not None
            return Posterior(*self.encoder(x, training=training))
        prior = prior_like(Posterior(noise, noise))
        return prior if svi_init == "zero" else prior._replace(mean=noise)

    def decoder_bound(self, kl_weight: Any, training: bool) -> Bound:
        """Returns the bound of the decoder, see `negative_elbo`; free bits are of training alone."""
        likelihood = functools.partial(self.decoder.negative_log_likelihood, training=training)
        return negative_elbo(likelihood, kl_weight, self.free_bits if training else 0.0)

    def train_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        # What the encoder moves beside training, the averages of batch normalisation.
        moving = self.encoder.non_trainable_weights if self.encoder else []
        before = [tf.identity(variable.value) for variable in moving]
        if self.replicas:
            found = self.replicas.figures_and_gradients(batch)
        else:
            found = figures_and_gradients(self, *draws(self, batch))
        figures, gradients = dict(zip(self.figures, found, strict=False)), found[len(self.figures) :]
        norm = tf.linalg.global_norm(gradients)

        def learn():
            self.optimizer.apply(gradients, self.trainable_variables)
            self.gradient_norm.update_state(norm)
            for name, value in figures.items():
                self.shown[name].update_state(value, tf.shape(batch["index"])[0])
            return tf.constant(0, tf.int64)

        def skip():
            for variable, value in zip(moving, before, strict=True):
                variable.assign(value)
            return tf.constant(1, tf.int64)

        sane = tf.math.is_finite(norm) & (norm <= self.skip_norm)
        self.skipped.assign_add(tf.cond(sane, learn, skip))
        self.step.assign_add(1)
        results = {metric.name: _mean(metric) for metric in (*map(self.shown.get, figures), self.gradient_norm)}
        return {**results, "skipped_steps": self.skipped}

    def infer(
        self,
        batch: Mapping[str, Any],
        steps: int | tf.Tensor | None = None,
        svi_init: str | None = None,
        seed: int | tf.Tensor = 0,
    ) -> Inferred:
        """Infers the posteriors of a batch.

        An example's depends on that example, its index and `seed` alone, unless the refinement clips over the batch.

        Args:
          batch: as for training.
          steps: refinement steps, an integer or without XLA a scalar tensor; None for as many as in training.
          svi_init: 'encoder', 'zero' or 'random'; None for the start used in training.
          seed: of the noise.

        Returns:
          An `Inferred`.
        """
        bound = self.decoder_bound(1.0, training=False)
        context = self.decoder.prepare(batch["x"])
        zeros = tf.zeros([tf.shape(batch["index"])[0], self.latent_dim])
        steps = self.steps if steps is None else steps
        # One draw more than steps: its noise is the random start.
        drawn, final_draw = draw_per_example(Posterior(zeros, zeros), batch["index"], steps + 1, tf.stack([seed, 0]))
        if self.start is None:
            return Inferred(None, None, None, None, context, bound, final_draw)
        start = svi_init or self.start
        initial = self.initial_posterior(batch["x"], start, drawn.noise[0], training=False)
        step_draws = tf.nest.map_structure(lambda t: t[1:], drawn)
        refined = refine(bound, initial, context, step_draws, self.evaluation_settings)
        return Inferred(initial, refined.posterior, refined.path, refined.steps, context, bound, final_draw)

    @property
    def evaluation_settings(self) -> RefinementSettings:
        """Settings of a refinement that is not differentiated: the authors' product would forbid a prepared context."""
        return dataclasses.replace(self.settings, product="exact", keep=(0, 0, 0))

    def values(self, batch: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Returns what validation wants to know of each example, float32 [batch, ...] by name."""
        inferred = self.infer(batch)
        bound = {"nll_bound": inferred.bound_at(inferred.refined)}
        if inferred.refined is None:
            return bound
        return {
            **bound,
            "initial_bound": inferred.bound_at(inferred.initial),
            "mean": inferred.posterior.mean,
            "kl_per_dimension": inferred.posterior.kl_per_dimension(),
        }

    def test_step(self, batch: dict[str, Any]) -> dict[str, tf.Tensor]:
        values = self.replicas.values(batch) if self.replicas else self.values(batch)
        shown = {name: value for name, value in values.items() if name in self.shown}
        if self.method.latent:
            shown["kl"] = tf.reduce_sum(values["kl_per_dimension"], -1)
            shown["reconstruction"] = values["nll_bound"] - shown["kl"]
            self.active_units.update_state(values["mean"])
            self.kl_per_dimension.update_state(values["kl_per_dimension"])
        for name, value in shown.items():
            self.shown[name].update_state(value)
        results = {name: self.shown[name].result() for name in shown}
        # After a start of an example's own noise every unit is active, whatever it knows of x.
        counts = self.method.latent and self.start != "random"
        return {**results, "active_units": self.active_units.result()} if counts else results


def _mean(metric: keras.metrics.Mean) -> tf.Tensor:
    """Returns the mean of the steps that were taken; no number, where all were skipped, rather than Keras's zero."""
    return tf.where(metric.count > 0, metric.result(), math.nan)

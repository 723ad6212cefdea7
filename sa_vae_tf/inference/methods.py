"""The training objectives of the paper's tables: one loss each, all through the same bound and refinement.

The gradient of a loss is ordinary; what separates the methods is where it is stopped (sections 2 to 4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.inference.bound import Bound
from sa_vae_tf.inference.draws import Draw
from sa_vae_tf.inference.posterior import Posterior
from sa_vae_tf.inference.products import bound_and_gradient
from sa_vae_tf.inference.refine import Refined, refine
from sa_vae_tf.inference.settings import RefinementSettings


@dataclasses.dataclass(frozen=True)
class LocalInference:
    """The inference problem of one batch: what every method works on.

    Attributes:
      bound: function (posterior, context, draw) -> [batch].
      context: what the bound reads besides the posterior.
      step_draws: draws of the refinement steps, leading axis K.
      final_draw: draw of the bound that is reported and learned from.
      settings: of the refinement.
      bound_weights: K + 1 weights of the bounds along the path for SA-VAE (footnote 6); None for the last alone.
    """

    bound: Bound
    context: Any
    step_draws: Draw
    final_draw: Draw
    settings: RefinementSettings
    bound_weights: tuple[float, ...] | None = None

    def refine(self, initial: Posterior) -> Refined:
        """Refines a posterior, parts [batch, latent], by the steps that were drawn."""
        return refine(self.bound, initial, self.context, self.step_draws, self.settings)

    def final_bound(self, posterior: Posterior | None) -> tf.Tensor:
        """Returns the bound under the final draw, [batch], at a posterior, None without latent variable."""
        return self.bound(posterior, self.context, self.final_draw)

    def final_gradient(self, posterior: Posterior) -> Posterior:
        """Returns the gradient of the final bound to the posterior parameters alone."""
        return bound_and_gradient(self.final_bound, posterior)[1]


class Objective(NamedTuple):
    """A method's loss on a batch, and what it came from.

    Attributes:
      loss: scalar whose gradient trains encoder and decoder.
      bound: [batch], the bound under the final draw of the posterior that the decoder learns from.
      posterior: that posterior; None without latent variable.
    """

    loss: tf.Tensor
    bound: tf.Tensor
    posterior: Posterior | None


def lm(local: LocalInference, initial: None) -> Objective:
    """Trains the decoder without latent variable on the log-likelihood."""
    bound = local.final_bound(None)
    return Objective(tf.reduce_mean(bound), bound, None)


def vae(local: LocalInference, initial: Posterior) -> Objective:
    """Trains both models on the bound at the encoder's posterior (section 2.3)."""
    bound = local.final_bound(initial)
    return Objective(tf.reduce_mean(bound), bound, initial)


def svi(local: LocalInference, initial: Posterior) -> Objective:
    """Trains the decoder on the bound at a posterior refined from the given start, held fixed (section 2.2)."""
    refined = local.refine(initial.stop_gradient()).posterior.stop_gradient()
    bound = local.final_bound(refined)
    return Objective(tf.reduce_mean(bound), bound, refined)


def vae_svi(local: LocalInference, initial: Posterior) -> Objective:
    """Trains the decoder as SVI does, and the encoder on the bound at its own posterior (Krishnan et al. 2018)."""
    generative = svi(local, initial)
    gradient = local.final_gradient(initial.stop_gradient()).stop_gradient()
    # Worth zero, with the bound's gradient to the encoder and none to the decoder.
    surrogate = tf.add_n(
        [tf.reduce_sum(g * (part - tf.stop_gradient(part)), -1) for g, part in zip(gradient, initial, strict=True)]
    )
    return generative._replace(loss=generative.loss + tf.reduce_mean(surrogate))


def vae_svi_kl(local: LocalInference, initial: Posterior) -> Objective:
    """Trains the decoder as SVI does, and the encoder to meet the refined posterior (Hjelm et al. 2016)."""
    generative = svi(local, initial)
    assert generative.posterior is not None
    distance = tf.reduce_mean(initial.kl_to(generative.posterior))
    return generative._replace(loss=generative.loss + distance)


def sa_vae(local: LocalInference, initial: Posterior) -> Objective:
    """Trains both models on the total derivative of the bound at the refined posterior (section 3)."""
    if local.bound_weights is not None and not local.settings.differentiates_bounds:
        raise ValueError(f"bound_weights={local.bound_weights}: expected None, since the bounds are not differentiated")
    refined = local.refine(initial)
    bound = local.final_bound(refined.posterior)
    if local.bound_weights is None:
        return Objective(tf.reduce_mean(bound), bound, refined.posterior)
    weights = tf.constant(local.bound_weights, bound.dtype)
    if not refined.bounds.shape[:1].is_compatible_with([len(local.bound_weights) - 1]):
        steps = refined.bounds.shape[0]
        raise ValueError(f"bound_weights={local.bound_weights}: expected {steps + 1} weights for {steps} steps")
    weighted = tf.reduce_sum(weights[:-1, None] * refined.bounds, 0) + weights[-1] * bound
    return Objective(tf.reduce_mean(weighted), bound, refined.posterior)


class Method(NamedTuple):
    """What a method needs, and its objective.

    Attributes:
      objective: function (problem, initial posterior) -> `Objective`.
      latent: whether there is a latent variable.
      encoder: whether the initial posterior is an encoder's.
      refines: whether it is refined.
      differentiates: whether the derivative of the loss goes through the refinement.
    """

    objective: Callable[[LocalInference, Any], Objective]
    latent: bool = True
    encoder: bool = True
    refines: bool = True
    differentiates: bool = False


METHODS = {
    "lm": Method(lm, latent=False, encoder=False, refines=False),
    "vae": Method(vae, refines=False),
    "svi": Method(svi, encoder=False),
    "vae_svi": Method(vae_svi),
    "vae_svi_kl": Method(vae_svi_kl),
    "sa_vae": Method(sa_vae, differentiates=True),
}

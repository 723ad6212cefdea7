"""What a trained model does with its latent variable: mutual information, active units, amortization gap."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sa_vae_tf.inference import Bound, Draw, Posterior, RefinementSettings, refine
from sa_vae_tf.training.metrics import ACTIVE_VARIANCE

# Largest number of densities held at once, 8 bytes each.
PAIRS_AT_ONCE = 2**22


class MutualInformation(NamedTuple):
    """Estimates of the information that z carries on x under q, in nats.

    Attributes:
      kl: E_x KL(q(z | x) || p(z)), exact.
      aggregate: I_q(x; z) with the aggregate posterior over all examples; at most log of their number.
      aggregate_kl: KL(q(z) || p(z)) of that aggregate posterior, which is kl - aggregate.
      in_batch: the mean over batches of I_q(x; z) with the aggregate posterior of a batch alone, the estimate of
        He et al. 2019; at most log of the batch size.
    """

    kl: float
    aggregate: float
    aggregate_kl: float
    in_batch: float


def _log_density_coefficients(posterior: Posterior) -> tf.Tensor:
    """Returns a row for each example, [N, 2 * latent + 1], whose product with [z^2, z, 1] is log q(z | x)."""
    # Multiplied out, all pairs are one matrix product. It cancels digits where a deviation is small against z,
    # which float64 can spare.
    precision = tf.exp(-posterior.log_variance)
    weighted = posterior.mean * precision
    constant = tf.reduce_sum(posterior.mean * weighted + posterior.log_variance + np.log(2 * np.pi), -1)
    return tf.concat([-0.5 * precision, weighted, -0.5 * constant[:, None]], -1)


def _log_aggregate(z: tf.Tensor, coefficients: tf.Tensor) -> tf.Tensor:
    """Returns log (1/N) sum_n q(z_m | x_n), [M], for z of shape [M, latent]."""
    powers = tf.concat([tf.square(z), z, tf.ones_like(z[:, :1])], -1)
    log_density = tf.matmul(powers, coefficients, transpose_b=True)
    return tf.reduce_logsumexp(log_density, -1) - np.log(len(coefficients))


def mutual_information(
    mean: npt.ArrayLike,
    log_variance: npt.ArrayLike,
    seed: npt.ArrayLike,
    samples: int = 1,
    batch_size: int = 32,
) -> MutualInformation:
    """Estimates I_q(x; z) = E_x KL(q(z | x) || p(z)) - KL(q(z) || p(z)) over an evaluation set.

    Both estimates are means of log q(z | x) - log q(z) over z drawn from each example's posterior. Taking both terms at
    the same z, rather than the first in closed form, makes them vary together: exactly zero where all posteriors are
    alike, exactly the limit where they do not overlap, and never above it. Computed in float64, in chunks.

    Args:
      mean: [N, latent], posterior means of the evaluation set.
      log_variance: [N, latent].
      seed: int32 [2].
      samples: number of z drawn for each example.
      batch_size: of the in-batch estimate; its batches are runs of consecutive examples, the last one perhaps
        shorter, each weighted by its size.

    Returns:
      A `MutualInformation`.

    Raises:
      ValueError: if the shapes are not [N, latent] twice, or `samples` or `batch_size` is below one.

    Source: Hoffman and Johnson 2016, ELBO surgery; He et al. 2019, Lagging inference networks, section 3.
    """
    posterior = Posterior(*(tf.constant(np.asarray(part, np.float64)) for part in (mean, log_variance)))
    shape = posterior.mean.shape
    if shape.rank != 2 or 0 in shape or posterior.log_variance.shape != shape:
        raise ValueError(
            f"mean of shape {shape}, log_variance of shape {posterior.log_variance.shape}: "
            "expected [examples, latent] for both"
        )
    for name, value in (("samples", samples), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    examples = shape[0]
    noise = tf.random.stateless_normal([samples, *shape], tf.constant(seed, tf.int32), dtype=tf.float64)
    coefficients = _log_density_coefficients(posterior)

    def information(z, conditional, rows, own_batch):
        """Sums log q(z | x) - log q(z), in runs of `rows` examples, whose q(z) is that of the run or of them all."""
        total = 0.0
        for part in (slice(start, start + rows) for start in range(0, examples, rows)):
            log_aggregate = _log_aggregate(z[part], coefficients[part] if own_batch else coefficients)
            total += float(tf.reduce_sum(conditional[part] - log_aggregate))
        return total

    aggregate = in_batch = 0.0
    for z in tf.unstack(posterior.sample(noise)):
        conditional = posterior.log_prob(z)
        aggregate += information(z, conditional, max(1, PAIRS_AT_ONCE // examples), own_batch=False)
        in_batch += information(z, conditional, batch_size, own_batch=True)
    aggregate, in_batch = aggregate / (samples * examples), in_batch / (samples * examples)
    kl = float(tf.reduce_mean(posterior.kl()))
    return MutualInformation(kl, aggregate, kl - aggregate, in_batch)


def active_units(means: npt.ArrayLike, threshold: float = ACTIVE_VARIANCE) -> np.ndarray:
    """Tells which latent dimensions the posterior mean uses to tell examples apart.

    Args:
      means: [N, latent], posterior means of the evaluation set, at least two.
      threshold: smallest variance over examples of an active dimension's mean, exclusive.

    Returns:
      bool [latent]; its sum is the number of active units.

    Raises:
      ValueError: if `means` is not [N, latent] with N at least two.

    Source: Burda et al. 2015, Importance weighted autoencoders, section 5.2.
    """
    means = np.asarray(means, np.float64)
    if means.ndim != 2 or len(means) < 2:
        raise ValueError(f"means of shape {means.shape}: expected [examples, latent] with at least two examples")
    return np.var(means, axis=0, ddof=1) > threshold


class AmortizationGap(NamedTuple):
    """What `amortization_gap` returns.

    Attributes:
      gap: [batch], initial_bound - converged_bound in nats.
      initial_bound: [batch], bound at the initial posterior, the mean over the final draws.
      converged_bound: [batch], bound at the converged posterior under the same draws.
      converged: that posterior, parts [batch, latent].
    """

    gap: tf.Tensor
    initial_bound: tf.Tensor
    converged_bound: tf.Tensor
    converged: Posterior


def amortization_gap(
    bound: Bound,
    initial: Posterior,
    context: Any,
    step_draws: Draw,
    final_draws: Draw,
    settings: RefinementSettings | None = None,
) -> AmortizationGap:
    """Measures what each example's bound loses by taking the encoder's posterior instead of the best Gaussian.

    A long refinement with fresh noise in each step does not settle but wanders about the optimum; the average of
    the second half of its path takes that noise out (Polyak and Juditsky 1992).

    Args:
      bound: function (posterior, context, draw) -> [batch], as for `sa_vae_tf.inference.refine`.
      initial: the encoder's posterior, parts [batch, latent].
      context: what the bound reads besides the posterior.
      step_draws: draws of the long refinement, leading axis the number of its steps, such as 200; as the first
        result of `draw_per_example`.
      final_draws: common draws under which both posteriors are compared, leading axis their number, at least one;
        also as the first result of `draw_per_example`, with another seed.
      settings: of the refinement, of which its patience, and how it is differentiated, are not heeded; default
        `RefinementSettings()`.

    Returns:
      An `AmortizationGap`. A single example's gap can be below zero, by the noise of the final draws or where the
      refinement has not converged.

    Source: Cremer et al. 2018, Inference suboptimality in variational autoencoders, section 3.
    """
    settings = dataclasses.replace(settings or RefinementSettings(), patience=None, product="exact", keep=(0, 0, 0))
    path = refine(bound, initial, context, step_draws, settings).path
    half = tf.shape(path.mean)[0] // 2
    converged = Posterior(*(tf.reduce_mean(part[half:], 0) for part in path))

    def mean_bound(posterior):
        values = tf.map_fn(
            lambda draw: bound(posterior, context, draw),
            final_draws,
            fn_output_signature=tf.TensorSpec(posterior.mean.shape[:1], posterior.mean.dtype),
            parallel_iterations=1,
        )
        return tf.reduce_mean(values, 0)

    initial_bound, converged_bound = mean_bound(initial), mean_bound(converged)
    return AmortizationGap(initial_bound - converged_bound, initial_bound, converged_bound, converged)

"""The importance-weighted estimate of the likelihood, with an approximate posterior as the proposal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.inference import Posterior
from sa_vae_tf.inference.draws import GENERATOR, noise_per_example


class ImportanceWeighted(NamedTuple):
    """What `importance_weighted_nll` returns.

    Attributes:
      nll: [batch], -log of the mean importance weight in nats; in expectation between -log p(x) and the bound.
        Infinite where p(x | z) is zero at every sample.
      effective_samples: [batch], (sum of weights)^2 / sum of squared weights, between 1 and the number of samples.
        Where it is small a few samples decide the estimate, and `nll` is likely to be too high.
    """

    nll: tf.Tensor
    effective_samples: tf.Tensor


def importance_weighted_nll(
    negative_log_likelihood: Callable[..., tf.Tensor],
    posterior: Posterior,
    context: Any,
    index: tf.Tensor,
    samples: int | tf.Tensor,
    seed: tf.Tensor,
    samples_per_call: int = 1,
) -> ImportanceWeighted:
    """Estimates -log (1/S) sum_s p(x, z_s) / q(z_s | x) under the prior N(0, I), with z_s drawn from q.

    The decoder is called on `batch * samples_per_call` latent variables at a time, and only sums over the samples are
    kept, so that memory does not grow with S. The noise of an example is a function of the seed, its index and
    `samples_per_call`.

    Args:
      negative_log_likelihood: function (z, context, seed) -> [batch * samples_per_call] in nats, summed over the
        parts of an example, for z of shape [batch * samples_per_call, latent].
      posterior: the proposal q, parts [batch, latent]; the refined posterior where a method refines.
      context: what the decoder reads besides z. With `samples_per_call` above one it must hold each example that
        many times in a row, as from `decoder.prepare(tf.repeat(x, samples_per_call, axis=0))`.
      index: int64 [batch], the place of each example in its data set.
      samples: S, the number of samples drawn for each example, an integer, or a scalar tensor that is at least one. If
        `samples_per_call` does not divide it, what the last call computes beyond S is left out of the sum.
      seed: int32 [2].
      samples_per_call: how many samples of each example the decoder sees at once.

    Returns:
      An `ImportanceWeighted`.

    Raises:
      ValueError: if `samples` or `samples_per_call` is below one.

    Source: Burda et al. 2015, Importance weighted autoencoders, equation 8.
    """
    for name, value in (("samples", samples), ("samples_per_call", samples_per_call)):
        if not tf.is_tensor(value) and value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    dtype, latent = posterior.mean.dtype, posterior.mean.shape[-1]
    noise_seed, decoder_seed = tf.unstack(tf.random.split(seed, 2, alg=GENERATOR))
    spread = Posterior(*(part[:, None] for part in posterior))

    def call(number, largest, total, total_of_squares):
        own = tf.random.fold_in(noise_seed, number, alg=GENERATOR)
        noise = noise_per_example(index, [samples_per_call, latent], own, dtype)
        z = spread.sample(noise)
        nll = negative_log_likelihood(
            tf.reshape(z, [-1, latent]), context, tf.random.fold_in(decoder_seed, number, alg=GENERATOR)
        )
        # log p(z) - log q(z | x), where the constants cancel.
        log_ratio = 0.5 * tf.reduce_sum(tf.square(noise) + spread.log_variance - tf.square(z), -1)
        log_weight = log_ratio - tf.reshape(nll, [-1, samples_per_call])
        wanted = number * samples_per_call + tf.range(samples_per_call) < samples
        log_weight = tf.where(wanted, log_weight, dtype.min)
        # Sums are kept relative to the largest weight so far.
        highest = tf.maximum(largest, tf.reduce_max(log_weight, -1))
        weight = tf.where(wanted, tf.exp(log_weight - highest[:, None]), 0)
        rescale = tf.exp(largest - highest)
        total = total * rescale + tf.reduce_sum(weight, -1)
        total_of_squares = total_of_squares * tf.square(rescale) + tf.reduce_sum(tf.square(weight), -1)
        return number + 1, highest, total, total_of_squares

    calls = -(-samples // samples_per_call)
    zeros = tf.zeros_like(posterior.mean[:, 0])
    _, largest, total, total_of_squares = tf.while_loop(
        lambda number, *_: number < calls,
        call,
        (tf.constant(0), zeros + dtype.min, zeros, zeros),
        parallel_iterations=1,
    )
    log_samples = tf.math.log(tf.cast(samples, dtype))
    effective_samples = tf.math.divide_no_nan(tf.square(total), total_of_squares)
    return ImportanceWeighted(log_samples - largest - tf.math.log(total), effective_samples)

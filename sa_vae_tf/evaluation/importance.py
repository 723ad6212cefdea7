"""The importance-weighted estimate of the likelihood, with an approximate posterior as the proposal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from sa_vae_tf.inference import Posterior
from sa_vae_tf.inference.bound import checked_likelihood
from sa_vae_tf.inference.draws import GENERATOR, example_numbers, latent_size, noise_per_example


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
) -> ImportanceWeighted:
    """Estimates -log (1/S) sum_s p(x, z_s) / q(z_s | x) under the prior N(0, I), with z_s drawn from q.

    The decoder is called once a sample, on the whole batch, and only sums over the samples are kept, so that memory
    does not grow with S. The noise of an example is a function of the seed and its index.

    Args:
      negative_log_likelihood: function (z, context, seed=) -> [batch] in nats, summed over the parts of an example, for
        z of shape [batch, latent].
      posterior: the proposal q, parts [batch, latent]; the refined posterior where a method refines.
      context: what the decoder reads besides z.
      index: int64 [batch], the place of each example in its data set.
      samples: S, the number of samples drawn for each example, an integer, or a scalar tensor that is at least one.
      seed: int32 [2].

    Returns:
      An `ImportanceWeighted`.

    Raises:
      ValueError: if `samples` is below one, or the index or the likelihood is not as said above.

    Source: Burda et al. 2015, Importance weighted autoencoders, equation 8.
    """
    if not tf.is_tensor(samples) and samples < 1:
        raise ValueError(f"samples={samples}: expected at least 1")
    posterior = Posterior(*(tf.convert_to_tensor(part) for part in posterior))
    index = example_numbers(index, posterior.mean)
    dtype, latent = posterior.mean.dtype, latent_size(posterior.mean)
    noise_seed, decoder_seed = tf.unstack(tf.random.split(seed, 2, alg=GENERATOR))

    def add(number, largest, total, total_of_squares):
        noise = noise_per_example(index, [latent], tf.random.fold_in(noise_seed, number, alg=GENERATOR), dtype)
        z = posterior.sample(noise)
        decoder_draw = tf.random.fold_in(decoder_seed, number, alg=GENERATOR)
        nll = checked_likelihood(negative_log_likelihood(z, context, seed=decoder_draw), z)
        # log p(z) - log q(z | x), where the constants cancel.
        log_ratio = 0.5 * tf.reduce_sum(tf.square(noise) + posterior.log_variance - tf.square(z), -1)
        log_weight = log_ratio - nll
        # Sums are kept relative to the largest weight so far, which begins finite, for samples of no weight at all.
        highest = tf.maximum(largest, log_weight)
        weight, rescale = tf.exp(log_weight - highest), tf.exp(largest - highest)
        return number + 1, highest, total * rescale + weight, total_of_squares * rescale**2 + weight**2

    zeros = tf.zeros_like(posterior.mean[:, 0])
    _, largest, total, total_of_squares = tf.while_loop(
        lambda number, *_: number < samples,
        add,
        (tf.constant(0), zeros + dtype.min, zeros, zeros),
        parallel_iterations=1,
    )
    log_samples = tf.math.log(tf.cast(samples, dtype))
    effective_samples = tf.math.divide_no_nan(tf.square(total), total_of_squares)
    return ImportanceWeighted(log_samples - largest - tf.math.log(total), effective_samples)

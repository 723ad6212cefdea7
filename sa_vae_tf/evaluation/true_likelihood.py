"""The likelihood of a synthetic generator itself, by samples of the prior and by quadrature (section 4.1)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sa_vae_tf.inference.draws import GENERATOR
from sa_vae_tf.models import SyntheticGenerator
from sa_vae_tf.models.synthetic import SyntheticContext

EXAMPLES_AT_ONCE = 500
LATENTS_AT_ONCE = 1024
LIMIT = 6.0  # of the grid of the quadrature


@tf.function(autograph=False, jit_compile=True)
def _log_mean_likelihood(
    context: SyntheticContext, latent_kernel: tf.Tensor, z: tf.Tensor, log_weight: tf.Tensor
) -> tf.Tensor:
    """Returns log sum_m weight_m p(x | z_m), [examples], for z [chunks, M, latent] and log weights [chunks, M].

    The scores of a symbol are the sum of a part that depends on the example and a part that depends on z. So the
    normalisers of all examples under all z, sums of exponentials over the vocabulary, are one matrix product:
    sum_v exp(a_v + b_v) = <exp(a), exp(b)>. Each factor is taken relative to its largest entry; in float32 what
    is lost below 1e-38 does not count as long as the scores of a step differ by less than about 60 nats.
    """
    examples, steps, vocabulary = context.exponentials.shape
    exponentials = tf.reshape(context.exponentials, [examples * steps, vocabulary])
    offset = context.target_logit - context.largest

    def chunk(number, largest, total):
        shift = tf.matmul(latent_kernel, z[number], transpose_a=True, transpose_b=True)  # [vocabulary, M]
        highest_shift = tf.reduce_max(shift, 0)
        normaliser = exponentials @ tf.exp(shift - highest_shift)
        log_normaliser = tf.reduce_sum(tf.reshape(tf.math.log(normaliser), [examples, steps, -1]), 1)
        target = tf.matmul(context.target_slope, z[number], transpose_b=True)
        log_joint = target - log_normaliser + (log_weight[number] - steps * highest_shift)
        top = tf.maximum(largest, tf.reduce_max(log_joint, -1))
        total = total * tf.exp(largest - top) + tf.reduce_sum(tf.exp(log_joint - top[:, None]), -1)
        return number + 1, top, total

    zeros = tf.zeros_like(offset)
    start = (tf.constant(0), zeros + zeros.dtype.min, zeros)
    _, largest, total = tf.while_loop(lambda number, *_: number < z.shape[0], chunk, start, parallel_iterations=1)
    return offset + largest + tf.math.log(total)


def _negative_log_mean(
    generator: SyntheticGenerator, tokens: npt.ArrayLike, z: np.ndarray, log_weight: np.ndarray
) -> np.ndarray:
    """Returns -log sum_m weight_m p(x | z_m), [N], in chunks of examples and of z."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or 0 in tokens.shape or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"tokens of shape {tokens.shape}, {tokens.dtype}: expected integers [examples, time]")
    kernel = generator.latent_kernel.value
    dtype = kernel.dtype.as_numpy_dtype
    chunk = min(LATENTS_AT_ONCE, len(z))
    surplus = -len(z) % chunk
    # What fills up the last chunk weighs nothing.
    z = np.pad(z, [(0, surplus), (0, 0)]).reshape(-1, chunk, z.shape[1]).astype(dtype)
    lowest = np.finfo(dtype).min
    log_weight = np.pad(log_weight, (0, surplus), constant_values=-np.inf).reshape(-1, chunk)
    log_weight = np.maximum(log_weight, lowest / 2).astype(dtype)
    examples = min(EXAMPLES_AT_ONCE, len(tokens))
    results = []
    for start in range(0, len(tokens), examples):
        part = tokens[start : start + examples]
        padded = np.concatenate([part, np.repeat(part[-1:], examples - len(part), 0)])
        context = generator.prepare(tf.constant(padded, tf.int32))
        results.append(-_log_mean_likelihood(context, kernel, z, log_weight).numpy()[: len(part)])
    return np.concatenate(results).astype(np.float64)


def nll_by_prior_samples(
    generator: SyntheticGenerator, tokens: npt.ArrayLike, samples: int = 1000, seed: npt.ArrayLike = (0, 0)
) -> np.ndarray:
    """Estimates -log p(x) by -log (1/S) sum_s p(x | z_s), with z_s drawn from the prior N(0, I).

    The estimate is too high in expectation, for the posterior is much narrower than the prior; 1,000 samples are what
    the paper's table uses. The samples are common to all examples, so the mean over a data set varies with the
    seed by more than the spread over examples suggests.

    Args:
      generator: the model p(x | z).
      tokens: int [N, time].
      samples: S.
      seed: int32 [2].

    Returns:
      float64 [N], nats.

    Raises:
      ValueError: if `samples` is below one or `tokens` is not an array of integers [N, time].

    Source: section 4.1, Table 1, "true NLL (est)".
    """
    if samples < 1:
        raise ValueError(f"samples={samples}: expected at least 1")
    z = tf.random.stateless_normal([samples, generator.latent_dim], tf.constant(seed, tf.int32), alg=GENERATOR).numpy()
    return _negative_log_mean(generator, tokens, z, np.full(samples, -math.log(samples)))


def nll_by_quadrature(generator: SyntheticGenerator, tokens: npt.ArrayLike, spacing: float = 0.1) -> np.ndarray:
    """Computes -log p(x) for a latent variable of two dimensions, by the trapezoidal rule on a grid.

    It covers the disc of radius LIMIT, outside which lies exp(-LIMIT^2 / 2) of the prior, 2e-8. For an integrand
    like a Gaussian of standard deviation sigma the rule's relative error is about 2 exp(-2 (pi sigma / spacing)^2) in
    each dimension: 5e-9 where sigma equals the spacing, 1% where it is half of that. Halve the spacing to see what is
    left.

    Args:
      generator: the model p(x | z), with `latent_dim` 2.
      tokens: int [N, time].
      spacing: distance between neighbouring points in each dimension of z.

    Returns:
      float64 [N], nats.

    Raises:
      ValueError: if the generator's `latent_dim` is not 2, `spacing` is not positive, or `tokens` is not an array of
        integers [N, time].
    """
    if generator.latent_dim != 2:
        raise ValueError(f"generator with latent_dim={generator.latent_dim}: expected 2")
    if not spacing > 0:
        raise ValueError(f"spacing={spacing}: expected a positive number")
    count = math.ceil(LIMIT / spacing)
    axis = spacing * np.arange(-count, count + 1)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    z = z[np.sum(z**2, -1) <= LIMIT**2]
    log_weight = 2 * math.log(spacing) - math.log(2 * math.pi) - 0.5 * np.sum(z**2, -1)
    return _negative_log_mean(generator, tokens, z, log_weight)

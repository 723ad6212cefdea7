"""The bound of one example as a smooth function of its posterior, and its optimum by grid search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.inference import Bound, Draw, Posterior

# Maps a posterior of parts [points, latent] to the bound at each point, float64 [points], in nats.
ExampleBound = Callable[[Posterior], np.ndarray]

# Of a search's first grid the largest mean, and the distances between its means and between its log variances; how many
# grids come after it.
LIMIT, SPACING, LOG_VARIANCE_SPACING, ROUNDS = 4.0, 0.5, 1.5, 12


def fixed_noise(pairs: int, latent: int) -> np.ndarray:
    """Draws standard normal noise that is kept, in pairs of opposite sign and with unit second moment.

    Args:
      pairs: half the number of draws; at least as many as `latent`.
      latent: number of latent dimensions.

    Returns:
      float64 [2 * pairs, latent], whose sample mean is zero and whose sample covariance is the identity.

    Raises:
      ValueError: if `pairs` is less than `latent`.
    """
    if pairs < latent:
        raise ValueError(f"pairs={pairs}: expected at least the number of latent dimensions, {latent}")
    noise = np.random.default_rng([0, 0]).standard_normal([pairs, latent])
    noise = noise @ np.linalg.inv(np.linalg.cholesky(noise.T @ noise / pairs)).T
    return np.concatenate([noise, -noise])


def example_bound(
    bound: Bound, context: Any, noise: np.ndarray, points_at_once: int, dtype: tf.DType = tf.float32
) -> ExampleBound:
    """Makes the bound of one example, averaged over fixed noise, as a function of its posterior.

    Args:
      bound: function (posterior, context, draw) -> [batch] in nats, as from `sa_vae_tf.inference.negative_elbo`.
      context: what the bound reads besides the posterior, of the example repeated `points_at_once` times, as from
        `decoder.prepare(tf.repeat(x, points_at_once, axis=0))` for x of batch one.
      noise: [draws, latent], as from `fixed_noise`; the same for all posteriors.
      points_at_once: how many posteriors are evaluated together.
      dtype: of the posteriors that `bound` takes.

    Returns:
      A function from a posterior of parts [points, latent], any number of points, to float64 [points] in nats.
    """
    noise = tf.constant(noise, dtype)

    @tf.function(autograph=False, jit_compile=True)
    def mean_bound(posterior):
        def under(one):
            draw = Draw(tf.broadcast_to(one, tf.shape(posterior.mean)), tf.zeros([2], tf.int32))
            return bound(posterior, context, draw)

        return tf.reduce_mean(tf.map_fn(under, noise, parallel_iterations=1), 0)

    def value(posterior: Posterior) -> np.ndarray:
        results = []
        for start in range(0, len(posterior.mean), points_at_once):
            parts = [np.asarray(part)[start : start + points_at_once] for part in posterior]
            count = len(parts[0])
            # One shape for all calls, so that the function is compiled once.
            padded = [np.pad(part, [(0, points_at_once - count), (0, 0)], mode="edge") for part in parts]
            results.append(mean_bound(Posterior(*(tf.constant(part, dtype) for part in padded))).numpy()[:count])
        return np.concatenate(results).astype(np.float64)

    return value


def lattice(*axes: np.ndarray) -> np.ndarray:
    """Returns all combinations of the axes' coordinates, [points, len(axes)], the last axis running fastest."""
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def grid_search(value: ExampleBound) -> tuple[Posterior, float]:
    """Finds the best diagonal Gaussian of one example in two dimensions by grids that close in on it.

    The first grid covers the means in [-LIMIT, LIMIT] and standard deviations from 0.05 to 1, the same in both
    dimensions. Each further grid has five points in each of the four parameters around the best so far, half as far
    apart as those before it. It finds the global optimum if the first grid hits its basin.

    Args:
      value: the bound as a function of the posterior, as from `example_bound`, with two latent dimensions.

    Returns:
      The optimal posterior, parts float64 [2], and its bound in nats.

    Source: Figure 1, "the optimal point, found from grid search".
    """
    means = SPACING * np.arange(-int(LIMIT / SPACING), int(LIMIT / SPACING) + 1)
    log_variances = np.arange(-6.0, 0.5, LOG_VARIANCE_SPACING)
    steps = np.repeat([SPACING, LOG_VARIANCE_SPACING], 2)
    offsets = lattice(*[np.linspace(-1, 1, 5)] * 4)

    def best_of(points: np.ndarray) -> tuple[np.ndarray, float]:
        values = value(Posterior(points[:, :2], points[:, 2:]))
        best = int(np.argmin(values))
        return points[best], float(values[best])

    optimum, lowest = best_of(lattice(means, means, log_variances)[:, [0, 1, 2, 2]])
    for number in range(ROUNDS):
        optimum, lowest = best_of(optimum + 0.5**number * steps * offsets)
    return Posterior(optimum[:2], optimum[2:]), lowest

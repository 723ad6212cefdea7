"""A model with known likelihood: x = loadings z + noise, z ~ N(0, I), with orthogonal loadings.

Orthogonal loadings make the exact posterior a diagonal Gaussian.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from sa_vae_tf.inference import Posterior

DEVIATION = 0.7
LOADINGS = np.linalg.qr(np.random.default_rng(0).standard_normal([5, 3]))[0] * [2.0, 1.0, 0.3]


def examples(count: int) -> tf.Tensor:
    """Draws x, float64 [count, 5]."""
    random = np.random.default_rng(1)
    noise = DEVIATION * random.standard_normal([count, 5])
    return tf.constant(random.standard_normal([count, 3]) @ LOADINGS.T + noise)


def negative_log_likelihood(z, x, seed):
    """-log p(x | z), [batch]; keeps the decoder's contract with x as the context."""
    mean = tf.matmul(z, tf.constant(LOADINGS, z.dtype), transpose_b=True)
    return -tfp.distributions.MultivariateNormalDiag(mean, tf.fill([5], tf.constant(DEVIATION, z.dtype))).log_prob(x)


def exact_posterior(x) -> Posterior:
    """p(z | x), parts float64 [batch, 3]."""
    precision = 1 + np.sum(LOADINGS**2, 0) / DEVIATION**2
    mean = (x.numpy() @ LOADINGS) / DEVIATION**2 / precision
    return Posterior(tf.constant(mean), tf.constant(np.broadcast_to(-np.log(precision), mean.shape)))


def exact_nll(x) -> np.ndarray:
    """-log p(x), [batch]."""
    covariance = LOADINGS @ LOADINGS.T + DEVIATION**2 * np.eye(5)
    return -tfp.distributions.MultivariateNormalFullCovariance(np.zeros(5), covariance).log_prob(x).numpy()

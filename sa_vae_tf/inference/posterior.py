"""The variational posterior: a diagonal Gaussian over the latent variable."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

# Beyond these the standard deviation leaves [4.5e-5, 2.2e4], where nothing is learned any more and
# exp() is on its way to overflow float32.
MIN_LOG_VARIANCE = -20.0
MAX_LOG_VARIANCE = 20.0


class Posterior(NamedTuple):
    """A diagonal Gaussian q(z | x), or its gradient, velocity or cotangent: all have these two parts.

    Attributes:
      mean: [..., latent] float tensor.
      log_variance: [..., latent] float tensor, natural logarithm of the variance.
    """

    mean: tf.Tensor
    log_variance: tf.Tensor

    def sample(self, noise: tf.Tensor) -> tf.Tensor:
        """Returns mean + standard deviation * noise, for standard normal noise of shape [..., latent]."""
        return self.mean + tf.exp(0.5 * self.log_variance) * noise

    def kl_per_dimension(self) -> tf.Tensor:
        """Returns KL[q || N(0, I)] in nats for each latent dimension, [..., latent]."""
        return 0.5 * (tf.exp(self.log_variance) + tf.square(self.mean) - 1.0 - self.log_variance)

    def kl(self) -> tf.Tensor:
        """Returns KL[q || N(0, I)] in nats, [...]."""
        return tf.reduce_sum(self.kl_per_dimension(), -1)

    def kl_to(self, other: Posterior) -> tf.Tensor:
        """Returns KL[q || other] in nats, [...], for another diagonal Gaussian."""
        log_ratio = self.log_variance - other.log_variance
        distance = tf.square(self.mean - other.mean) * tf.exp(-other.log_variance)
        return 0.5 * tf.reduce_sum(tf.exp(log_ratio) + distance - 1.0 - log_ratio, -1)

    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """Returns log q(z) in nats, [...], for z of shape [..., latent]."""
        standardised = tf.square(z - self.mean) * tf.exp(-self.log_variance)
        log_two_pi = tf.math.log(tf.constant(6.283185307179586, z.dtype))
        return -0.5 * tf.reduce_sum(standardised + self.log_variance + log_two_pi, -1)

    def stop_gradient(self) -> Posterior:
        """Returns the same posterior as a constant."""
        return Posterior(tf.stop_gradient(self.mean), tf.stop_gradient(self.log_variance))


def zeros_like(parts: Posterior) -> Posterior:
    """Returns a gradient, velocity or cotangent of zeros."""
    return Posterior(tf.zeros_like(parts.mean), tf.zeros_like(parts.log_variance))


def prior_like(posterior: Posterior) -> Posterior:
    """Returns the standard normal prior, N(0, I), in the shape of `posterior`."""
    return zeros_like(posterior)


@tf.custom_gradient
def keep_finite(log_variance: tf.Tensor):
    """Returns the log variance, held inside [MIN_LOG_VARIANCE, MAX_LOG_VARIANCE].

    Its derivative is one inside the limits. At a limit it is zero for what would push further out and one for
    what leads back in, so that an example which ran into a limit can leave it.
    """
    kept = tf.clip_by_value(log_variance, MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)
    return kept, lambda cotangent: keep_finite_cotangent(kept, cotangent)


def keep_finite_cotangent(kept: tf.Tensor, cotangent: tf.Tensor) -> tf.Tensor:
    """Returns the cotangent of `keep_finite`'s argument, given its result and its result's cotangent."""
    # Descent moves against the cotangent: a negative one pushes the value up.
    outward = ((kept >= MAX_LOG_VARIANCE) & (cotangent < 0)) | ((kept <= MIN_LOG_VARIANCE) & (cotangent > 0))
    return tf.where(outward, tf.zeros_like(cotangent), cotangent)

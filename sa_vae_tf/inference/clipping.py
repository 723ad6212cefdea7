"""Clipping by norm: for each example on its own, or over a whole batch as the authors do."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from sa_vae_tf.inference.posterior import Posterior

# In the authors' formula, min(1, limit / (norm + SLACK)); kept because their numbers depend on it.
SLACK = 1e-6


def norm(squares: tf.Tensor) -> tf.Tensor:
    """Returns the square root of a sum of squares, with derivative zero (and not infinite) at zero."""
    return tf.sqrt(tf.maximum(squares, tf.constant(1e-36, squares.dtype)))


def coefficient(squares: tf.Tensor, limit: float) -> tf.Tensor:
    """Returns the factor, at most one, that brings a vector of this squared norm down to `limit`."""
    return tf.minimum(tf.ones_like(squares), limit / (norm(squares) + SLACK))


def clip_gradient(gradient: Posterior, limit: float | None, scope: str) -> Posterior:
    """Clips the mean part and the log-variance part of a local gradient, each to norm `limit`.

    Args:
      gradient: gradient of the summed per-example bounds, parts [batch, latent].
      limit: largest norm, in nats per unit of the parameter; None leaves the gradient as it is.
      scope: 'example' clips each example's gradient on its own; 'batch' clips the gradient of the *mean* bound
        over the whole batch, as the authors do, which makes an example's posterior depend on its batch.

    Returns:
      The clipped gradient, on the scale of `gradient`.
    """
    if limit is None:
        return gradient
    if scope == "example":
        return Posterior(*(g * coefficient(tf.reduce_sum(g * g, -1, keepdims=True), limit) for g in gradient))
    batch = tf.cast(tf.shape(gradient.mean)[0], gradient.mean.dtype)
    return Posterior(*(g * coefficient(tf.reduce_sum(tf.square(g / batch)), limit) for g in gradient))


def clip_cotangent(cotangent: Posterior, limit: float | None, scope: str) -> Posterior:
    """Clips the cotangent of the posterior parameters, both parts jointly, around a product (section 3, footnote 6).

    Args:
      cotangent: derivative of a loss that is a mean over the batch, parts [batch, latent].
      limit: largest norm; None leaves the cotangent as it is.
      scope: 'example' clips each example on the scale of its own bound (batch times its share of the mean);
        'batch' clips the whole tensor, as the authors do.

    Returns:
      The clipped cotangent.
    """
    if limit is None:
        return cotangent
    if scope == "example":
        batch = tf.cast(tf.shape(cotangent.mean)[0], cotangent.mean.dtype)
        squares = tf.add_n([tf.reduce_sum(tf.square(c * batch), -1, keepdims=True) for c in cotangent])
        return Posterior(*(c * coefficient(squares, limit) for c in cotangent))
    mean, log_variance = clip_jointly(list(cotangent), limit)
    return Posterior(mean, log_variance)


def clip_jointly(tensors: Sequence[tf.Tensor], limit: float | None) -> list[tf.Tensor]:
    """Clips a list of tensors to joint norm `limit`; None leaves them as they are."""
    if limit is None or not tensors:
        return list(tensors)
    factor = coefficient(tf.add_n([tf.reduce_sum(t * t) for t in tensors]), limit)
    return [t * factor for t in tensors]

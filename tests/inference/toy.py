"""A small inference problem with everything that the refinement has to go through, and a plain refinement of it."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from sa_vae_tf.inference import Bound, Draw, Posterior, Refined, RefinementSettings, keep_finite, negative_elbo
from sa_vae_tf.models.dropout import dropout

# Two orders of summation, over up to 20 steps in float64.
EXACT = 1e-10

RATES: dict[str, Any] = {"step_size_mean": 0.15, "step_size_log_variance": 0.1}
CLIPS: dict[str, Any] = {
    "none": {},
    "example": {"clip_norm": 1.0, "clip_scope": "example"},
    "batch": {"clip_norm": 1.9, "clip_scope": "batch"},
}


class Context(NamedTuple):
    features: tf.Tensor  # [batch, units]
    tokens: tf.Tensor  # int [batch, parts]


class Decoder(tf.Module):
    """Draws `parts` symbols from the softmax of one hidden layer that reads z and features of the example."""

    def __init__(self, latent=3, units=5, symbols=4, dropout_rate=0.0, dtype=tf.float64, seed=0):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.dropout_rate = dropout_rate
        self.table = tf.Variable(rng.normal(size=[symbols, units]), dtype=dtype)
        self.latent_kernel = tf.Variable(rng.normal(size=[latent, units]), dtype=dtype)
        self.output_kernel = tf.Variable(rng.normal(size=[units, symbols]), dtype=dtype)
        self.output_bias = tf.Variable(rng.normal(size=[symbols]), dtype=dtype)

    def prepare(self, tokens: tf.Tensor) -> Context:
        return Context(tf.reduce_mean(tf.gather(self.table, tokens), 1), tokens)

    def negative_log_likelihood(self, z: tf.Tensor | None, context: Context, seed: tf.Tensor | None) -> tf.Tensor:
        inputs = context.features if z is None else z @ self.latent_kernel + context.features
        hidden = dropout(tf.tanh(inputs), self.dropout_rate, True, seed)
        log_probs = tf.nn.log_softmax(hidden @ self.output_kernel + self.output_bias)
        return -tf.reduce_sum(tf.gather(log_probs, context.tokens, batch_dims=1), -1)


@dataclasses.dataclass
class Problem:
    """A batch to be inferred, with all draws."""

    decoder: Decoder
    bound: Bound
    initial: Posterior
    tokens: tf.Tensor
    step_draws: Draw
    final_draw: Draw

    @property
    def variables(self) -> list[tf.Variable]:
        return list(self.decoder.trainable_variables)


def make(steps=5, batch=6, latent=3, parts=8, dropout_rate=0.0, kl_weight=0.7, dtype=tf.float64, seed=0) -> Problem:
    rng = np.random.default_rng(seed + 1)

    def normal(*shape):
        return tf.constant(rng.normal(size=shape), dtype)

    decoder = Decoder(latent, dropout_rate=dropout_rate, dtype=dtype, seed=seed)
    seeds = tf.constant(rng.integers(0, 2**31, [steps + 1, 2]), tf.int32)
    noise = normal(steps + 1, batch, latent)
    return Problem(
        decoder=decoder,
        bound=negative_elbo(decoder.negative_log_likelihood, kl_weight),
        initial=Posterior(normal(batch, latent), 0.5 * normal(batch, latent)),
        tokens=tf.constant(rng.integers(0, 4, [batch, parts])),
        step_draws=Draw(noise[:-1], seeds[:-1]),
        final_draw=Draw(noise[-1], seeds[-1]),
    )


def unrolled(
    bound: Bound, initial: Posterior, context, draws: Draw, settings: RefinementSettings, last: np.ndarray | None = None
) -> Refined:
    """Refines as `refine` should, step after step and without a derivative of its own: tapes differentiate it.

    In a first run it finds the last step of each example, in a second one what counts as constant by it.
    """
    if last is None and not settings.differentiates_every_step:
        last = unrolled(bound, initial, context, draws, settings, np.zeros(initial.mean.shape[0])).steps.numpy()

    def clip(gradient):
        if settings.clip_norm is None:
            return gradient
        if settings.clip_scope == "example":
            length = tf.sqrt(tf.reduce_sum(gradient**2, axis=1, keepdims=True))
        else:
            length = tf.sqrt(tf.reduce_sum((gradient / gradient.shape[0]) ** 2))
        return tf.minimum(settings.clip_norm / (length + 1e-6), 1.0) * gradient

    mean, log_variance = initial
    mean_velocity, log_variance_velocity = tf.zeros_like(mean), tf.zeros_like(mean)
    means, log_variances, bounds = [mean], [log_variance], []
    taken = np.zeros(mean.shape[0], np.int32)
    for k in range(draws.noise.shape[0]):
        with tf.GradientTape() as tape:
            tape.watch([mean, log_variance])
            value = bound(Posterior(mean, log_variance), context, Draw(draws.noise[k], draws.seed[k]))
        mean_gradient, log_variance_gradient = tape.gradient(value, [mean, log_variance])
        if last is not None:
            first = 0 if settings.reverse_steps is None else last - settings.reverse_steps
            constant = ~((first <= k) & (k < last))[:, None]
            mean_gradient = tf.where(constant, tf.stop_gradient(mean_gradient), mean_gradient)
            log_variance_gradient = tf.where(constant, tf.stop_gradient(log_variance_gradient), log_variance_gradient)
        mean_velocity = settings.momentum * mean_velocity - clip(mean_gradient)
        log_variance_velocity = settings.momentum * log_variance_velocity - clip(log_variance_gradient)
        bounds.append(value)
        going = np.ones_like(taken)
        if settings.patience is not None:
            going = np.array([not has_waited(settings.patience, of_example) for of_example in np.array(bounds).T])
            mean_velocity = tf.where(going[:, None], mean_velocity, 0)
            log_variance_velocity = tf.where(going[:, None], log_variance_velocity, 0)
        taken += going
        mean = mean + settings.step_size_mean * mean_velocity
        log_variance = keep_finite(log_variance + settings.step_size_log_variance * log_variance_velocity)
        means.append(mean)
        log_variances.append(log_variance)
    path = Posterior(tf.stack(means), tf.stack(log_variances))
    no_bounds = tf.zeros([0, mean.shape[0]], mean.dtype)
    bounds = tf.stack(bounds) if bounds else no_bounds
    return Refined(Posterior(mean, log_variance), path, bounds, tf.constant(taken))


def has_waited(patience: int, bounds: np.ndarray) -> bool:
    """Tells whether somewhere along these bounds `patience` in a row were no lower than the lowest before them."""
    lower = [bounds[k] < min(bounds[:k], default=np.inf) for k in range(len(bounds))]
    return any(not any(lower[k : k + patience]) for k in range(len(bounds) - patience + 1))


def final_loss(problem: Problem, refined: Refined, context) -> tf.Tensor:
    return tf.reduce_mean(problem.bound(refined.posterior, context, problem.final_draw))


def weighted_loss(problem: Problem, refined: Refined, context) -> tf.Tensor:
    weights = tf.range(1, refined.bounds.shape[0] + 1, dtype=refined.bounds.dtype) / 10
    along = tf.reduce_mean(tf.reduce_sum(weights[:, None] * refined.bounds, 0))
    return final_loss(problem, refined, context) + along


def path_loss(problem: Problem, refined: Refined, context) -> tf.Tensor:
    weights = tf.cast(tf.range(tf.shape(refined.path.mean)[0]) + 1, refined.path.mean.dtype)[:, None, None]
    return tf.reduce_sum(weights * tf.sin(refined.path.mean) + weights**2 * tf.exp(refined.path.log_variance))


def path_and_bounds_loss(problem: Problem, refined: Refined, context) -> tf.Tensor:
    return path_loss(problem, refined, context) + 3.0 * tf.reduce_sum(refined.bounds)


def derivative(run, problem: Problem, refinement: RefinementSettings, loss=final_loss) -> list[tf.Tensor]:
    """Returns a loss and its derivatives to the initial posterior, to the features in the context and to variables."""
    bound = problem.bound
    with tf.GradientTape() as tape:
        tape.watch(problem.initial)
        context = problem.decoder.prepare(problem.tokens)
        if refinement.product == "authors":
            inner = lambda posterior, tokens, draw: bound(posterior, problem.decoder.prepare(tokens), draw)  # noqa: E731
            refined = run(inner, problem.initial, problem.tokens, problem.step_draws, refinement)
        else:
            refined = run(bound, problem.initial, context, problem.step_draws, refinement)
        value = loss(problem, refined, context)
    sources = [*problem.initial, context.features, *problem.variables]
    gradients = tape.gradient(value, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [value, *map(tf.convert_to_tensor, gradients)]


def relative_error(actual, expected) -> float:
    """Returns the largest deviation over two nests of tensors, each relative to the expected tensor's largest entry."""
    errors = [0.0]
    for a, e in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
        assert a.shape == e.shape
        assert np.all(np.isfinite(a))
        if a.size and np.any(a != e):
            errors.append(np.max(np.abs(a - e)) / max(np.max(np.abs(e)), 1e-300))
    return max(errors)

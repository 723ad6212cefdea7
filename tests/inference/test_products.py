"""Hessian-vector products, on a bound whose Hessian is known."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import Posterior, RefinementSettings, refine
from sa_vae_tf.inference import products as products_module
from sa_vae_tf.inference.products import authors, bound_and_gradient, exact, finite_difference
from tests.inference import toy

BATCH, LATENT = 4, 3
rng = np.random.default_rng(0)
WEIGHT = tf.Variable(rng.normal(size=[2 * LATENT, 2 * LATENT]))
SLOPE = tf.constant(rng.normal(size=[BATCH, 2 * LATENT]))
AT = Posterior(*tf.constant(rng.normal(size=[2, BATCH, LATENT])))
VECTOR = Posterior(*tf.constant(rng.normal(size=[2, BATCH, LATENT])))
BOUND_WEIGHT = tf.constant(rng.normal(size=[BATCH]))


RATES: dict[str, Any] = {"step_size_mean": 0.15, "step_size_log_variance": 0.1, "clip_scope": "batch"}


def quadratic(posterior: Posterior) -> tf.Tensor:
    """0.5 * |W p|^2 + <slope, p> for p of both parts: gradient W^T W p + slope, Hessian W^T W."""
    p = tf.concat(posterior, -1)
    return 0.5 * tf.reduce_sum(tf.square(p @ tf.transpose(WEIGHT)), -1) + tf.reduce_sum(SLOPE * p, -1)


def by_hand(bound_weight: np.ndarray) -> list[np.ndarray]:
    """Derivatives of <gradient, vector> + <bound_weight, bound> to mean, log variance, W and slope."""
    p, u, w = np.concatenate(AT, -1), np.concatenate(VECTOR, -1), WEIGHT.numpy()
    to_point = u @ w.T @ w + bound_weight[:, None] * (p @ w.T @ w + SLOPE.numpy())
    to_weight = w @ (p.T @ u + u.T @ p) + w @ (p.T @ (bound_weight[:, None] * p))
    to_slope = u + bound_weight[:, None] * p
    return [to_point[:, :LATENT], to_point[:, LATENT:], to_weight, to_slope]


def test_bound_and_gradient():
    value, gradient = bound_and_gradient(quadratic, AT)
    p, w = np.concatenate(AT, -1), WEIGHT.numpy()
    np.testing.assert_allclose(np.concatenate(gradient, -1), p @ w.T @ w + SLOPE, rtol=1e-12)
    np.testing.assert_allclose(value, quadratic(AT), rtol=1e-15)


@pytest.mark.parametrize("bound_weight", [tf.zeros_like(BOUND_WEIGHT), BOUND_WEIGHT])
def test_products_of_a_quadratic(bound_weight):
    expected = by_hand(bound_weight.numpy())
    arguments = quadratic, AT, VECTOR, bound_weight, [WEIGHT, SLOPE]
    assert toy.relative_error(exact(*arguments), expected) < 1e-13
    # On a quadratic a central difference errs by rounding alone, but for the weight of the bound itself.
    assert toy.relative_error(finite_difference(*arguments), expected) < 1e-8
    assert toy.relative_error(finite_difference(*arguments, step=1e-4), expected) < 1e-6


def test_authors_product_of_a_quadratic():
    gradient = bound_and_gradient(quadratic, AT)[1]
    clipped = Posterior(*(g / BATCH for g in gradient))
    expected = [part / BATCH for part in by_hand(np.zeros(BATCH))]
    # W enters squared: the forward difference adds 1e-5 times the vector's own square.
    assert toy.relative_error(authors(quadratic, AT, VECTOR, clipped, [WEIGHT, SLOPE], None), expected) < 1e-4


def test_authors_product_clips():
    # The gradients at the displaced point, clipped jointly, against unclipped ones of the weights: see FACTS.
    gradient = bound_and_gradient(quadratic, AT)[1]
    clipped = Posterior(*(g / BATCH for g in gradient))
    limit = 0.5
    mean, log_variance, *weights = authors(quadratic, AT, VECTOR, clipped, [WEIGHT, SLOPE], limit)
    assert np.sqrt(sum(np.sum(np.square(w)) for w in weights)) <= limit

    def mean_gradients(at):
        with tf.GradientTape() as tape:
            tape.watch([at, SLOPE])
            value = tf.reduce_mean(quadratic(at))
        return [g.numpy() for g in tape.gradient(value, [*at, WEIGHT, SLOPE])]

    ahead = mean_gradients(Posterior(*(p + 1e-5 * u for p, u in zip(AT, VECTOR, strict=True))))
    length = np.sqrt(sum(np.sum(g**2) for g in ahead))
    assert length > limit
    here = [part.numpy() for part in clipped] + mean_gradients(AT)[2:]
    difference = [(limit / (length + 1e-6) * a - h) / 1e-5 for a, h in zip(ahead, here, strict=True)]
    np.testing.assert_allclose([mean, log_variance], difference[:2], rtol=1e-9)
    length = np.sqrt(sum(np.sum(d**2) for d in difference[2:]))
    for actual, d in zip(weights, difference[2:], strict=True):
        np.testing.assert_allclose(actual, limit / (length + 1e-6) * d, rtol=1e-9)


@pytest.mark.parametrize("product", [exact, finite_difference])
def test_sources_that_the_bound_does_not_read(product):
    unread = [tf.Variable([1.0, 2.0], dtype=tf.float64), tf.constant([3.0], tf.float64)]
    zero = tf.zeros_like(BOUND_WEIGHT)
    *_, first, second = product(quadratic, AT, VECTOR, zero, unread)
    np.testing.assert_array_equal(first, [0.0, 0.0])
    np.testing.assert_array_equal(second, [0.0])


@pytest.mark.parametrize(
    ("dtype", "given", "step"), [(tf.float64, None, 1e-5), (tf.float32, None, 1e-3), (tf.float64, 0.3, 0.3)]
)
def test_steps_of_a_finite_difference(dtype, given, step):
    # At zero the Hessian of a sum of fourth powers is nothing, and of 4 p^3 a central difference is 4 (scale u)^2 u.
    at = Posterior(*(tf.zeros([BATCH, LATENT], dtype) for _ in range(2)))
    vector = Posterior(*(tf.cast(part, dtype) for part in VECTOR))

    def bound(posterior):
        return tf.reduce_sum(tf.concat(posterior, -1) ** 4, -1)

    found = finite_difference(bound, at, vector, tf.zeros([BATCH], dtype), [], given)
    u = np.concatenate(VECTOR, -1)
    scale = step / np.sqrt(np.mean(u**2, -1, keepdims=True))
    np.testing.assert_allclose(np.concatenate(found, -1), 4 * scale**2 * u**3, rtol=1e-5)


def test_the_step_of_a_finite_difference_reaches_it():
    # One step down mean^4 from 1: with half a part moved by sqrt(2) of the step, the slope is 12 + 8 step^2.
    initial = Posterior(tf.ones([1, 1], tf.float64), tf.zeros([1, 1], tf.float64))
    settings = RefinementSettings(0.1, 0.1, product="finite_difference", finite_difference_step=0.1)
    with tf.GradientTape() as tape:
        tape.watch(initial)
        refined = refine(lambda p, context, draw: p.mean[:, 0] ** 4, initial, None, tf.zeros([1]), settings)
        value = tf.reduce_sum(refined.posterior.mean)
    np.testing.assert_allclose(tape.gradient(value, initial.mean), [[1 - 0.1 * 12.08]], rtol=1e-9)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_finite_difference_of_a_zero_vector(dtype):
    # Nothing to learn through a step, as with rate zero; the step relative to the vector must not become infinite.
    at = Posterior(*(tf.cast(part, dtype) for part in AT))
    zeros = Posterior(*(tf.zeros_like(part) for part in at))
    kernel = tf.Variable(tf.cast(WEIGHT, dtype))

    def bound(posterior):
        return tf.reduce_sum(tf.tanh(tf.concat(posterior, -1) @ kernel), -1)

    for value in finite_difference(bound, at, zeros, tf.zeros([BATCH], dtype), [kernel]):
        np.testing.assert_array_equal(value, np.zeros(value.shape))


def test_authors_product_without_clip_is_near_the_derivative():
    problem = toy.make(5)
    expected = toy.derivative(toy.unrolled, problem, RefinementSettings(**RATES))
    actual = toy.derivative(refine, problem, RefinementSettings(**RATES, product="authors"))
    # Index 3 are the features, which here are found inside the bound: their part is in the table's gradient.
    del actual[3], expected[3]
    # Truncation of a forward difference with step 1e-5.
    assert toy.relative_error(actual, expected) < 1e-3


def test_authors_product_with_an_active_clip_is_far_from_the_derivative(monkeypatch):
    # With one clip per side that do not match, the mismatch over the step outweighs the curvature: a step a hundred
    # times as large leaves the result nearly as it is, which no derivative would.
    problem = toy.make(2)
    rates = RATES | {"clip_norm": 1.0}
    expected = toy.derivative(toy.unrolled, problem, RefinementSettings(**rates))
    actual = toy.derivative(refine, problem, RefinementSettings(**rates, product="authors"))
    assert toy.relative_error(actual[1:3], expected[1:3]) > 0.5
    monkeypatch.setattr(products_module, "AUTHORS_STEP", 1e-3)
    with_other_step = toy.derivative(refine, problem, RefinementSettings(**rates, product="authors"))
    assert toy.relative_error(with_other_step[1:3], actual[1:3]) < 0.1


@pytest.mark.parametrize(
    ("operation", "named"), [(tf.nn.softsign, "SoftsignGrad"), (tf.recompute_grad(lambda x: x**2), "recompute_grad")]
)
def test_a_bound_without_second_derivative_is_refused(operation, named):
    def bound(posterior):
        return tf.reduce_sum(operation(posterior.mean), -1)

    at = Posterior(tf.ones([2, 3]), tf.ones([2, 3]))

    @tf.function(autograph=False)
    def product():
        return exact(bound, at, at, tf.zeros([2]), [])

    with pytest.raises(LookupError, match=f"no second derivative .*{named}.* expected product='finite_difference'"):
        product()

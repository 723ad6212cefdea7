"""What a context may hold."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from sa_vae_tf.inference import Posterior, RefinementSettings, draw, negative_elbo, refine
from sa_vae_tf.inference.context import take_apart
from tests.inference import toy


@dataclasses.dataclass
class Features:
    values: tf.Tensor


def test_floats_are_found_and_put_back():
    nest = {"a": (tf.constant([1.0]), tf.constant([1])), "b": [None, "name", 3, np.ones(2), tf.constant(2.0)]}
    parts = take_apart(nest)
    assert [float(tf.reduce_sum(x)) for x in parts.floats] == [1.0, 2.0]
    again = parts.with_floats([tf.constant([5.0]), tf.constant(6.0)])
    assert float(again["a"][0][0]) == 5.0
    assert float(again["b"][4]) == 6.0
    assert again["b"][:3] == [None, "name", 3]


@pytest.mark.parametrize(
    "leaf",
    [tf.Variable(1.0), keras.Variable(1.0), tf.ragged.constant([[1], [2, 3]]), np.float32(1), True, b"x", tf.float32],
    ids=lambda leaf: type(leaf).__name__,
)
def test_what_it_may_hold(leaf):
    take_apart([leaf])


@pytest.mark.parametrize(
    "leaf",
    [
        Features(tf.constant([1.0])),
        tf.ragged.constant([[1.0], [2.0, 3.0]]),
        tf.sparse.from_dense([[1.0, 0.0]]),
        np.array([tf.constant(1.0)], object),
        tfp.distributions.Normal(tf.constant(1.0), 1.0),
        lambda: tf.constant(1.0),
    ],
    ids=lambda leaf: type(leaf).__name__,
)
def test_what_would_lose_derivatives_is_refused(leaf):
    with pytest.raises(TypeError, match=f"^context holds a {type(leaf).__name__}, where derivatives .* would be lost"):
        take_apart({"a": leaf})


def test_complex_tensors_are_refused():
    with pytest.raises(TypeError, match="context holds a complex tensor"):
        take_apart([tf.constant(1 + 2j)])


def test_a_distribution_that_looks_up_what_it_computed_of_the_context():
    """TensorFlow Probability keeps what a bijector gave for a tensor, which another loop cannot read."""
    problem = toy.make(2)
    rng = np.random.default_rng(1)
    kernel = tf.Variable(rng.normal(size=[3, 2]))
    data = tf.constant(rng.uniform(0.1, 0.9, [6, 2]))

    def likelihood(z, context, seed):
        return -tfp.distributions.Independent(tfp.distributions.LogitNormal(tf.tanh(z @ kernel), 1.0), 1).log_prob(
            context
        )

    bound = negative_elbo(likelihood)
    step_draws, final_draw = draw(problem.initial, 2, tf.constant([1, 2]))

    def derivative():
        with tf.GradientTape() as tape:
            refined = refine(bound, problem.initial, data, step_draws, RefinementSettings()).posterior
            value = tf.reduce_sum(bound(refined, data, final_draw))
        return tape.gradient(value, kernel)

    np.testing.assert_allclose(tf.function(derivative)(), derivative(), rtol=1e-10)


def test_posteriors_that_are_refused():
    def asked(initial):
        return refine(lambda posterior, context, draw: posterior.kl(), initial, None, tf.zeros([1]))

    with pytest.raises(
        TypeError, match="initial: expected a Posterior, its mean and its log variance, got EagerTensor"
    ):
        asked(tf.zeros([2, 3]))
    for shapes in ([4, 5, 3], [4, 5, 3]), ([4, 3], [1, 3]), ([3], [3]):
        with pytest.raises(ValueError, match=r"initial of shapes .*: expected \[batch, latent\], the same for both"):
            asked(Posterior(*(tf.zeros(shape) for shape in shapes)))


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        (lambda posterior: tf.reduce_mean(posterior.kl()), r"float32 \(\): expected float32 \[batch\]"),
        (lambda posterior: tf.reduce_mean(posterior.kl(), keepdims=True), r"float32 \(1,\): expected"),
        (lambda posterior: posterior.kl()[:, None], r"float32 \(4, 1\): expected"),
        (lambda posterior: tf.cast(posterior.kl(), tf.float64), r"float64 \(4,\): expected float32"),
        (lambda posterior: 1.0, r"a float: expected a tensor \[batch\]"),
    ],
)
def test_bounds_that_are_refused(bound, message):
    initial = Posterior(tf.zeros([4, 3]), tf.zeros([4, 3]))
    with pytest.raises(ValueError, match=f"^bound returned {message}"):
        refine(lambda posterior, context, draw: bound(posterior), initial, None, tf.zeros([2]))

"""The check of a derivative finds what is wrong with it, and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import Posterior, RefinementSettings, check_derivative, draw, negative_elbo, refine
from tests.inference import toy

LATENT, PIXELS = 2, 9


class Model:
    """A small VAE of whatever hidden layer is asked for, with one weight that scales its hidden units."""

    def __init__(self, layer=None, dtype="float64"):
        rng = np.random.default_rng(1)

        def weights(name, *shape):
            return tf.Variable(0.5 * rng.normal(size=shape), dtype=dtype, name=name)

        self.x = tf.constant(rng.integers(0, 2, [4, PIXELS]), dtype)
        self.encoder = weights("encoder", PIXELS, 2 * LATENT)
        self.hidden, self.output = weights("hidden", LATENT, 16), weights("output", 16, PIXELS)
        self.scale = weights("scale", 1)
        self.layer = layer or (lambda hidden, seed: tf.tanh(hidden))
        self.variables = [self.encoder, self.hidden, self.output, self.scale]

    def loss(self, closes_over=False, **settings):
        scale = tf.exp(self.scale)

        def likelihood(z, context, seed):
            x, given = context
            hidden = self.layer(z @ self.hidden, seed) * (scale if given is None else given)
            logits = hidden @ self.output
            return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), -1)

        bound = negative_elbo(likelihood)
        initial = Posterior(*tf.split(self.x @ self.encoder, 2, -1))
        step_draws, final_draw = draw(initial, steps=3)
        context = (self.x, None if closes_over else scale)
        refined = refine(bound, initial, context, step_draws, RefinementSettings(0.1, 0.1, **settings)).posterior
        return tf.reduce_mean(bound(refined, context, final_draw))


def test_a_derivative_that_is_exact():
    model = Model()
    before = [variable.numpy() for variable in model.variables]
    # The error is that of the differences, over 1e-4 of a variable's length.
    assert check_derivative(model.loss, model.variables) < 1e-5
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_a_variable_without_numbers():
    variable = tf.Variable([1.0, 2.0])
    assert check_derivative(lambda: tf.reduce_sum(variable**2), [variable, tf.Variable(tf.zeros([0, 3]))]) < 1e-3


def test_a_variable_that_is_a_number():
    variable = tf.Variable(2.0, name="number")
    assert check_derivative(lambda: variable**3, [variable]) < 1e-3
    with pytest.raises(ValueError, match=r"^number:0 of shape \(\)"):
        check_derivative(lambda: tf.stop_gradient(variable) * variable, [variable])


def test_float32():
    model = Model(dtype="float32")
    assert check_derivative(model.loss, model.variables) < 0.1


@pytest.mark.parametrize("settings", [{"reverse_steps": 1}, {"product_clip_norm": 1e-3}], ids=str)
def test_settings_that_leave_out_some_of_it(settings):
    model = Model()
    with pytest.raises(ValueError, match=r"^encoder:0 of shape"):
        check_derivative(lambda: model.loss(**settings), model.variables)


def test_the_refinement_of_the_tests():
    problem = toy.make(3, dropout_rate=0.2)

    def loss():
        context = problem.decoder.prepare(problem.tokens)
        refined = refine(problem.bound, problem.initial, context, problem.step_draws, RefinementSettings(**toy.RATES))
        return tf.reduce_sum(problem.bound(refined.posterior, context, problem.final_draw))

    assert check_derivative(loss, problem.variables) < 1e-5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tensor_that_is_closed_over(seed, dtype):
    model = Model(dtype=dtype)
    with pytest.raises(ValueError, match=r"^scale:0 of shape \(1,\): its derivative"):
        check_derivative(lambda: model.loss(closes_over=True), model.variables, seed)
    # Of the others nothing is lost.
    check_derivative(lambda: model.loss(closes_over=True), model.variables[:-1])


def test_masks_of_keras():
    dropout = keras.layers.Dropout(0.5, seed=1, dtype="float64")
    model = Model(lambda hidden, seed: dropout(hidden, training=True))
    with pytest.raises(ValueError, match=r"^loss: two runs with one seed gave .* Dropout"):
        check_derivative(model.loss, model.variables)


def test_masks_of_tensorflows_generator():
    """Two runs of the loss are the same, but the reverse pass draws others."""
    model = Model(lambda hidden, seed: tf.nn.dropout(hidden, 0.5))
    with pytest.raises(ValueError, match="^encoder:0 of shape"):
        check_derivative(model.loss, model.variables)


def test_masks_of_the_draws():
    model = Model(lambda hidden, seed: tf.nn.experimental.stateless_dropout(hidden, 0.5, seed))
    assert check_derivative(model.loss, model.variables) < 1e-5


def test_a_wrong_second_derivative():
    model = Model(lambda hidden, seed: _wrong(hidden))
    with pytest.raises(ValueError, match="^encoder:0 of shape"):
        check_derivative(model.loss, model.variables)


@tf.custom_gradient
def _wrong(x):
    y = tf.tanh(x)
    return y, lambda cotangent: cotangent * tf.stop_gradient(1 - y * y)


def test_arguments_that_are_refused():
    variable = tf.Variable(1.0)
    with pytest.raises(TypeError, match="^loss: expected a function without arguments, got EagerTensor"):
        check_derivative(variable * 2, [variable])
    with pytest.raises(TypeError, match="^variables: expected a list, got ResourceVariable"):
        check_derivative(lambda: variable * 2, variable)


def test_a_small_part_that_is_closed_over():
    """A shift of the logits, of which little goes through the refinement: in float64 it is found."""
    model = Model()
    shift = tf.Variable(0.01 * np.random.default_rng(2).normal(size=[PIXELS]), name="shift")

    def loss():
        learned = tf.identity(shift)

        def likelihood(z, x, seed):
            logits = tf.tanh(z @ model.hidden) @ model.output + learned
            return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), -1)

        initial = Posterior(*tf.split(model.x @ model.encoder, 2, -1))
        step_draws, final_draw = draw(initial, steps=3)
        bound = negative_elbo(likelihood)
        refined = refine(bound, initial, model.x, step_draws, RefinementSettings(0.01, 0.01)).posterior
        return tf.reduce_mean(bound(refined, model.x, final_draw))

    with pytest.raises(ValueError, match=r"^shift:0 of shape \(9,\): its derivative"):
        check_derivative(loss, [shift])


def test_relu():
    """Its kinks are met by few differences in float64."""
    model = Model(lambda hidden, seed: tf.nn.relu(hidden))
    assert check_derivative(model.loss, model.variables) < 1e-5


def test_a_variable_that_the_loss_does_not_depend_on():
    """Beside others it is right to the last bit, alone there is nothing to compare."""
    used, unused = (tf.Variable([1.0, 2.0], dtype=tf.float64, name=name) for name in ("used", "unused"))

    def loss():
        # What it adds is nothing but rounding, as of the keys' bias of an attention.
        return tf.reduce_sum(used**2) + tf.reduce_sum(tf.nn.softmax(unused + tf.constant([0.1, 0.7], tf.float64)))

    assert check_derivative(loss, [used, unused]) < 1e-5
    with pytest.raises(ValueError, match=r"^unused:0 of shape \(2,\): the loss depends on neither it nor the others"):
        check_derivative(loss, [unused])


def test_differences_that_are_too_rough():
    """A loss with jumps, as of rounded numbers."""
    variable = tf.Variable([1.0, 2.0], dtype=tf.float64, name="rough")

    def loss():
        return tf.reduce_sum(variable**2 + 1e-3 * tf.stop_gradient(tf.sin(1e9 * variable)))

    with pytest.raises(ValueError, match=r"^rough:0 of shape \(2,\): finite differences of the loss tell"):
        check_derivative(loss, [variable])


@pytest.mark.parametrize(
    "loss",
    [lambda: tf.zeros([2]), lambda: tf.constant(1), lambda: tf.constant(float("nan"))],
    ids=["vector", "integer", "nan"],
)
def test_losses_that_are_refused(loss):
    with pytest.raises(ValueError, match=r"^loss returned .*: expected a finite scalar, float32 or float64"):
        check_derivative(loss, [])


def test_variables_of_keras_are_named_by_their_path():
    layer = keras.layers.Dense(3, name="own")
    layer.build([None, 2])
    x = tf.ones([4, 2])
    with pytest.raises(ValueError, match=r"^own/kernel of shape \(2, 3\)"):
        check_derivative(lambda: tf.reduce_sum(tf.stop_gradient(layer(x)) + layer.bias), layer.trainable_variables)


def test_variables_are_put_back_where_the_loss_fails():
    variable, runs = tf.Variable([1.0, 2.0]), []

    def loss():
        runs.append(1)
        if len(runs) > 2:
            raise RuntimeError("no more")
        return tf.reduce_sum(variable**2)

    with pytest.raises(RuntimeError, match="no more"):
        check_derivative(loss, [variable])
    np.testing.assert_array_equal(variable.numpy(), [1.0, 2.0])

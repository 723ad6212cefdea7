"""Operations whose second derivative was mended, and decoders of them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.inference import Posterior, RefinementSettings, draw, negative_elbo, refine

# TensorFlow's own.
_moments, _resize = tf.nn.moments.__wrapped__, tf.image.resize.__wrapped__
_cross_entropy = tf.nn.softmax_cross_entropy_with_logits.__wrapped__

# Under whose names TensorFlow is known.
NAMES = {"tf": tf, "compat.v1": tf.compat.v1, "compat.v2": tf.compat.v2}


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.float16])
@pytest.mark.parametrize(
    "arguments", [{"axes": [1]}, {"axes": [0, 1], "keepdims": True}, {"axes": -1, "shift": 2.0}], ids=str
)
def test_values_and_first_derivatives_are_tensorflows_to_the_bit(arguments, dtype):
    x = tf.constant(3 + np.random.default_rng(1).normal(size=[4, 5]), dtype)

    def found(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            mean, variance = function(x, **arguments)
            value = tf.reduce_sum(tf.sin(mean) * tf.exp(variance))
        return mean, variance, tape.gradient(value, x)

    for ours, theirs in zip(found(tf.nn.moments), found(_moments), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_are_those_of_a_variance(name):
    moments = NAMES[name].nn.moments
    x = tf.constant(np.random.default_rng(1).normal(size=[6]))

    def second(variance_of):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.exp(variance_of(x))
            first = inner.gradient(value, x)
        return outer.jacobian(first, x)

    expected = second(lambda x: tf.reduce_mean(x * x) - tf.reduce_mean(x) ** 2)
    np.testing.assert_allclose(second(lambda x: moments(x, [0])[1]), expected, rtol=1e-12)
    assert np.max(np.abs(second(lambda x: _moments(x, [0])[1]) - expected)) > 0.05  # What there is to mend.


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.float16, tf.uint8])
@pytest.mark.parametrize("method", ["bilinear", "bicubic", "nearest", "area"])
def test_resized_images_and_first_derivatives_are_tensorflows_to_the_bit(method, dtype):
    x = tf.cast(9 * np.random.default_rng(1).random([2, 3, 4, 2]), dtype)

    def found(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            resized = function(x, [5, 6], method)
            value = tf.reduce_sum(tf.sin(tf.cast(resized, tf.float32)))
        differentiable = dtype.is_floating and method != "area" and (method, dtype) != ("bicubic", tf.float16)
        return [resized, *([tape.gradient(value, x)] if differentiable else [])]

    for ours, theirs in zip(found(tf.image.resize), found(_resize), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


METHODS = ("bilinear", "bicubic", "lanczos3")
RESIZED = {
    **{method: lambda x, method=method: tf.image.resize(x, [4, 4], method) for method in METHODS},
    "with pad": lambda x: tf.image.resize_with_pad(x, 4, 4),
    "compat.v2": lambda x: tf.compat.v2.image.resize(x, [4, 4]),
    "compat.v1": lambda x: tf.compat.v1.image.resize(x, [4, 4]),
    "compat.v1, bilinear": lambda x: tf.compat.v1.image.resize_bilinear(x, [4, 4]),
    "compat.v1, bicubic": lambda x: tf.compat.v1.image.resize_bicubic(x, [4, 4]),
    "compat.v1, images": lambda x: tf.compat.v1.image.resize_images(x, [4, 4]),
}


@pytest.mark.parametrize("resized", RESIZED.values(), ids=RESIZED)
@pytest.mark.parametrize("where", ["eager", "graph", "called function"])
def test_second_derivatives_of_resized_images(resized, where):
    x = tf.constant(np.random.default_rng(1).random([1, 2, 3, 1]), tf.float32)
    resize = resized
    if where == "called function":
        resize = tf.function(resize)

    def second(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.reduce_sum(tf.sin(resize(x)))
            pairing = tf.reduce_sum(inner.gradient(value, x) * direction)
        return outer.gradient(pairing, x)

    # Of the same linear map as a matrix.
    rows = tf.reshape(tf.eye(6), [6, 2, 3, 1])
    matrix = tf.reshape(resized(rows), [6, 16])
    direction = tf.constant(np.random.default_rng(2).normal(size=[1, 2, 3, 1]), tf.float32)
    flat, flat_direction = tf.reshape(x, [1, 6]), tf.reshape(direction, [1, 6])
    expected = (-tf.sin(flat @ matrix) * (flat_direction @ matrix)) @ tf.transpose(matrix)
    actual = (second if where == "eager" else tf.function(second))(x)
    np.testing.assert_allclose(tf.reshape(actual, [1, 6]), expected, rtol=1e-4, atol=1e-5)  # Sums of 16 in float32.


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64, tf.float16, tf.bfloat16])
def test_cross_entropies_and_first_derivatives_are_tensorflows_to_the_bit(dtype, axis):
    rng = np.random.default_rng(1)
    labels, logits = tf.constant(rng.dirichlet([1] * 5, 4), dtype), tf.constant(5 * rng.normal(size=[4, 5]), dtype)

    def found(function):
        with tf.GradientTape() as tape:
            tape.watch([labels, logits])
            entropy = function(labels=labels, logits=logits, axis=axis)
            value = tf.reduce_sum(tf.sin(entropy))
        return [entropy, *tape.gradient(value, [labels, logits])]

    for ours, theirs in zip(found(tf.nn.softmax_cross_entropy_with_logits), found(_cross_entropy), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    own = tf.nn.softmax_cross_entropy_with_logits(labels.numpy(), logits, axis)
    np.testing.assert_array_equal(own, _cross_entropy(labels, logits, axis))


def mixed(cross_entropy):
    """Returns the derivative, to labels and logits, of that of a cross-entropy to both along a direction."""
    rng = np.random.default_rng(1)
    at = [tf.constant(rng.dirichlet([1] * 5, 4)), tf.constant(rng.normal(size=[4, 5]))]
    directions = [tf.constant(rng.normal(size=[4, 5])) for _ in at]
    with tf.GradientTape() as outer:
        outer.watch(at)
        with tf.GradientTape() as inner:
            inner.watch(at)
            value = tf.reduce_sum(tf.sin(cross_entropy(*at)))
        pairs = zip(inner.gradient(value, at), directions, strict=True)
        pairing = tf.add_n([tf.reduce_sum(gradient * direction) for gradient, direction in pairs])
    return outer.gradient(pairing, at)


@pytest.mark.parametrize(
    "cross_entropy",
    [
        tf.nn.softmax_cross_entropy_with_logits,
        tf.compat.v2.nn.softmax_cross_entropy_with_logits,
        lambda labels, logits: keras.losses.categorical_crossentropy(labels, logits, from_logits=True),
    ],
    ids=["tf", "compat.v2", "Keras"],
)
def test_second_derivatives_to_labels_and_logits(cross_entropy):
    expected = mixed(lambda labels, logits: -tf.reduce_sum(labels * tf.nn.log_softmax(logits), -1))
    for ours, plain in zip(mixed(cross_entropy), expected, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-14)
    assert np.max(np.abs(mixed(_cross_entropy)[0] - expected[0])) > 0.05  # What there is to mend.


@pytest.mark.parametrize("variable", [tf.Variable, keras.Variable])
def test_a_variable_is_resized(variable):
    image = variable(np.ones([1, 2, 3, 1], np.float32))
    source = image if isinstance(image, tf.Variable) else image.value

    def derivative(resize):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(resize(image, [4, 4]) ** 2)
        return tape.gradient(value, source)

    np.testing.assert_array_equal(derivative(tf.image.resize), derivative(_resize))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "layer", [keras.layers.LayerNormalization, lambda **options: keras.layers.GroupNormalization(4, **options)]
)
def test_the_exact_product_through_a_layer_that_normalises(layer, compiled):
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(2)
    pixels = tf.constant(rng.integers(0, 2, [4, 6]), tf.float64)
    initial = Posterior(tf.constant(rng.normal(size=[4, 3])), tf.constant(rng.normal(size=[4, 3]) - 1))
    step_draws, final_draw = draw(initial, 3, tf.constant([1, 2]))
    direction = tf.constant(rng.normal(size=[4, 3]))
    decoder = keras.Sequential(
        [
            keras.Input((3,), dtype="float64"),
            keras.layers.Dense(8, dtype="float64"),
            layer(dtype="float64"),
            keras.layers.Dense(6, "tanh", dtype="float64"),
        ]
    )
    for variable, scale in zip(decoder.trainable_variables, [1, 1, 0, 0, 1, 1], strict=True):
        variable.assign_add(scale * 0.3 * rng.normal(size=variable.shape))

    def likelihood(z, pixels, seed):
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=pixels, logits=decoder(z)), -1)

    bound = negative_elbo(likelihood)

    def loss(shift):
        start = initial._replace(mean=initial.mean + shift * direction)
        settings = RefinementSettings(step_size_mean=0.05, step_size_log_variance=0.05)
        return tf.reduce_sum(bound(refine(bound, start, pixels, step_draws, settings).posterior, pixels, final_draw))

    @tf.function(jit_compile=compiled)
    def derivative(shift):
        with tf.GradientTape() as tape:
            tape.watch(shift)
            value = loss(shift)
        return tape.gradient(value, shift)

    step = 1e-5
    expected = (loss(step) - loss(-step)) / (2 * step)
    # The latter has lost ten digits of sixteen.
    np.testing.assert_allclose(derivative(tf.constant(0.0, tf.float64)), expected, rtol=1e-7)

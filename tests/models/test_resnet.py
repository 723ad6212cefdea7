"""The residual encoder of images, and its batch normalisation in training, refinement and evaluation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import RefinementSettings
from sa_vae_tf.inference.posterior import MAX_LOG_VARIANCE
from sa_vae_tf.models.pixelcnn import PixelCNNDecoder
from sa_vae_tf.models.resnet import ResNetEncoder, squares
from sa_vae_tf.training.model import LatentVariableModel

HEIGHT, WIDTH, LATENT, CHANNELS = 9, 6, 3, (4, 5)
rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 2, [7, HEIGHT, WIDTH, 1]).astype(np.uint8)


def make(dtype="float64", seed=0) -> ResNetEncoder:
    return ResNetEncoder(HEIGHT, WIDTH, LATENT, CHANNELS, seed=seed, dtype=dtype)


def statistics(encoder: ResNetEncoder) -> dict[str, np.ndarray]:
    """Returns the running averages of batch normalisation."""
    averages = {v.path: v.numpy() for v in encoder.non_trainable_variables if "moving" in v.name}
    assert len(averages) == 2 * 2 * len(CHANNELS)
    return averages


def assert_equal(first: dict[str, np.ndarray], second: dict[str, np.ndarray], tolerance: float = 0.0) -> None:
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=tolerance, atol=tolerance, err_msg=name)


def convolve_in_numpy(maps, kernel, stride):
    """Convolves with zeros around for 3x3, and without for 2x2 with stride 2."""
    size = kernel.shape[0]
    if size == 3:
        maps = np.pad(maps, [(0, 0), (1, 1), (1, 1), (0, 0)])
    rows, columns = ((n - size) // stride + 1 for n in maps.shape[1:3])
    result = np.zeros([len(maps), rows, columns, kernel.shape[-1]])
    for r in range(rows):
        for c in range(columns):
            seen = maps[:, r * stride : r * stride + size, c * stride : c * stride + size]
            result[:, r, c] = np.einsum("brci,rcio->bo", seen, kernel)
    return result


def posterior_in_numpy(encoder: ResNetEncoder, images: np.ndarray, training: bool):
    def affine(layer, maps):
        return maps @ layer.kernel.numpy() + layer.bias.numpy()

    def normalised(layer, maps):
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        if training:
            mean, variance = maps.mean((0, 1, 2)), maps.var((0, 1, 2))
        return (maps - mean) / np.sqrt(variance + 1e-5) * layer.gamma.numpy() + layer.beta.numpy()

    maps = images.astype(float)
    for block in encoder.blocks:
        change = convolve_in_numpy(maps, block["first"].kernel.numpy(), 1) + block["first"].bias.numpy()
        change = np.maximum(normalised(block["first_norm"], change), 0)
        change = convolve_in_numpy(change, block["second"].kernel.numpy(), 1) + block["second"].bias.numpy()
        kept = affine(block["project"], maps) if "project" in block else maps
        maps = np.maximum(kept + normalised(block["second_norm"], change), 0)
        kernel = block["halve"].kernel.numpy().reshape(2, 2, maps.shape[-1], -1)
        maps = convolve_in_numpy(maps, kernel, 2) + block["halve"].bias.numpy()
    flat = maps.reshape(len(maps), -1)
    return affine(encoder.mean, flat), affine(encoder.log_variance, flat)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("channels", [(4, 5), (1, 3, 3)])  # The second has blocks without a projection.
def test_is_the_one_in_numpy(channels, training):
    encoder = ResNetEncoder(HEIGHT, WIDTH + 3, LATENT, channels, dtype="float64")
    for variable in encoder.weights:
        variable.assign(variable + rng.uniform(-0.2, 0.2, variable.shape))
    images = rng.integers(0, 2, [4, HEIGHT, WIDTH + 3, 1])
    expected = posterior_in_numpy(encoder, images, training)
    for actual, part in zip(encoder(images, training=training), expected, strict=True):
        # Two orders of summation in float64.
        np.testing.assert_allclose(actual, part, rtol=1e-10, atol=1e-10)


def test_squares_lie_in_the_order_of_a_convolution_of_stride_two():
    maps, kernel = rng.normal(size=[2, 5, 7, 3]), rng.normal(size=[2, 2, 3, 4])
    expected = tf.nn.conv2d(maps, kernel, 2, "VALID")
    actual = tf.tensordot(squares(tf.constant(maps)), tf.reshape(kernel, [12, 4]), 1)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_evaluation_does_not_depend_on_the_batch_nor_change_anything():
    encoder = make()
    encoder(IMAGES, training=True)
    before = statistics(encoder)
    together = encoder(IMAGES)
    for k in range(len(IMAGES)):
        for part, alone in zip(together, encoder(IMAGES[k : k + 1]), strict=True):
            np.testing.assert_allclose(part[k], alone[0], rtol=1e-12, atol=1e-12)
    assert_equal(before, statistics(encoder))
    # In training it does depend on the batch.
    assert np.all(np.abs(encoder(IMAGES[:3], training=True).mean - together.mean[:3]) > 1e-6)


def test_training_moves_the_running_averages_by_a_tenth():
    encoder = make()
    images = tf.cast(IMAGES, tf.float64)
    first = encoder.blocks[0]["first"](images).numpy()
    encoder(images, training=True)
    norm = encoder.blocks[0]["first_norm"]
    np.testing.assert_allclose(norm.moving_mean, 0.1 * first.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * first.var((0, 1, 2)), rtol=1e-12)


@pytest.mark.parametrize("product", ["exact", "authors"])
def test_refinement_never_disturbs_batch_normalisation(product):
    encoder, once = make("float32"), make("float32")
    once(IMAGES, training=True)
    decoder = PixelCNNDecoder(HEIGHT, WIDTH, LATENT, (3,), 2, 1)
    settings = RefinementSettings(0.1, 0.1, clip_norm=5.0, clip_scope="batch", product=product)
    model = LatentVariableModel(encoder, decoder, "sa_vae", LATENT, settings, steps=3)
    model.compile(optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    batch = {"x": tf.constant(IMAGES), "index": tf.range(len(IMAGES), dtype=tf.int64)}
    model.train_step(batch)
    # As after a single call of the encoder: its weights moved after that, its averages did not. Rounding in float32.
    assert_equal(statistics(encoder), statistics(once), 1e-6)
    before = statistics(encoder)
    model.test_step(batch)
    assert_equal(statistics(encoder), before)


def test_log_variance_is_held():
    encoder = make()
    encoder.log_variance.bias.assign([100.0] * LATENT)
    np.testing.assert_array_equal(encoder(IMAGES).log_variance, MAX_LOG_VARIANCE)


def test_compiled_gradients():
    encoder = make()

    def value_and_gradients(images):
        with tf.GradientTape() as tape:
            posterior = encoder(images, training=True)
            value = tf.reduce_sum(tf.sin(posterior.mean) + posterior.log_variance**2)
        return value, tape.gradient(value, [variable.value for variable in encoder.trainable_variables])

    expected = value_and_gradients(tf.constant(IMAGES))
    actual = tf.function(value_and_gradients, autograph=False, jit_compile=True)(tf.constant(IMAGES))
    for a, e in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-10)


def test_initial_weights_are_of_the_seed():
    first, same, other = make(seed=1), make(seed=1), make(seed=2)
    for variable, again, another in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(variable, again)
        if variable.name in ("kernel", "bias"):
            assert np.any(variable.numpy() != another.numpy())
    # One over the root of the number of inputs, and twice the variance before mean and log variance.
    assert 0.97 / 6 < np.max(np.abs(first.blocks[0]["second"].kernel)) <= 1 / 6
    size = (HEIGHT // 4) * (WIDTH // 4) * CHANNELS[-1]
    for layer in (first.mean, first.log_variance):
        assert 0.8 * (6 / size) ** 0.5 < np.max(np.abs(layer.kernel)) <= (6 / size) ** 0.5
        assert np.max(np.abs(layer.bias)) <= 1 / size**0.5


def test_the_blocks_of_the_paper_are_the_default():
    assert [block["second"].filters for block in ResNetEncoder(28, 28, 2).blocks] == [64, 64, 64]


def test_too_small_images():
    with pytest.raises(UserError, match="images of 28x7: too small to be halved by 3 blocks"):
        ResNetEncoder(28, 7, LATENT)

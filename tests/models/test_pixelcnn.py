"""The Gated PixelCNN decoder, whole and pixel by pixel."""

import functools
import itertools
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import Draw, Posterior, RefinementSettings, negative_elbo, refine
from sa_vae_tf.models.pixelcnn import PixelCNNDecoder
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.training.build import build_model
from sa_vae_tf.training.step import draws, figures_and_gradients
from tests import images
from tests.inference.toy import relative_error
from tests.models import numpy_lstm

BATCH, HEIGHT, WIDTH, LATENT, CHANNELS, MAPS = 3, 4, 5, 2, 3, 2
KERNEL_SIZES = (5, 3)
rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 2, [BATCH, HEIGHT, WIDTH, 1]).astype(np.uint8)
Z = tf.constant(rng.normal(size=[BATCH, LATENT]))
SEED = tf.constant([3, 4])
# Two orders of summation in float64, in sums of order ten.
CLOSE: dict[str, Any] = {"rtol": 1e-12, "atol": 1e-12}
BOTH_SHIFTS = pytest.mark.parametrize("shift_every_layer", [False, True])
WITH_AND_WITHOUT_Z = pytest.mark.parametrize("latent", [LATENT, 0])


def make(latent=LATENT, size=(HEIGHT, WIDTH), kernel_sizes=KERNEL_SIZES, dtype="float64", **options) -> PixelCNNDecoder:
    """Returns a decoder with weights of order one."""
    decoder = PixelCNNDecoder(*size, latent, kernel_sizes, CHANNELS, MAPS, dtype=dtype, **options)
    generator = np.random.default_rng(1)
    for variable in decoder.weights:
        variable.assign(generator.normal(scale=0.7, size=variable.shape))
    return decoder


def likelihood(decoder: PixelCNNDecoder, images, z) -> np.ndarray:
    return decoder.negative_log_likelihood(z, decoder.prepare(tf.constant(images))).numpy()


def log_odds_in_numpy(decoder: PixelCNNDecoder, image: np.ndarray, z: np.ndarray | None) -> np.ndarray:
    """Goes from pixel to pixel of one image, [height, width], and adds up what its kernels reach."""
    w = numpy_lstm.weights(decoder)
    height, width = image.shape
    maps = image[..., None].astype(float)
    if z is not None:
        latent = (z @ w["latent_kernel"] + w["latent_bias"]).reshape(height, width, -1)
        maps = np.concatenate([maps, latent], -1)

    def convolve(maps, kernel, row, column):
        """Sums over the kernel with its last row and the column `kernel.shape[1] // 2`, or the last, at the place."""
        rows, columns = kernel.shape[:2]
        centre = columns // 2 if rows > 1 or columns == 1 else columns - 1
        total = np.zeros(kernel.shape[-1])
        for r, c in itertools.product(range(rows), range(columns)):
            at = row + r - rows + 1, column + c - centre
            if at[0] >= 0 and 0 <= at[1] < width:
                total += maps[at] @ kernel[r, c]
        return total

    def gate(arguments):
        values, gates = np.split(arguments, 2)
        return np.tanh(values) / (1 + np.exp(-gates))

    vertical_maps = horizontal_maps = maps
    for k in range(len(decoder.gated_layers)):
        layer = {name.removeprefix(f"layer_{k}_"): v for name, v in w.items() if name.startswith(f"layer_{k}_")}
        shifted = k == 0 or decoder.shift_every_layer
        next_vertical, next_horizontal = (np.zeros([height, width, CHANNELS]) for _ in range(2))
        for row, column in itertools.product(range(height), range(width)):
            vertical = np.zeros(2 * CHANNELS)
            if row or not shifted:
                vertical = layer["vertical_bias"] + convolve(
                    vertical_maps, layer["vertical_kernel"], row - shifted, column
                )
            horizontal = np.zeros(2 * CHANNELS)
            if column or k:
                horizontal = layer["horizontal_bias"] + convolve(
                    horizontal_maps, layer["horizontal_kernel"], row, column - (k == 0)
                )
            next_vertical[row, column] = gate(vertical)
            horizontal += vertical @ layer["across_kernel"] + layer["across_bias"]
            result = gate(horizontal) @ layer["output_kernel"] + layer["output_bias"]
            next_horizontal[row, column] = result + (horizontal_maps[row, column] if k else 0)
        vertical_maps, horizontal_maps = next_vertical, next_horizontal
    return (horizontal_maps @ w["output_kernel"] + w["output_bias"])[..., 0]


@BOTH_SHIFTS
@WITH_AND_WITHOUT_Z
def test_is_the_one_in_numpy(latent, shift_every_layer):
    decoder = make(latent, kernel_sizes=(5, 3, 3), shift_every_layer=shift_every_layer)
    z = Z if latent else None
    actual = decoder.log_odds(z, decoder.prepare(IMAGES))
    for k in range(BATCH):
        expected = log_odds_in_numpy(decoder, IMAGES[k, ..., 0], Z[k].numpy() if latent else None)
        np.testing.assert_allclose(actual[k], expected, **CLOSE)
    on = 1 / (1 + np.exp(-actual.numpy()))
    log_probability = np.log(np.where(IMAGES[..., 0], on, 1 - on))
    np.testing.assert_allclose(likelihood(decoder, IMAGES, z), -log_probability.sum((1, 2)), **CLOSE)


def receptive_field(kernel_sizes, height, width, shift_every_layer) -> np.ndarray:
    """Returns which pixel, last two axes, is read by which, first two, found by walking back through the layers."""
    field = np.zeros([height, width] * 2, bool)
    deepest = len(kernel_sizes) - 1
    for row, column in itertools.product(range(height), range(width)):
        # (stack, layer, row, column): the place in that layer's result in that stack.
        open_, seen = [("horizontal", deepest, row, column)], set()
        while open_:
            stack, layer, r, c = place = open_.pop()
            if not (r >= 0 and 0 <= c < width) or place in seen:
                continue
            seen.add(place)
            if layer < 0:
                field[row, column, r, c] = True
                continue
            reach, shifted = kernel_sizes[layer] // 2, layer == 0 or shift_every_layer
            if stack == "horizontal":
                open_ += [("horizontal", layer - 1, r, c - (layer == 0) - k) for k in range(reach + 1)]
            # The gates' arguments in the vertical stack are read by the horizontal stack of the same layer.
            if r or not shifted:
                sideways = range(-reach, reach + 1)
                open_ += [("vertical", layer - 1, r - shifted - up, c + k) for up in range(reach + 1) for k in sideways]
    return field


@BOTH_SHIFTS
@pytest.mark.parametrize(
    ("kernel_sizes", "size"),
    [((3,), (4, 5)), ((1, 3), (3, 4)), ((5, 3), (6, 6)), ((3, 3, 3), (7, 5)), ((3, 5, 1, 3), (5, 8)), ((7,), (1, 6))],
)
def test_a_pixel_depends_on_those_before_it_in_reach_and_no_others(kernel_sizes, size, shift_every_layer):
    height, width = size
    decoder = make(size=size, kernel_sizes=kernel_sizes, shift_every_layer=shift_every_layer)
    pixels = height * width
    # A copy of the image for each pixel whose log odds are differentiated.
    images = tf.repeat(tf.constant(rng.uniform(size=[1, height, width, 1])), pixels, 0)
    with tf.GradientTape() as tape:
        tape.watch(images)
        log_odds = decoder.log_odds(tf.repeat(Z[:1], pixels, 0), decoder.prepare(images))
        own = tf.linalg.trace(tf.reshape(log_odds, [pixels, pixels]))
    jacobian = tape.gradient(own, images).numpy().reshape(*size, *size)
    order = np.arange(pixels).reshape(size)
    earlier = order[:, :, None, None] > order
    np.testing.assert_array_equal(jacobian[~earlier], 0.0)
    expected = receptive_field(kernel_sizes, height, width, shift_every_layer)
    np.testing.assert_array_equal(jacobian != 0, expected)
    assert not np.any(expected & ~earlier)


@BOTH_SHIFTS
@pytest.mark.parametrize("kernels", ["fused", "hybrid", "bfloat16"])
def test_no_bit_of_a_later_pixel_reaches_an_earlier_one(kernels, shift_every_layer):
    """Not by rounding either, where kernels are wide and channels many enough to be taken by frequencies."""
    decoder = PixelCNNDecoder(4, 6, LATENT, (9, 9, 5), 16, MAPS, shift_every_layer, kernels)
    image = rng.integers(0, 2, [4, 6, 1])
    order = np.arange(24).reshape(4, 6, 1)
    # A copy of the image for each pixel, in which that pixel and all after it are others.
    changed = np.where(order >= np.arange(24).reshape(-1, 1, 1, 1), 1 - image, image)
    z = tf.zeros([25, LATENT])
    original, *others = decoder.log_odds(z, decoder.prepare(np.concatenate([image[None], changed]))).numpy()
    for pixel, other in enumerate(others):
        np.testing.assert_array_equal(other.ravel()[: pixel + 1], original.ravel()[: pixel + 1])
        assert pixel > 17 or np.any(other != original)  # The last row's pixels may be read by no gate that is open.


def test_no_blind_spot_and_what_the_extra_shift_costs():
    sizes, pixel, order = (3, 3, 3, 3), (5, 2), np.arange(36).reshape(6, 6)
    whole, shifted = (receptive_field(sizes, 6, 6, shift)[pixel] for shift in (False, True))
    np.testing.assert_array_equal(whole[:5, :], True)  # Also above to the right, where a masked convolution is blind.
    assert not np.any(whole & (order >= order[pixel]))
    assert np.all(whole >= shifted)
    np.testing.assert_array_equal(whole[4] & ~shifted[4], order[0] > 3)  # Only the first layer sees the row above.


@BOTH_SHIFTS
@WITH_AND_WITHOUT_Z
def test_probabilities_of_all_images_sum_to_one(latent, shift_every_layer):
    decoder = make(latent, size=(3, 3), shift_every_layer=shift_every_layer)
    images = np.array(list(itertools.product([0, 1], repeat=9)), np.uint8).reshape(-1, 3, 3, 1)
    probabilities = np.exp(-likelihood(decoder, images, tf.repeat(Z[:1], 512, 0) if latent else None))
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-12)
    assert probabilities.max() > 2 * probabilities.min()


def test_without_latent_variable_has_no_weights_for_it():
    with_latent, without = make(), make(0)
    names = [{variable.name for variable in decoder.weights} for decoder in (with_latent, without)]
    assert names[0] - names[1] == {"latent_kernel", "latent_bias"}
    inputs = [decoder.gated_layers[0].vertical_kernel.shape[2] for decoder in (with_latent, without)]
    assert inputs == [1 + MAPS, 1]


@pytest.mark.parametrize("kernel_sizes", [(), (3, 4), (-1,)])
def test_unexpected_kernels(kernel_sizes):
    with pytest.raises(UserError, match=r"kernel_sizes=\(.*\): expected odd numbers"):
        make(kernel_sizes=kernel_sizes)


def test_images_of_another_size_are_refused():
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="shape"):
        make().prepare(IMAGES[:, :, 1:])


def test_large_log_odds_stay_finite():
    decoder = make(dtype="float32")
    decoder.output_bias.assign([1e4])
    context = decoder.prepare(IMAGES)
    z = tf.cast(Z, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = decoder.negative_log_likelihood(z, context)
    off = HEIGHT * WIDTH - IMAGES.sum((1, 2, 3))
    np.testing.assert_allclose(value, 1e4 * off, rtol=1e-2)
    assert np.all(np.isfinite(tape.gradient(value, z)))


def derivative_through_refinement(decoder: PixelCNNDecoder, product: str) -> list[tf.Tensor]:
    """Returns a loss after three steps and its derivatives to posterior, context and weights."""
    normal = np.random.default_rng(2).normal
    initial = Posterior(tf.constant(normal(size=[BATCH, LATENT])), tf.constant(0.5 * normal(size=[BATCH, LATENT])))
    draws = Draw(tf.constant(normal(size=[3, BATCH, LATENT])), tf.zeros([3, 2], tf.int32))
    bound = negative_elbo(lambda z, context, seed: decoder.negative_log_likelihood(z, context, True, seed))
    with tf.GradientTape() as tape:
        tape.watch(initial)
        context = decoder.prepare(IMAGES)
        refined = refine(bound, initial, context, draws, RefinementSettings(0.05, 0.05, clip_norm=5.0, product=product))
        final = Draw(tf.constant(normal(size=[BATCH, LATENT])), tf.zeros([2], tf.int32))
        loss = tf.reduce_mean(bound(refined.posterior, context, final))
    sources = [*initial, context.vertical, context.horizontal, *(v.value for v in decoder.trainable_variables)]
    gradients = tape.gradient(loss, sources, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [loss, *map(tf.convert_to_tensor, gradients)]


def test_second_derivatives_are_those_of_finite_differences():
    decoder = make()
    exact, difference = (derivative_through_refinement(decoder, p) for p in ("exact", "finite_difference"))
    # A central difference: its step is 1e-5, squared, and rounding over the step.
    assert relative_error(exact, difference) < 1e-5


@WITH_AND_WITHOUT_Z
def test_compiled_and_with_a_batch_unknown_to_the_graph(latent):
    decoder = make(latent)

    def value_and_gradient(images, z):
        with tf.GradientTape() as tape:
            value = decoder.negative_log_likelihood(z if latent else None, decoder.prepare(images))
        return value, tape.gradient(value, [variable.value for variable in decoder.trainable_variables])

    signature = [tf.TensorSpec([None, HEIGHT, WIDTH, 1], tf.uint8), tf.TensorSpec([None, LATENT], tf.float64)]
    expected = value_and_gradient(tf.constant(IMAGES), Z)
    for options in ({"jit_compile": True}, {"input_signature": signature}):
        actual = tf.function(value_and_gradient, autograph=False, **options)(tf.constant(IMAGES), Z)
        for a, e in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-11)


def test_float32_is_near_float64():
    decoder, exact = make(dtype="float32"), make(dtype="float64")
    for variable, other in zip(exact.weights, decoder.weights, strict=True):
        variable.assign(tf.cast(other.value, tf.float64))
    z = tf.cast(Z, tf.float32)
    # Rounding of 6e-8 in some tens of terms.
    expected = likelihood(exact, IMAGES, tf.cast(z, tf.float64))
    np.testing.assert_allclose(likelihood(decoder, IMAGES, z), expected, rtol=5e-6)


def test_initial_weights_are_of_the_seed():
    make_one = functools.partial(PixelCNNDecoder, 6, 6, 4, (5, 3), 8)
    first, same, other = make_one(seed=1), make_one(seed=1), make_one(seed=2)
    for variable, again, another in zip(first.weights, same.weights, other.weights, strict=True):
        np.testing.assert_array_equal(variable, again)
        assert np.any(variable.numpy() != another.numpy())
    # One over the root of the number of inputs, 2 * 3 * 8, and twice the variance for the kernel that reads z.
    largest = {variable.name: float(np.max(np.abs(variable))) for variable in first.weights}
    assert 0.95 * 48**-0.5 < largest["layer_1_vertical_kernel"] <= 48**-0.5
    assert 0.95 * 1.5**0.5 < largest["latent_kernel"] <= 1.5**0.5


def test_the_layers_of_the_paper_are_the_default():
    decoder = PixelCNNDecoder(28, 28, 2)
    assert [2 * layer.reach + 1 for layer in decoder.gated_layers] == [9, 9, 9, 7, 7, 7, 5, 5, 5, 3, 3, 3]
    assert (decoder.channels, decoder.latent_maps) == (32, 4)


# --- Pixel by pixel.


@BOTH_SHIFTS
@WITH_AND_WITHOUT_Z
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_drawn_images_have_the_likelihood_of_the_whole(dtype, tolerance, latent, shift_every_layer):
    decoder = make(latent, (6, 5), (5, 3, 1, 3), dtype, shift_every_layer=shift_every_layer)
    z = tf.cast(tf.repeat(Z, 8, 0), dtype) if latent else None
    drawn = sample_images(decoder, z, tf.range(24, dtype=tf.int64), SEED)
    assert drawn.images.shape == [24, 6, 5, 1]
    assert set(np.unique(drawn.images)) == {0, 1}
    np.testing.assert_allclose(-drawn.log_probability, likelihood(decoder, drawn.images, z), rtol=tolerance)


def test_images_are_drawn_with_their_probabilities():
    decoder, count = make(size=(2, 2)), 4000
    drawn = sample_images(decoder, tf.repeat(Z[:1], count, 0), tf.range(count, dtype=tf.int64), SEED)
    images = np.array(list(itertools.product([0, 1], repeat=4))).reshape(-1, 2, 2, 1)
    probabilities = np.exp(-likelihood(decoder, images, tf.repeat(Z[:1], 16, 0)))
    numbers = drawn.images.numpy().reshape(count, 4) @ [8, 4, 2, 1]
    counts = np.bincount(numbers.astype(int), minlength=16)
    # Four standard deviations, and one image for what is rare.
    deviation = np.sqrt(count * probabilities * (1 - probabilities))
    np.testing.assert_array_less(np.abs(counts - count * probabilities), 4 * deviation + 1)


def test_a_single_image_is_drawn_first():
    # Of a number of images that is known from the start; of an unknown one (the test below) it is another program.
    together = sample_images(make(), Z, tf.range(BATCH, dtype=tf.int64), SEED).images
    alone = sample_images(make(), Z[:1], tf.range(1, dtype=tf.int64), SEED)
    np.testing.assert_array_equal(alone.images[0], together[0])


def test_a_single_image_is_drawn_after_others_of_another_decoder():
    size = 4, 3  # Of no other test, by which noise for one image would be known.
    other = make(size=size)
    for count in (2, 3):
        together = sample_images(other, Z[:count], tf.range(count, dtype=tf.int64), SEED).images
    alone = sample_images(make(size=size), Z[:1], tf.range(1, dtype=tf.int64), SEED)
    np.testing.assert_array_equal(alone.images[0], together[0])


def test_an_image_does_not_depend_on_its_batch():
    decoder = make()
    index = tf.constant([5, 0, 2**40], tf.int64)
    together = sample_images(decoder, Z, index, SEED).images.numpy()
    for k in range(BATCH):
        alone = sample_images(decoder, Z[k : k + 1], index[k : k + 1], SEED)
        np.testing.assert_array_equal(together[k], alone.images[0])
    # With one z, the index and the seed make the difference.
    same = tf.repeat(Z[:1], BATCH, 0)
    images = sample_images(decoder, same, index, SEED).images.numpy()
    assert np.any(images[0] != images[1])
    assert np.any(images != sample_images(decoder, same, index, SEED + 1).images.numpy())


def test_unexpected_index():
    with pytest.raises(ValueError, match="expected one number for each example"):
        sample_images(make(), Z, tf.range(2, dtype=tf.int64), SEED)


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_the_size_of_the_paper():
    process = subprocess.run(
        [sys.executable, "-m", "tests.models.images_of_the_paper"],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    result = json.loads(process.stdout.splitlines()[-1])
    assert result["losses"] == sorted(result["losses"], reverse=True)  # The second step on the same images is lower.
    assert result["peak_memory"] <= 4.2  # Gigabytes; README says 4.1.
    assert result["sampling_seconds"] <= 60


def test_a_step_that_xla_compiles_is_the_same():
    """With exact products, whose second derivatives XLA has not of all of TensorFlow's operations."""
    model = build_model(images.tiny("", "", "random"))
    x = tf.constant(images.bars(4) > 0.5, tf.uint8)
    drawn = draws(model, {"x": x, "index": tf.range(4, dtype=tf.int64)})  # XLA would draw other numbers.
    actual, expected = (
        tf.function(lambda: figures_and_gradients(model, *drawn), autograph=False, jit_compile=compiled)()
        for compiled in (True, False)
    )
    for a, e in zip(actual, expected, strict=True):
        # Two orders of summation in float32, through two refinement steps; of a bias before a batch normalisation,
        # whose gradient is zero, the rounding alone.
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5 + 1e-5 * np.max(np.abs(e)))


def test_the_plain_kernels_give_the_same():
    """A whole step of training: values, first and second derivatives, encoder and decoder."""
    steps = []
    for kernels in ("fused", "plain"):
        model = build_model(images.tiny("", "", "random", kernels=kernels, optimizer="sgd"))
        x = tf.constant(images.bars(6) > 0.5, tf.uint8)
        tf.function(model.train_step, autograph=False)({"x": x, "index": tf.range(6, dtype=tf.int64)})
        steps.append([variable.numpy() for variable in model.weights])
    for fused, plain in zip(*steps, strict=True):
        np.testing.assert_allclose(fused, plain, atol=2e-6)  # Of weights up to 1, in float32.

"""The exported functions of a run on images: pixels in, figures, posteriors and images out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.pipeline import SPLITS
from sa_vae_tf.export.functions import (
    COMMON_INPUTS,
    Functions,
    Input,
    at_least,
    common_outputs,
    exported,
    given_or_own,
    require,
)
from sa_vae_tf.export.scores import score as score_examples
from sa_vae_tf.inference import noise_per_example
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.training.load import Loaded
from sa_vae_tf.training.model import Inferred
from sa_vae_tf.training.tasks import data_seed

INPUTS = {
    # The graph itself tells of a wrong size, in words of its own.
    "pixels": Input(
        tf.float32, [None, None, None, None],
        "Images, [batch, height, width, 1] of the height and width the run was trained with. Zeros and ones are taken "
        "as they are; a pixel between them becomes one with its value as the probability, drawn from seed and index. "
        "bin/evaluate.py draws by NumPy, of its test split as numpy.random.default_rng([*draw_seed, index]).random("
        "image.shape, numpy.float32) < image: give images drawn so for its scores.",
    ),
    "num_samples": Input(tf.int32, [], "Number of images."),
    "index": Input(
        tf.int64, [None],
        "Numbers, one for each image, from which with the seed its noise is made, such as its place in a data set. "
        "Empty: a number made of the pixels themselves, whose answer then is the same in any batch.",
    ),
    **COMMON_INPUTS,
}  # fmt: skip
OUTPUTS = {
    **common_outputs("image"),
    "images": "The images that were drawn, of zeros and ones.",
    "log_probability": "log p(image | z) in nats.",
}


def image_functions(loaded: Loaded, folder: Path) -> Functions:
    """Returns `score` and `generate`, and of a model with latent variable `encode` and `reconstruct`.

    Args:
      loaded: a run on images.
      folder: for files of its own; there are none.
    """
    config, model, *_ = loaded
    height, width = config.image_height, config.image_width
    steps = tf.constant(model.steps)
    none, one, no_index = map(tf.constant, (0, 1, np.zeros(0, np.int64)))

    def infer(pixels, svi_steps, seed, index) -> tuple[tf.Tensor, Inferred]:
        svi_steps = at_least(0, "svi_steps", svi_steps)
        pixels = _checked(pixels, height, width)
        index = given_or_own(index, _fingerprint(pixels))
        return index, model.infer({"x": _binary(pixels, index, seed), "index": index}, svi_steps, seed=seed)

    def draw(z, index, seed) -> dict[str, tf.Tensor]:
        return sample_images(model.decoder, z, index, tf.stack([seed, 2]))._asdict()

    def score(pixels, svi_steps=steps, iw_samples=none, seed=none, index=no_index):
        """Scores images by the bound at the refined posterior, and on demand by importance weighting."""
        iw_samples = at_least(0, "iw_samples", iw_samples)
        index, inferred = infer(pixels, svi_steps, seed, index)
        return score_examples(model, inferred, index, iw_samples, seed)

    def likelihood(pixels, seed=none, index=no_index):
        """Scores images by their likelihood."""
        return score(pixels, seed=seed, index=index)

    def encode(pixels, svi_steps=steps, seed=none, index=no_index):
        """Infers the refined posteriors of images."""
        return infer(pixels, svi_steps, seed, index)[1].posterior._asdict()

    def reconstruct(pixels, svi_steps=steps, seed=none, index=no_index):
        """Draws each image anew from the mean of its refined posterior."""
        index, inferred = infer(pixels, svi_steps, seed, index)
        return draw(inferred.posterior.mean, index, seed)

    def generate(num_samples=one, seed=none):
        """Draws images from latent variables drawn from the prior; image i depends on the seed and i alone."""
        index = tf.range(tf.cast(at_least(1, "num_samples", num_samples), tf.int64))
        z = model.draw_from_prior(index, tf.stack([seed, 1]))
        return draw(z, index, seed)

    by_name: dict[str, Callable[..., dict[str, tf.Tensor]]] = {"score": likelihood, "generate": generate}
    if model.method.latent:
        by_name = {"score": score, "encode": encode, "reconstruct": reconstruct, "generate": generate}
    return Functions(
        {name: exported(function, INPUTS) for name, function in by_name.items()},
        INPUTS,
        OUTPUTS,
        tracked=(),
        example={"pixels": tf.zeros([1, height, width, 1])},
        facts={"height": height, "width": width, "draw_seed": [data_seed(config), SPLITS.index("test"), 0]},
    )


def _checked(pixels: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Returns the images, [batch, height, width, 1], if there are any, of this size, and all pixels are in [0, 1]."""
    size = f"{height}, {width}, 1]"
    message = tf.strings.format("pixels: shape {}; expected [batch, " + size, tf.shape(pixels))
    right = tf.reduce_all(tf.shape(pixels)[1:] == [height, width, 1])
    (pixels,) = require(right, message, pixels)
    (pixels,) = require(tf.size(pixels) > 0, "pixels: there are no images; expected at least one", pixels)
    # Of what is not a number neither is true.
    wrong = ~((pixels >= 0) & (pixels <= 1))
    places = tf.where(wrong)
    first = tf.concat([places, tf.zeros([1, 4], tf.int64)], 0)[0]
    message = "pixels: image {}, counted from 0, has a pixel of {}; expected 0 to 1"
    message = tf.strings.format(message, [first[0], tf.gather_nd(pixels, first)])
    (pixels,) = require(tf.size(places) == 0, message, pixels)
    return tf.ensure_shape(pixels, [None, height, width, 1])


def _fingerprint(pixels: tf.Tensor) -> tf.Tensor:
    """Returns a number made of the pixels of each image, int64 [batch], not negative."""
    return tf.bitwise.bitwise_and(tf.bitcast(tf.fingerprint(pixels), tf.int64), tf.int64.max)


def _binary(pixels: tf.Tensor, index: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draws images of zeros and ones, each pixel one with the probability of its value."""
    noise = noise_per_example(index, pixels.shape[1:].as_list(), tf.stack([seed, 3]))
    # Noise is finite, the quantiles of 0 and 1 are not: these two stay what they are.
    return tf.cast(noise < tf.math.ndtri(pixels), tf.float32)

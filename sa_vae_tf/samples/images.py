"""Images from a trained run as one grid: samples, reconstructions, and what lies between two images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.image_corpora import file_images
from sa_vae_tf.data.images import ImageSplit
from sa_vae_tf.data.pipeline import SPLITS
from sa_vae_tf.errors import UserError
from sa_vae_tf.generation import interpolate
from sa_vae_tf.generation.image_grid import image_grid, side_by_side
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.progress import Progress
from sa_vae_tf.samples.request import OF_TEXT, Request, check_latent
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.load import load_best, read_split
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks.task import named

# Images drawn or taken where the request does not say, by mode, and drawn at once.
COUNTS = {"prior": 64, "reconstruct": 32, "interpolate": 9}
BATCH_SIZE = 16


def draw_grid(run: RunFolder, request: Request, progress: Progress) -> np.ndarray:
    """Draws the images that are asked for.

    Images to start from are the first of those of `request.input` or, where there is none, of the validation images.
    A draw depends on the seed and its place; those between two images share their noise.

    Args:
      run: folder of a run of images.
      request: what is asked. 'reconstruct' lays each image beside one drawn from its posterior mean; in a row of
        'interpolate' an image and the next one are at the ends. `num_samples` is the number of images drawn from the
        prior, or taken to start from.
      progress: is told the number of images drawn so far and of all.

    Returns:
      The grid, uint8 [height, width, 1].

    Raises:
      UserError: if the run cannot be read or cannot do it, or the input does not hold such images.
    """
    _check(run.read_config(), request)
    config, model, *_ = load_best(run, request.device)
    count = request.num_samples or COUNTS[request.mode]

    def draw(z: tf.Tensor | None, index: np.ndarray) -> np.ndarray:
        images, size = [], request.batch_size or BATCH_SIZE
        for first in range(0, len(index), size):
            part = slice(first, first + size)
            own = None if z is None else z[part]
            images.append(sample_images(model.decoder, own, index[part], tf.constant([request.seed, 2])).images)
            progress(min(part.stop, len(index)), len(index))
        return np.concatenate(images)

    if request.mode == "prior":
        index = np.arange(count)
        z = model.draw_from_prior(index, tf.constant([request.seed, 1]))
        return image_grid(draw(z, index), math.ceil(math.sqrt(count)))
    examples = _examples(run, config, request)
    where = f"--input={request.input}" if request.input else "--input: the run's validation images"
    if request.mode == "interpolate" and examples.count < 2:
        raise UserError(f"{where}: one image; expected at least 2 for --mode=interpolate")
    if (request.num_samples or 0) > examples.count:
        raise UserError(f"{where}: {examples.count} images; expected at least --num_samples={request.num_samples}")
    examples = examples.take(count)
    images, means = _posteriors(model, examples, request)
    if request.mode == "reconstruct":
        return image_grid(side_by_side(images, draw(means, np.arange(len(images)))), columns=4)
    points = request.points or 5
    z = interpolate(means[:-1], means[1:], points)
    drawn = draw(tf.reshape(z, [-1, model.latent_dim]), np.repeat(np.arange(len(z)), points))
    drawn = drawn.reshape(-1, points, *images.shape[1:])
    rows = np.concatenate([images[:-1, None], drawn, images[1:, None]], 1)
    return image_grid(rows.reshape(-1, *images.shape[1:]), columns=points + 2)


def _check(config: Config, request: Request) -> None:
    for name in OF_TEXT:
        if (value := getattr(request, name)) is not None and value is not False:  # 0 is given.
            raise UserError(f"--{name}={value}: has a meaning for runs of --data=text alone, not --data={config.data}")
    check_latent(config, request)
    if request.mode == "interpolate" and request.num_samples == 1:
        raise UserError("--num_samples=1: expected at least 2 images for --mode=interpolate")


def _examples(run: RunFolder, config: Config, request: Request) -> ImageSplit:
    if not request.input:
        _, validation = read_split(run, config, None, "validation")
        assert isinstance(validation, ImageSplit)
        return validation
    with named(request, "input"):
        images = file_images(request.input, config.image_height, config.image_width, config.data_dir or None)
    own = images.get("test", images["train"])
    return ImageSplit(own, np.arange(own.shape[0]), request.seed, SPLITS.index("test"))


def _posteriors(model: LatentVariableModel, examples: ImageSplit, request: Request) -> tuple[np.ndarray, tf.Tensor]:
    """Returns images and their refined posterior means, [count, latent]."""

    @tf.function(autograph=False, reduce_retracing=True)
    def means_of(batch: dict[str, Any]) -> tf.Tensor:
        return model.infer(batch, request.svi_steps, request.svi_init, request.seed).posterior.mean

    batches = list(examples.in_order(request.batch_size or BATCH_SIZE))
    means = tf.concat([means_of(batch) for batch in batches], 0)
    return np.concatenate([batch["x"] for batch in batches]), means

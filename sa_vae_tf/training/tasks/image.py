"""Binary images (section 4.3): files of the user's or a published corpus, a ResNet encoder and a PixelCNN decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sa_vae_tf.data.image_corpora import file_images, published_images
from sa_vae_tf.data.images import Intensities, image_splits
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.models import PixelCNNDecoder, ResNetEncoder
from sa_vae_tf.training.compilation import kernels
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.image_samples import ImageSamples
from sa_vae_tf.training.parts import images_at_once
from sa_vae_tf.training.tasks.task import Data, Task, data_seed, latent_dim, named


def _data(config: Config, names: Sequence[str], vocabulary_file: Path | None) -> Data:
    size, data_dir = (config.image_height, config.image_width), config.data_dir or None
    images: dict[str, Intensities] = {}
    sources = {}
    if config.test_file and "test" in names:
        with named(config, "test_file"):
            own = file_images(config.test_file, *size, data_dir)
        images["test"] = own.get("test", own["train"])
    if set(names) - images.keys():
        if config.data_file:
            sources["train"] = config.data_file
            with named(config, "data_file"):
                corpus: Mapping[str, Intensities] = file_images(config.data_file, *size, data_dir)
            if corpus["train"].shape[0] == 1:  # Of which none would be left for validation.
                raise UserError(f"--data_file={config.data_file}: one image to train on; expected at least two")
        else:
            corpus = published_images(config.corpus, data_dir, config.manual_dir)
        images = {**corpus, **images}
        if "test" in names and "test" not in images:
            raise UserError(
                "--test_file: expected images, since there is no test split without them; or --split=validation"
            )
    return Data(image_splits(images, data_seed(config)), sources=sources)


def _encoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    return ResNetEncoder(
        config.image_height,
        config.image_width,
        config.latent_dim,
        config.sizes("encoder_channels"),
        kernels=kernels(config),
        synchronized=config.strategy != "none",
        seed=2 * config.seed,
    )


def _decoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    return PixelCNNDecoder(
        config.image_height,
        config.image_width,
        latent_dim(config),
        config.sizes("pixelcnn_kernels"),
        config.pixelcnn_channels,
        config.pixelcnn_latent_maps,
        config.pixelcnn_shift_every_layer,
        kernels(config),
        seed=2 * config.seed + 1,
    )


def _example(config: Config) -> tf.TensorSpec:
    return tf.TensorSpec([config.image_height, config.image_width, 1], tf.uint8)


def _entries_at_once(config: Config, vocabulary: Vocabulary | None) -> int:
    pixels = config.image_height * config.image_width
    layers = len(config.sizes("pixelcnn_kernels"))
    images = config.images_at_once or images_at_once(pixels, layers, config.pixelcnn_channels)
    return pixels * min(images, config.batch_size)


def _evaluated_split(config: Config) -> str:
    if config.data_file and not config.test_file:
        size = config.image_height, config.image_width
        with named(config, "data_file"):
            return "test" if "test" in file_images(config.data_file, *size, config.data_dir or None) else "validation"
    return "test"


IMAGE = Task(
    _data,
    _encoder,
    _decoder,
    _example,
    samples=lambda model, vocabulary, validation: ImageSamples(model, validation),
    entries_at_once=_entries_at_once,
    evaluated_split=_evaluated_split,
    normalises_batches=True,
)

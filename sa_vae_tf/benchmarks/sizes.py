"""The sizes that are timed: settings of a training run, and a random batch of its data."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from sa_vae_tf.data.synthetic import SEQUENCE_LENGTH, VOCABULARY_SIZE
from sa_vae_tf.data.vocabulary import END, SPECIAL, START, Vocabulary
from sa_vae_tf.training.build import build_model
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.model import LatentVariableModel

# Settings name what they learn from; nothing is read.
RANDOM = "random"


def _text(vocabulary: int, embedding: int, units: int, latent: int, length: int, batch: int) -> dict[str, Any]:
    """Returns settings by name; `vocabulary` counts the special symbols, `length` the end of a text."""
    return {
        "data": "text",
        "train_file": RANDOM,
        "val_file": RANDOM,
        "vocab_size": vocabulary - len(SPECIAL),
        "embedding_dim": embedding,
        "units": units,
        "latent_dim": latent,
        "max_length": length - 1,
        "batch_size": batch,
        "dropout": 0.5,
    }


# The text model at the sizes of the synthetic task, of a small corpus, and of the paper's Yahoo experiment; the image
# model of its OMNIGLOT experiment; the learned generator of the synthetic task, in which z enters at the output alone.
SIZES: dict[str, dict[str, Any]] = {
    "small": _text(1000, 100, 100, 2, 5, 50),
    "medium": _text(5000, 128, 256, 32, 40, 32),
    # As in yahoo.flags, which keep less.
    "paper": _text(20000, 512, 1024, 32, 80, 32),
    "images": {
        "data": "image",
        "data_file": RANDOM,
        "latent_dim": 32,
        "batch_size": 50,
        "optimizer": "adam",
        "learning_rate": 1e-3,
    },
    "synthetic": {"data": "synthetic", "generator": "learned", "batch_size": 50},
}
# Calls that are timed, after one that is not, where it is not said: they take a minute or so.
REPEATS = {"small": 21, "medium": 3, "paper": 1, "images": 1, "synthetic": 21}


def make(
    config: Config, strategy: tf.distribute.Strategy | None = None
) -> tuple[LatentVariableModel, dict[str, tf.Tensor]]:
    """Returns the model of these settings, and a batch of its data, all examples as long as they may be.

    Args:
      config: settings.
      strategy: that spreads the batch over several devices; None for one.
    """
    vocabulary = None
    if config.data == "text":
        vocabulary = Vocabulary((*SPECIAL, *map(str, range(config.vocab_size))))
        size = [config.batch_size, config.max_length]
        words = tf.random.stateless_uniform(size, [0, 1], len(SPECIAL), len(vocabulary), tf.int32)
        x = tf.pad(tf.pad(words, [[0, 0], [1, 0]], constant_values=START), [[0, 0], [0, 1]], constant_values=END)
    elif config.data == "synthetic":
        x = tf.random.stateless_uniform([config.batch_size, SEQUENCE_LENGTH], [0, 1], 0, VOCABULARY_SIZE, tf.int32)
    else:
        size = [config.batch_size, config.image_height, config.image_width, 1]
        x = tf.cast(tf.random.stateless_uniform(size, [0, 1]) < 0.2, tf.uint8)
    model = build_model(config, vocabulary, strategy=strategy)
    return model, {"x": x, "index": tf.range(config.batch_size, dtype=tf.int64)}

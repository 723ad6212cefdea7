"""What each value of --data stands for: its corpus and its models.

To add a data set or a model, add a task here; nothing else in training or evaluation names one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras

from sa_vae_tf.data import synthetic
from sa_vae_tf.data.pipeline import Split
from sa_vae_tf.inference import METHODS
from sa_vae_tf.models import LSTMEncoder, SyntheticGenerator
from sa_vae_tf.training.config import Config


class Task(NamedTuple):
    """A corpus and the models that fit it.

    Attributes:
      splits: function (config) -> splits by name: train, validation, test.
      encoder: function (config) -> encoder.
      decoder: function (config) -> decoder, without latent variable where the method has none.
    """

    splits: Callable[[Config], dict[str, Split]]
    encoder: Callable[[Config], keras.Model]
    decoder: Callable[[Config], keras.Model]


def _data_seed(config: Config) -> int:
    return config.data_seed or config.seed


def _synthetic_splits(config: Config) -> dict[str, Split]:
    builder = synthetic.builder(_data_seed(config), config.num_examples, config.data_dir or None)
    # The corpus is small: kept in memory, it is read from disk once.
    examples = {
        name: builder.as_dataset(split=name).map(lambda example: example["tokens"]).cache() for name in synthetic.SPLITS
    }
    return {name: Split(examples[name], builder.info.splits[name].num_examples) for name in synthetic.SPLITS}


def _synthetic_encoder(config: Config) -> keras.Model:
    return LSTMEncoder(
        synthetic.VOCABULARY_SIZE,
        config.embedding_dim,
        config.units,
        config.latent_dim,
        config.initial_range,
        seed=2 * config.seed,
    )


def _synthetic_decoder(config: Config) -> keras.Model:
    if config.generator == "oracle":
        return synthetic.oracle(_data_seed(config))
    return SyntheticGenerator(
        synthetic.VOCABULARY_SIZE,
        config.embedding_dim,
        config.units,
        config.latent_dim if METHODS[config.method].latent else 0,
        config.dropout,
        config.initial_range,
        config.latent_range,
        seed=2 * config.seed + 1,
    )


TASKS = {"synthetic": Task(_synthetic_splits, _synthetic_encoder, _synthetic_decoder)}

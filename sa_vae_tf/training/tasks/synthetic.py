"""The synthetic sequences of the paper (section 4.1), with the oracle that drew them or a learned generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from sa_vae_tf.data import synthetic
from sa_vae_tf.data.pipeline import Split
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.models import LSTMEncoder, SyntheticGenerator
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.tasks.task import Data, Task, data_seed, latent_dim


def _data(config: Config, names: Sequence[str], vocabulary_file: Path | None) -> Data:
    builder = synthetic.builder(data_seed(config), config.num_examples, config.data_dir or None)
    # The corpus is small: it is kept in memory.
    tokens = {name: synthetic.tokens(builder, name) for name in names}
    return Data({name: Split(tf.data.Dataset.from_tensor_slices(x), len(x)) for name, x in tokens.items()})


def _encoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    return LSTMEncoder(
        synthetic.VOCABULARY_SIZE,
        config.embedding_dim,
        config.units,
        config.latent_dim,
        initial_range=config.initial_range,
        seed=2 * config.seed,
    )


def _decoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    if config.generator == "oracle":
        return synthetic.oracle(data_seed(config))
    return SyntheticGenerator(
        synthetic.VOCABULARY_SIZE,
        config.embedding_dim,
        config.units,
        latent_dim(config),
        config.dropout,
        config.initial_range,
        config.latent_range,
        seed=2 * config.seed + 1,
    )


def _example(config: Config) -> tf.TensorSpec:
    return tf.TensorSpec([synthetic.SEQUENCE_LENGTH], tf.int32)


SYNTHETIC = Task(_data, _encoder, _decoder, _example)

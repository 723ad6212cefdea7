"""Text (section 4.2): files or a published corpus, an LSTM as encoder, an LSTM or a dilated CNN as decoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from sa_vae_tf.data.published import prepare_published
from sa_vae_tf.data.text import prepare_files
from sa_vae_tf.data.vocabulary import PAD, Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.models import DILATIONS, DilatedCNNDecoder, LSTMDecoder, LSTMEncoder
from sa_vae_tf.training.compilation import kernels
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.parts import words_at_once
from sa_vae_tf.training.tasks.task import Data, Task, latent_dim, named
from sa_vae_tf.training.text_samples import TextSamples


def _data(config: Config, names: Sequence[str], vocabulary_file: Path | None) -> Data:
    flags = {"train": "train_file", "validation": "val_file", "test": "test_file"}
    files = {name: getattr(config, flags[name]) for name in names}
    if config.train_file or all(files.values()) or not config.corpus:
        missing = [name for name in names if not files[name]]
        if missing:
            name = missing[0]
            other = ", since there is no test split without it; or --split=validation" if name == "test" else ""
            raise UserError(f"--{flags[name]}: expected a text file{other}")
        vocab_file = str(vocabulary_file or config.vocab_file)
        if not vocab_file:
            files["train"] = config.train_file  # The vocabulary is made from it.
        with named(config, *flags.values(), "vocab_file"):
            corpus = prepare_files(
                *(files.get(name, "") for name in flags),
                vocab_file=vocab_file,
                vocab_size=config.vocab_size,
                min_count=config.min_count,
                max_length=config.max_length,
                data_dir=config.data_dir or None,
            )
    else:
        with named(config, "vocab_file"):
            corpus = prepare_published(
                config.corpus,
                vocab_file=config.vocab_file,
                vocab_size=config.vocab_size,
                min_count=config.min_count,
                max_length=config.max_length,
                data_dir=config.data_dir or None,
                manual_dir=config.manual_dir,
            )
    if vocabulary_file and Vocabulary.read(vocabulary_file) != corpus.vocabulary:
        raise UserError(f"{vocabulary_file}: the run has another vocabulary than this text was read with")
    for name in names:
        if not corpus.statistics[name]["known_words"]:
            raise UserError(f"{files[name] or config.corpus}: the vocabulary knows none of its words")
    splits = {name: split.padded_to(config.length_multiple) for name, split in corpus.splits.items()}
    # What --test_file names may be any text, and in each evaluation another.
    sources = {split: path for split, path in corpus.files.items() if split != "test" or not config.test_file}
    if config.vocab_file and not vocabulary_file:
        sources["vocabulary"] = config.vocab_file
    return Data(splits, corpus.vocabulary, sources)


def _encoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    assert vocabulary is not None
    return LSTMEncoder(
        len(vocabulary),
        config.embedding_dim,
        config.units,
        config.latent_dim,
        config.layers,
        config.initial_range,
        padding=PAD,
        kernels=kernels(config),
        seed=2 * config.seed,
    )


def _decoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    assert vocabulary is not None
    common: dict[str, Any] = {
        "latent_dim": latent_dim(config),
        "dropout_rate": config.dropout,
        "word_dropout_rate": config.word_dropout,
        "initial_range": config.initial_range,
        "padding": PAD,
        "unknown": vocabulary.unknown_id,
        "kernels": kernels(config),
        "seed": 2 * config.seed + 1,
    }
    if config.decoder == "lstm":
        return LSTMDecoder(len(vocabulary), config.embedding_dim, config.units, layers=config.layers, **common)
    return DilatedCNNDecoder(
        len(vocabulary),
        config.embedding_dim,
        config.cnn_channels,
        config.cnn_internal_channels,
        DILATIONS[config.cnn_size],
        **common,
    )


def _words_and_end(tokens: tf.Tensor) -> tf.Tensor:
    """Counts all but `<s>` and padding: `</s>` is predicted, and counts (section 5.1)."""
    return tf.math.count_nonzero(tokens[:, 1:] != PAD, 1)


def _example(config: Config) -> tf.TensorSpec:
    # The symbols before and after it come to its words.
    return tf.TensorSpec([config.max_length + 2], tf.int32)


def _entries_at_once(config: Config, vocabulary: Vocabulary | None) -> int:
    assert vocabulary is not None
    return config.words_at_once or words_at_once(len(vocabulary))


def _evaluated_split(config: Config) -> str:
    return "test" if config.test_file or not config.train_file else "validation"


TEXT = Task(
    _data,
    _encoder,
    _decoder,
    _example,
    tokens=_words_and_end,
    samples=TextSamples,
    entries_at_once=_entries_at_once,
    evaluated_split=_evaluated_split,
)

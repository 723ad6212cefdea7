"""What each value of --data stands for: its corpus and its models.

To add a data set or a model, add a task here. Besides, `build` and `compilation` know how large an example is, and how
costly.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.data import synthetic
from sa_vae_tf.data.image_corpora import file_images, published_images
from sa_vae_tf.data.images import ImageSplit, Intensities, image_splits
from sa_vae_tf.data.pipeline import Split
from sa_vae_tf.data.published import prepare_published
from sa_vae_tf.data.sequences import SequenceSplit
from sa_vae_tf.data.text import prepare_files
from sa_vae_tf.data.vocabulary import PAD, Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import METHODS
from sa_vae_tf.models import (
    DILATIONS,
    DilatedCNNDecoder,
    LSTMDecoder,
    LSTMEncoder,
    PixelCNNDecoder,
    ResNetEncoder,
    SyntheticGenerator,
)
from sa_vae_tf.training.compilation import kernels
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.image_samples import ImageSamples
from sa_vae_tf.training.text_samples import TextSamples


class Data(NamedTuple):
    """A corpus.

    Attributes:
      splits: by name.
      vocabulary: the words it knows, of text.
      sources: paths of the files or folders it was read from, by split.
    """

    splits: Mapping[str, Split | SequenceSplit | ImageSplit]
    vocabulary: Vocabulary | None = None
    sources: Mapping[str, str] = {}


class Task(NamedTuple):
    """A corpus and the models that fit it.

    Attributes:
      data: function (config, names of splits, vocabulary file of a run or None) -> `Data` with at least these splits.
      encoder: function (config, vocabulary) -> encoder.
      decoder: function (config, vocabulary) -> decoder, without latent variable where the method has none.
      tokens: function (batch of examples) -> number of tokens predicted in each, [batch]; None where no perplexity
        is wanted.
      samples: function (model, vocabulary, validation split) -> function that returns text or images by name, which
        show how far a run has come; None for none.
      compiled_replicas: whether XLA may compile what a replica computes, which then cannot ask the others for anything.
    """

    data: Callable[[Config, Sequence[str], Path | None], Data]
    encoder: Callable[[Config, Vocabulary | None], keras.Model]
    decoder: Callable[[Config, Vocabulary | None], keras.Model]
    tokens: Callable[[tf.Tensor], tf.Tensor] | None = None
    samples: Callable[..., Callable[[], Mapping[str, Any]]] | None = None
    compiled_replicas: bool = True


@contextlib.contextmanager
def _named(config: Config, *flags: str) -> Iterator[None]:
    """Puts the flag before an error that begins with the file that the flag names."""
    try:
        yield
    except UserError as error:
        for flag in flags:
            if getattr(config, flag) and str(error).startswith(f"{getattr(config, flag)}: "):
                raise UserError(f"--{flag}={error}") from None
        raise


def _latent_dim(config: Config) -> int:
    return config.latent_dim if METHODS[config.method].latent else 0


def data_seed(config: Config) -> int:
    """Returns the seed of all that is drawn to make the data."""
    return config.data_seed or config.seed


def _synthetic_data(config: Config, names: Sequence[str], vocabulary_file: Path | None) -> Data:
    builder = synthetic.builder(data_seed(config), config.num_examples, config.data_dir or None)
    # The corpus is small: it is kept in memory.
    tokens = {name: synthetic.tokens(builder, name) for name in names}
    return Data({name: Split(tf.data.Dataset.from_tensor_slices(x), len(x)) for name, x in tokens.items()})


def _synthetic_encoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    return LSTMEncoder(
        synthetic.VOCABULARY_SIZE,
        config.embedding_dim,
        config.units,
        config.latent_dim,
        initial_range=config.initial_range,
        seed=2 * config.seed,
    )


def _synthetic_decoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    if config.generator == "oracle":
        return synthetic.oracle(data_seed(config))
    return SyntheticGenerator(
        synthetic.VOCABULARY_SIZE,
        config.embedding_dim,
        config.units,
        _latent_dim(config),
        config.dropout,
        config.initial_range,
        config.latent_range,
        seed=2 * config.seed + 1,
    )


def _text_data(config: Config, names: Sequence[str], vocabulary_file: Path | None) -> Data:
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
        with _named(config, *flags.values(), "vocab_file"):
            corpus = prepare_files(
                *(files.get(name, "") for name in flags),
                vocab_file=vocab_file,
                vocab_size=config.vocab_size,
                min_count=config.min_count,
                max_length=config.max_length,
                data_dir=config.data_dir or None,
            )
    else:
        corpus = prepare_published(
            config.corpus,
            vocab_file=config.vocab_file,
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
    return Data(splits, corpus.vocabulary, corpus.files)


def _text_encoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
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


def _text_decoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    assert vocabulary is not None
    common: dict[str, Any] = {
        "latent_dim": _latent_dim(config),
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


def _image_data(config: Config, names: Sequence[str], vocabulary_file: Path | None) -> Data:
    size, data_dir = (config.image_height, config.image_width), config.data_dir or None
    images: dict[str, Intensities] = {}
    sources = {}
    if config.test_file and "test" in names:
        with _named(config, "test_file"):
            own = file_images(config.test_file, *size, data_dir)
        images["test"] = own.get("test", own["train"])
    if set(names) - images.keys():
        if config.data_file:
            sources["train"] = config.data_file
            with _named(config, "data_file"):
                corpus: Mapping[str, Intensities] = file_images(config.data_file, *size, data_dir)
        else:
            corpus = published_images(config.corpus, data_dir, config.manual_dir)
        images = {**corpus, **images}
        if "test" in names and "test" not in images:
            raise UserError(
                "--test_file: expected images, since there is no test split without them; or --split=validation"
            )
    return Data(image_splits(images, data_seed(config)), sources=sources)


def _image_encoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    return ResNetEncoder(
        config.image_height,
        config.image_width,
        config.latent_dim,
        config.sizes("encoder_channels"),
        kernels=kernels(config),
        synchronized=config.strategy != "none",
        seed=2 * config.seed,
    )


def _image_decoder(config: Config, vocabulary: Vocabulary | None) -> keras.Model:
    return PixelCNNDecoder(
        config.image_height,
        config.image_width,
        _latent_dim(config),
        config.sizes("pixelcnn_kernels"),
        config.pixelcnn_channels,
        config.pixelcnn_latent_maps,
        config.pixelcnn_shift_every_layer,
        kernels(config),
        seed=2 * config.seed + 1,
    )


TASKS = {
    "synthetic": Task(_synthetic_data, _synthetic_encoder, _synthetic_decoder),
    "text": Task(_text_data, _text_encoder, _text_decoder, _words_and_end, TextSamples),
    "image": Task(
        _image_data,
        _image_encoder,
        _image_decoder,
        samples=lambda model, vocabulary, validation: ImageSamples(model, validation),
        compiled_replicas=False,  # because of batch normalisation
    ),
}


def evaluated_split(config: Config) -> str:
    """Returns the split to evaluate: test where there is one."""
    if config.data == "image" and config.data_file and not config.test_file:
        names = list(file_images(config.data_file, config.image_height, config.image_width, config.data_dir or None))
        return "test" if "test" in names else "validation"
    return "test" if config.test_file or not config.train_file else "validation"

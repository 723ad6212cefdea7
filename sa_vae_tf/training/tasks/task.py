"""What a kind of data has to tell: its corpus, its models, and how large an example is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.data.images import ImageSplit
from sa_vae_tf.data.pipeline import Split
from sa_vae_tf.data.sequences import SequenceSplit
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.config import Config


class Data(NamedTuple):
    """A corpus.

    Attributes:
      splits: by name.
      vocabulary: the words it knows, of text.
      sources: paths of the files or folders it was read from, by split, and of its words.
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
      example: function (config) -> `x` of one example, the largest, without the axis of the batch.
      tokens: function (batch of examples) -> number of tokens predicted in each, [batch]; None where no perplexity
        is wanted.
      samples: function (model, vocabulary, validation split) -> function that returns text or images by name, which
        show how far a run has come; None for none.
      entries_at_once: function (config, vocabulary) -> entries of `x` that a step gives the decoder at once; see
        `LatentVariableModel`.
      evaluated_split: function (config) -> name of the split to evaluate: test where there is one.
      normalises_batches: whether its encoder takes moments over a batch: of several replicas each asks the others for
        theirs, which XLA cannot compile.
    """

    data: Callable[[Config, Sequence[str], Path | None], Data]
    encoder: Callable[[Config, Vocabulary | None], keras.Model]
    decoder: Callable[[Config, Vocabulary | None], keras.Model]
    example: Callable[[Config], tf.TensorSpec]
    tokens: Callable[[tf.Tensor], tf.Tensor] | None = None
    samples: Callable[..., Callable[[], Mapping[str, Any]]] | None = None
    entries_at_once: Callable[[Config, Vocabulary | None], int] = lambda config, vocabulary: 0
    evaluated_split: Callable[[Config], str] = lambda config: "test"
    normalises_batches: bool = False


@contextlib.contextmanager
def named(settings: Any, *flags: str) -> Iterator[None]:
    """Puts the flag before an error that begins with the file that the flag names, or one in the folder."""
    try:
        yield
    except UserError as error:
        for flag in flags:
            given = getattr(settings, flag)
            if given and str(error).startswith((f"{given}: ", f"{given.rstrip('/')}/")):
                raise UserError(f"--{flag}={error}") from None
        raise


def latent_dim(config: Config) -> int:
    """Returns the dimensions of the latent variable that the decoder reads, 0 where the method has none."""
    return config.latent_dim if METHODS[config.method].latent else 0


def data_seed(config: Config) -> int:
    """Returns the seed of all that is drawn to make the data."""
    return config.data_seed or config.seed

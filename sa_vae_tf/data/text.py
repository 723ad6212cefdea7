"""Corpora of text as a TFDS builder: read once from files, then kept as ids with random access."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import logging
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from sa_vae_tf.data.pipeline import SPLITS
from sa_vae_tf.data.preparation import fingerprint, key_shift, prepare
from sa_vae_tf.data.records import Records, RecordsBuilder
from sa_vae_tf.data.sequences import SequenceSplit
from sa_vae_tf.data.text_files import count_words, read_examples
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.errors import UserError

logger = logging.getLogger(__name__)

VOCABULARY_FILE = "vocabulary.txt"
# How many there are is known when all are read.
MOST_LINES = 2**27


@dataclasses.dataclass(kw_only=True)
class TextConfig(tfds.core.BuilderConfig):
    """What is made of which files.

    Attributes:
      files: path of each split.
      vocabulary: the words to know; None to take them from the training text.
      vocab_size: number of words to take, the most frequent ones; 0 for all.
      min_count: how often a word that is taken must occur.
      max_length: in words; longer lines are dropped.
    """

    files: dict[str, str] = dataclasses.field(default_factory=dict)
    vocabulary: Vocabulary | None = dataclasses.field(default=None, repr=False)  # TFDS logs the rest
    vocab_size: int = 0
    min_count: int = 1
    max_length: int = 200


class TextFiles(RecordsBuilder):
    """Text, one example a line, words separated by spaces, as ids of `<s> words </s>` in the order of the file."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"tokens": tfds.features.Tensor(shape=(None,), dtype=np.int32)}),
            description=type(self).__doc__,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _files(self, dl_manager: tfds.download.DownloadManager) -> dict[str, str]:
        """Returns the path of each split."""
        return self.builder_config.files

    def _split_generators(self, dl_manager):
        files, config = self._files(dl_manager), self.builder_config
        vocabulary = config.vocabulary
        if vocabulary is None:
            counts = count_words(files["train"], config.max_length)
            vocabulary = Vocabulary.from_counts(counts, config.vocab_size, config.min_count)
        vocabulary.write(Path(self.data_dir) / VOCABULARY_FILE)
        # The training text is the longest: before it, errors of the others show early.
        splits = [split for split in reversed(SPLITS) if split in files]
        return {split: self._generate_examples(split, files[split], vocabulary) for split in splits}

    def _generate_examples(self, split: str, path: str, vocabulary: Vocabulary):
        shift = key_shift(MOST_LINES, 4 * self.builder_config.max_length)
        documents = words_read = unknown = 0
        dropped: collections.Counter[str] = collections.Counter()
        with _lengths_file(self.data_dir, split).open("wb") as lengths:
            for words in read_examples(path, self.builder_config.max_length, dropped):
                tokens = vocabulary.encode(words)
                lengths.write(len(tokens).to_bytes(4, sys.byteorder))
                yield documents << shift, {"tokens": np.array(tokens, np.int32)}
                documents, words_read = documents + 1, words_read + len(words)
                unknown += tokens.count(vocabulary.unknown_id)
        self.info.metadata[split] = {
            "documents": documents,
            "tokens": words_read + documents,
            "known_words": words_read - unknown,
            "unknown_rate": unknown / words_read,
            "dropped_long": dropped["long"],
            "dropped_blank": dropped["blank"],
        }


class Corpus(NamedTuple):
    """A corpus ready for use.

    Attributes:
      vocabulary: the words it knows.
      splits: those of train, validation and test that it has.
      statistics: for each split the numbers of documents, tokens (words and the end of each document), known words,
        the share of words that are unknown, and the numbers of long and of blank lines that were dropped.
      files: path of each split.
    """

    vocabulary: Vocabulary
    splits: dict[str, SequenceSplit]
    statistics: dict[str, dict[str, Any]]
    files: dict[str, str]


def prepare_files(
    train: str,
    val: str,
    test: str,
    *,
    vocab_file: str = "",
    vocab_size: int = 0,
    min_count: int = 1,
    max_length: int = 200,
    data_dir: str | None = None,
) -> Corpus:
    """Returns the corpus of the user's files, reading them only if they or the settings are new.

    Args:
      train: training text, plain or .gz, UTF-8; may be empty if there is a vocabulary file.
      val: validation text, or empty for none.
      test: test text, or empty for none.
      vocab_file: file of the words to know, a word and its id on each line; empty to take them from the training text.
      vocab_size: number of words to take, the most frequent ones; 0 for all.
      min_count: how often a word that is taken must occur.
      max_length: in words; longer lines are dropped.
      data_dir: where prepared data is kept; None for TFDS's default.

    Raises:
      UserError: if a file is missing, is not such text, or leaves no example.
    """
    if not train and not (vocab_file and (val or test)):
        raise UserError("--train_file: expected a text file, or --vocab_file with --val_file or --test_file")
    files = {split: path for split, path in zip(SPLITS, (train, val, test), strict=True) if path}
    return prepare_text(TextFiles, files, vocab_file, vocab_size, min_count, max_length, data_dir)


def prepare_text(
    builder: type[TextFiles],
    files: dict[str, str],
    vocab_file: str,
    vocab_size: int,
    min_count: int,
    max_length: int,
    data_dir: str | None,
) -> Corpus:
    """Returns the corpus that a builder makes of files by split; see `prepare_files`."""
    vocabulary = Vocabulary.read(vocab_file) if vocab_file else None
    found = {split: fingerprint(path) for split, path in files.items()}
    recipe = [found, vocabulary and vocabulary.words, vocab_size, min_count, max_length]
    config = TextConfig(
        name=hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16],
        description=f"At most {max_length} words a line.",
        files=files,
        vocabulary=vocabulary,
        vocab_size=vocab_size,
        min_count=min_count,
        max_length=max_length,
    )
    corpus, sources = ", ".join(files.values()), itertools.chain(*found.values())
    return _load(prepare(builder, config, data_dir, corpus, list(sources)))


def _lengths_file(folder: str, split: str) -> Path:
    return Path(folder) / f"lengths-{split}.int32"


def _load(builder: TextFiles) -> Corpus:
    names = [split for split in SPLITS if split in builder.info.splits]
    statistics = {split: builder.info.metadata[split] for split in names}
    splits = {
        split: SequenceSplit(
            Records(builder, split), np.asarray(np.memmap(_lengths_file(builder.data_dir, split), np.int32, "r"))
        )
        for split in names
    }
    for split, of_split in statistics.items():
        logger.info("%s", _in_words(split, of_split, builder.builder_config.max_length))
    vocabulary = Vocabulary.read(Path(builder.data_dir) / VOCABULARY_FILE)
    return Corpus(vocabulary, splits, statistics, builder.builder_config.files)


def _in_words(split: str, statistics: dict[str, Any], max_length: int) -> str:
    return (
        "{split}: {documents:,} documents, {tokens:,} tokens (words, and the end of each document), {unknown_rate:.2%} "
        "of the words unknown; lines dropped: {dropped_long:,} of more than {max_length} words, {dropped_blank:,} blank"
    ).format(split=split, max_length=max_length, **statistics)

"""The published corpora of text as TFDS builders; their files are downloaded by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from sa_vae_tf.data.preparation import manual_folder
from sa_vae_tf.data.text import Corpus, TextConfig, TextFiles, prepare_text
from sa_vae_tf.data.text_files import read_lines
from sa_vae_tf.errors import UserError

OWN_FILES = "Or give files of your own by --train_file and --val_file."


class PublishedFile(NamedTuple):
    """What is known of a file.

    Attributes:
      name: of the file.
      lines: how many it has.
      md5: checksum of its bytes, empty if not known.
    """

    name: str
    lines: int
    md5: str = ""


class PublishedText(TextFiles, skip_registration=True):  # type: ignore[call-arg]
    """A corpus whose files are known, and lie in the folder of its name among TFDS's manual downloads."""

    FILES: dict[str, PublishedFile]

    @classmethod
    def locate(cls, folder: str | Path) -> dict[str, str]:
        """Returns the path of each split's file.

        Raises:
          UserError: if one is missing; says what to put where.
        """
        for file in cls.FILES.values():
            if not (Path(folder) / file.name).is_file():
                raise UserError(
                    f"{Path(folder) / file.name}: there is no such file. {cls.MANUAL_DOWNLOAD_INSTRUCTIONS} {OWN_FILES}"
                )
        return {split: str(Path(folder) / file.name) for split, file in cls.FILES.items()}

    def _files(self, dl_manager):
        files = self.builder_config.files or self.locate(dl_manager.manual_dir / self.name)
        for split, (_, lines, md5) in self.FILES.items():
            path = Path(files[split])
            found = sum(1 for _ in read_lines(path))
            if found != lines:
                problem = f"has {found:,} lines, that of {self.name} has {lines:,}"
            # These files are small.
            elif md5 and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                problem = f"is not that of {self.name}, whose MD5 is {md5}"
            else:
                continue
            instructions = f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS} {OWN_FILES}"
            raise UserError(f"{path}: {problem}. {instructions}")
        return files


class YahooAnswersYang(PublishedText):
    """Yahoo Answers as sampled and tokenised by Yang et al. (2017), the corpus of the paper's text experiment."""

    BUILDER_CONFIGS = [TextConfig(name="published", description="20,000 words.", vocab_size=20_000)]
    FILES = {
        "train": PublishedFile("train.txt", 100_000),
        "validation": PublishedFile("val.txt", 10_000),
        "test": PublishedFile("test.txt", 10_000),
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get the data archive that the README of https://github.com/harvardnlp/sa-vae links to "
        "(https://drive.google.com/file/d/1PecZKhrPkMZmvMyiOJfMS-FsHW3FE0rH), and put train.txt, val.txt and test.txt "
        "of its folder data/yahoo into the folder yahoo_answers_yang of the manual downloads."
    )


class PtbMikolov(PublishedText):
    """The Penn Treebank as preprocessed by Mikolov: 10,000 words, rarer ones written <unk>, numbers N."""

    BUILDER_CONFIGS = [TextConfig(name="published", description="All words.")]
    FILES = {
        "train": PublishedFile("ptb.train.txt", 42_068, "f26c4b92c5fdc7b3f8c7cdcb991d8420"),
        "validation": PublishedFile("ptb.valid.txt", 3_370, "aa0affc06ff7c36e977d7cd49e3839bf"),
        "test": PublishedFile("ptb.test.txt", 3_761, "8b80168b89c18661a38ef683c0dc3721"),
    }
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz, and put ptb.train.txt, ptb.valid.txt and "
        "ptb.test.txt of its folder simple-examples/data into the folder ptb_mikolov of the manual downloads."
    )


PUBLISHED: dict[str, type[PublishedText]] = {corpus.name: corpus for corpus in (YahooAnswersYang, PtbMikolov)}


def prepare_published(
    name: str,
    *,
    vocab_file: str = "",
    vocab_size: int = 0,
    min_count: int = 1,
    max_length: int = 200,
    data_dir: str | None = None,
    manual_dir: str = "",
) -> Corpus:
    """Returns a published corpus, preparing it on first use.

    Args:
      name: one of PUBLISHED.
      vocab_file: file of the words to know, a word and its id on each line; empty to take them from the training text.
      vocab_size: number of words to take, the most frequent ones; 0 for all.
      min_count: how often a word that is taken must occur.
      max_length: in words; longer lines are dropped.
      data_dir: where prepared data is kept; None for TFDS's default.
      manual_dir: folder of manual downloads, with one folder for each corpus; empty for TFDS's, downloads/manual in
        `data_dir`.

    Raises:
      UserError: if a file is missing or is not the published one.
    """
    corpus = PUBLISHED[name]
    files = corpus.locate(manual_folder(data_dir, manual_dir) / name)
    return prepare_text(corpus, files, vocab_file, vocab_size, min_count, max_length, data_dir)

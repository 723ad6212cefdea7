"""Corpora of the user's files: what is kept, counted, used again."""

import gzip
import itertools
import logging
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from sa_vae_tf.data import preparation, text
from sa_vae_tf.data.vocabulary import SPECIAL, Vocabulary
from sa_vae_tf.errors import UserError

TRAIN = "the cat sat on the mat\n\nthe _UNK sat\na b c d e f g h\nthe cat <unk>\n"
VAL = "the dog sat\n"
TEST = "a cat\n \nno such\n"


@pytest.fixture
def files(tmp_path):
    for name, content in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        (tmp_path / name).write_text(content)
    return [str(tmp_path / name) for name in ("train", "val", "test")]


def prepare(files, tmp_path, **settings):
    return text.prepare_files(
        *files, data_dir=str(tmp_path / "data"), max_length=settings.pop("max_length", 6), **settings
    )


def sentences(corpus, split: str) -> list[str]:
    """Returns the text of a split in the order of its file, read through batches."""
    of_split = corpus.splits[split]
    found = {}
    for batch in of_split.in_order(2):
        for x, index in zip(batch["x"].numpy(), batch["index"].numpy(), strict=True):
            assert np.count_nonzero(x) == of_split.lengths[index]
            found[index] = corpus.vocabulary.decode(x)
    assert sorted(found) == list(range(of_split.count))
    return [found[index] for index in sorted(found)]


def test_corpus(files, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "sa_vae_tf"):
        corpus = prepare(files, tmp_path)
    # "a" occurs in a line that is too long alone.
    assert corpus.vocabulary.words == (*SPECIAL, "the", "cat", "sat", "mat", "on")
    assert sentences(corpus, "train") == ["the cat sat on the mat", "the <unk> sat", "the cat <unk>"]
    assert sentences(corpus, "validation") == ["the <unk> sat"]
    assert sentences(corpus, "test") == ["<unk> cat", "<unk> <unk>"]
    assert corpus.statistics["train"] == {
        "documents": 3, "tokens": 15, "known_words": 10, "unknown_rate": 2 / 12, "dropped_long": 1, "dropped_blank": 1,
    }  # fmt: skip
    assert corpus.statistics["test"] == {
        "documents": 2, "tokens": 6, "known_words": 1, "unknown_rate": 3 / 4, "dropped_long": 0, "dropped_blank": 1,
    }  # fmt: skip
    lines = [record.message for record in caplog.records if record.name.startswith("sa_vae_tf")]
    assert lines[0].startswith(f"Preparing {', '.join(files)} in {tmp_path}/data/text_files/")
    assert lines[1] == (
        "train: 3 documents, 15 tokens (words, and the end of each document), 16.67% of the words unknown; "
        "lines dropped: 1 of more than 6 words, 1 blank"
    )
    assert [line.split(":")[0] for line in lines[2:]] == ["validation", "test"]


def test_vocabulary_by_size_count_and_file(files, tmp_path):
    assert prepare(files, tmp_path, vocab_size=2).vocabulary.words == (*SPECIAL, "the", "cat")
    assert prepare(files, tmp_path, min_count=2).vocabulary.words == (*SPECIAL, "the", "cat", "sat")
    given = Vocabulary((*SPECIAL, "_UNK", "cat", "the"))
    given.write(tmp_path / "words")
    corpus = prepare(files, tmp_path, vocab_file=str(tmp_path / "words"))
    assert corpus.vocabulary == given
    assert sentences(corpus, "train")[1:] == ["the _UNK _UNK", "the cat _UNK"]
    assert corpus.statistics["validation"]["known_words"] == 1
    # No training text is needed then.
    corpus = prepare(["", "", files[2]], tmp_path, vocab_file=str(tmp_path / "words"))
    assert list(corpus.splits) == ["test"]
    assert sentences(corpus, "test") == ["_UNK cat", "_UNK _UNK"]


def test_compressed_text_is_the_same_text(files, tmp_path):
    for path in files:
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as compressed:
            compressed.write(plain.read())
    plain, compressed = prepare(files, tmp_path), prepare([f"{path}.gz" for path in files], tmp_path)
    assert plain.vocabulary == compressed.vocabulary
    assert plain.statistics == compressed.statistics
    for split in text.SPLITS:
        assert sentences(plain, split) == sentences(compressed, split)


def test_prepared_data_is_used_again_and_only_if_nothing_changed(files, tmp_path, monkeypatch):
    Vocabulary((*SPECIAL, "cat")).write(tmp_path / "words")
    first = prepare(files, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(text, "read_examples", lambda *_: pytest.fail("read again"))
        again = prepare(files, tmp_path)
    assert again.vocabulary == first.vocabulary
    assert again.statistics == first.statistics
    assert sentences(again, "train") == sentences(first, "train")

    assert prepare(files, tmp_path, vocab_size=2).vocabulary.words == (*SPECIAL, "the", "cat")
    assert prepare(files, tmp_path, min_count=2).vocabulary.words == (*SPECIAL, "the", "cat", "sat")
    assert prepare(files, tmp_path, max_length=8).splits["train"].count == 4
    assert len(prepare(files, tmp_path, vocab_file=str(tmp_path / "words")).vocabulary) == 5
    (tmp_path / "words").write_text((tmp_path / "words").read_text().replace("cat", "dog"))
    changed = prepare(files, tmp_path, vocab_file=str(tmp_path / "words"))
    assert sentences(changed, "validation") == ["<unk> dog <unk>"]
    # Of the same size, changed a millisecond later.
    status = os.stat(files[1])
    (tmp_path / "val").write_text(VAL.replace("sat", "mat"))
    os.utime(files[1], ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert sentences(prepare(files, tmp_path), "validation") == ["the <unk> mat"]


def test_order_of_the_file_is_kept_when_tfds_writes_parts(files, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "BUFFER_BYTES", 1000)
    lines = [f"the {number}" for number in range(300)]
    (tmp_path / "train").write_text("\n".join(lines))
    asked = []
    monkeypatch.setattr(text, "key_shift", lambda *sizes: asked.append(sizes) or 118)  # a part for each example
    corpus = prepare(files, tmp_path)
    assert sentences(corpus, "train") == lines
    assert asked == [(2**27, 4 * 6)] * 3  # Four bytes a word.


def test_by_default_a_line_has_two_hundred_words_at_most(files, tmp_path):
    (tmp_path / "train").write_text("".join("the " * words + "\n" for words in (200, 201)))
    corpus = text.prepare_files(*files, data_dir=str(tmp_path / "data"))
    np.testing.assert_array_equal(corpus.splits["train"].lengths, [202])


def test_builder_is_one_of_tfds(files, tmp_path):
    corpus = prepare(files, tmp_path)
    assert "text_files" in tfds.list_builders()
    config = next((tmp_path / "data" / "text_files").iterdir())
    builder = tfds.builder_from_directory(config / "1.0.0")
    assert builder.info.splits["train"].num_examples == 3
    source = builder.as_data_source("train")
    assert source[1]["tokens"].dtype == np.int32
    assert corpus.vocabulary.decode(source[1]["tokens"]) == "the <unk> sat"
    assert Vocabulary.read(config / "1.0.0" / "vocabulary.txt") == corpus.vocabulary


def test_training_batches(files, tmp_path):
    (tmp_path / "train").write_text("".join(f"{'the ' * (number % 7)}cat\n" for number in range(50)))
    split = prepare(files, tmp_path, max_length=9).splits["train"]
    numbers = [batch["index"].numpy().tolist() for batch in split.shuffled(8, seed=1, start=2).take(12)]
    assert sorted(itertools.chain(*numbers[5:])) == list(range(50))


@pytest.mark.parametrize(
    ("which", "content", "message"),
    [
        ("train", "", "has no words"),
        ("train", "a b c d e f g\n" * 3, "every line has more than --max_length=6 words"),
        ("val", "a b c d e f g\n" * 3, "every line has more than --max_length=6 words"),
        ("test", "\n", "has no words"),
        ("test", b"fine\n\xff\n", "line 2 is not UTF-8 text"),
        ("val", "a" * 1_000_000, "line 1 has 1,000,000 characters or more"),
        ("test", None, "cannot be read .No such file or directory.$"),
    ],
)
def test_wrong_files(files, tmp_path, which, content, message):
    path = tmp_path / which
    good = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=f"^{path}: {message}"):
        prepare(files, tmp_path)
    # Nothing half done is taken for prepared data.
    path.write_bytes(good)
    assert prepare(files, tmp_path).splits["train"].count == 3


def test_wrong_settings(files, tmp_path):
    with pytest.raises(UserError, match="^--train_file: expected a text file, or --vocab_file with"):
        prepare(["", *files[1:]], tmp_path)
    with pytest.raises(UserError, match=f"^{tmp_path}/none: cannot be read"):
        prepare(files, tmp_path, vocab_file=str(tmp_path / "none"))
    with pytest.raises(UserError, match="^--min_count=5: no word"):
        prepare(files, tmp_path, min_count=5)

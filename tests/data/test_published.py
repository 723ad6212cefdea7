"""The published corpora, with small files in the place of the real ones."""

import hashlib

import pytest
import tensorflow_datasets as tfds

from sa_vae_tf.data.published import (
    OWN_FILES,
    PUBLISHED,
    PtbMikolov,
    PublishedFile,
    YahooAnswersYang,
    prepare_published,
)
from sa_vae_tf.data.vocabulary import SPECIAL
from sa_vae_tf.errors import UserError

TEXT = {"train": "the cat\nthe <unk>\n", "validation": "the dog\n", "test": "the end\nfin\n"}


@pytest.fixture(params=sorted(PUBLISHED))
def corpus(request, monkeypatch):
    """The builder's class, for which small files are the published ones."""
    builder = PUBLISHED[request.param]
    files = {
        split: PublishedFile(
            file.name, TEXT[split].count("\n"), hashlib.md5(TEXT[split].encode()).hexdigest() if file.md5 else ""
        )
        for split, file in builder.FILES.items()
    }
    monkeypatch.setattr(builder, "FILES", files)
    return builder


def put(corpus, folder) -> None:
    folder.mkdir(parents=True)
    for split, file in corpus.FILES.items():
        (folder / file.name).write_text(TEXT[split])


def test_names_and_facts():
    assert [PUBLISHED["yahoo_answers_yang"], PUBLISHED["ptb_mikolov"]] == [YahooAnswersYang, PtbMikolov]
    assert set(PUBLISHED) <= set(tfds.list_builders())
    assert "published_text" not in tfds.list_builders()
    assert [file.lines for file in PtbMikolov.FILES.values()] == [42_068, 3_370, 3_761]
    assert [file.lines for file in YahooAnswersYang.FILES.values()] == [100_000, 10_000, 10_000]
    assert YahooAnswersYang.BUILDER_CONFIGS[0].vocab_size == 20_000
    for builder in PUBLISHED.values():
        assert builder.BUILDER_CONFIGS[0].max_length == 200
        assert all(file.name in builder.MANUAL_DOWNLOAD_INSTRUCTIONS for file in builder.FILES.values())


@pytest.mark.parametrize("manual_dir", [False, True])
def test_corpus(corpus, tmp_path, manual_dir):
    manual = tmp_path / ("elsewhere" if manual_dir else "data/downloads/manual")
    put(corpus, manual / corpus.name)
    prepared = prepare_published(
        corpus.name, data_dir=str(tmp_path / "data"), manual_dir=str(manual) if manual_dir else ""
    )
    assert prepared.vocabulary.words == (*SPECIAL, "the", "cat")
    assert {split: of_split.count for split, of_split in prepared.splits.items()} == {
        "train": 2, "validation": 1, "test": 2,
    }  # fmt: skip
    assert prepared.statistics["train"]["unknown_rate"] == 1 / 4


def test_a_smaller_vocabulary(corpus, tmp_path):
    put(corpus, tmp_path / "downloads" / "manual" / corpus.name)
    for settings, words in (({"vocab_size": 1}, ["the"]), ({"min_count": 2}, ["the"]), ({}, ["the", "cat"])):
        assert prepare_published(corpus.name, data_dir=str(tmp_path), **settings).vocabulary.words[4:] == (*words,)


def test_files_that_are_not_the_published_ones(corpus, tmp_path):
    folder = tmp_path / "downloads" / "manual" / corpus.name
    put(corpus, folder)
    file = corpus.FILES["test"]
    (folder / file.name).write_text("one\ntwo\nthree\n")
    with pytest.raises(UserError) as error:
        prepare_published(corpus.name, data_dir=str(tmp_path))
    assert str(error.value) == (
        f"{folder}/{file.name}: has 3 lines, that of {corpus.name} has 2. "
        f"{corpus.MANUAL_DOWNLOAD_INSTRUCTIONS} {OWN_FILES}"
    )
    (folder / file.name).write_text("one\ntwo\n")
    if file.md5:
        with pytest.raises(UserError, match=f"is not that of {corpus.name}, whose MD5 is {file.md5}"):
            prepare_published(corpus.name, data_dir=str(tmp_path))
    else:
        prepare_published(corpus.name, data_dir=str(tmp_path))


def test_missing_files(corpus, tmp_path):
    folder = tmp_path / "downloads" / "manual" / corpus.name
    message = f"there is no such file. {corpus.MANUAL_DOWNLOAD_INSTRUCTIONS} {OWN_FILES}"
    with pytest.raises(UserError) as error:
        prepare_published(corpus.name, data_dir=str(tmp_path))
    assert str(error.value) == f"{folder}/{corpus.FILES['train'].name}: {message}"
    put(corpus, folder)
    (folder / corpus.FILES["test"].name).unlink()
    with pytest.raises(UserError) as error:
        prepare_published(corpus.name, data_dir=str(tmp_path))
    assert str(error.value) == f"{folder}/{corpus.FILES['test'].name}: {message}"


def test_tfds_s_own_way(corpus, tmp_path):
    builder = tfds.builder(corpus.name, data_dir=tmp_path)
    with pytest.raises(AssertionError, match="instructions:\nGet "):
        builder.download_and_prepare()
    put(corpus, tmp_path / "downloads" / "manual" / corpus.name)
    builder.download_and_prepare()
    assert [len(example["tokens"]) for example in builder.as_data_source("test")] == [4, 3]

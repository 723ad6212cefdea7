"""The vocabulary in a graph against the one in Python."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_vae_tf.data.vocabulary import END, PAD, SPECIAL, START, Vocabulary
from sa_vae_tf.export.words import GraphVocabulary

WORDS = ("the", "vögel", "_UNK", "N", "\\", "'s", "日本", "a\0b")
PYTHON_SPACES = "".join(chr(i) for i in range(0x110000) if chr(i).isspace())


@pytest.fixture(scope="module", params=[WORDS, ("the", "N")], ids=["with _UNK", "without"])
def both(request, tmp_path_factory):
    vocabulary = Vocabulary(SPECIAL + request.param)
    file = tmp_path_factory.mktemp("words") / "vocabulary.txt"
    vocabulary.write(file)
    return vocabulary, GraphVocabulary(file, vocabulary)


def assert_same(both, sentences):
    vocabulary, graph = both
    encoded = graph.encode(tf.constant(sentences))
    for sentence, tokens, words, unknown in zip(sentences, *(part.numpy() for part in encoded[:3]), strict=True):
        expected = vocabulary.encode(sentence.split())
        assert tokens[: len(expected)].tolist() == expected
        assert np.all(tokens[len(expected) :] == PAD)
        assert words == len(sentence.split())
        assert unknown == expected.count(vocabulary.unknown_id)


def test_tricky_sentences(both):
    assert_same(
        both, ["the N", "", "  the\t the\r\n", "<s> </s> <pad> <unk> _UNK", "zz vögel 日本 a\0b \\ 's", "the" * 99]
    )


def test_splits_at_every_space_of_python(both):
    assert_same(both, [f"the{space}N" for space in PYTHON_SPACES])
    # And at nothing that only looks like one: zero-width space, word joiner, byte order mark, braille blank.
    assert_same(both, [f"the{character}N" for character in "\u200b\u2060\ufeff\u2800\u180e\0\x1b\x7f"])


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from("the N" + PYTHON_SPACES)), min_size=1, max_size=5)
)
def test_any_sentences(both, sentences):
    assert_same(both, sentences)


def test_fingerprints_are_of_the_words(both):
    fingerprints = both[1].encode(tf.constant(["the N", " the\u2003N\n", "N the", "theN"])).fingerprint
    one, spaced, other, joined = fingerprints
    assert one == spaced
    assert len({int(one), int(other), int(joined)}) == 3
    # Of 63 bits: those of the sentences of a data set do not meet.
    assert np.min(fingerprints) >= 0
    assert np.max(fingerprints) > 2**60


def test_decode_is_pythons(both):
    vocabulary, graph = both
    rows = [[START, 4, 5, END, PAD], [END, PAD, PAD, PAD, PAD], [1, 5, 4, 4, 5], [4, END, PAD, PAD, PAD]]
    decoded = [text.decode() for text in graph.decode(tf.constant(rows, tf.int32)).numpy()]
    assert decoded == [vocabulary.decode(row) for row in rows]

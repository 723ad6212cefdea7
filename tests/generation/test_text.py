"""Text in words, from the Markov chain whose probabilities are known."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data.vocabulary import SPECIAL, Vocabulary
from sa_vae_tf.generation import SamplingSettings
from sa_vae_tf.generation.text import TextGenerator
from tests.generation.chain import Chain, log_probability, texts

WORDS = Vocabulary((*SPECIAL, "cat", "dog", "bird"))
LENGTH, SEED = 4, (0, 1)


def ids(text: str) -> list[int]:
    """The words of a text, with its end if there was room for one."""
    return WORDS.encode(text.split())[1 : LENGTH + 1]


@pytest.mark.parametrize("beam", [0, 5])
def test_log_probability_is_that_of_the_words(beam):
    # Padding and start have probabilities of their own: written, they would count and not be shown.
    generator = TextGenerator(Chain(), WORDS, SamplingSettings(LENGTH), beam=beam)
    z = np.random.default_rng(0).standard_normal([100, 2]).astype(np.float32)
    written = generator(tf.constant(z), np.arange(100), SEED)
    assert len({text for text, _ in written}) > 2
    for text, own in zip(written, z, strict=True):
        # Sums of five float32.
        assert text.log_probability == pytest.approx(log_probability(ids(text.text), own), rel=1e-5)


def test_a_wide_beam_finds_the_most_probable_text():
    best = max(texts(LENGTH), key=log_probability)
    beam = len(list(texts(LENGTH)))
    [written] = TextGenerator(Chain(), WORDS, SamplingSettings(LENGTH), beam, no_unknown=True)(None, np.arange(1), SEED)
    assert written.text == WORDS.decode(best)


@pytest.mark.parametrize("no_unknown", [False, True])
def test_the_unknown_word(no_unknown):
    generator = TextGenerator(Chain(), WORDS, SamplingSettings(LENGTH), no_unknown=no_unknown)
    words = {word for text, _ in generator(None, np.arange(100), SEED) for word in text.split()}
    assert words == {"cat", "dog", "bird"} | (set() if no_unknown else {"<unk>"})


def test_both_unknown_words_of_a_corpus_with_its_own():
    generator = TextGenerator(Chain(), Vocabulary((*SPECIAL, "_UNK", "dog", "bird")), SamplingSettings(9), 0, True)
    assert generator.symbols.forbidden == (0, 1, 2, 4)
    words = {word for text, _ in generator(None, np.arange(50), SEED) for word in text.split()}
    assert words == {"dog", "bird"}


def test_a_text_depends_on_its_number_and_the_seed_alone():
    generator = TextGenerator(Chain(), WORDS, SamplingSettings(LENGTH))
    whole = generator(None, np.arange(10), SEED)
    assert generator(None, np.arange(3, 7), SEED) == whole[3:7]
    assert generator(None, np.arange(10), (0, 2)) != whole

"""Beam search on a chain whose texts can all be listed."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.generation import SamplingSettings, Symbols, beam_search, sample
from tests.generation.chain import (
    END,
    PAD,
    START,
    SYMBOLS,
    VOCABULARY,
    Chain,
    log_probabilities,
    log_probability,
    texts,
    without_padding,
)

CHAIN = Chain()
Z = np.random.default_rng(2).standard_normal([20, 2]).astype(np.float32)


def reference(z, width, max_length):
    """Beam search for one example, with lists of words."""
    beam = [(0.0, ())]
    for _ in range(max_length):
        grown = []
        for score, words in beam:
            if words and words[-1] == END:
                grown.append((score, words))
                continue
            gained = log_probabilities(*[START, START, *words][-2:], z)
            grown += [(score + gained[word], (*words, word)) for word in (END, 4, 5, 6)]
        beam = sorted(grown, reverse=True)[:width]
    return beam[0]


def test_a_beam_of_all_texts_finds_the_most_probable():
    length = 4
    everything = list(texts(length))
    tokens, log_p = beam_search(CHAIN, Z, len(Z), SYMBOLS, len(everything), length)
    best = [max(everything, key=lambda text: log_probability(text, z)) for z in Z]
    assert [without_padding(row) for row in tokens.numpy()] == best
    np.testing.assert_allclose(log_p, [log_probability(text, z) for text, z in zip(best, Z, strict=True)], rtol=1e-5)
    # The chain is one on which a greedy search fails.
    greedy = beam_search(CHAIN, Z, len(Z), SYMBOLS, 1, length).log_probability
    assert (log_p > greedy + 0.01).numpy().any()


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("max_length", [1, 7])
def test_against_lists(width, max_length):
    tokens, log_p = beam_search(CHAIN, Z, len(Z), SYMBOLS, width, max_length)
    assert tokens.dtype == tf.int32
    assert tokens.shape == [len(Z), max_length]
    expected = [reference(z, width, max_length) for z in Z]
    assert [without_padding(row) for row in tokens.numpy()] == [words for _, words in expected]
    # A sum of at most seven float32 terms.
    np.testing.assert_allclose(log_p, [score for score, _ in expected], rtol=1e-5)


def test_width_one_is_greedy():
    greedy = sample(
        CHAIN, Z, tf.range(20, dtype=tf.int64), SYMBOLS, SamplingSettings(9, temperature=0), tf.constant([0, 0])
    )
    beam = beam_search(CHAIN, Z, 20, SYMBOLS, 1, 9)
    np.testing.assert_array_equal(beam.tokens, greedy.tokens)
    np.testing.assert_allclose(beam.log_probability, greedy.log_probability, rtol=1e-5)


def test_an_example_does_not_depend_on_its_batch():
    whole = beam_search(CHAIN, Z, 20, SYMBOLS, 3, 7)
    some = beam_search(CHAIN, Z[[11, 4]], 2, SYMBOLS, 3, 7)
    np.testing.assert_array_equal(some.tokens, whole.tokens.numpy()[[11, 4]])


def test_without_latent_variable_all_examples_are_alike():
    tokens, log_p = beam_search(CHAIN, None, 3, SYMBOLS, 2, 5)
    score, words = reference(None, 2, 5)
    assert [without_padding(row) for row in tokens.numpy()] == [words] * 3
    np.testing.assert_allclose(log_p, score, rtol=1e-5)


def test_forbidden_words_are_not_written():
    # Padding is by far the most probable word everywhere.
    table = np.full([VOCABULARY] * 3, np.log(0.01), np.float32)
    table[..., PAD] = np.log(0.94)
    unrestricted = Symbols(pad=PAD, start=START, end=END)
    assert set(beam_search(Chain(table), None, 1, unrestricted, 2, 3).tokens.numpy().ravel()) == {PAD}
    tokens, log_p = beam_search(Chain(table), None, 1, SYMBOLS, 2, 3)
    # All else is alike, so the shortest text is best, with the probability that it has beside padding.
    assert without_padding(tokens[0].numpy()) == (END,)
    np.testing.assert_allclose(log_p, np.log(0.01), rtol=1e-5)


def test_stops_once_the_most_probable_has_ended():
    # END has two thirds at the second word; the other beginnings never end.
    table = np.full([VOCABULARY] * 3, -np.inf, np.float32)
    table[..., 4] = np.log(1 / 3)
    table[..., 5] = np.log(2 / 3)
    table[START, 5] = -np.inf
    table[START, 5, END], table[START, 5, 4] = np.log(2 / 3), np.log(1 / 3)
    tokens, log_p = beam_search(Chain(table, last_position=1), None, 2, SYMBOLS, 3, 10_000)
    assert [without_padding(row) for row in tokens.numpy()] == [(5, END)] * 2
    np.testing.assert_allclose(log_p, 2 * np.log(2 / 3), rtol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="width=0: expected at least 1"):
        beam_search(CHAIN, None, 1, SYMBOLS, 0, 5)
    with pytest.raises(ValueError, match="max_length=0: expected at least 1"):
        beam_search(CHAIN, None, 1, SYMBOLS, 1, 0)

"""Samples from a chain whose probabilities are known, and the filter against a rewrite in NumPy."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_vae_tf.generation import SamplingSettings, Symbols, beam_search, filter_logits, sample
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

SEED = tf.constant([3, 4])
Z = np.random.default_rng(1).standard_normal([7, 2]).astype(np.float32)
CHAIN = Chain()
ALL_WORDS = Symbols(pad=PAD, start=START, end=END)


def indices(count):
    return tf.range(count, dtype=tf.int64)


def filtered(logits, temperature, top_k, top_p, forbidden):
    """The filter for one example, word by word."""
    words = sorted(set(range(len(logits))) - set(forbidden), key=lambda word: (-logits[word], word))
    if temperature == 0:
        words, temperature = words[:1], 1.0
    words = words[: top_k or None]
    weights = np.exp((logits[words] - logits[words[0]]) / temperature)
    before = np.cumsum(weights / weights.sum()) - weights / weights.sum()
    words = [word for word, mass in zip(words, before, strict=True) if mass < top_p or top_p == 1]
    result = np.full(len(logits), -np.inf)
    result[words] = logits[words] / temperature
    return result


# Multiples of 1/8, for ties, and far enough apart that none is lost in the softmax.
logits_of_examples = st.lists(st.integers(-80, 80), min_size=1, max_size=12).map(lambda v: np.array(v) / 8)


@settings(deadline=None, max_examples=150)
@given(
    logits_of_examples,
    st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    st.integers(0, 14),
    st.sampled_from([0.013, 0.31, 0.57, 0.93, 1.0]),
    st.data(),
)
def test_filter(logits, temperature, top_k, top_p, data):
    forbidden = data.draw(st.sets(st.integers(0, len(logits) - 1), max_size=len(logits) - 1))
    result = filter_logits(tf.constant([logits]), temperature, top_k, top_p, tuple(forbidden)).numpy()[0]
    kept = set(np.flatnonzero(np.isfinite(result)))
    allowed = sorted(set(range(len(logits))) - forbidden)
    assert int(allowed[np.argmax(logits[allowed])]) in kept
    assert not kept & forbidden
    assert len(kept) <= (1 if temperature == 0 else top_k or len(logits))
    left_out = set(allowed) - kept
    assert min(logits[list(kept)]) >= max(logits[list(left_out)], default=-np.inf)
    np.testing.assert_allclose(result[list(kept)], logits[list(kept)] / (temperature or 1), rtol=1e-12)
    if temperature and top_p < 1:
        candidates = np.exp(filtered(logits, temperature, top_k, 1.0, forbidden))
        mass = candidates[list(kept)] / candidates.sum()
        # The smallest nucleus: enough, and without its last word too little. The slack is float64's rounding.
        assert mass.sum() >= top_p - 1e-12
        assert mass.sum() - mass.min() < top_p + 1e-12


@settings(deadline=None, max_examples=100)
@given(logits_of_examples, st.sampled_from([0.0, 1.0]), st.integers(0, 14), st.sampled_from([0.013, 0.57, 1.0]))
def test_filter_against_numpy(logits, temperature, top_k, top_p):
    forbidden = (0,) if len(logits) > 1 else ()
    expected = filtered(logits, temperature, top_k, top_p, forbidden)
    result = filter_logits(tf.constant([logits]), temperature, top_k, top_p, forbidden).numpy()[0]
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_filter_in_closed_form():
    logits = tf.math.log([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.1, 0.1]])

    def kept(**options):
        return [np.flatnonzero(np.isfinite(row)).tolist() for row in filter_logits(logits, **options).numpy()]

    assert kept() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert kept(top_k=2) == [[1, 3], [0, 1]]
    assert kept(top_k=9) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert kept(top_p=0.65) == [[1, 3], [0]]
    assert kept(top_p=0.75) == [[1, 2, 3], [0, 1]]
    assert kept(top_p=1e-9) == [[1], [0]]
    assert kept(temperature=0) == [[1], [0]]
    # However cold, no word is left out before the division could overflow.
    assert kept(temperature=1e-5) == [[0, 1, 2, 3], [0, 1, 2, 3]]
    # Of the two left by the top k the first has 4/7 and 7/8; without the forbidden word 1, 3/6 and 7/9.
    assert kept(top_k=2, top_p=0.6) == [[1, 3], [0]]
    assert kept(top_p=0.49, forbidden=(1,)) == [[3], [0]]
    assert kept(top_p=0.51, forbidden=(1,)) == [[2, 3], [0]]
    # At temperature 1/2 probabilities are squared: 16/30 and 9/30 lead the first row.
    assert kept(temperature=0.5, top_p=0.52) == [[1], [0]]
    assert kept(temperature=0.5, top_p=0.82) == [[1, 3], [0]]
    # The first of two equal halves is enough for a half.
    np.testing.assert_array_equal(filter_logits(tf.zeros([1, 2]), top_p=0.5), [[0, -np.inf]])


def test_filter_at_the_limits_of_temperature():
    logits = tf.constant([[3.0, -40.0, 80.0, 80.0]])
    np.testing.assert_array_equal(filter_logits(logits, 1e-300), [[-np.inf, -np.inf, 80, -np.inf]])
    np.testing.assert_allclose(tf.nn.softmax(filter_logits(logits, 1e30)), 0.25, rtol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 0.6}, {"top_k": 2}, {"top_p": 0.8}, {"temperature": 1.7, "top_k": 3, "top_p": 0.9}],
)
def test_samples_follow_the_chain(options):
    """Pearson's test over whole texts, which sees dependence between positions too."""
    count, length = 4000, 3
    drawn = sample(CHAIN, None, indices(count), SYMBOLS, SamplingSettings(length, **options), SEED).tokens.numpy()
    seen = collections.Counter(map(without_padding, drawn))
    filter_of = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}

    def probability(text):
        history, product = [START, START, *text], 1.0
        for i, word in enumerate(text):
            logits = filtered(log_probabilities(*history[i : i + 2]), **filter_of, forbidden=SYMBOLS.forbidden)
            product *= np.exp(logits[word] - np.logaddexp.reduce(logits))
        return product

    expected = {text: count * probability(text) for text in texts(length)}
    assert sum(expected.values()) == pytest.approx(count)
    assert all(expected[text] > 0 for text in seen)
    # Texts expected fewer than five times are counted together.
    cells = [(seen[text], number) for text, number in expected.items() if number >= 5]
    rest = count - np.sum(cells, 0)
    if rest[1] > 0.5:
        cells.append(tuple(rest))
    statistic = sum((observed - number) ** 2 / number for observed, number in cells)
    freedom = len(cells) - 1
    # Mean and variance of chi-square are its degrees of freedom and twice that; four deviations are exceeded about
    # once in 1,000 times, and the seed is fixed.
    assert statistic < freedom + 4 * np.sqrt(2 * freedom)


def test_log_probability_is_that_of_the_unfiltered_decoder():
    options = SamplingSettings(12, temperature=0.5, top_k=2)
    tokens, log_p = sample(CHAIN, Z, indices(7), SYMBOLS, options, SEED)
    assert tokens.dtype == tf.int32
    assert tokens.shape == [7, 12]
    expected = [log_probability(without_padding(row), z) for row, z in zip(tokens.numpy(), Z, strict=True)]
    # Up to twelve float32 terms of a few nats.
    np.testing.assert_allclose(log_p, expected, rtol=1e-5)


def test_padding_follows_the_end_and_nothing_else():
    tokens = sample(CHAIN, None, indices(300), SYMBOLS, SamplingSettings(4), SEED).tokens.numpy()
    ended = np.cumsum(tokens == END, 1) - (tokens == END)
    np.testing.assert_array_equal(tokens == PAD, ended > 0)
    assert {0, 1} == set(np.sum(tokens == END, 1))


def test_padding_has_the_number_of_its_vocabulary():
    symbols = Symbols(pad=5, start=START, end=END, forbidden=(PAD, START, 5))
    # Room for more words than are written before all have ended.
    drawn = sample(CHAIN, Z, indices(7), symbols, SamplingSettings(60), SEED)
    found = beam_search(CHAIN, Z, 7, symbols, 2, 60)
    for tokens in (drawn.tokens.numpy(), found.tokens.numpy()):
        ended = np.cumsum(tokens == END, 1) - (tokens == END)
        np.testing.assert_array_equal(tokens == 5, ended > 0)
        assert np.all(ended[:, -1])


def test_forbidden_words_are_never_drawn():
    def words_of(symbols):
        return set(sample(CHAIN, None, indices(400), symbols, SamplingSettings(5), SEED).tokens.numpy().ravel())

    assert words_of(ALL_WORDS) == set(range(VOCABULARY))
    assert words_of(SYMBOLS) == {PAD, END, 4, 5, 6}


def test_a_certain_end_comes_at_once_and_stops_the_loop():
    table = np.full([VOCABULARY] * 3, -np.inf, np.float32)
    # 4, 5 or END with a half each; after 4, and after 5, only END: the third word at the latest.
    table[START, START, 4] = table[START, START, 5] = np.log(0.5)
    table[START, 4, 6] = table[4, 6, END] = table[START, 5, END] = 0
    chain = Chain(table, last_position=2)
    tokens, log_p = sample(chain, None, indices(40), SYMBOLS, SamplingSettings(10_000), SEED)
    assert set(map(without_padding, tokens.numpy())) == {(4, 6, END), (5, END)}
    np.testing.assert_allclose(log_p, np.log(0.5), rtol=1e-6)
    # Without a stop the chain would be asked for more; it objects to that.
    with pytest.raises(tf.errors.InvalidArgumentError):
        sample(Chain(table, last_position=1), None, indices(40), SYMBOLS, SamplingSettings(10_000), SEED)


def test_temperature_zero_is_greedy():
    tokens = sample(CHAIN, Z, indices(7), SYMBOLS, SamplingSettings(6, temperature=0), SEED).tokens.numpy()
    for row, z in zip(tokens, Z, strict=True):
        words = [START, START]
        while len(words) < 8 and words[-1] != END:
            logits = log_probabilities(*words[-2:], z)
            logits[list(SYMBOLS.forbidden)] = -np.inf
            words.append(int(np.argmax(logits)))
        assert without_padding(row) == tuple(words[2:])


def test_the_same_seed_gives_the_same_samples_and_another_others():
    def tokens(seed):
        return sample(CHAIN, Z, indices(7), SYMBOLS, SamplingSettings(12), seed).tokens.numpy()

    np.testing.assert_array_equal(tokens(SEED), tokens([3, 4]))
    assert (tokens(SEED) != tokens([3, 5])).any()


def test_an_example_does_not_depend_on_its_batch():
    options = SamplingSettings(12)
    whole = sample(CHAIN, Z, indices(7), SYMBOLS, options, SEED)
    assert len(set(map(without_padding, whole.tokens.numpy()))) > 3
    for part in ([4], [5, 1], [6, 6, 0]):
        some = sample(CHAIN, Z[part], tf.constant(part, tf.int64), SYMBOLS, options, SEED)
        np.testing.assert_array_equal(some.tokens, whole.tokens.numpy()[part])
        np.testing.assert_allclose(some.log_probability, whole.log_probability.numpy()[part], rtol=1e-6)


def test_a_longer_limit_only_adds_words():
    short, long = (sample(CHAIN, Z, indices(7), SYMBOLS, SamplingSettings(n), SEED).tokens.numpy() for n in (3, 9))
    np.testing.assert_array_equal(long[:, :3], short)


def test_xla_draws_the_same():
    options = SamplingSettings(12, top_k=4, top_p=0.95)
    compiled = tf.function(lambda z: sample(CHAIN, z, indices(7), SYMBOLS, options, SEED), jit_compile=True)(Z)
    plain = sample(CHAIN, Z, indices(7), SYMBOLS, options, SEED)
    np.testing.assert_array_equal(compiled.tokens, plain.tokens)
    np.testing.assert_allclose(compiled.log_probability, plain.log_probability, rtol=1e-5)


def test_new_batch_sizes_do_not_trace_again():
    traces = []

    class Counting(Chain):
        def start(self, z, batch_size):
            traces.append(batch_size)
            return super().start(z, batch_size)

    chain, options = Counting(), SamplingSettings(2)
    for count in (7, 3, 5, 1, 2):
        sample(chain, Z[:count], indices(count), SYMBOLS, options, [count, 0])
    assert len(traces) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "max_length=0: expected at least 1"),
        ({"temperature": -1.0}, "temperature=-1.0: expected a finite number"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_p": 0.0}, "top_p=0.0: expected a number in"),
        ({"top_p": 1.5}, "top_p=1.5"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingSettings(**{"max_length": 5, **options})


def test_errors():
    with pytest.raises(ValueError, match="forbidden=.*expected words other than the end, 3"):
        Symbols(pad=PAD, start=START, end=END, forbidden=(0, 3))
    with pytest.raises(ValueError, match="index: expected an int64 vector, got int32"):
        sample(CHAIN, None, tf.range(3), SYMBOLS, SamplingSettings(5), SEED)
    with pytest.raises(ValueError, match="one number for each example"):
        sample(CHAIN, Z, indices(3), SYMBOLS, SamplingSettings(5), SEED)

"""A decoder whose probabilities are known: a Markov chain of second order, tilted by z.

Every word, padding and start too, has a probability after every pair of words.
"""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

from sa_vae_tf.generation import Symbols

PAD, UNKNOWN, START, END = range(4)
VOCABULARY = 7
SYMBOLS = Symbols(pad=PAD, start=START, end=END, forbidden=(PAD, START, UNKNOWN))

_random = np.random.default_rng(0)
TABLE = np.log(_random.dirichlet(np.ones(VOCABULARY), [VOCABULARY, VOCABULARY])).astype(np.float32)
TILT = _random.standard_normal([2, VOCABULARY]).astype(np.float32)


class Chain:
    """Log-probabilities given the last two words are `table[last but one, last] + z @ TILT`, normalised."""

    def __init__(self, table=TABLE, last_position: int = 1000):
        self.table, self.last_position = tf.constant(table), last_position

    def start(self, z, batch_size):
        tilt = tf.zeros([batch_size, VOCABULARY]) if z is None else z @ TILT
        return {"before": tf.fill([batch_size], START), "tilt": tilt, "position": tf.zeros([batch_size], tf.int32)}

    def step(self, words, state):
        tf.debugging.assert_less_equal(state["position"], self.last_position)
        logits = tf.gather_nd(self.table, tf.stack([state["before"], words], -1)) + state["tilt"]
        return logits, {"before": words, "tilt": state["tilt"], "position": state["position"] + 1}


def log_probabilities(before, last, z=None, table=TABLE):
    """log p(word | two words before it, z), [vocabulary]."""
    logits = table[before, last].astype(np.float64) + (0 if z is None else np.asarray(z) @ TILT)
    return logits - np.logaddexp.reduce(logits)


def log_probability(words, z=None, table=TABLE):
    """log p(words | z), END included, padding not."""
    history = [START, START, *words]
    return sum(log_probabilities(*history[i : i + 2], z, table)[word] for i, word in enumerate(words))


def texts(max_length, words=(4, 5, 6)):
    """All texts of allowed words: those that end, and those that are cut."""
    for length in range(max_length):
        for text in itertools.product(words, repeat=length):
            yield (*text, END)
    yield from itertools.product(words, repeat=max_length)


def without_padding(tokens):
    """The words of a row of tokens, END included, as a tuple."""
    row = [int(word) for word in tokens]
    return tuple(row[: row.index(END) + 1] if END in row else row)

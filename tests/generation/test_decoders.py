"""Generation from the decoders of text: what it says of a text is what the decoder says of it."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.generation import SamplingSettings, beam_search, draw_from_prior, sample
from sa_vae_tf.models import DilatedCNNDecoder, LSTMDecoder
from tests.generation.chain import START, SYMBOLS, without_padding

VOCABULARY, LENGTH, BATCH = 12, 6, 9
INDEX = tf.range(BATCH, dtype=tf.int64)


def decoder_of(kind, latent):
    if kind == "lstm":
        return LSTMDecoder(VOCABULARY, 8, 16, latent, initial_range=0.9)
    return DilatedCNNDecoder(VOCABULARY, 8, 16, 8, (1, 2), latent, initial_range=0.9)


@pytest.mark.parametrize("latent", [0, 3])
@pytest.mark.parametrize("kind", ["lstm", "dilated_cnn"])
def test_log_probability_is_the_decoders(kind, latent):
    decoder = decoder_of(kind, latent)
    z = draw_from_prior(INDEX, latent, tf.constant([0, 1])) if latent else None
    drawn = sample(decoder, z, INDEX, SYMBOLS, SamplingSettings(LENGTH, temperature=0.8), tf.constant([1, 2]))
    for tokens, log_probability in (drawn, beam_search(decoder, z, BATCH, SYMBOLS, 3, LENGTH)):
        for i, row in enumerate(tokens.numpy()):
            text = tf.constant([[START, *without_padding(row)]])
            nll = decoder.negative_log_likelihood(None if z is None else z[i : i + 1], decoder.prepare(text))
            # Two orders of the same float32 sums.
            np.testing.assert_allclose(log_probability[i], -nll[0], rtol=1e-5)

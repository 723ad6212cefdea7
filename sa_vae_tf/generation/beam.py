"""Beam search for the most probable text."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.generation.sampling import Generated, Symbols, forbid


def beam_search(
    decoder: Any, z: tf.Tensor | None, batch_size: int, symbols: Symbols, width: int, max_length: int
) -> Generated:
    """Searches for the most probable text of each example, keeping the `width` most probable beginnings.

    Texts are compared by their log-probability alone, without a reward for length, so that a width of one is greedy
    and a width as large as the number of texts finds the most probable of all.

    Args:
      decoder: has `start` and `step`; see `sa_vae_tf.models`.
      z: [batch, latent], or None for a decoder without latent variable.
      batch_size: number of examples.
      symbols: of the vocabulary.
      width: number of beginnings kept for each example.
      max_length: largest number of words of a text, its end included. A text that is cut there is compared like the
        others.

    Returns:
      A `Generated`.

    Raises:
      ValueError: if `width` or `max_length` is below one.
    """
    for name, value in (("width", width), ("max_length", max_length)):
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    return _beam_search(decoder, z, tf.convert_to_tensor(batch_size), symbols, width, max_length)


@tf.function(autograph=False, reduce_retracing=True)
def _beam_search(decoder, z, batch, symbols, width, max_length):
    # Rows: example after example, each with its `width` beginnings, the most probable first.
    rows = batch * width
    first_row = tf.repeat(tf.range(0, rows, width), width)

    def step(position, words, ended, tokens, log_probability, state):
        logits, state = decoder.step(words, state)
        vocabulary = logits.shape[-1]
        gained = forbid(tf.nn.log_softmax(tf.cast(logits, tf.float32)), symbols.forbidden)
        # What has ended goes on with padding, at no cost.
        only_padding = tf.where(tf.range(vocabulary) == symbols.pad, 0.0, -np.inf)
        candidates = log_probability[:, None] + tf.where(ended[:, None], only_padding, gained)
        best, chosen = tf.math.top_k(tf.reshape(candidates, [batch, width * vocabulary]), width)
        chosen = tf.reshape(chosen, [rows])
        parent, words = first_row + chosen // vocabulary, chosen % vocabulary
        ended, tokens, state = tf.nest.map_structure(lambda of: tf.gather(of, parent), (ended, tokens, state))
        here = tf.range(max_length) == position
        tokens = tf.where(here, words[:, None], tokens)
        return position + 1, words, ended | (words == symbols.end), tokens, tf.reshape(best, [rows]), state

    _, _, _, tokens, log_probability, _ = tf.while_loop(
        # Once the most probable has ended nothing can overtake it: the others only lose.
        lambda position, words, ended, *_: ~tf.reduce_all(ended[::width]),
        step,
        (
            tf.constant(0),
            tf.fill([rows], symbols.start),
            tf.fill([rows], False),
            tf.fill([rows, max_length], symbols.pad),
            # One beginning of each example; the others, its copies, must not be chosen.
            tf.where(tf.range(rows) == first_row, 0.0, -np.inf),
            tf.nest.map_structure(lambda of: tf.repeat(of, width, axis=0), decoder.start(z, batch)),
        ),
        parallel_iterations=1,
        maximum_iterations=max_length,
    )
    return Generated(tokens[::width], log_probability[::width])

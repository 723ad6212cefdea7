"""The exported functions of a run on text: sentences in, figures, posteriors and sentences out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.text import VOCABULARY_FILE
from sa_vae_tf.data.vocabulary import END, PAD, SPECIAL, START
from sa_vae_tf.export.functions import (
    COMMON_INPUTS,
    Functions,
    Input,
    at_least,
    common_outputs,
    exported,
    given_or_own,
    require,
)
from sa_vae_tf.export.scores import score as score_examples
from sa_vae_tf.export.words import Encoded, GraphVocabulary
from sa_vae_tf.generation import Symbols
from sa_vae_tf.generation.sampling import sample_in_graph
from sa_vae_tf.training.load import Loaded
from sa_vae_tf.training.model import Inferred

SYMBOLS = Symbols(PAD, START, END, forbidden=(PAD, START))
INPUTS = {
    "sentences": Input(tf.string, [None], "Texts in UTF-8, words separated by spaces, none of them empty."),
    "num_samples": Input(tf.int32, [], "Number of texts."),
    "temperature": Input(tf.float32, [], "Divides the logits; 0 for the most probable word each time."),
    "max_length": Input(tf.int32, [], "Largest number of words of a text that is written, its end included."),
    "index": Input(
        tf.int64, [None],
        "Numbers, one for each sentence, from which with the seed its noise is made, such as its place in a data set. "
        "Empty: a number made of the sentence itself, whose answer then is the same in any batch.",
    ),
    **COMMON_INPUTS,
}  # fmt: skip
OUTPUTS = {
    **common_outputs("sentence"),
    "tokens": "Words and the end of the sentence.",
    "perplexity_bound": "exp(nll_bound / tokens).",
    "unknown_words": "Words that the vocabulary does not know; they are scored as the unknown word.",
    "no_known_word": "Whether these are all of the words.",
    "text": "The text that was written, words separated by spaces.",
    "log_probability": "log p(text | z) in nats, at temperature 1.",
}


class Inference(NamedTuple):
    """Sentences, the numbers that their noise is made from, and their posteriors."""

    encoded: Encoded
    index: tf.Tensor
    inferred: Inferred


def text_functions(loaded: Loaded, folder: Path) -> Functions:
    """Returns `score` and `generate`, and of a model with latent variable `encode` and `reconstruct`.

    Args:
      loaded: a run on text.
      folder: where the vocabulary is written, to be an asset.
    """
    config, model, vocabulary, _ = loaded
    assert vocabulary is not None
    vocabulary.write(folder / VOCABULARY_FILE)
    words = GraphVocabulary(folder / VOCABULARY_FILE, vocabulary)
    steps, length = tf.constant(model.steps), tf.constant(config.max_length + 1)
    none, one, no_index, cold, warm = map(tf.constant, (0, 1, np.zeros(0, np.int64), 0.0, 1.0))

    def infer(sentences, svi_steps, seed, index) -> Inference:
        svi_steps = at_least(0, "svi_steps", svi_steps)
        encoded = _encode(words, sentences)
        index = given_or_own(index, encoded.fingerprint)
        return Inference(encoded, index, model.infer({"x": encoded.tokens, "index": index}, svi_steps, seed=seed))

    def write(z, index, seed, temperature, max_length) -> dict[str, tf.Tensor]:
        max_length = at_least(1, "max_length", max_length)
        message = tf.strings.format("temperature={}: expected a finite number that is not negative", temperature)
        (temperature,) = require(tf.math.is_finite(temperature) & (temperature >= 0), message, temperature)
        written = sample_in_graph(model.decoder, z, index, SYMBOLS, tf.stack([seed, 2]), max_length, temperature)
        return {"text": words.decode(written.tokens), "log_probability": written.log_probability}

    def score(sentences, svi_steps=steps, iw_samples=none, seed=none, index=no_index):
        """Scores sentences by the bound at the refined posterior, and on demand by importance weighting."""
        iw_samples = at_least(0, "iw_samples", iw_samples)
        encoded, index, inferred = infer(sentences, svi_steps, seed, index)
        figures = score_examples(model, inferred, index, iw_samples, seed)
        tokens = encoded.words + 1
        return figures | {
            "tokens": tokens,
            "perplexity_bound": tf.exp(figures["nll_bound"] / tf.cast(tokens, tf.float32)),
            "unknown_words": encoded.unknown,
            "no_known_word": encoded.unknown == encoded.words,
        }

    def likelihood(sentences):
        """Scores sentences by their likelihood."""
        return score(sentences)

    def encode(sentences, svi_steps=steps, seed=none, index=no_index):
        """Infers the refined posteriors of sentences."""
        return infer(sentences, svi_steps, seed, index).inferred.posterior._asdict()

    def reconstruct(sentences, svi_steps=steps, temperature=cold, max_length=length, seed=none, index=no_index):
        """Writes each sentence anew from the mean of its refined posterior."""
        _, index, inferred = infer(sentences, svi_steps, seed, index)
        return write(inferred.posterior.mean, index, seed, temperature, max_length)

    def generate(num_samples=one, temperature=warm, max_length=length, seed=none):
        """Writes texts from latent variables drawn from the prior; text i depends on the seed and i alone."""
        index = tf.range(tf.cast(at_least(1, "num_samples", num_samples), tf.int64))
        z = model.draw_from_prior(index, tf.stack([seed, 1]))
        return write(z, index, seed, temperature, max_length)

    by_name: dict[str, Callable[..., dict[str, tf.Tensor]]] = {"score": likelihood, "generate": generate}
    if model.method.latent:
        by_name = {"score": score, "encode": encode, "reconstruct": reconstruct, "generate": generate}
    return Functions(
        {name: exported(function, INPUTS) for name, function in by_name.items()},
        INPUTS,
        OUTPUTS,
        tracked=words,
        example={"sentences": tf.constant([" ".join(vocabulary.words[len(SPECIAL) :][:3])])},
        facts={"max_length": config.max_length, "words": len(vocabulary)},
    )


def _encode(words: GraphVocabulary, sentences: tf.Tensor) -> Encoded:
    """Returns the sentences as ids if there are any and none is empty."""
    (sentences,) = require(tf.size(sentences) > 0, "sentences: there are none; expected at least one", sentences)
    encoded = words.encode(sentences)
    number = tf.argmin(encoded.words)
    message = tf.strings.format("sentences: number {}, counted from 0, is empty; expected words", number)
    return Encoded(*require(tf.reduce_all(encoded.words > 0), message, *encoded))

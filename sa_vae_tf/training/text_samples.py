"""Text that shows how far a run has come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.pipeline import Split
from sa_vae_tf.data.sequences import SequenceSplit
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.generation import SamplingSettings
from sa_vae_tf.generation.text import TextGenerator
from sa_vae_tf.training.model import LatentVariableModel

EXAMPLES = 4
MAX_LENGTH = 40  # in words


class TextSamples:
    """Writes samples and, with a latent variable, reconstructions of the first validation examples.

    Latent variables, noise and examples are the same each time, so that what changes is the model. Nothing of the
    model's state or of training's noise is touched.

    Args:
      model: of text.
      vocabulary: its words.
      validation: where the examples are taken from.
    """

    def __init__(self, model: LatentVariableModel, vocabulary: Vocabulary, validation: Split | SequenceSplit):
        self.model, self.vocabulary = model, vocabulary
        # Once: TensorFlow keeps something of every data set that is made of a generator.
        [self.batch] = validation.take(EXAMPLES).in_order(EXAMPLES)
        self.sampler = TextGenerator(model.decoder, vocabulary, SamplingSettings(MAX_LENGTH))
        self.greedy = TextGenerator(model.decoder, vocabulary, SamplingSettings(MAX_LENGTH, temperature=0))

    def __call__(self) -> dict[str, str]:
        """Returns Markdown by name: `samples`, and `reconstructions` from the refined posterior means."""
        index, latent = np.arange(EXAMPLES), self.model.method.latent
        z = self.model.draw_from_prior(index, tf.constant([0, 1]))
        texts = {"samples": as_markdown(sample.text for sample in self.sampler(z, index, (0, 2)))}
        if latent:
            mean = self._posterior_mean(self.batch, self.model.steps)
            examples = map(self.vocabulary.decode, self.batch["x"].numpy())
            written = self.greedy(mean, self.batch["index"].numpy(), (0, 2))
            texts["reconstructions"] = as_markdown(
                line
                for example, own in zip(examples, written, strict=True)
                for line in (f"example:        {example}", f"reconstruction: {own.text}", "")
            )
        return texts

    @tf.function(autograph=False)
    def _posterior_mean(self, batch: dict[str, tf.Tensor], steps: int) -> tf.Tensor:
        return self.model.infer(batch, steps).posterior.mean


def as_markdown(lines: Iterable[str]) -> str:
    """Returns Markdown that shows lines as they are: an indented code block, where no character is special."""
    return "\n".join(f"    {line}" for line in lines)

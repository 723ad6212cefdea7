"""What a training step must compute and move, by arithmetic: operations and bytes of each of its parts."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from sa_vae_tf.data.synthetic import SEQUENCE_LENGTH, VOCABULARY_SIZE
from sa_vae_tf.data.vocabulary import SPECIAL
from sa_vae_tf.inference import METHODS, RefinementSettings
from sa_vae_tf.inference.kept import Keep
from sa_vae_tf.kernels.convolution import takes_frequencies
from sa_vae_tf.kernels.frequencies import form
from sa_vae_tf.training.compilation import kernels
from sa_vae_tf.training.config import Config

FLOAT32 = 4


class Cost(NamedTuple):
    """Of one or more passes.

    Attributes:
      flops: operations of matrix products and convolutions, two for each multiplication. Element-wise work is not
        counted.
      bytes: of their results, each written once and read once. Weights, which a cache may hold, are not counted.
    """

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def times(self, factor: float) -> Cost:
        """Returns the cost of so many passes."""
        return Cost(factor * self.flops, factor * self.bytes)


def product(rows: float, inputs: float, outputs: float) -> Cost:
    """Returns the cost of a product of [rows, inputs] and [inputs, outputs]."""
    return Cost(2.0 * rows * inputs * outputs, 2.0 * FLOAT32 * rows * outputs)


class Forward(NamedTuple):
    """One pass forward through each part of a model; small products, such as the maps from z of text, are left out.

    Attributes:
      encoder: from an example to its posterior.
      once: what of the likelihood does not depend on z, computed once in a step.
      local: what does, computed in every refinement step.
      transforms: of `local`, what a pass back to the weights finds computed where it has maps in common with another.
      learned: whether the likelihood has weights to learn.
    """

    encoder: Cost
    once: Cost
    local: Cost
    transforms: Cost = Cost()
    learned: bool = True


# The reverse of a product is one product for each of its factors that needs a derivative. A refinement step goes
# forward, and back to z alone; its reverse is the reverse of both, after both again where nothing of them was kept, and
# after the first where some results were. That recurrences are run again where only the small ones were, and scores
# twice where nothing was, is not counted. Of the reverse two are back to the weights.
LEARNED, REFINEMENT = 3, 2
REVERSE = {Keep.NOTHING: 6, Keep.SMALL: 5, Keep.MEDIUM: 5, Keep.ALL: 4}
# Of two passes back to the weights one finds the maps of what was kept not transformed.
SHARED = {keep: 2 if keep is Keep.NOTHING else 1 for keep in Keep}


def step_cost(config: Config, steps: int, settings: RefinementSettings) -> dict[str, Cost]:
    """Returns the cost of a training step by its parts, with exact products or finite differences.

    Args:
      config: settings; a text is as long as `max_length` allows.
      steps: refinement steps, K; all of them are taken.
      settings: of the refinement, with the numbers of steps that are kept.
    """
    method, forward = METHODS[config.method], FORWARD[config.data](config)
    reverse, unlearned = Cost(), 0 if forward.learned else 1
    if method.differentiates:
        first = 0 if config.reverse_steps < 0 else max(0, steps - config.reverse_steps)
        for start, end, keep in settings.segments(steps):
            taken = max(0, end - max(start, first))
            reverse += forward.local.times((REVERSE[keep] - 2 * unlearned) * taken) + forward.transforms.times(
                -SHARED[keep] * taken
            )
    own_bound = forward.local.times(REFINEMENT if config.method == "vae_svi" else 0)
    last_bound = forward.once.times(LEARNED - 2 * unlearned) + forward.local.times(LEARNED - unlearned)
    return {
        "encoder": forward.encoder.times(LEARNED if method.encoder else 0),
        "refinement": forward.local.times(REFINEMENT * steps),
        "reverse": reverse,
        "bound": last_bound + forward.transforms.times(-1) + own_bound,
    }


def parts_cost(config: Config, steps: int, settings: RefinementSettings) -> dict[str, Cost]:
    """Returns the cost of the parts as `step_cost`, where each computes what does not depend on z for itself."""
    forward, cost = FORWARD[config.data](config), step_cost(config, steps, settings)
    cost["refinement"] += forward.once
    cost["reverse"] += forward.once.times(LEARNED - 1 if forward.learned else 0)
    return cost


def _lstm(rows: int, inputs: int, units: int) -> tuple[Cost, Cost]:
    """Returns the costs of the products with the inputs and with the states."""
    return product(rows, inputs, 4 * units), product(rows, units, 4 * units)


def _text(config: Config) -> Forward:
    rows = config.batch_size * (config.max_length + 1)
    words, recurrence = _lstm(rows, config.embedding_dim, config.units)
    above = sum(_lstm(rows, config.units, config.units), Cost()).times(config.layers - 1)
    scores = product(rows, config.units, config.vocab_size + len(SPECIAL))
    # The encoder reads a symbol more than are predicted.
    encoder = (words + recurrence + above).times((config.max_length + 2) / (config.max_length + 1))
    return Forward(encoder, words, recurrence + above + scores)


def _synthetic(config: Config) -> Forward:
    rows = config.batch_size * SEQUENCE_LENGTH
    words, recurrence = _lstm(rows, config.embedding_dim, config.units)
    scores = product(rows, config.units, VOCABULARY_SIZE)
    # z enters at the output alone: a shift of the scores, and a normaliser, whose bytes are those it reads.
    normaliser = Cost(2.0 * rows * VOCABULARY_SIZE, 1.0 * FLOAT32 * rows * VOCABULARY_SIZE)
    local = product(config.batch_size, config.latent_dim, VOCABULARY_SIZE) + normaliser
    learned = config.generator == "learned"
    return Forward(words + recurrence, words + recurrence + scores, local, learned=learned)


def _image(config: Config) -> Forward:
    height, width, channels = config.image_height, config.image_width, config.pixelcnn_channels
    encoder = Cost()
    for inputs, outputs in itertools.pairwise((1, *config.sizes("encoder_channels"))):
        pixels = config.batch_size * height * width
        encoder += product(pixels, 9 * inputs, outputs) + product(pixels, 9 * outputs, outputs)
        encoder += product(pixels, inputs, outputs if inputs != outputs else 0) + product(
            pixels / 4, 4 * outputs, outputs
        )
        height, width = height // 2, width // 2
    encoder += product(config.batch_size, height * width * outputs, 2 * config.latent_dim)
    pixels = config.batch_size * config.image_height * config.image_width

    def layer(size: int, inputs: int) -> tuple[Cost, Cost]:
        """Returns the costs of the convolutions of both stacks, and of the transforms among them."""
        rows, horizontal = size // 2 + 1, product(pixels, (size // 2 + 1) * inputs, 2 * channels)
        if kernels(config) != "hybrid" or not takes_frequencies(size, inputs):
            return horizontal + product(pixels, rows * size * inputs, 2 * channels), Cost()
        width, lines = config.image_width, config.batch_size * config.image_height
        products = len(form(width, size, size // 2, size // 2).of_inputs)
        transforms = product(lines * inputs, width, products) + product(lines * 2 * channels, products, width)
        of_kernel = product(rows * inputs * 2 * channels, size, products)
        convolution = product(lines * products, rows * inputs, 2 * channels)
        return horizontal + convolution + of_kernel + transforms, transforms

    first, *others = config.sizes("pixelcnn_kernels")
    within = product(pixels, 2 * channels, 2 * channels) + product(pixels, channels, channels)
    latent = product(
        config.batch_size, config.latent_dim, config.image_height * config.image_width * config.pixelcnn_latent_maps
    )
    layers = [layer(first, config.pixelcnn_latent_maps), *(layer(size, channels) for size in others)]
    convolutions, transforms = (sum(costs, Cost()) for costs in zip(*layers, strict=True))
    local = latent + convolutions + product(pixels, channels, 1) + within.times(1 + len(others))
    return Forward(encoder, layer(first, 1)[0], local, transforms)


FORWARD = {"text": _text, "synthetic": _synthetic, "image": _image}

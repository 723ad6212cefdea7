"""Images drawn from a Gated PixelCNN pixel after pixel, of which each pixel computes only what it changes.

The vertical stack sees whole rows, so it goes on by a row when one is complete; the horizontal stack goes on by a
pixel. Each layer keeps the last rows and the last columns that its kernel still reaches.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.inference.draws import example_numbers, noise_per_example
from sa_vae_tf.kernels.gate import plain_gate
from sa_vae_tf.models.pixelcnn import IMAGE, PixelCNNDecoder, pixel_nll


class GeneratedImages(NamedTuple):
    """Generated images.

    Attributes:
      images: float [batch, height, width, 1], zeros and ones.
      log_probability: [batch], log p(image | z) in nats.
    """

    images: tf.Tensor
    log_probability: tf.Tensor


def sample_images(decoder: PixelCNNDecoder, z: tf.Tensor | None, index: tf.Tensor, seed: tf.Tensor) -> GeneratedImages:
    """Draws an image for each example.

    A pixel is a function of the seed, the example's index, the pixels before it and z, and of no other example.

    Args:
      decoder: part of what is compiled: give the same object for every batch.
      z: [batch, latent], or None for a decoder without latent variable.
      index: int64 [batch], the number of each example.
      seed: int32 [2].

    Returns:
      A `GeneratedImages`.

    Raises:
      ValueError: if `index` is not an int64 vector or its length is not that of `z`.
    """
    z = None if z is None else tf.convert_to_tensor(z)
    return _sample(decoder, z, example_numbers(index, z), tf.convert_to_tensor(seed, tf.int32))


@tf.function(autograph=False, reduce_retracing=True)
def _sample(decoder, z, index, seed):
    height, width, channels, dtype = decoder.height, decoder.width, decoder.channels, decoder.compute_dtype
    # For a few pixels a program of its own takes longer than the gate's few operations.
    first, *others = (layer._replace(gate=plain_gate) for layer in decoder.gated_layers)
    # Not left to be found out where it is known: zeros of [1] and of [None] would make a loop's [1] a [None].
    batch = tf.shape(index)[0] if index.shape[0] is None else index.shape[0]
    # The normal distribution function makes the noise uniform.
    noise = noise_per_example(index, [height, width], seed, dtype)
    uniform = 0.5 * tf.math.erfc(-noise / math.sqrt(2))

    def zeros(*shape):
        return tf.zeros([batch, *shape], dtype)

    # The arguments of the first layer's gates but for what the pixels, still unknown, add to them.
    vertical, horizontal = decoder.add_latent(z, decoder.prepare(zeros(height, width, 1)))

    def draw_row(row, images, nll, seen_rows, above, waiting):
        """Draws a row below `seen_rows` of the image, given what each later layer keeps of the rows above."""
        arguments = vertical[:, row, None] + first.vertical(seen_rows, True, IMAGE)
        across, next_above, next_waiting = [first.across(arguments)], [], []
        for layer, kept, delayed in zip(others, above, waiting, strict=True):
            kept = tf.concat([kept, layer.gate(arguments)], 1)
            arguments = layer.vertical(kept, True) + layer.vertical_bias.value
            next_above.append(kept[:, 1:])
            if decoder.shift_every_layer:
                arguments, delayed = delayed, arguments
            next_waiting.append(delayed)
            across.append(layer.across_with_horizontal_bias(arguments))

        def draw_pixel(column, pixels, nll, seen, before):
            """Draws a pixel to the right of `seen`, given what each later layer keeps of the columns before."""
            arguments = horizontal[:, row, None, column, None] + first.horizontal_at(seen, IMAGE)
            maps, next_before = first.output(arguments + across[0][:, :, column, None]), []
            for layer, kept, from_above in zip(others, before, across[1:], strict=True):
                kept = tf.concat([kept, maps], 2)
                arguments = layer.horizontal_at(kept)
                next_before.append(kept[:, :, 1:])
                maps += layer.output(arguments + from_above[:, :, column, None])
            log_odds = decoder.output(maps)
            drawn = uniform[:, row, None, column, None] < tf.sigmoid(log_odds)
            pixel = tf.cast(drawn, dtype)[..., None]
            pixels = tf.where(tf.range(width)[:, None] == column, pixel, pixels)
            seen = tf.concat([seen[:, :, 1:], pixel], 2)
            return column + 1, pixels, nll + pixel_nll(log_odds, drawn)[:, 0, 0], seen, next_before

        before = [zeros(1, layer.reach, channels) for layer in others]
        start = tf.constant(0), zeros(1, width, 1), nll, zeros(1, first.reach + 1, 1), before
        _, pixels, nll, *_ = tf.while_loop(lambda column, *_: column < width, draw_pixel, start)
        images = tf.where(tf.range(height)[:, None, None] == row, pixels, images)
        seen_rows = tf.concat([seen_rows[:, 1:], pixels], 1)
        return row + 1, images, nll, seen_rows, next_above, next_waiting

    above = [zeros(layer.reach, width, channels) for layer in others]
    waiting = [zeros(1, width, 2 * channels) for _ in others]
    seen_rows = zeros(first.reach + 1, width, 1)
    start = tf.constant(0), zeros(height, width, 1), zeros(), seen_rows, above, waiting
    _, images, nll, *_ = tf.while_loop(lambda row, *_: row < height, draw_row, start)
    return GeneratedImages(images, -nll)

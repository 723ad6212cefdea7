"""A batch taken in equal parts, so that the memory of a step does not grow with the size of its examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from sa_vae_tf.training.compilation import on_gpu

# Of words, over the vocabulary: 240 MB in float32, of which a step holds all once, for the last bound, and what a
# recurrence computes of as many words besides. Recurrences over fewer examples are hardly quicker.
SCORES = 6 * 10**7
# Arguments of all gates of a PixelCNN: 128 MiB in float32, of which a step of SA-VAE holds some ten. Transforms of
# kernels are done anew for each part, so that small ones are slower.
GATES = 2**25


def words_at_once(vocabulary: int) -> int:
    """Returns how many words a step takes at once: on a CPU as many as make `SCORES` scores, on a GPU 0, for all."""
    return _on_cpu(SCORES // vocabulary)


def images_at_once(pixels: int, layers: int, channels: int) -> int:
    """Returns how many images a step takes at once: on a CPU as many as make `GATES` arguments, on a GPU 0, for all."""
    stacks, gate = 2, 2
    return _on_cpu(GATES // (stacks * gate * pixels * layers * channels))


def _on_cpu(number: int) -> int:
    return 0 if on_gpu() else max(1, number)


def number_of_parts(x: tf.Tensor, limit: int) -> tf.Tensor:
    """Returns the smallest number of equal parts of a batch that have at most `limit` entries each.

    Args:
      x: [batch, ...].
      limit: entries of a part; an example with more is a part of its own.

    Returns:
      A scalar that divides the batch.
    """
    x = tf.convert_to_tensor(x)
    if x.shape.is_fully_defined() and x.shape.num_elements() <= limit:
        return tf.constant(1)
    batch = tf.shape(x)[0]
    entries = tf.reduce_prod(tf.shape(x)[1:])
    numbers = tf.range(1, batch + 1)
    fits = (batch % numbers == 0) & (batch // numbers * entries <= limit)
    return tf.reduce_min(tf.where(fits, numbers, batch))


def largest_part(batch: int, entries: int, limit: int) -> int:
    """Returns how many examples, of so many entries each, `number_of_parts` leaves in a part of a batch."""
    return max(n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or n * entries <= limit))


def mean_over_parts(
    function: Callable[[Mapping[str, tf.Tensor], tf.Tensor], list[tf.Tensor]],
    inputs: Mapping[str, tf.Tensor],
    parts: tf.Tensor,
    zeros: list[tf.Tensor],
) -> list[tf.Tensor]:
    """Returns the mean of what a function returns for each part of a batch, one part after the other.

    Args:
      function: (tensors of a part, number of the part) -> float tensors of the part.
      inputs: tensors [batch, ...] by name.
      parts: scalar that divides the batch.
      zeros: of the shapes and types that the function returns.
    """
    if tf.get_static_value(parts) == 1:
        return function(inputs, 0)
    split = {
        name: tf.reshape(t, tf.concat([[parts, tf.shape(t)[0] // parts], tf.shape(t)[1:]], 0))
        for name, t in inputs.items()
    }

    def add(number, *totals):
        part = {name: tf.ensure_shape(t[number], [None, *inputs[name].shape[1:]]) for name, t in split.items()}
        own = function(part, number)
        return [number + 1, *(total + more for total, more in zip(totals, own, strict=True))]

    _, *totals = tf.while_loop(lambda number, *_: number < parts, add, [tf.constant(0), *zeros], parallel_iterations=1)
    return [total / tf.cast(parts, total.dtype) for total in totals]

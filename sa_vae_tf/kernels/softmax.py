"""The negative log-likelihood of words under a softmax over the vocabulary, with hand-written derivatives.

It is log sum exp(scores) less the score of the word itself. The latter reads one column of the kernel, the same in all
refinement steps, and is left to TensorFlow. The gradient of the former to a word's state is the mean of the kernel's
columns under the probabilities. It is a residual of the forward pass (see `residuals`), so that a second derivative
need not go through that pass again: it takes the scores of a direction, and these back to the states and the kernel.

The vocabulary is taken in blocks, so that what is computed of a block's scores finds them in the processor's cache, and
nothing of size words x vocabulary is there at once but where it is kept. The sums are those of an online softmax
(Milakov and Gimelshein 2018, arXiv:1805.02867): what was summed up under a smaller maximum is scaled down. A refinement
step keeps the gradient and the normalisers for its reverse pass, which computes the probabilities anew from them where
the exponentials are not kept as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.inference.kept import Keep, kept
from sa_vae_tf.kernels.fusion import as_it_is
from sa_vae_tf.kernels.products import Precision, in_columns, product, rounded
from sa_vae_tf.kernels.residuals import last, with_residuals

# Columns of a block, at most. Products of fewer are slower; of 2,560 words their scores take 20 MiB.
COLUMNS = 2048


class Softmax(NamedTuple):
    """What the likelihood of words reads besides the states.

    Attributes:
      kernels: of each block of the vocabulary, [units, columns].
      biases: of each block, [columns].
      target_kernel: columns of the words, [..., units].
      target_bias: [...].
    """

    kernels: tuple[tf.Tensor, ...]
    biases: tuple[tf.Tensor, ...]
    target_kernel: tf.Tensor
    target_bias: tf.Tensor


class PlainSoftmax(NamedTuple):
    """As `Softmax`, in one piece."""

    kernel: tf.Tensor
    bias: tf.Tensor
    targets: tf.Tensor


def softmax_weights(kernel: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor) -> Softmax:
    """Computes what does not depend on the states.

    Args:
      kernel: [units, vocabulary].
      bias: [vocabulary].
      targets: int [...], words.
    """
    kernels, biases = (tuple(in_columns(x, COLUMNS)) for x in (kernel, bias))
    return Softmax(kernels, biases, tf.gather(tf.transpose(kernel), targets), tf.gather(bias, targets))


def word_nll(
    states: tf.Tensor,
    weights: Softmax,
    precision: Precision = None,
    fuse: Callable[[Callable], Callable] = as_it_is,
) -> tf.Tensor:
    """Returns -log softmax(states @ kernel + bias)[targets] in nats.

    It has first derivatives to all that it reads, and of the derivative to the states second ones to all of that. Of
    the derivatives to the weights there are no second ones.

    Args:
      states: [..., units].
      weights: of `softmax_weights`.
      precision: of the factors of products, and of what is kept of size words x vocabulary; None for their own.
      fuse: what makes a program of what is between two products of a block (see `fusion`).

    Returns:
      [...].
    """
    rows = tf.reshape(states, [-1, states.shape[-1]])
    normalizers = _log_normalizers(rows, weights.kernels, weights.biases, precision, fuse)
    targets = tf.reduce_sum(states * weights.target_kernel, -1) + weights.target_bias
    return tf.reshape(normalizers, tf.shape(targets)) - targets


def plain_word_nll(states: tf.Tensor, weights: PlainSoftmax) -> tf.Tensor:
    """Computes `word_nll` by plain operations, whose derivatives are TensorFlow's own."""
    logits = tf.tensordot(states, weights.kernel, 1) + weights.bias
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=weights.targets, logits=logits)


def _log_normalizers(
    rows: tf.Tensor,
    kernels: Sequence[tf.Tensor],
    biases: Sequence[tf.Tensor],
    precision: Precision,
    fuse: Callable[[Callable], Callable],
) -> tf.Tensor:
    """Returns log sum exp(rows @ kernel + bias) of rows [rows, units], [rows]."""
    blocks = range(len(kernels))
    # Of each block the exponentials of its scores less the largest until then, and these largest.
    found: list[tf.Tensor] = []

    def times(a, b, transpose_a=False, transpose_b=False):
        return tf.cast(product(a, b, precision, transpose_a, transpose_b), rows.dtype)

    def scores(factor, kernel, after):
        # One block after the other: side by side they would need as much memory as all at once.
        with tf.control_dependencies(after):
            return product(factor, kernel, precision)

    def forward(rows, *weights):
        kernels, biases = _halves(weights)

        def compute(large: bool):
            factor = rounded(rows, precision)
            total, slope = tf.zeros_like(rows[:, 0]), tf.zeros_like(rows)
            exponentials: list[tf.Tensor] = []
            maxima: list[tf.Tensor] = []
            for block in blocks:
                of_block = scores(factor, kernels[block], [slope])
                exponential, largest, added = fuse(_exponentials)(of_block, biases[block], maxima[-1:])
                if maxima:
                    scale = tf.exp(maxima[-1] - largest)
                    total, slope = scale * total, scale[:, None] * slope
                total += added
                slope += times(exponential, kernels[block], transpose_b=True)
                exponentials.append(exponential)
                maxima.append(largest)
            second = [*exponentials, *maxima] if large else []
            return [maxima[-1] + tf.math.log(total), slope / total[:, None]], second

        small, large = kept(compute, Keep.SMALL)
        found.extend(large)
        return small

    def reverse(inputs, normalizer, residuals, cotangent, residual_cotangents):
        rows, *weights = inputs
        kernels, biases = _halves(weights)
        (slope,) = residuals
        rounded_rows = rounded(rows, precision)

        def of_block(block, after):
            """Returns what the probabilities are the product of: values, and a scale of each row; None stands for 1."""
            if found:
                # The scale is cheaper to apply to the small factor of a product than to the block.
                exponentials, maxima = _halves(found)
                return exponentials[block], tf.exp(maxima[block] - normalizer)
            of_rows = scores(rounded_rows, kernels[block], after)
            return fuse(_probabilities)(of_rows, biases[block], normalizer), None

        if residual_cotangents is None:
            to_kernels: list[tf.Tensor] = []
            to_biases: list[tf.Tensor] = []
            for block in blocks:
                values, scale = of_block(block, to_kernels[-1:])
                scaled = cotangent if scale is None else cotangent * scale
                to_kernels.append(times(scaled[:, None] * rows, values, transpose_a=True))
                to_biases.append(tf.linalg.matvec(tf.cast(values, rows.dtype), scaled, transpose_a=True))
            return cotangent[:, None] * slope, *last([*to_kernels, *to_biases])

        # The second derivative reaches the scores by <slope, direction> = <probabilities, direction @ kernel>.
        direction = residual_cotangents[0]
        shift = cotangent - tf.reduce_sum(direction * slope, -1)
        rounded_direction = rounded(direction, precision)
        to_rows, to_kernels, to_biases = tf.zeros_like(rows), [], []
        for block in blocks:
            change = scores(rounded_direction, kernels[block], [to_rows, *to_kernels[-1:]])
            values, scale = of_block(block, [change])
            to_scores, to_bias = fuse(_to_scores)(values, scale, change, shift)
            to_biases.append(to_bias)
            scaled = rounded_direction if scale is None else direction * scale[:, None]
            to_kernel = times(rounded_rows, to_scores, transpose_a=True) + times(scaled, values, transpose_a=True)
            to_kernels.append(to_kernel)
            to_rows += times(to_scores, kernels[block], transpose_b=True)
        return last([to_rows, *to_kernels, *to_biases])

    return with_residuals(forward, reverse)(rows, *kernels, *biases)


# What is between two products of a block. Results of size rows x columns are in the type of the products.


def _exponentials(scores: tf.Tensor, bias: tf.Tensor, before: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """Returns exponentials of scores plus bias minus the row's largest so far, that largest, [rows], and their sum.

    Args:
      scores: [rows, columns].
      bias: [columns].
      before: none, or the largest of the blocks before, [rows].
    """
    shifted = tf.cast(scores, bias.dtype) + bias
    # Never -inf, which it would be of a block of words that are all ruled out: -inf less -inf is no number.
    largest = functools.reduce(tf.maximum, before, tf.maximum(tf.reduce_max(shifted, -1), shifted.dtype.min))
    exponentials = tf.exp(shifted - largest[:, None])
    return tf.cast(exponentials, scores.dtype), largest, tf.reduce_sum(exponentials, -1)


def _probabilities(scores: tf.Tensor, bias: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
    """Returns exp(scores + bias - normalizer); arguments as for `_exponentials`, [rows]."""
    return tf.cast(tf.exp(tf.cast(scores, bias.dtype) + bias - normalizer[:, None]), scores.dtype)


def _to_scores(
    values: tf.Tensor, scale: tf.Tensor | None, change: tf.Tensor, shift: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the cotangent of a block's scores, probabilities times (change + shift), and its sum over rows.

    Args:
      values: [rows, columns], with the scale the probabilities.
      scale: [rows]; None stands for 1.
      change: [rows, columns].
      shift: [rows].
    """
    changed = tf.cast(change, shift.dtype) + shift[:, None]
    changed = changed if scale is None else changed * scale[:, None]
    cotangent = tf.cast(values, shift.dtype) * changed
    return tf.cast(cotangent, values.dtype), tf.reduce_sum(cotangent, 0)


def _halves(items: Sequence[tf.Tensor]) -> tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]:
    """Returns the first and the second half of as many things of one kind as of another."""
    return items[: len(items) // 2], items[len(items) // 2 :]

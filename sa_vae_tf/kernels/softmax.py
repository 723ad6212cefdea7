"""The negative log-likelihood of words under a softmax over the vocabulary, with hand-written derivatives.

With D = probabilities - targets, the gradient of a word's NLL to its state is D W^T. It is a residual of the forward
pass (see `residuals`), and all that a second derivative adds is one product with the kernel W and one pass over D. A
refinement step keeps this gradient and the normalisers for its reverse pass, which computes D anew from them where D
itself, of size words x vocabulary, is not kept.

Words are taken in blocks; nothing else of that size outlives its block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from sa_vae_tf.inference.kept import is_keeping, kept
from sa_vae_tf.kernels.products import Precision, product, rounded
from sa_vae_tf.kernels.residuals import with_residuals

# Scores of a block, at most: 128 MiB in float32, two of which a step holds at once. Products of fewer rows are slower,
# and sums over more blocks are added up more often.
BLOCK = 2**25


def word_nll(
    states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor, precision: Precision = None
) -> tf.Tensor:
    """Returns -log softmax(states @ kernel + bias)[targets] in nats.

    Args:
      states: [..., units].
      kernel: [units, vocabulary].
      bias: [vocabulary].
      targets: int [...], words.
      precision: of the factors of products; None for their own.

    Returns:
      [...].
    """
    units, vocabulary = kernel.shape
    shape, static = tf.shape(targets), targets.shape.num_elements()
    words = tf.reduce_prod(shape) if static is None else static
    blocks = -(-words * vocabulary // BLOCK)
    size = -(-words // blocks)
    more = blocks * size - words
    rows = tf.reshape(tf.pad(tf.reshape(states, [-1, units]), [[0, more], [0, 0]]), [blocks, size, units])
    targets = tf.reshape(tf.pad(tf.reshape(targets, [-1]), [[0, more]]), [blocks, size])
    return tf.reshape(tf.reshape(_word_nll(rows, kernel, bias, targets, precision), [-1])[:words], shape)


def plain_word_nll(states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Computes `word_nll` by plain operations, whose derivatives are TensorFlow's own."""
    logits = tf.tensordot(states, kernel, 1) + bias
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def _word_nll(rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, words: tf.Tensor, precision: Precision) -> tf.Tensor:
    """Computes `word_nll` for rows [blocks, size, units] and words [blocks, size]; returns [blocks, size]."""
    size, (units, vocabulary) = rows.shape[1], kernel.shape
    # D, an entry a block. Of the derivatives that are asked for none is to it.
    differences: list[tf.TensorArray | tf.Tensor] = []

    def scores(rows, rounded_kernel, bias):
        return tf.nn.bias_add(product(rows, rounded_kernel, precision), bias)

    def without_targets(probabilities, words):
        return _subtract_at(probabilities, words, tf.ones_like(probabilities[:, 0]))

    def forward(rows, kernel, bias):
        def compute(large: bool):
            rounded_kernel = rounded(kernel, precision)

            def block(k, nll, slope, normalizer, *difference):
                logits = scores(rows[k], rounded_kernel, bias)
                largest = tf.reduce_max(logits, -1)
                exponentials = tf.exp(logits - largest[:, None])
                total = tf.reduce_sum(exponentials, -1)
                log_total = largest + tf.math.log(total)
                d = without_targets(exponentials / total[:, None], words[k])
                return (
                    nll.write(k, log_total - tf.gather(logits, words[k], batch_dims=1)),
                    slope.write(k, product(d, rounded_kernel, precision, transpose_b=True)),
                    normalizer.write(k, log_total),
                    *(array.write(k, d) for array in difference),
                )

            shapes = [[size], [size, units], [size], *([[size, vocabulary]] if large else [])]
            *small, difference = [*_over_blocks(rows, block, [_array(rows, s) for s in shapes]), None][:4]
            small = [array.stack() for array in small]
            if large and not is_keeping():
                # Stacked it would be there twice.
                differences.append(difference)
                return small, []
            return small, [difference.stack()] if large else []

        (nll, slope, normalizer), found = kept(compute)
        differences.extend(found)
        return nll, slope, normalizer

    def reverse(inputs, nll, residuals, cotangent, residual_cotangents):
        rows, kernel, bias = inputs
        slope, normalizer = residuals
        zeros = [tf.zeros_like(kernel), tf.zeros_like(bias)]
        kernel, normalizer = rounded(kernel, precision), tf.stop_gradient(normalizer)

        def difference(k):
            if differences:
                found = differences[0]
                return found.read(k) if isinstance(found, tf.TensorArray) else found[k]
            return without_targets(tf.exp(scores(rows[k], kernel, bias) - normalizer[k][:, None]), words[k])

        if residual_cotangents is None:

            def first(k, to_kernel, to_bias):
                d, weight = difference(k), cotangent[k]
                to_kernel += product(weight[:, None] * rows[k], d, precision, transpose_a=True)
                return to_kernel, to_bias + tf.linalg.matvec(d, weight, transpose_a=True)

            return cotangent[..., None] * slope, *_over_blocks(rows, first, zeros)

        # The second derivative reaches the logits' cotangent by <slope, direction> = <D, direction @ kernel>.
        direction = residual_cotangents[0]
        along = tf.reduce_sum(direction * slope, -1)

        def second(k, to_rows, to_kernel, to_bias):
            d = difference(k)
            change = product(direction[k], kernel, precision)
            weight = cotangent[k] - along[k] - tf.gather(change, words[k], batch_dims=1)
            curved = _subtract_at(d * (change + weight[:, None]), words[k], along[k])
            to_kernel += product(rows[k], curved, precision, transpose_a=True)
            to_kernel += product(direction[k], d, precision, transpose_a=True)
            to_row = product(curved, kernel, precision, transpose_b=True)
            return to_rows.write(k, to_row), to_kernel, to_bias + tf.reduce_sum(curved, 0)

        to_rows, to_kernel, to_bias = _over_blocks(rows, second, [_array(rows, rows.shape[1:]), *zeros])
        return to_rows.stack(), to_kernel, to_bias

    return with_residuals(forward, reverse)(rows, kernel, bias)


def _subtract_at(matrix: tf.Tensor, columns: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Subtracts a value each from one column of every row."""
    places = tf.stack([tf.range(tf.size(columns), dtype=columns.dtype), columns], -1)
    return tf.tensor_scatter_nd_sub(matrix, places, values)


def _over_blocks(rows: tf.Tensor, body: Callable, state: Sequence) -> Sequence:
    """Applies `body` to the number of a block and the state, block after block; returns the last state."""
    if rows.shape[0] == 1:
        return body(0, *state)
    blocks = tf.shape(rows)[0] if rows.shape[0] is None else rows.shape[0]
    _, *state = tf.while_loop(
        lambda k, *_: k < blocks, lambda k, *state: [k + 1, *body(k, *state)], [0, *state], parallel_iterations=1
    )
    return state


def _array(rows: tf.Tensor, element_shape: Sequence) -> tf.TensorArray:
    blocks = tf.shape(rows)[0] if rows.shape[0] is None else rows.shape[0]
    return tf.TensorArray(rows.dtype, blocks, element_shape=element_shape, clear_after_read=False)

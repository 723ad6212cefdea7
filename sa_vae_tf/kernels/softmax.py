"""The negative log-likelihood of words under a softmax over the vocabulary, with hand-written derivatives.

With D = probabilities - targets, the gradient of a word's NLL to its state is D W^T. It is a residual of the forward
pass (see `residuals`), and all that a second derivative adds is one product with the kernel W and one pass over D.

Words are taken in blocks. D is kept, in blocks, for the derivatives to the kernel; nothing else of size words x
vocabulary outlives its block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from sa_vae_tf.kernels.products import Precision, product, rounded
from sa_vae_tf.kernels.residuals import with_residuals

# Scores of a block, at most: 16 MiB in float32, several of which a step holds at once.
BLOCK = 2**22


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
    differences: list[tf.TensorArray] = []  # D; of use to the kernel alone, whose second derivative nothing asks for

    def forward(rows, kernel, bias):
        kernel = rounded(kernel, precision)

        def block(k, nll, slope, difference):
            logits = product(rows[k], kernel, precision) + bias
            of_words, d = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=logits, labels=words[k])
            return (
                nll.write(k, of_words),
                slope.write(k, product(d, kernel, precision, transpose_b=True)),
                difference.write(k, d),
            )

        size = rows.shape[1]
        shapes = [size], rows.shape[1:], [size, kernel.shape[1]]
        nll, slope, difference = _over_blocks(rows, block, [_array(rows, shape) for shape in shapes])
        differences.append(difference)
        return nll.stack(), slope.stack()

    def reverse(inputs, nll, residuals, cotangent, residual_cotangents):
        rows, kernel, _ = inputs
        [slope], [difference] = residuals, differences
        zeros = [tf.zeros_like(kernel), tf.zeros_like(bias)]
        kernel = rounded(kernel, precision)
        if residual_cotangents is None:

            def first(k, to_kernel, to_bias):
                d, weight = difference.read(k), cotangent[k]
                to_kernel += product(weight[:, None] * rows[k], d, precision, transpose_a=True)
                return to_kernel, to_bias + tf.linalg.matvec(d, weight, transpose_a=True)

            return cotangent[..., None] * slope, *_over_blocks(rows, first, zeros)

        # The second derivative reaches the logits' cotangent by <slope, direction> = <D, direction @ kernel>.
        direction = residual_cotangents[0]
        along = tf.reduce_sum(direction * slope, -1)

        def second(k, to_rows, to_kernel, to_bias):
            d = difference.read(k)
            change = product(direction[k], kernel, precision)
            weight = cotangent[k] - along[k] - tf.gather(change, words[k], batch_dims=1)
            places = tf.stack([tf.range(tf.shape(d)[0], dtype=words.dtype), words[k]], -1)
            curved = tf.tensor_scatter_nd_sub(d * change, places, along[k])
            to_row = product(curved, kernel, precision, transpose_b=True) + weight[:, None] * slope[k]
            to_kernel += product(rows[k], curved, precision, transpose_a=True)
            to_kernel += product(direction[k] + weight[:, None] * rows[k], d, precision, transpose_a=True)
            to_bias += tf.reduce_sum(curved, 0) + tf.linalg.matvec(d, weight, transpose_a=True)
            return to_rows.write(k, to_row), to_kernel, to_bias

        to_rows, to_kernel, to_bias = _over_blocks(rows, second, [_array(rows, rows.shape[1:]), *zeros])
        return to_rows.stack(), to_kernel, to_bias

    return with_residuals(forward, reverse)(rows, kernel, bias)


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

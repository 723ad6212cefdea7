"""The negative log-likelihood of words under a softmax over the vocabulary, with hand-written derivatives.

With D = probabilities - targets, the gradient of a word's NLL to its state is D W^T. It is a residual of the forward
pass (see `residuals`), and all that a second derivative adds is one product with the kernel W and one pass over D.
"""

from __future__ import annotations

import tensorflow as tf

from sa_vae_tf.kernels.residuals import with_residuals


def word_nll(states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Returns -log softmax(states @ kernel + bias)[targets] in nats.

    Args:
      states: [..., units].
      kernel: [units, vocabulary].
      bias: [vocabulary].
      targets: int [...], words.

    Returns:
      [...].
    """
    rows = tf.reshape(states, [-1, states.shape[-1]])
    words = tf.reshape(targets, [-1])
    return tf.reshape(_word_nll(rows, kernel, bias, words), tf.shape(targets))


def plain_word_nll(states: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Computes `word_nll` by plain operations, whose derivatives are TensorFlow's own."""
    logits = tf.tensordot(states, kernel, 1) + bias
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)


def _word_nll(rows: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    def forward(rows, kernel, bias):
        nll, difference = tf.raw_ops.SparseSoftmaxCrossEntropyWithLogits(features=rows @ kernel + bias, labels=words)
        return nll, tf.matmul(difference, kernel, transpose_b=True), difference

    def reverse(inputs, nll, residuals, cotangent, residual_cotangents):
        rows, kernel, _ = inputs
        slope, difference = residuals
        weight = cotangent[:, None]
        if residual_cotangents is None:
            # `difference` is of use to the kernel alone, whose second derivative nothing asks for.
            difference = tf.stop_gradient(difference)
            to_kernel = tf.matmul(weight * rows, difference, transpose_a=True)
            return weight * slope, to_kernel, tf.linalg.matvec(difference, cotangent, transpose_a=True)
        # The second derivative reaches the logits' cotangent by <slope, direction> = <difference, direction @ kernel>.
        direction = residual_cotangents[0]
        change = direction @ kernel
        own = tf.gather(change, words, batch_dims=1)
        along = tf.reduce_sum(direction * slope, -1)
        weight = (cotangent - along - own)[:, None]
        places = tf.stack([tf.range(tf.shape(words)[0], dtype=words.dtype), words], -1)
        curved = tf.tensor_scatter_nd_sub(difference * change, places, along)
        to_rows = tf.matmul(curved, kernel, transpose_b=True) + weight * slope
        to_kernel = tf.matmul(rows, curved, transpose_a=True)
        to_kernel += tf.matmul(direction + weight * rows, difference, transpose_a=True)
        to_bias = tf.reduce_sum(curved, 0) + tf.linalg.matvec(difference, weight[:, 0], transpose_a=True)
        return to_rows, to_kernel, to_bias

    return with_residuals(forward, reverse)(rows, kernel, bias)

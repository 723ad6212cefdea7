"""Hand-written first and second derivatives of the costly parts of the models.

A Hessian-vector product through the fused kernels takes as many matrix products as the two gradients of a central
difference. The plain ones compute the same by plain TensorFlow operations, for reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.kernels.convolution import convolve, convolve_alone, convolve_rows, plain_convolve
from sa_vae_tf.kernels.fusion import compiled
from sa_vae_tf.kernels.gate import gate, plain_gate
from sa_vae_tf.kernels.lstm import hidden_states, plain_hidden_states
from sa_vae_tf.kernels.softmax import PlainSoftmax, Softmax, plain_word_nll, softmax_weights, word_nll


class Kernels(NamedTuple):
    """What models compute recurrences, likelihoods of words, convolutions and gates with; see those of `KERNELS`."""

    hidden_states: Callable[..., tf.Tensor]
    softmax_weights: Callable[..., Softmax | PlainSoftmax]
    word_nll: Callable[..., tf.Tensor]
    convolve: Callable[..., tf.Tensor]
    convolve_rows: Callable[..., tf.Tensor]
    gate: Callable[..., tf.Tensor]


# Weights of a kernel, 4 MiB. With a larger one, which no cache of a core holds, a long recurrence of some ten examples
# or more is quicker with examples as columns. Exports, which score single ones too, take the fused kernels.
LARGE = 2**20


def _hybrid(precision: tf.DType | None) -> Kernels:
    convolution = functools.partial(convolve_alone, precision=precision)
    return Kernels(
        functools.partial(hidden_states, precision=precision, fuse=compiled, large=LARGE),
        softmax_weights,
        functools.partial(word_nll, precision=precision, fuse=compiled),
        convolution,
        # Products of rounded factors are quick enough as they are.
        convolution if precision else convolve_rows,
        gate,
    )


# `training.compilation` chooses among them by device and size.
#
# The fused kernels are right on every device, and the fastest where XLA compiles the whole step, plain gates with it.
# At large sizes a CPU is quicker at TensorFlow's own products than at XLA's, but not at its recurrences: the hybrid
# kernels are for a step that is not compiled, and compile the recurrences, gates and what is between two products of
# the softmax. Products of factors rounded to eight bits are quicker still, where the processor knows them and XLA does
# not compile. On a GPU none has been timed.
KERNELS = {
    "fused": Kernels(hidden_states, softmax_weights, word_nll, convolve, convolve, plain_gate),
    "hybrid": _hybrid(None),
    "bfloat16": _hybrid(tf.bfloat16),
    "plain": Kernels(plain_hidden_states, PlainSoftmax, plain_word_nll, plain_convolve, plain_convolve, plain_gate),
}

__all__ = ["KERNELS", "Kernels"]

"""Hand-written first and second derivatives of the costly parts of the models.

A Hessian-vector product through the fused kernels takes as many matrix products as the two gradients of a central
difference. The plain ones compute the same by plain TensorFlow operations, for reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.kernels.convolution import convolve, plain_convolve
from sa_vae_tf.kernels.lstm import hidden_states, plain_hidden_states
from sa_vae_tf.kernels.softmax import plain_word_nll, word_nll


class Kernels(NamedTuple):
    """What models compute recurrences, likelihoods of words and convolutions with; see the functions of `KERNELS`."""

    hidden_states: Callable[..., tf.Tensor]
    word_nll: Callable[..., tf.Tensor]
    convolve: Callable[..., tf.Tensor]


_FUSED = Kernels(hidden_states, word_nll, convolve)

# The fused kernels are right on every device, and the fastest on CPU; on a GPU they have not been timed. Their products
# may be of factors rounded to eight bits: quicker where the processor knows such products and XLA does not compile.
KERNELS = {
    "fused": _FUSED,
    "bfloat16": Kernels(*(functools.partial(kernel, precision=tf.bfloat16) for kernel in _FUSED)),
    "plain": Kernels(plain_hidden_states, plain_word_nll, plain_convolve),
}

__all__ = ["KERNELS", "Kernels"]

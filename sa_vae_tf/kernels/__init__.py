"""Hand-written first and second derivatives of the two costly parts of a language model.

A Hessian-vector product through the fused kernels takes as many matrix products as the two gradients of a central
difference. The plain ones compute the same by plain TensorFlow operations, for reference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.kernels.lstm import hidden_states, plain_hidden_states
from sa_vae_tf.kernels.softmax import plain_word_nll, word_nll


class Kernels(NamedTuple):
    """What a language model computes its states and its likelihood with; see the functions of `KERNELS`."""

    hidden_states: Callable[..., tf.Tensor]
    word_nll: Callable[..., tf.Tensor]


# The fused kernels are right on every device, and the fastest on CPU; on a GPU they have not been timed. Their products
# may be of factors rounded to eight bits, which has not been timed in a step yet.
KERNELS = {
    "fused": Kernels(hidden_states, word_nll),
    "bfloat16": Kernels(*(functools.partial(kernel, precision=tf.bfloat16) for kernel in (hidden_states, word_nll))),
    "plain": Kernels(plain_hidden_states, plain_word_nll),
}

__all__ = ["KERNELS", "Kernels"]

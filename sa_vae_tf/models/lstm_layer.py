"""Layers of an LSTM, each of which reads the hidden states of the one below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.kernels import Kernels
from sa_vae_tf.kernels.lstm import lstm_step


class LSTMLayer(NamedTuple):
    """Weights of a layer, its gates in Keras's order i, f, c, o."""

    kernel: keras.Variable  # [inputs, 4 * units]
    recurrent_kernel: keras.Variable  # [units, 4 * units]
    bias: keras.Variable  # [4 * units]

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns inputs, [..., inputs], times kernel plus bias, [..., 4 * units]."""
        return tf.tensordot(inputs, self.kernel.value, 1) + self.bias.value

    def step(self, projected: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns hidden state and cell, [batch, units], one step after those given."""
        return lstm_step(projected + hidden @ self.recurrent_kernel.value, cell)


def lstm_layers(
    weight: Callable[..., keras.Variable], inputs: int, units: int, layers: int, first_kernel: str = "kernel"
) -> list[LSTMLayer]:
    """Makes the weights of all layers; those above the first have its names with their number.

    Args:
      weight: function (name, *shape) -> variable.
      inputs: size of what the first layer reads.
      units, layers: sizes.
      first_kernel: name of the first layer's kernel.
    """
    found = []
    for number in range(1, layers + 1):
        end, kernel, size = ("", first_kernel, inputs) if number == 1 else (f"_{number}", "kernel", units)
        found.append(
            LSTMLayer(
                weight(kernel + end, size, 4 * units),
                weight(f"recurrent_kernel{end}", units, 4 * units),
                weight(f"bias{end}", 4 * units),
            )
        )
    return found


def last_states(
    layers: Sequence[LSTMLayer],
    kernels: Kernels,
    projected: tf.Tensor,
    shift: tf.Tensor,
    hidden: Sequence[tf.Tensor],
    cells: Sequence[tf.Tensor],
    drop: Callable[[tf.Tensor, int], tf.Tensor] = lambda states, number: states,
) -> tf.Tensor:
    """Runs all layers one above the other.

    Args:
      layers: from the first.
      kernels: run one layer.
      projected: [time, batch, 4 * units], inputs of the first layer times its kernel plus bias.
      shift: [batch, 4 * units], added to it at every step.
      hidden, cells: of each layer its state before the first step, [batch, units].
      drop: function (hidden states of a layer, its number from 0) -> those that are read above it.

    Returns:
      What is read above the last layer, [time, batch, units].
    """
    for number, layer in enumerate(layers):
        states = kernels.hidden_states(projected, shift, layer.recurrent_kernel.value, hidden[number], cells[number])
        states = drop(states, number)
        if number + 1 < len(layers):
            projected, shift = layers[number + 1].project(states), tf.zeros_like(shift)
    return states

"""The recurrence of an LSTM with hand-written derivatives.

Gates are in Keras's order i, f, c, o. The reverse pass is a linear recurrence in time with three coefficients, which
depend on the forward pass step by step alone (`_coefficients`); its own derivative is a linear recurrence again, in
the direction of the forward pass. So a Hessian-vector product is four recurrences, each with one product with the
recurrent kernel a step, and two products for the kernel's derivative after them.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from sa_vae_tf.kernels.products import Precision, product, rounded
from sa_vae_tf.kernels.residuals import with_residuals
from sa_vae_tf.kernels.scan import scan


def hidden_states(
    projected: tf.Tensor,
    shift: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    hidden: tf.Tensor,
    cell: tf.Tensor,
    precision: Precision = None,
) -> tf.Tensor:
    """Runs an LSTM whose inputs are already multiplied by their kernel.

    Unlike Keras's layer it leaves the input product to the caller, who can do it once for many runs, and its
    derivatives exist on every device up to the second.

    Args:
      projected: [time, batch, 4 * units], inputs times kernel plus bias.
      shift: [batch, 4 * units], added to it at every step.
      recurrent_kernel: [units, 4 * units].
      hidden, cell: [batch, units], the state before the first step.
      precision: of the factors of products; None for their own.

    Returns:
      Hidden states, [time, batch, units].
    """
    run = with_residuals(functools.partial(_forward, precision), functools.partial(_reverse, precision))
    return run(projected, shift, recurrent_kernel, hidden, cell)


def plain_hidden_states(
    projected: tf.Tensor, shift: tf.Tensor, recurrent_kernel: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
) -> tf.Tensor:
    """Computes `hidden_states` by plain operations, whose derivatives are TensorFlow's own."""

    def step(state, inputs):
        i, f, c, o = tf.split(inputs + shift + state[0] @ recurrent_kernel, 4, -1)
        cell = tf.sigmoid(f) * state[1] + tf.sigmoid(i) * tf.tanh(c)
        return [tf.sigmoid(o) * tf.tanh(cell), cell]

    return tf.scan(step, projected, [hidden, cell])[0]


def _forward(precision, projected, shift, recurrent_kernel, hidden, cell):
    # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: one function for all four gates.
    units = cell.shape[-1]
    scale = tf.constant([0.5] * 2 * units + [1.0] * units + [0.5] * units, projected.dtype)
    offset = 1.0 - scale
    recurrent_kernel = rounded(recurrent_kernel, precision)

    def step(state, inputs):
        hidden, cell = state
        gates = tf.tanh(scale * (inputs[0] + shift + product(hidden, recurrent_kernel, precision))) * scale + offset
        i, f, c, o = tf.split(gates, 4, -1)
        cell = f * cell + i * c
        hidden = o * tf.tanh(cell)
        return [hidden, cell], [hidden, cell, gates]

    return scan(step, [hidden, cell], [projected])[1]


def _coefficients(gates, cells, before):
    """Returns the derivative of each gate's argument, of the cell to the hidden state, and to the next cell."""
    i, f, c, o = tf.split(gates, 4, -1)
    tanh_cells = tf.tanh(cells)
    to_gates = tf.concat([c * i * (1 - i), before * f * (1 - f), i * (1 - c * c), tanh_cells * o * (1 - o)], -1)
    return to_gates, o * (1 - tanh_cells * tanh_cells), f


def _reverse(precision, inputs, states, residuals, cotangent, residual_cotangents):
    _, _, recurrent_kernel, hidden, cell = inputs
    cells, gates = residuals
    before = tf.concat([cell[None], cells[:-1]], 0)
    coefficients, adjoint = _coefficients(gates, cells, before), _adjoint(precision)
    if residual_cotangents is None:
        projected, hidden_cotangent, cell_cotangent = adjoint(*coefficients, recurrent_kernel, cotangent)
    else:
        cells_cotangent, gates_cotangent = residual_cotangents
        i, f, c, o = tf.split(gates, 4, -1)
        to_arguments = gates_cotangent * tf.concat([i * (1 - i), f * (1 - f), 1 - c * c, o * (1 - o)], -1)
        projected, hidden_cotangent, cell_cotangent = adjoint(
            *coefficients, recurrent_kernel, cotangent, cells_cotangent, to_arguments
        )
    previous = tf.concat([hidden[None], states[:-1]], 0)
    kernel = _to_kernel(previous, projected, precision)
    return projected, tf.reduce_sum(projected, 0), kernel, hidden_cotangent, cell_cotangent


def _to_kernel(states, cotangents, precision):
    """Returns what the cotangents of the gates' arguments are for the recurrent kernel."""
    states, cotangents = (tf.reshape(x, [-1, x.shape[-1]]) for x in (states, cotangents))
    return product(states, cotangents, precision, transpose_a=True)


def _adjoint(precision: Precision):
    """Returns the reverse recurrence of the LSTM, whose own derivative is one more recurrence."""

    @tf.custom_gradient
    def adjoint(to_gates, to_cell, to_next, recurrent_kernel, states, *more):
        """Runs the reverse recurrence.

        Args:
          to_gates, to_cell, to_next: coefficients, [time, batch, 4 * units, units, units].
          recurrent_kernel: [units, 4 * units].
          states: cotangents of the hidden states.
          more: none, or cotangents of the cells and of the arguments of the gates.

        Returns:
          Cotangents of the arguments of the gates, of the first hidden state and of the first cell.
        """
        # A product with a transposed matrix of few rows is several times slower than with one transposed before.
        transposed = rounded(tf.stop_gradient(tf.transpose(recurrent_kernel)), precision)

        def step(carried, inputs):
            to_gates, to_cell, to_next, state, *added = inputs
            from_hidden, from_cell = carried
            hidden = state + from_hidden
            cell = hidden * to_cell + from_cell
            cell = cell + added[0] if added else cell
            gates = to_gates * tf.concat([cell, cell, cell, hidden], -1)
            gates = gates + added[1] if added else gates
            return [product(gates, transposed, precision), cell * to_next], [gates, hidden, cell]

        nothing = tf.zeros_like(states[0])
        inputs = [tf.stop_gradient(x) for x in (to_gates, to_cell, to_next, states, *more)]
        (first_hidden, first_cell), (gates, hidden, cell) = scan(step, [nothing, nothing], inputs, backwards=True)

        def grad(gates_cotangent, first_hidden_cotangent, first_cell_cotangent):
            kernel_of_step = rounded(recurrent_kernel, precision)

            def step(carried, inputs):
                to_gates, to_cell, to_next, gates = inputs
                hidden, cell = carried
                gates = gates + product(hidden, kernel_of_step, precision)
                i, f, c, o = tf.split(gates * to_gates, 4, -1)
                cell = i + f + c + cell * to_next
                hidden = o + cell * to_cell
                return [hidden, cell], [gates, hidden, cell]

            start = [first_hidden_cotangent, first_cell_cotangent]
            _, (total, hidden_bar, cell_bar) = scan(step, start, [to_gates, to_cell, to_next, gates_cotangent])
            hidden_before = tf.concat([start[0][None], hidden_bar[:-1]], 0)
            cell_before = tf.concat([start[1][None], cell_bar[:-1]], 0)
            kernel = _to_kernel(hidden_before, gates, precision)
            coefficients = total * tf.concat([cell, cell, cell, hidden], -1), cell_bar * hidden, cell_before * cell
            return (*coefficients, kernel, hidden_bar, *((cell_bar, total) if more else ()))

        return (gates, first_hidden, first_cell), grad

    return adjoint

"""The passes of an LSTM over time, forward, in reverse, and the derivative of the latter.

Gates are in Keras's order i, f, c, o. The reverse pass is a linear recurrence in time with three coefficients, which
depend on the forward pass step by step alone (`_coefficients`); its own derivative is a linear recurrence again, in the
direction of the forward pass. All are of plain operations that are not meant to be differentiated.

In a step's matrices an example is a row, [batch, units], or a column, [units, batch]; shapes below are those of rows.
The argument `axis` is that of the units, -1 or -2. The product that waits for the step before is that of a few states
with a large kernel, and quicker where that is the left factor, as columns have it: the right one is packed first. It is
one of rounded factors, added up in full precision, where the kernel is given in a type of fewer bits.

The argument `factor` is what such a product multiplies by, [units, 4 * units] for rows and [4 * units, units] for
columns, `back_factor` the transposed of it. Both are given, since XLA would transpose in each step, or widen what is
rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from sa_vae_tf.kernels.products import apart
from sa_vae_tf.kernels.scan import scan


class Forward(NamedTuple):
    """Of all steps the hidden states and cells, [time, batch, units], and the gates, [time, batch, 4 * units]."""

    states: tf.Tensor
    cells: tf.Tensor
    gates: tf.Tensor


class Reverse(NamedTuple):
    """Cotangents of all hidden states and cells, with what later steps add to them, [time, batch, units]."""

    states: tf.Tensor
    cells: tf.Tensor


class Inputs(NamedTuple):
    """Cotangents of the gates' arguments, [time, batch, 4 * units], of the first hidden state and of the first cell."""

    arguments: tf.Tensor
    hidden: tf.Tensor
    cell: tf.Tensor


def forward(
    projected: tf.Tensor, shift: tf.Tensor, factor: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor, axis: int
) -> Forward:
    """Runs the LSTM; arguments as for `lstm.hidden_states`."""
    times = _times(factor, axis)

    def step(state, inputs):
        hidden, cell = state
        gates = _gates(inputs[0] + shift + times(hidden), axis)
        i, f, c, o = tf.split(gates, 4, axis)
        cell = f * cell + i * c
        hidden = o * tf.tanh(cell)
        return [hidden, cell], [hidden, cell, gates]

    return Forward(*scan(step, [hidden, cell], [projected])[1])


def gates_of(projected: tf.Tensor, shift: tf.Tensor, from_states: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the gates of all steps, given what the states before them add to their arguments."""
    return _gates(projected + shift + from_states, axis)


def reverse(
    gates: tf.Tensor,
    cells: tf.Tensor,
    cell: tf.Tensor,
    back_factor: tf.Tensor,
    axis: int,
    states: tf.Tensor,
    *more: tf.Tensor,
) -> tuple[Reverse, Inputs]:
    """Takes cotangents of the hidden states back through time, and to what the LSTM reads.

    Args:
      gates, cells: of the forward pass.
      cell: before the first step.
      back_factor: see above.
      axis: of the units.
      states: cotangents of the hidden states.
      more: none, or cotangents of the cells and of the gates' arguments.

    Returns:
      What `inputs_of` takes to the second, and that.
    """
    times = _times(back_factor, axis)

    def step(carried, inputs):
        to_gates, to_cell, to_next, state, *added = inputs
        from_hidden, from_cell = carried
        hidden = state + from_hidden
        cell = hidden * to_cell + from_cell
        cell = cell + added[0] if added else cell
        arguments = to_gates * tf.concat([cell, cell, cell, hidden], axis)
        arguments = arguments + added[1] if added else arguments
        return [times(arguments), cell * to_next], [hidden, cell]

    to_gates, to_cell, to_next = _coefficients(gates, cells, before(cell, cells), axis)
    start, inputs = [tf.zeros_like(cell), tf.zeros_like(cell)], [to_gates, to_cell, to_next, states, *more]
    first, outputs = scan(step, start, inputs, backwards=True)
    back = Reverse(*outputs)
    return back, Inputs(_arguments(to_gates, back, axis, *more), *first)


def inputs_of(
    gates: tf.Tensor,
    cells: tf.Tensor,
    cell: tf.Tensor,
    back_factor: tf.Tensor,
    axis: int,
    back: Reverse,
    *more: tf.Tensor,
) -> Inputs:
    """Takes cotangents of all states and cells, which were kept, to what the LSTM reads; arguments as for `reverse`."""
    to_gates, _, to_next = _coefficients(gates, cells, before(cell, cells), axis)
    arguments = _arguments(to_gates, back, axis, *more)
    return Inputs(arguments, _times(back_factor, axis)(arguments[0]), back.cells[0] * to_next[0])


class Second(NamedTuple):
    """Cotangents of what `reverse` reads.

    Attributes:
      gates, cells, cell, states, more_cells, more_arguments: of these arguments; the last two if they were given.
      hidden_before: [time, batch, units], factor of the kernel's cotangent beside the arguments in `Inputs`.
    """

    gates: tf.Tensor
    cells: tf.Tensor
    cell: tf.Tensor
    states: tf.Tensor
    more_cells: tf.Tensor
    more_arguments: tf.Tensor
    hidden_before: tf.Tensor


def second(
    gates: tf.Tensor,
    cells: tf.Tensor,
    cell: tf.Tensor,
    factor: tf.Tensor,
    axis: int,
    back: Reverse,
    cotangents: Inputs,
) -> Second:
    """Differentiates `reverse` in one recurrence forward in time.

    Args:
      gates, cells, cell, axis: as for `reverse`.
      factor: see above.
      back: the first of its results.
      cotangents: of the second.
    """
    times = _times(factor, axis)
    to_gates, to_cell, to_next = _coefficients(gates, cells, before(cell, cells), axis)

    def step(carried, inputs):
        to_gates, to_cell, to_next, arguments = inputs
        hidden, cell = carried
        arguments = arguments + times(hidden)
        i, f, c, o = tf.split(arguments * to_gates, 4, axis)
        cell = i + f + c + cell * to_next
        return [o + cell * to_cell, cell], [arguments, o + cell * to_cell, cell]

    start = [cotangents.hidden, cotangents.cell]
    _, (arguments, states_bar, cells_bar) = scan(step, start, [to_gates, to_cell, to_next, cotangents.arguments])

    # From the cotangents of the coefficients to those of what they were computed from.
    i, f, c, o = tf.split(gates, 4, axis)
    i_bar, f_bar, c_bar, o_bar = tf.split(arguments, 4, axis)
    i_bar, f_bar, c_bar, o_bar = i_bar * back.cells, f_bar * back.cells, c_bar * back.cells, o_bar * back.states
    cell_bar, next_bar = cells_bar * back.states, before(cotangents.cell, cells_bar) * back.cells
    tanh_cells, cells_before = tf.tanh(cells), before(cell, cells)
    slope = 1 - tanh_cells * tanh_cells
    of_gates = [
        i_bar * c * (1 - 2 * i) + c_bar * (1 - c * c),
        f_bar * cells_before * (1 - 2 * f) + next_bar,
        i_bar * i * (1 - i) - 2 * c_bar * i * c,
        o_bar * tanh_cells * (1 - 2 * o) + cell_bar * slope,
    ]
    of_before = f_bar * f * (1 - f)
    of_cells = (o_bar * o * (1 - o) - 2 * cell_bar * o * tanh_cells) * slope
    of_cells += tf.concat([of_before[1:], tf.zeros_like(of_before[:1])], 0)
    hidden_before = before(cotangents.hidden, states_bar)
    return Second(tf.concat(of_gates, axis), of_cells, of_before[0], states_bar, cells_bar, arguments, hidden_before)


def to_arguments(gates: tf.Tensor, cotangents: tf.Tensor, axis: int) -> tf.Tensor:
    """Takes cotangents of the gates to their arguments."""
    i, f, c, o = tf.split(gates, 4, axis)
    return cotangents * tf.concat([i * (1 - i), f * (1 - f), 1 - c * c, o * (1 - o)], axis)


def before(first: tf.Tensor, states: tf.Tensor) -> tf.Tensor:
    """Returns the states before each step, given that before the first."""
    return tf.concat([first[None], states[:-1]], 0)


def _times(factor: tf.Tensor, axis: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns the function that multiplies the examples of a step.

    They are rounded to the type of the factor. Their products are not: XLA alone has such an operation on a CPU.
    """
    kernel = apart(factor) if axis == -1 else factor

    def times(examples):
        x, y = (examples, kernel) if axis == -1 else (kernel, examples)
        if factor.dtype == examples.dtype:
            found = x @ y
        else:
            x, y = tf.cast(x, factor.dtype), tf.cast(y, factor.dtype)
            found = tf.raw_ops.BatchMatMulV3(x=x, y=y, Tout=examples.dtype)
        return found[:, : factor.shape[-1]] if axis == -1 else found

    return times


def _gates(arguments, axis):
    # sigmoid(x) = tanh(x / 2) / 2 + 1 / 2: one function for all four gates.
    units = arguments.shape[axis] // 4
    scale = tf.constant([0.5] * 2 * units + [1.0] * units + [0.5] * units, arguments.dtype)
    scale = scale if axis == -1 else scale[:, None]
    return tf.tanh(scale * arguments) * scale + (1.0 - scale)


def _arguments(to_gates, back, axis, *more):
    """Returns the cotangents of the gates' arguments."""
    arguments = to_gates * tf.concat([back.cells, back.cells, back.cells, back.states], axis)
    return arguments + more[1] if more else arguments


def _coefficients(gates, cells, before, axis):
    """Returns the derivative of each gate's argument, of the cell to the hidden state, and to the next cell."""
    i, f, c, o = tf.split(gates, 4, axis)
    tanh_cells = tf.tanh(cells)
    to_gates = tf.concat([c * i * (1 - i), before * f * (1 - f), i * (1 - c * c), tanh_cells * o * (1 - o)], axis)
    return to_gates, o * (1 - tanh_cells * tanh_cells), f

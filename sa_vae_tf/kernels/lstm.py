"""The recurrence of an LSTM with hand-written derivatives.

A Hessian-vector product is four passes over time (`recurrences`), each with one product with the recurrent kernel a
step, and two products for the kernel's derivative after them. A refinement step keeps what its two passes found, so
that two are left for its reverse pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from sa_vae_tf.inference.kept import Keep, kept
from sa_vae_tf.kernels import recurrences
from sa_vae_tf.kernels.fusion import as_it_is
from sa_vae_tf.kernels.products import Precision, apart, product, rounded
from sa_vae_tf.kernels.recurrences import Inputs, Reverse, before
from sa_vae_tf.kernels.residuals import last, with_residuals
from sa_vae_tf.kernels.scan import is_unrolled

# Columns are filled up to a multiple of this, the float32 numbers that a processor takes at once.
FILLED = 16


def hidden_states(
    projected: tf.Tensor,
    shift: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    hidden: tf.Tensor,
    cell: tf.Tensor,
    precision: Precision = None,
    fuse: Callable[[Callable], Callable] = as_it_is,
    large: int | None = None,
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
      fuse: what makes a program of each pass over time (see `fusion`).
      large: with a kernel of more weights examples are columns (see `recurrences`), which is slower for a few of them,
        and where the steps are compiled one by one; None for never.

    Returns:
      Hidden states, [time, batch, units].
    """
    if large is None or math.prod(recurrent_kernel.shape) <= large or is_unrolled(projected.shape[0]):
        return _run(projected, shift, recurrent_kernel, hidden, cell, -1, precision, fuse)
    batch = tf.shape(hidden)[0]
    projected, shift, hidden, cell = (_columns(x) for x in (projected, shift, hidden, cell))
    states = _run(projected, shift, recurrent_kernel, hidden, cell, -2, precision, fuse)
    return _turned(states)[:, :batch]


def _run(projected, shift, recurrent_kernel, hidden, cell, axis, precision, fuse) -> tf.Tensor:
    """Computes `hidden_states` where the units have this axis in what is given and returned."""
    adjoint = _adjoint(fuse, axis, precision)

    def forward(projected, shift, kernel, hidden, cell):
        def compute(large: bool):
            factor, _ = _factors(kernel, axis, precision)
            states, cells, gates = fuse(recurrences.forward)(projected, shift, factor, hidden, cell, axis)
            return [states, cells], [gates]

        (states, cells), found = kept(compute, Keep.MEDIUM)
        if found:
            return states, cells, found[0]
        # With the states known there is nothing to wait for: one product for all steps.
        from_states = product(_rows(before(hidden, states), axis), kernel, precision)
        from_states = tf.reshape(from_states, tf.shape(_examples(projected, axis)))
        gates = fuse(recurrences.gates_of)(projected, shift, _examples(from_states, axis), axis)
        return states, cells, gates

    def reverse(inputs, states, residuals, cotangent, residual_cotangents):
        _, _, kernel, hidden, cell = inputs
        cells, gates = residuals
        more: tuple[tf.Tensor, ...] = ()
        if residual_cotangents is not None:
            cells_cotangent, gates_cotangent = residual_cotangents
            more = cells_cotangent, fuse(recurrences.to_arguments)(gates, gates_cotangent, axis)
        arguments, of_hidden, of_cell = adjoint(gates, cells, cell, kernel, cotangent, *more)
        of_kernel = _to_kernel(before(hidden, states), arguments, axis, precision)
        return arguments, tf.reduce_sum(arguments, 0), of_kernel, of_hidden, of_cell

    return with_residuals(forward, reverse)(projected, shift, recurrent_kernel, hidden, cell)


def lstm_step(arguments: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns hidden state and cell, [batch, units], after a step with these arguments of the gates and that cell."""
    i, f, c, o = tf.split(arguments, 4, -1)
    cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(c)
    return tf.sigmoid(o) * tf.tanh(cell), cell


def plain_hidden_states(
    projected: tf.Tensor, shift: tf.Tensor, recurrent_kernel: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor
) -> tf.Tensor:
    """Computes `hidden_states` by plain operations, whose derivatives are TensorFlow's own."""

    def step(state, inputs):
        hidden, cell = state
        return lstm_step(inputs + shift + hidden @ recurrent_kernel, cell)

    return tf.scan(step, projected, (hidden, cell))[0]


def _adjoint(fuse: Callable[[Callable], Callable], axis: int, precision: Precision) -> Callable[..., Inputs]:
    """Returns the reverse pass as an operation.

    Its arguments are those of `recurrences.reverse` without `axis`, and the kernel in place of `back_factor`.
    """

    @tf.custom_gradient
    def adjoint(*inputs):
        # Else the tapes would record the passes besides.
        *forward, kernel, states = (tf.stop_gradient(x) for x in inputs[:5])
        factor, back_factor = _factors(kernel, axis, precision)
        more = [tf.stop_gradient(x) for x in inputs[5:]]

        computed: list[Inputs] = []

        def compute(large: bool):
            back, result = fuse(recurrences.reverse)(*forward, back_factor, axis, states, *more)
            computed.append(result)
            return back, []

        back = Reverse(*kept(compute, Keep.MEDIUM)[0])
        # Where the first result was kept the second follows without a pass over time.
        result = computed[0] if computed else fuse(recurrences.inputs_of)(*forward, back_factor, axis, back, *more)

        def grad(*cotangents):
            found = fuse(recurrences.second)(*forward, factor, axis, back, Inputs(*cotangents))
            of_kernel = _to_kernel(found.hidden_before, result.arguments, axis, precision)
            of_more = (found.more_cells, found.more_arguments) if more else ()
            return last([found.gates, found.cells, found.cell, of_kernel, found.states, *of_more])

        return tuple(result), grad

    return lambda *inputs: Inputs(*adjoint(*inputs))


def _factors(kernel, axis, precision):
    """Returns what examples are multiplied by in a pass forward, and in the reverse pass (see `recurrences`)."""
    factor = rounded(kernel, precision)
    return (factor, _turned(factor)) if axis == -1 else (_turned(factor), factor)


def _to_kernel(states, cotangents, axis, precision):
    """Returns what the cotangents of the gates' arguments are for the recurrent kernel."""
    found = product(_rows(states, axis), apart(_rows(cotangents, axis)), precision, transpose_a=True)
    return found[:, : cotangents.shape[axis]]


def _columns(x: tf.Tensor) -> tf.Tensor:
    """Returns examples as columns, filled up with zeros."""
    *time, batch, units = x.shape
    missing = -(tf.shape(x)[-2] if batch is None else batch) % FILLED
    filled = tf.pad(x, [(0, 0)] * len(time) + [(0, missing), (0, 0)])
    return _turned(tf.ensure_shape(filled, [*time, None, units]))


def _turned(x: tf.Tensor) -> tf.Tensor:
    return tf.linalg.matrix_transpose(x)


def _examples(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns examples as rows where they are rows or columns, or the reverse."""
    return x if axis == -1 else _turned(x)


def _rows(x: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns the examples of all steps as rows of a matrix."""
    rows = _examples(x, axis)
    return tf.reshape(rows, [-1, rows.shape[-1]])

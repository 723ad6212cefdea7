"""Runs a recurrence over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

# Up to this many steps a loop costs more than its steps, and compiling them one by one is quick.
UNROLLED = 8


def is_unrolled(steps: int | None) -> bool:
    """Whether `scan` takes so many steps without a loop; None where their number is not known before."""
    return steps is not None and steps <= UNROLLED


def scan(
    step: Callable, state: Sequence[tf.Tensor], inputs: Sequence[tf.Tensor], backwards: bool = False
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """Applies `step` to one time step of the inputs after the other.

    Unlike `tf.scan` it returns outputs that differ from the state, and is not meant to be differentiated.

    Args:
      step: function (state, inputs of one step) -> (state, outputs of one step), all lists of tensors.
      state: tensors whose shapes do not change.
      inputs: tensors [time, ...].
      backwards: from the last step to the first.

    Returns:
      The last state and the outputs, each [time, ...] in the order of the inputs.
    """
    static = inputs[0].shape[0]
    if is_unrolled(static):
        outputs = []
        for t in reversed(range(static)) if backwards else range(static):
            state, out = step(state, [x[t] for x in inputs])
            outputs.append(out)
        return list(state), [tf.stack(parts[::-1] if backwards else parts) for parts in zip(*outputs, strict=True)]

    length = static if static is not None else tf.shape(inputs[0])[0]

    def body(count, state, arrays):
        t = length - 1 - count if backwards else count
        state, out = step(state, [x[t] for x in inputs])
        return count + 1, state, [array.write(t, part) for array, part in zip(arrays, out, strict=True)]

    # The shapes of the outputs are found without computing them.
    like = tf.function(lambda s, x: step(s, x)[1], autograph=False).get_concrete_function(
        [tf.TensorSpec(s.shape, s.dtype) for s in state], [tf.TensorSpec(x.shape[1:], x.dtype) for x in inputs]
    )
    arrays = [tf.TensorArray(out.dtype, length, element_shape=out.shape) for out in like.structured_outputs]
    _, state, arrays = tf.while_loop(
        lambda count, *_: count < length, body, (tf.constant(0), list(state), arrays), parallel_iterations=1
    )
    return list(state), [array.stack() for array in arrays]

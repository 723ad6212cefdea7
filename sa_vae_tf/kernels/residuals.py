"""Custom gradients whose derivative is cheap too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

LAST = (
    "this derivative of a hand-written kernel has none itself: a first derivative has one, that to a softmax's weights "
    "excepted, where the bound does not call the kernel inside a tf.function of its own; expected kernels='plain'"
)
MAPPED = (
    "tf.vectorized_map, and what is derived of a jacobian, lose the derivatives of hand-written kernels; expected "
    "tf.map_fn, or kernels='plain'"
)

# reverse(inputs, output, residuals, output_cotangent, residual_cotangents or None) -> cotangents of the inputs.
Reverse = Callable[..., Sequence[tf.Tensor]]


def with_residuals(forward: Callable[..., Sequence[tf.Tensor]], reverse: Reverse) -> Callable[..., tf.Tensor]:
    """Makes an operation from its forward pass and its reverse pass, the latter differentiable.

    What the reverse pass needs from the forward pass, the residuals, are further outputs of the operation. The second
    derivative therefore reaches them as cotangents, beside that of the output, and one more run of the reverse pass
    takes all of them to the inputs. With residuals hidden in a closure it would have to go through the forward pass on
    its own, at the cost of another run.

    Args:
      forward: function (*inputs) -> output, *residuals. It is never differentiated.
      reverse: function (inputs, output, residuals, output cotangent, residual cotangents) -> input cotangents, of
        differentiable operations. In a first derivative the residuals have no cotangents, and it is given None.

    Returns:
      A function (*inputs) -> output.
    """

    def operation(*inputs: tf.Tensor) -> tf.Tensor:
        outputs: list[tf.Tensor] = []
        # Nothing but `grad` reads the residuals, so they have no cotangents until it has been called once.
        read = False

        @tf.custom_gradient
        def run(*inputs):
            def grad(cotangent, *residual_cotangents):
                nonlocal read
                first, read = not read, True
                # The outputs as the tapes know them, not the tensors they were made from.
                output, *residuals = outputs
                if first:
                    return [by_tape(x) for x in reverse(inputs, output, residuals, cotangent, None)]
                return reverse(inputs, output, residuals, cotangent, residual_cotangents)

            # Else the tapes would record the forward pass besides, and keep what its derivative needs.
            return tuple(forward(*(tf.stop_gradient(x) for x in inputs))), grad

        outputs.extend(run(*inputs))
        return by_tape(outputs[0])

    return operation


def last(cotangents: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Returns cotangents that have no derivatives: to ask for one is an error, where it would be silently wrong."""
    return [tf.raw_ops.PreventGradient(input=cotangent, message=LAST) for cotangent in cotangents]


def by_tape(x: tf.Tensor) -> tf.Tensor:
    """Returns x, whose derivative may be taken by a tape alone.

    `tf.vectorized_map` forgets custom gradients and differentiates what they stand for, wrongly: here that is an error.
    """

    @tf.custom_gradient
    def run(x):
        return tf.raw_ops.PreventGradient(input=x, message=MAPPED), lambda cotangent: cotangent

    return run(x)

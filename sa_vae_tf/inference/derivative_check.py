"""Whether the derivative of a loss is what the loss does: for decoders of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# How far a variable is moved, as a part of its length; what a derivative may be off by where differences are sharper.
STEPS = {"float32": 1e-2, "float64": 1e-5}
TOLERANCES = {"float32": 1e-2, "float64": 1e-5}

# What differences leave open has to be below this part of the whole gradient's length.
SHARP = 0.1


def check_derivative(loss: Callable[[], tf.Tensor], variables: Sequence[Any], seed: int = 1) -> float:
    """Compares the derivative of a loss to each variable with finite differences of the loss.

    Finds what `refine` cannot see: a tensor that the bound closes over, what is random in it beside its draws, an
    operation whose second derivative is wrong. The loss runs eagerly, six times for each variable: a few examples and
    refinement steps are enough. float64 and smooth activations show smaller mistakes. Before each run TensorFlow's seed
    is set, so that draws may come from its global generator. Settings of the refinement that leave out some of the
    derivative (`product_clip_norm`, `reverse_steps`, `product='authors'`) are found as mistakes too. Where activations
    have kinks, such as relu, a refined loss jumps: in float32, or with many of them, that is too rough to check.

    Args:
      loss: function () -> a scalar, float32 or float64, through `refine` and whatever else a training step takes.
      variables: those that it is differentiated to, of TensorFlow or Keras; they are left as they were.
      seed: of TensorFlow's generators, and of the directions in which variables are moved.

    Returns:
      The largest difference, relative to the derivative along the direction and what the finite differences leave open.

    Raises:
      TypeError: if the loss is no function, or the variables are no list.
      ValueError: if the loss is no finite scalar, two runs of it differ, a derivative is not the loss's, or the
        differences are too rough to tell.
    """

    if not callable(loss):
        raise TypeError(f"loss: expected a function without arguments, got {type(loss).__name__}")
    if not isinstance(variables, (list, tuple)):
        raise TypeError(f"variables: expected a list, got {type(variables).__name__}")

    def run() -> tf.Tensor:
        tf.random.set_seed(seed)
        return tf.convert_to_tensor(loss())

    with tf.GradientTape() as tape:
        value = run()
    dtype = value.dtype.name
    if value.shape.rank != 0 or dtype not in STEPS or not np.isfinite(value.numpy()):
        found = value.shape if value.shape.rank else value.numpy()
        raise ValueError(f"loss returned {dtype} {found}: expected a finite scalar, float32 or float64")
    # TensorFlow has no zeros for Keras's variables that a loss does not depend on.
    gradients = [
        np.zeros(variable.shape) if gradient is None else tf.convert_to_tensor(gradient).numpy()
        for variable, gradient in zip(variables, tape.gradient(value, list(variables)), strict=True)
    ]
    again = float(run())
    ulp = float(np.finfo(dtype).eps) * abs(again)
    if abs(again - float(value)) > 100 * ulp:  # Sums may be taken in another order.
        raise ValueError(
            f"loss: two runs with one seed gave {float(value)} and {again}: expected the same; what is random in the "
            "bound must be made from the seed of its draw: sa_vae_tf.models.dropout, not Keras's Dropout"
        )
    length = float(np.sqrt(sum(np.sum(np.square(gradient)) for gradient in gradients)))
    rng, largest = np.random.default_rng(seed), 0.0
    for variable, gradient in zip(variables, gradients, strict=True):
        at = variable.numpy()
        if not at.size:
            continue
        direction = _direction(gradient, rng)
        step = STEPS[dtype] * max(np.linalg.norm(at), 0.1 * np.sqrt(at.size))
        expected, unsure = _slope(run, variable, at, direction, step)
        unsure += 2 * ulp / step
        found = float(np.sum(gradient * direction))
        name = f"{getattr(variable, 'path', variable.name)} of shape {at.shape}"
        if not abs(found - expected) <= TOLERANCES[dtype] * max(abs(expected), abs(found)) + unsure:
            raise ValueError(
                f"{name}: its derivative along a direction is {found:.6g}, by finite differences of the loss "
                f"{expected:.6g}, give or take {unsure:.1g}; expected the same: does the bound close over a tensor "
                "that should be in its context, is it random beside its draws, is a second derivative wrong? (In the "
                "decoder, or what is between it and this variable.)"
            )
        if length <= 2 * ulp / step >= abs(expected):
            raise ValueError(f"{name}: the loss depends on neither it nor the others; expected variables that matter")
        if unsure > SHARP * max(length, abs(expected)):
            raise ValueError(
                f"{name}: finite differences of the loss tell its derivative to {unsure:.1g} alone, where the whole "
                f"gradient has length {length:.1g}; expected smooth activations (tanh in place of relu), another seed"
                + (", or float64" if dtype == "float32" else "")
            )
        largest = max(largest, abs(found - expected) / (max(abs(expected), abs(found)) + unsure))
    return float(largest)


def _direction(gradient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns a direction that sees most of the gradient, and of what it may lack something."""
    other = rng.normal(size=gradient.shape)
    if np.sum(other * gradient) < 0:
        other = -other
    length = float(np.linalg.norm(gradient))
    direction = other / np.linalg.norm(other) + (gradient / length if length else 0.0)
    return direction / np.linalg.norm(direction)


def _slope(
    run: Callable[[], tf.Tensor], variable: Any, at: np.ndarray, direction: np.ndarray, step: float
) -> tuple[float, float]:
    """Returns the slope along a direction, and how far it may be off by curvature and rounding."""

    def difference(distance: float) -> float:
        ends = []
        for sign in (1, -1):
            variable.assign((at + sign * distance * direction).astype(at.dtype))
            ends.append(float(run()))
        return (ends[0] - ends[1]) / (2 * distance)

    try:
        # Curvature goes with the square of the distance, rounding against it: either makes these differ.
        slopes = [difference(step / 2**halved) for halved in range(3)]
    finally:
        variable.assign(at)
    return (4 * slopes[1] - slopes[0]) / 3, 2 * (max(slopes) - min(slopes))

"""What is exported of any kind of data: functions with named inputs, some with defaults, and named outputs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf


class Input(NamedTuple):
    """An input of an exported function."""

    dtype: tf.DType
    shape: list[int | None]
    description: str


COMMON_INPUTS = {
    "svi_steps": Input(tf.int32, [], "Refinement steps of the posterior; 0 for the encoder, or another start, alone."),
    "iw_samples": Input(tf.int32, [], "Samples of the importance-weighted estimate of the NLL; 0 for none."),
    "seed": Input(tf.int32, [], "Of all noise: the same seed gives the same answer."),
}


def common_outputs(example: str) -> dict[str, str]:
    """Returns what the outputs of any kind of data mean, `example` being what one example is called."""
    return {
        "nll_bound": f"The bound on -log p({example}) in nats: reconstruction plus KL at the refined posterior; "
        f"without latent variable -log p({example}) itself.",
        "reconstruction": f"-log p({example} | z) in nats, of one z drawn from the refined posterior.",
        "kl": "KL from the refined posterior to the prior in nats.",
        "nll_iw": f"Importance-weighted estimate of -log p({example}) in nats; not a number for iw_samples 0.",
        "effective_samples": "Of iw_samples, as many as count; where they are few nll_iw is likely too high. Not a "
        "number for iw_samples 0.",
        "mean": "Mean of the refined posterior.",
        "log_variance": "Natural logarithm of its variance.",
    }


class Functions(NamedTuple):
    """The exported functions of a run.

    Attributes:
      by_name: each made by `exported`; `score` is one of them.
      inputs, outputs: what their names mean, the same in all functions.
      tracked: what they use besides the variables of the model, such as lookup tables.
      example: each input that has no default, for first requests.
      facts: what else a client should know, by name.
    """

    by_name: Mapping[str, Callable[..., dict[str, tf.Tensor]]]
    inputs: Mapping[str, Input]
    outputs: Mapping[str, str]
    tracked: Any
    example: Mapping[str, tf.Tensor]
    facts: Mapping[str, Any]


def exported(function: Callable[..., dict[str, tf.Tensor]], inputs: Mapping[str, Input]) -> Any:
    """Returns a TensorFlow function whose inputs are the arguments of `function`, as `inputs` describes them.

    A default that is a tensor is also the default of the SavedModel's signature. The outputs cannot be differentiated:
    derivatives of hand-written kernels stay behind in Python.
    """
    names = inspect.signature(function).parameters
    specs = [tf.TensorSpec(inputs[name].shape, inputs[name].dtype, name) for name in names]

    @functools.wraps(function)
    def constant(*arguments):
        return {
            name: tf.raw_ops.PreventGradient(input=output, message=f"{name}: an exported model has no gradients")
            for name, output in function(*arguments).items()
        }

    return tf.function(constant, input_signature=specs, autograph=False)


def require(condition: tf.Tensor, message: str | tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
    """Returns the tensors, which raise an error with this message when they are computed and the condition is false."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return [tf.identity(tensor) for tensor in tensors]


def at_least(low: int, name: str, value: tf.Tensor) -> tf.Tensor:
    """Returns a scalar input if it is not below `low`."""
    message = tf.strings.format(name + "={}: expected at least " + str(low), value)
    return require(value >= low, message, value)[0]


def given_or_own(index: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
    """Returns the numbers from which the noise of examples is made, int64 [batch].

    Args:
      index: those that a request gives, or none.
      own: numbers made of the examples themselves, so that the answer for one does not depend on its batch.
    """
    given, needed = tf.size(index), tf.size(own)
    message = tf.strings.format("index: {} numbers; expected none, or one for each of {} examples", [given, needed])
    (index,) = require((given == 0) | (given == needed), message, index)
    return tf.ensure_shape(tf.cond(given > 0, lambda: index, lambda: own), [None])

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


class Functions(NamedTuple):
    """The exported functions of a run.

    Attributes:
      by_name: each made by `exported`.
      inputs, outputs: what their names mean, the same in all functions.
      tracked: what they use besides the variables of the model, such as lookup tables.
      example: each input that has no default, for the first requests.
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


def first_request(functions: Functions, name: str) -> dict[str, tf.Tensor]:
    """Returns every input of a function: its default, or the example."""
    parameters = _parameters(functions.by_name[name])
    return {
        given: functions.example[given] if one.default is one.empty else one.default
        for given, one in parameters.items()
    }


def describe(functions: Functions) -> dict[str, Any]:
    """Returns what each function does, and type, shape and meaning of its inputs and outputs, for JSON."""
    return {name: _describe(function, functions) for name, function in functions.by_name.items()}


def _describe(function: Any, functions: Functions) -> dict[str, Any]:
    inputs, outputs = {}, {}
    for name, parameter in _parameters(function).items():
        dtype, shape, description = functions.inputs[name]
        inputs[name] = {"dtype": dtype.name, "shape": shape, "description": description}
        if parameter.default is not parameter.empty:
            inputs[name]["default"] = parameter.default.numpy().tolist()
    for name, output in function.get_concrete_function().structured_outputs.items():
        shape = output.shape.as_list()
        outputs[name] = {"dtype": output.dtype.name, "shape": shape, "description": functions.outputs[name]}
    return {"description": inspect.getdoc(function.python_function), "inputs": inputs, "outputs": outputs}


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(function.python_function).parameters


def require(condition: tf.Tensor, message: str | tf.Tensor, *tensors: tf.Tensor) -> list[tf.Tensor]:
    """Returns the tensors, which raise an error with this message when they are computed and the condition is false."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return [tf.identity(tensor) for tensor in tensors]

"""Functions as a SavedModel, and what its signatures say of themselves."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from sa_vae_tf.export.functions import Functions

# The signature that a server takes where a request names none.
DEFAULT = "serving_default"


def save(folder: Path, functions: Functions, variables: Sequence[tf.Variable]) -> Mapping[str, SignatureDef]:
    """Writes a SavedModel and returns its signatures by name.

    The functions become its signatures, `score` also the default one, and attributes of the object that is loaded. They
    need no gradients, those of the refinement being operations of the graph, and can no longer be differentiated.
    """
    root = tf.Module()
    root.kept = [list(variables), functions.tracked]
    for name, function in functions.by_name.items():
        setattr(root, name, function)
    signatures = {**functions.by_name, DEFAULT: functions.by_name["score"]}
    tf.saved_model.save(root, str(folder), signatures, tf.saved_model.SaveOptions(experimental_custom_gradients=False))

    # TensorFlow would warn, when it loads the model, of each gradient function that stays behind in Python.
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    (graph,) = model.meta_graphs
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            node.attr.pop("_gradient_op_type", None)
    for node in graph.object_graph_def.nodes:
        if node.HasField("variable"):
            node.variable.trainable = False
    path.write_bytes(model.SerializeToString(deterministic=True))
    # It is of the file as it was, and nothing needs it.
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    return {name: graph.signature_def[name] for name in signatures}


def describe(functions: Functions, signatures: Mapping[str, SignatureDef]) -> dict[str, Any]:
    """Returns what each function does, and type, shape, meaning and default of its inputs and outputs, for JSON."""
    return {name: _describe(functions, name, signatures[name]) for name in functions.by_name}


def _describe(functions: Functions, name: str, signature: SignatureDef) -> dict[str, Any]:
    def described(tensor: Any, description: str) -> dict[str, Any]:
        shape = tf.TensorShape(tensor.tensor_shape).as_list()
        return {"dtype": tf.as_dtype(tensor.dtype).name, "shape": shape, "description": description}

    inputs = {
        given: described(signature.inputs[given], of.description)
        for given, of in functions.inputs.items()
        if given in signature.inputs
    }
    for given, value in signature.defaults.items():
        inputs[given]["default"] = tf.make_ndarray(value).tolist()
    outputs = {
        output: described(signature.outputs[output], description)
        for output, description in functions.outputs.items()
        if output in signature.outputs
    }
    return {"description": inspect.getdoc(functions.by_name[name]), "inputs": inputs, "outputs": outputs}


def first_requests(functions: Functions, signatures: Mapping[str, SignatureDef]) -> dict[str, dict[str, tf.Tensor]]:
    """Returns all inputs of each signature: the default of each, or the example."""
    return {
        name: {
            given: tf.make_ndarray(signature.defaults[given])
            if given in signature.defaults
            else functions.example[given].numpy()
            for given in signature.inputs
        }
        for name, signature in signatures.items()
    }

"""First requests for a model server, which answers them before it takes others.

TensorFlow Serving reads them as a TFRecord of its message PredictionLog. Its messages come with a package of their own;
the few fields that are needed are written here in the format of protocol buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

# Where TensorFlow Serving looks, below the SavedModel.
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"


def write_requests(folder: Path, requests: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the warm-up file of a SavedModel.

    Args:
      folder: of the SavedModel.
      requests: by name of signature, the inputs by name.
    """
    path = folder / WARMUP_FILE
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            writer.write(prediction_log(signature, inputs))


def prediction_log(signature: str, inputs: Mapping[str, Any]) -> bytes:
    """Returns a PredictionLog with one request, whose model a server takes to be the one it is warming up."""
    # ModelSpec: name 1, signature_name 3. PredictRequest: model_spec 1, inputs 2, a map of keys 1 to values 2.
    request = _field(1, _field(1, b"model") + _field(3, signature.encode()))
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString(deterministic=True)
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    # PredictionLog: predict_log 6. PredictLog: request 1.
    return _field(6, _field(1, request))


def _field(number: int, content: bytes) -> bytes:
    """Returns a field of bytes: its number and wire type 2, its length, its content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Returns a number in groups of seven bits, the lowest first, each but the last with its eighth bit set."""
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])

"""The warm-up file, read by messages that are built from TensorFlow Serving's published definitions."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from sa_vae_tf.export.warmup import WARMUP_FILE, prediction_log, write_requests

STRING, MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_STRING, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE


@pytest.fixture(scope="module")
def message():
    """The class PredictionLog, of the fields that a request has."""
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto", package="serving", syntax="proto3", dependency=["tensorflow/core/framework/tensor.proto"]
    )

    def define(parent, name, *fields):
        kind = parent.add(name=name)
        for number, field, of in fields:
            described = kind.field.add(name=field, number=number, label=1, type=MESSAGE if of else STRING)
            if of:
                described.type_name = of
        return kind

    kinds = file.message_type
    define(kinds, "ModelSpec", (1, "name", ""), (3, "signature_name", ""))
    entries = ".serving.PredictRequest.InputsEntry"
    request = define(kinds, "PredictRequest", (1, "model_spec", ".serving.ModelSpec"), (2, "inputs", entries))
    request.field[1].label = 3  # Repeated: a map is a list of entries.
    entry = define(request.nested_type, "InputsEntry", (1, "key", ""), (2, "value", ".tensorflow.TensorProto"))
    entry.options.map_entry = True
    define(kinds, "PredictLog", (1, "request", ".serving.PredictRequest"))
    define(kinds, "PredictionLog", (6, "predict_log", ".serving.PredictLog"))
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serving.PredictionLog"))


def requests_in(path, message) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = message.FromString(record)
        known = message()
        known.CopyFrom(log)
        known.DiscardUnknownFields()
        assert known == log
        request = log.predict_log.request
        found[request.model_spec.signature_name] = {
            name: tf.make_ndarray(value) for name, value in request.inputs.items()
        }
    return found


def test_requests_are_read_back(message, tmp_path):
    requests = {
        "score": {"sentences": tf.constant(["the cat", "vögel " * 100]), "index": tf.constant([], tf.int64)},
        "generate": {"temperature": tf.constant(0.5), "seed": tf.constant(-1)},
    }
    write_requests(tmp_path, requests)
    found = requests_in(tmp_path / WARMUP_FILE, message)
    assert found.keys() == requests.keys()
    for signature, inputs in requests.items():
        assert found[signature].keys() == inputs.keys()
        for name, value in inputs.items():
            np.testing.assert_array_equal(found[signature][name], value.numpy())
            assert found[signature][name].dtype == value.numpy().dtype


@pytest.mark.parametrize("length", [1, 127, 128, 16383, 16384, 300_000])
def test_lengths_of_every_size(length, message):
    # A varint has seven bits a byte.
    log = message.FromString(prediction_log("s" * length, {"x": tf.constant("y" * length)}))
    assert log.predict_log.request.model_spec.signature_name == "s" * length
    assert tf.make_ndarray(log.predict_log.request.inputs["x"]) == b"y" * length
    assert log.predict_log.request.model_spec.name == "model"

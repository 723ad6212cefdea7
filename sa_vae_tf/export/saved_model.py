"""A SavedModel in a model server's layout: a folder with a number, with assets and first requests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from sa_vae_tf.errors import UserError
from sa_vae_tf.export.functions import Functions, first_request
from sa_vae_tf.export.warmup import write_requests

# The signature that a server takes where a request names none.
DEFAULT = "serving_default"


def new_version(export_dir: str, version: int) -> Path:
    """Returns the folder of a version, which does not exist yet.

    Raises:
      UserError: if it does, or no folder can be made there.
    """
    if not export_dir:
        raise UserError("--export_dir: expected a folder for the SavedModel")
    folder = Path(export_dir, str(version))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--export_dir={export_dir}: cannot be made ({error.strerror})") from None
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise UserError(f"--export_dir={export_dir}: expected a folder that can be written")
    if folder.exists():
        raise UserError(f"--export_dir={export_dir}: version {version} is there already; expected another --version")
    return folder


def write(folder: Path, functions: Functions, variables: Sequence[tf.Variable], files: Iterable[Path]) -> None:
    """Writes a SavedModel whole or not at all.

    Args:
      folder: that does not exist yet.
      functions: become its signatures, `score` also the default one, and attributes of the object that is loaded.
      variables: that the functions read.
      files: to keep as assets.
    """
    root = tf.Module()
    root.kept = [list(variables), functions.tracked, [tf.saved_model.Asset(str(file)) for file in files]]
    for name, function in functions.by_name.items():
        setattr(root, name, function)
    # A server takes no notice of a folder that is not a number.
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    tf.saved_model.save(
        root,
        str(partial),
        {**functions.by_name, DEFAULT: functions.by_name["score"]},
        tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
    _forget_gradients(partial)
    requests = {name: first_request(functions, name) for name in functions.by_name}
    write_requests(partial, {**requests, DEFAULT: requests["score"]})
    partial.rename(folder)


def _forget_gradients(folder: Path) -> None:
    """Makes of a SavedModel one that is not differentiated.

    What the refinement needs of gradients is operations of the graph. Beyond that TensorFlow would warn, when it loads
    the model, of every gradient function that stays behind in Python. See also `functions.exported`.
    """
    path = folder / "saved_model.pb"
    model = SavedModel.FromString(path.read_bytes())
    for graph in model.meta_graphs:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.attr.pop("_gradient_op_type", None)
        for node in graph.object_graph_def.nodes:
            if node.HasField("variable"):
                node.variable.trainable = False
    path.write_bytes(model.SerializeToString(deterministic=True))
    # It is of the file as it was, and nothing needs it.
    (folder / "fingerprint.pb").unlink(missing_ok=True)

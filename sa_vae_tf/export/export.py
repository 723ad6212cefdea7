"""From a run folder to a SavedModel in a model server's layout: a folder with a number, assets and first requests."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sa_vae_tf.errors import UserError
from sa_vae_tf.export.image import image_functions
from sa_vae_tf.export.manifest import write_manifest
from sa_vae_tf.export.saved_model import describe, first_requests, save
from sa_vae_tf.export.text import text_functions
from sa_vae_tf.export.warmup import write_requests
from sa_vae_tf.files import check_readable, writable_folder
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import to_flagfile
from sa_vae_tf.training.load import Loaded, load_best
from sa_vae_tf.training.run_folder import RunFolder

# By --data, a function from a loaded run, and a folder for files of its own, to the functions that are exported.
FUNCTIONS = {"text": text_functions, "image": image_functions}


def export(run: RunFolder, export_dir: str, version: int = 1) -> Path:
    """Writes the best checkpoint of a run as a SavedModel, whole or not at all.

    Args:
      run: folder of the run.
      export_dir: folder of the model, in which a server looks for versions.
      version: number of the version, which must not be there yet.

    Returns:
      The folder of the version.

    Raises:
      UserError: if the run cannot be read or exported, or the version is there already.
    """
    config = run.read_config()
    _check_exportable(run, config)
    folder = _new_version(export_dir, version)
    # No part of the graph is compiled, since sentences are of any length.
    loaded = load_best(run, device="cpu", kernels="plain" if config.kernels == "plain" else "fused")
    with _alone(writable_folder("export_dir", export_dir)):
        _new_version(export_dir, version)  # Another process may have written it meanwhile.
        # A server takes no notice of a folder whose name is not a number.
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            _write(partial, run, config, loaded)
            partial.rename(folder)
        except BaseException:  # As of a full disk, of which it would hold a part.
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return folder


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process exports into a folder, and keeps others waiting."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _write(folder: Path, run: RunFolder, config: Config, loaded: Loaded) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        functions = FUNCTIONS[config.data](loaded, Path(temporary))
        signatures = save(folder, functions, [weight.value for weight in loaded.model.weights])
    about: dict[str, Any] = {
        "data": config.data,
        "method": config.method,
        "step": int(loaded.model.step),
        "tensor_float_32": config.tensor_float_32,
        **functions.facts,
        "serving_default": "score",
        "signatures": describe(functions, signatures),
    }
    assets = {
        "signatures.json": json.dumps(about, indent=2, ensure_ascii=False) + "\n",
        "flags.txt": to_flagfile(config),
        "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in run.read_metrics()),
    }
    for name, text in assets.items():
        (folder / "assets" / name).write_text(text, encoding="utf-8")
    write_requests(folder, first_requests(functions, signatures))
    write_manifest(folder)


def _check_exportable(run: RunFolder, config: Config) -> None:
    if config.data not in FUNCTIONS:
        kinds = " or ".join(FUNCTIONS)
        raise UserError(f"--run_dir={run.path}: a run of --data={config.data}; expected one of --data={kinds}")
    if METHODS[config.method].latent and config.svi_clip_norm and config.clips_batches:
        raise UserError(
            f"--run_dir={run.path}: its clip is over the batch (--svi_clip_scope=batch, --hvp=authors), so that an "
            "example's score would depend on its batch; expected a run with --svi_clip_scope=example"
        )


def _new_version(export_dir: str, version: int) -> Path:
    """Returns the folder of a version, which does not exist yet."""
    if not export_dir:
        raise UserError("--export_dir: expected a folder for the SavedModel")
    check_readable("export_dir", export_dir)
    folder = Path(export_dir, str(version))
    if os.path.lexists(folder):
        raise UserError(f"--export_dir={export_dir}: version {version} is there already; expected another --version")
    return folder

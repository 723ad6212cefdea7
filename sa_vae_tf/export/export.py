"""From a run folder to a SavedModel."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from sa_vae_tf.errors import UserError
from sa_vae_tf.export.functions import describe
from sa_vae_tf.export.saved_model import new_version, write
from sa_vae_tf.export.text import text_functions
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import to_flagfile
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.run_folder import RunFolder

# By --data, a function from a loaded run, and a folder for assets of its own, to the functions that are exported.
FUNCTIONS = {"text": text_functions}


def export(run: RunFolder, export_dir: str, version: int = 1) -> Path:
    """Writes the best checkpoint of a run as a SavedModel.

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
    _check(run, config)
    folder = new_version(export_dir, version)
    loaded = load_best(run, device="cpu")
    model = loaded.model
    with tempfile.TemporaryDirectory() as temporary:
        assets = Path(temporary)
        functions = FUNCTIONS[config.data](loaded, assets)
        about = {
            "data": config.data,
            "method": config.method,
            "step": int(model.step),
            **functions.facts,
            "serving_default": "score",
            "signatures": describe(functions),
        }
        texts = {
            "signatures.json": json.dumps(about, indent=2, ensure_ascii=False) + "\n",
            "flags.txt": to_flagfile(config),
            "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in run.read_metrics()),
        }
        for name, text in texts.items():
            (assets / name).write_text(text, encoding="utf-8")
        write(folder, functions, [weight.value for weight in model.weights], assets.iterdir())
    return folder


def _check(run: RunFolder, config: Config) -> None:
    if config.data not in FUNCTIONS:
        kinds = " or ".join(FUNCTIONS)
        raise UserError(f"--run_dir={run.path}: a run of --data={config.data}; expected one of --data={kinds}")
    settings = config.refinement_settings()
    if config.method != "lm" and settings.clip_norm and settings.clip_scope == "batch":
        raise UserError(
            f"--run_dir={run.path}: its clip is over the batch (--svi_clip_scope=batch, --hvp=authors), so that an "
            "example's score would depend on its batch; expected a run with --svi_clip_scope=example"
        )

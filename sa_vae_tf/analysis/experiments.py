"""Runs that an analysis needs: trained and evaluated once, found again afterwards."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.train import train

logger = logging.getLogger(__name__)


def trained(config: Config) -> RunFolder:
    """Returns the finished run of these settings, training what is missing of it."""
    logger.info("training %s", config.run_dir)
    return train(config)


def evaluated(run: RunFolder, name: str = "results.json", **options: Any) -> dict[str, Any]:
    """Returns the evaluation of a run under `name` in its folder, made with `options` if it is not there.

    An evaluation of other weights than the run now has is made anew.
    """
    path = run.path / name
    if path.exists():
        results = json.loads(path.read_text(encoding="utf-8"))
        if results["epochs"] == len(run.read_metrics()):
            return results
    results = evaluate(run, **options)
    run.write_results(name, results)
    return results


def write_text(path: Path, text: str) -> Path:
    """Writes a text file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path

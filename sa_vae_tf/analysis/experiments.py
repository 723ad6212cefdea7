"""Runs that an analysis needs: trained and evaluated once, found again afterwards."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.messages import set_up_logging
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.train import train


def evaluated(config: Config, name: str, **options: Any) -> dict[str, Any]:
    """Returns the evaluation of the run of these settings, which is trained first if it is not there.

    Args:
      config: settings; `run_dir` names the folder.
      name: of the JSON file in the folder that keeps the evaluation.
      **options: of `evaluate`.
    """
    run = RunFolder(config.run_dir)
    path = run.path / name
    if path.exists():
        there = run.read_config()
        if not there.differing(config) and there.num_epochs == config.num_epochs:
            return json.loads(path.read_text(encoding="utf-8"))
    # TensorFlow keeps what it has compiled until its process ends: dozens of runs in one would fill the memory.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_train_and_evaluate, (config, name, options))


def _train_and_evaluate(config: Config, name: str, options: dict[str, Any]) -> dict[str, Any]:
    set_up_logging()
    run = train(config)
    results = evaluate(run, **options)
    run.write_results(name, results)
    return results


def write_text(path: Path, text: str) -> Path:
    """Writes a text file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path

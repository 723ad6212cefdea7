"""Figure 1: where VAE, SVI and SA-VAE end up on the bound of one test example under the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from sa_vae_tf.analysis.example_bound import example_bound, fixed_noise, grid_search
from sa_vae_tf.analysis.experiments import check_runs, trained
from sa_vae_tf.analysis.landscape import compute_landscape, draw_landscape
from sa_vae_tf.analysis.table1 import ROWS, row_config
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.load import load_best, read_split
from sa_vae_tf.training.run_folder import RunFolder

METHODS_SHOWN = {"VAE": "VAE", "SVI": "SVI, paper's rate", "SA-VAE": "SA-VAE"}
# Posteriors evaluated together, and half the draws under which each is averaged.
POINTS_AT_ONCE = 512
NOISE_PAIRS = 32


def reproduce(base: Config, runs: Path, output: Path) -> list[Path]:
    """Trains what Figure 1 shows, or finds it in `runs`, and draws it.

    Args:
      base: settings common to the methods.
      runs: folder of the run folders, shared with Table 1.
      output: folder of figure1.png and figure1.json.

    Raises:
      UserError: if the settings are not of the synthetic task, or a folder under `runs` holds a run with other
        settings.
    """
    rows = {row.name: row for row in ROWS}
    configs = {name: row_config(base, rows[row], "oracle", base.seed, runs) for name, row in METHODS_SHOWN.items()}
    check_runs(list(configs.values()), base)
    folders = {name: trained(config) for name, config in configs.items()}
    return landscape_of(folders, output / "figure1.png")


def landscape_of(folders: Mapping[str, RunFolder], path: Path, example: int = 0, device: str = "") -> list[Path]:
    """Draws the bound of one test example over the two posterior means, with each run's refinement on it.

    Args:
      folders: runs by name, all with the oracle's fixed decoder and the same data.
      path: of the PNG; the numbers go beside it as JSON.
      example: number of the test example.
      device: as of training; empty for that of the first run.

    Raises:
      UserError: if the example is not in the test set.
    """
    trajectories = {}
    # TensorFlow cannot change it once it has computed.
    device = device or next(iter(folders.values())).read_config().device
    for name, run in folders.items():
        config, model, *_ = load_best(run, device)
        _, data = read_split(run, config, None, "test")
        if not 0 <= example < data.count:
            raise UserError(f"--example={example}: expected a number from 0 to {data.count - 1}")
        batch = next(iter(data.in_order(1).skip(example)))
        inferred = model.infer(batch)
        assert inferred.path is not None
        trajectories[name] = np.asarray(inferred.path.mean[:, 0])
    context = model.decoder.prepare(tf.repeat(batch["x"], POINTS_AT_ONCE, axis=0))
    value = example_bound(
        model.decoder_bound(1.0, training=False), context, fixed_noise(NOISE_PAIRS, 2), POINTS_AT_ONCE
    )
    optimum, _ = grid_search(value)
    whole = compute_landscape(value, optimum, trajectories.values())
    near = compute_landscape(value, optimum, [means[-1] for means in trajectories.values()])
    worth_it = np.ptp(near.mean_1) < 0.5 * np.ptp(whole.mean_1)
    draw_landscape(whole, near if worth_it else None, trajectories, path, f"Bound of test example {example}")
    return [path, path.with_suffix(".json")]

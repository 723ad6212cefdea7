"""Draws the figures of a run: python bin/analyze.py --run_dir=runs/A [--compare=runs/B,runs/C]."""

import math
import shlex
from pathlib import Path

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.analysis.curves import BOUND, best_epoch, draw_learning_curves
from sa_vae_tf.analysis.figure1 import landscape_of
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks.task import data_seed

RUN_DIR = flags.DEFINE_string("run_dir", "", "Folder of the run, into which the figures are written.")
COMPARE = flags.DEFINE_list("compare", [], "Folders of further runs to draw beside it.")
EXAMPLE = flags.DEFINE_integer("example", 0, "Test example whose bound is drawn.", lower_bound=0)
DEVICE = flags.DEFINE_enum("device", "", ["", "auto", "cpu", "gpu"], "As of training; default: the run's own.")

# Settings by which runs may be of different data, whatever their method.
OF_DATA = ("data", "corpus", "generator", "num_examples", "train_file", "val_file", "data_file")


def main():
    paths = [RUN_DIR.value, *COMPARE.value]
    folders = [RunFolder(RUN_DIR.value), *(RunFolder(path, flag=COMPARE.name) for path in COMPARE.value)]
    configs = [folder.read_config() for folder in folders]
    for folder, config in zip(folders, configs, strict=True):
        if not config.learns:
            continue
        if not (metrics := folder.read_metrics()):
            raise UserError(f"--{folder.flag}={folder.path}: no epoch is finished yet; train the run first")
        if not any(math.isfinite(line.get(BOUND, math.nan)) for line in metrics):
            raise UserError(f"--{folder.flag}={folder.path}: no epoch has a finite {BOUND} in metrics.jsonl")
    by_name = {_name(config): folder for config, folder in zip(configs, folders, strict=True)}
    if len(by_name) < len(folders):
        names = [folder.path.name for folder in folders]
        by_name = dict(zip(names if len({*names}) == len(names) else map(str, paths), folders, strict=True))
    output = Path(RUN_DIR.value)
    # One landscape holds for all runs only where they share a decoder of two latent dimensions, and the examples.
    if not all(config.data == "synthetic" and config.generator == "oracle" for config in configs):
        print("No landscape: it needs a fixed decoder of two latent dimensions, --data=synthetic --generator=oracle")
    elif len({(data_seed(config), config.num_examples) for config in configs}) > 1:
        print("No landscape: the runs have oracles or examples of their own, by --seed, --data_seed or --num_examples")
    else:
        drawn = landscape_of(by_name, output / "landscape.png", EXAMPLE.value, DEVICE.value)
        print(f"Landscape: {drawn[0]}")
    epochs = {name: metrics for name, folder in by_name.items() if (metrics := folder.read_metrics())}
    if not epochs:
        print("No learning curves: of this generator and method nothing is learned")
        return
    if different := [f"--{name}" for name in OF_DATA if len({getattr(config, name) for config in configs}) > 1]:
        print(f"The runs differ in {', '.join(different)}: their bounds may be of different data or words")
    curves = draw_learning_curves(epochs, output / "curves.png")
    print(f"Learning curves: {output / 'curves.png'}")
    for name, curve in curves.items():
        best = best_epoch(curve)
        print(f"{name}: validation bound {curve[BOUND][best]:.2f} at best, in epoch {curve['epoch'][best]:.0f}")
    print(f"TensorBoard: tensorboard --logdir {shlex.quote(str(output.parent))}")


def _name(config) -> str:
    return config.method.upper().replace("SA_VAE", "SA-VAE").replace("_", "+")


if __name__ == "__main__":
    cli.run(main)

"""Writes a trained run as a SavedModel: python bin/export.py --run_dir=runs/mine --export_dir=exports/mine."""

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.export.export import export
from sa_vae_tf.training.run_folder import RunFolder

RUN_DIR = flags.DEFINE_string("run_dir", "", "Folder of the run.")
EXPORT_DIR = flags.DEFINE_string("export_dir", "", "Folder of the model, in which a server looks for its versions.")
VERSION = flags.DEFINE_integer("version", 1, "Number of the version, the name of its folder.", lower_bound=1)


def main():
    print(f"SavedModel: {export(RunFolder(RUN_DIR.value), EXPORT_DIR.value, VERSION.value)}")


if __name__ == "__main__":
    cli.run(main)

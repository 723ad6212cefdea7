"""Trains a model: python bin/train.py --flagfile=synthetic.flags. Flags after the flag file override it."""

import shlex

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.training import flags as settings
from sa_vae_tf.training.train import train


def main():
    run = train(settings.from_flags())
    path = shlex.quote(str(run.path))
    print(f"Trained: {run.path}. Next: python bin/evaluate.py --run_dir={path}; tensorboard --logdir {path}")


if __name__ == "__main__":
    settings.define_flags()
    flags.adopt_module_key_flags(settings)  # so that --help shows them
    cli.run(main)

"""Reproduces a table or figure of the paper: python bin/reproduce.py --table=1 --seeds=3."""

import sys
from pathlib import Path

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.analysis import figure1, table1
from sa_vae_tf.errors import UserError
from sa_vae_tf.training import flags as settings
from sa_vae_tf.training.build import select_device

TABLE = flags.DEFINE_integer("table", None, "Table of the paper: 1.")
FIGURE = flags.DEFINE_integer("figure", None, "Figure of the paper: 1.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds of a table.", lower_bound=1)
RUNS = flags.DEFINE_string("runs", "runs", "Folder of the run folders; finished runs in it are used again.")
OUTPUT = flags.DEFINE_string("output_dir", "docs", "Folder into which the table or figure is written.")


def main():
    config = settings.from_flags()
    select_device(config)
    command = " ".join(["python bin/reproduce.py", *sys.argv[1:]])
    if (TABLE.value, FIGURE.value) == (1, None):
        table = table1.run_table(config, SEEDS.value, Path(RUNS.value) / "table1")
        files = table1.write(table, Path(OUTPUT.value), command)
        print(files[0].read_text(encoding="utf-8"))
    elif (TABLE.value, FIGURE.value) == (None, 1):
        files = figure1.reproduce(config, Path(RUNS.value) / "table1", Path(OUTPUT.value))
    else:
        raise UserError(f"--table={TABLE.value} --figure={FIGURE.value}: expected --table=1 or --figure=1")
    print("Written:", *files)


if __name__ == "__main__":
    settings.define_flags()
    flags.adopt_module_key_flags(settings)  # so that --help shows them
    cli.run(main)

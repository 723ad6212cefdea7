"""Reproduces a table or figure of the paper: python bin/reproduce.py --flagfile=synthetic.flags --table=1 --seeds=3."""

import shlex
import sys
from collections.abc import Callable
from typing import Any

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.analysis import figure1, figure2, method_tables, table1
from sa_vae_tf.errors import UserError
from sa_vae_tf.files import writable_folder
from sa_vae_tf.flag_files import expand
from sa_vae_tf.training import flags as settings
from sa_vae_tf.training.build import set_up_tensorflow

TABLE = flags.DEFINE_integer("table", None, "Table of the paper: 1, 2 or 3.")
FIGURE = flags.DEFINE_integer("figure", None, "Figure of the paper: 1 or 2.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Number of seeds of a table.", lower_bound=1)
ROWS = flags.DEFINE_list("rows", [], "Rows of --table=2 or 3 by name, as 'LM,SVI 10'; empty: all.")
IW_SAMPLES = flags.DEFINE_integer(
    "iw_samples",
    None,
    "Samples of the importance-weighted NLL of --table=2 and 3; 0: none; default: 500 and 5,000.",
    lower_bound=0,
)
RUNS = flags.DEFINE_string("runs", "runs", "Folder of the run folders; finished runs in it are used again.")
OUTPUT = flags.DEFINE_string(
    "output_dir", "runs/reproduced", "Folder into which the table or figure is written, over the one in it."
)


def _command():
    return shlex.join(["python", "bin/reproduce.py", *sys.argv[1:]])


def _table1(config, runs, output):
    files = table1.write(table1.run_table(config, SEEDS.value, runs / "table1"), output, _command())
    print(files[0].read_text(encoding="utf-8"))
    return files


def _method_table(number):
    def make(config, runs, output):
        flagfile = next(iter(expand(sys.argv)[1]), "")
        table = method_tables.run_table(
            number, config, flagfile, SEEDS.value, runs / f"table{number}", ROWS.value, IW_SAMPLES.value
        )
        files = method_tables.write(table, output, _command())
        print(files[0].read_text(encoding="utf-8"))
        return files

    return make


def _figure1(config, runs, output):
    return figure1.reproduce(config, runs / "table1", output)


def _figure2(config, runs, output):
    return figure2.reproduce(config, runs / "table2", output)


# What makes each: (settings, folder of run folders, output folder) -> files.
TABLES: dict[int | None, Callable[..., Any]] = {1: _table1, 2: _method_table(2), 3: _method_table(3)}
FIGURES: dict[int | None, Callable[..., Any]] = {1: _figure1, 2: _figure2}
# Flags here that have a meaning for some of them alone.
OF_TABLES = (SEEDS,)
OF_METHOD_TABLES = (ROWS, IW_SAMPLES)


def main():
    make = _chosen()
    _check_meaning()
    config = settings.from_flags()
    runs, output = (writable_folder(flag.name, flag.value) for flag in (RUNS, OUTPUT))
    if config.strategy == "multi_worker":
        raise UserError("--strategy=multi_worker: bin/train.py trains on several machines; expected none or mirrored")
    set_up_tensorflow(config)
    print("Written:", *make(config, runs, output))


def _chosen():
    kinds = [(flag, makers) for flag, makers in ((TABLE, TABLES), (FIGURE, FIGURES)) if flag.value is not None]
    if len(kinds) == 1 and kinds[0][0].value in kinds[0][1]:
        return kinds[0][1][kinds[0][0].value]
    given = "".join(f"--{flag.name}={flag.value} " for flag, _ in kinds).strip() or "no --table, no --figure"
    known = [f"--table={number}" for number in TABLES] + [f"--figure={number}" for number in FIGURES]
    raise UserError(f"{given}: expected one of {', '.join(known)}")


def _check_meaning():
    which = f"--table={TABLE.value}" if FIGURE.value is None else f"--figure={FIGURE.value}"
    for flag in (*(OF_TABLES if FIGURE.value else ()), *(OF_METHOD_TABLES if TABLE.value not in (2, 3) else ())):
        if flag.present:
            raise UserError(f"--{flag.name}: has no meaning for {which}; expected it left out")


if __name__ == "__main__":
    settings.define_flags()
    flags.adopt_module_key_flags(settings)  # so that --help shows them
    cli.run(main)

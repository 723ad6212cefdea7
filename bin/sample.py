"""Writes text with a trained run: python bin/sample.py --run_dir=runs/text-lstm-sa_vae-1 --mode=prior."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.errors import UserError
from sa_vae_tf.samples import MODES, Request, samples
from sa_vae_tf.training.run_folder import RunFolder, write_atomically

RUN_DIR = flags.DEFINE_string("run_dir", "", "Folder of the run.")
flags.DEFINE_enum(
    "mode", "prior", MODES, "prior: z from N(0, I); reconstruct: the posterior mean of each line of --input, refined "
    "unless --svi_steps=0; interpolate: points on the straight way from each line's mean to the next one's.",
)  # fmt: skip
flags.DEFINE_string(
    "input", "", "Text, an example a line, words separated by spaces, for all modes but prior; .gz too."
)
flags.DEFINE_integer(
    "num_samples",
    None,
    "Texts; for reconstruct and interpolate from each z; default: 10 for prior, else 1.",
    lower_bound=1,
)
flags.DEFINE_integer("points", None, "Points from one line to the next, both ends included; default: 5.", lower_bound=2)
flags.DEFINE_float(
    "temperature", None, "Divides the logits; 0: the most probable word each time; default: 1 for prior, else 0."
)
flags.DEFINE_integer("top_k", None, "Draw among this many most probable words; default: all.")
flags.DEFINE_float("top_p", None, "Draw among the most probable words that together have this probability; default: 1.")
flags.DEFINE_integer("beam", None, "Beam search that keeps this many beginnings, in place of draws.", lower_bound=1)
flags.DEFINE_bool("no_unk", False, "Never write the unknown word.")
flags.DEFINE_integer(
    "max_length", None, "Words of a text, its end included, at most; default: the run's --max_length.", lower_bound=1
)
flags.DEFINE_integer("batch_size", 50, "Texts written at once; they do not depend on it.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of all noise.", lower_bound=0, upper_bound=2**31 - 1)
flags.DEFINE_integer("svi_steps", None, "Refinement steps of the posterior; default: as in training.", lower_bound=0)
flags.DEFINE_enum("svi_init", None, ["encoder", "zero", "random"], "Start of the refinement; default: as in training.")
flags.DEFINE_enum("device", "", ["", "auto", "cpu", "gpu"], "As of training; default: the run's own.")
OUTPUT = flags.DEFINE_string("output", "", "File of the JSON lines; empty: they are printed.")


def main():
    values: dict[str, Any] = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Request)}
    lines = (_json(sample) for sample in samples(RunFolder(RUN_DIR.value), Request(**values)))
    if not OUTPUT.value:
        _print(lines)
        return
    output = Path(OUTPUT.value)
    if output.is_dir() or not os.access(output.parent, os.W_OK | os.X_OK):
        raise UserError(f"--output={output}: expected a file in a folder that can be written")
    write_atomically(output, "".join(lines))
    print(f"Texts: {output}")


def _json(sample: dict[str, Any]) -> str:
    return json.dumps(sample, ensure_ascii=False) + "\n"


def _print(lines: Iterator[str]) -> None:
    try:
        for line in lines:
            sys.stdout.buffer.write(line.encode())  # JSON is UTF-8, whatever the terminal's encoding.
            sys.stdout.buffer.flush()
    except BrokenPipeError:  # Who reads, such as `head`, has enough. What is flushed at exit goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    cli.run(main)

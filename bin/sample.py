"""Writes text or draws images with a trained run: python bin/sample.py --run_dir=runs/text-lstm-sa_vae-1."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.errors import UserError
from sa_vae_tf.files import write_atomically
from sa_vae_tf.generation.image_grid import to_png
from sa_vae_tf.messages import json_line
from sa_vae_tf.progress import progress_bar
from sa_vae_tf.samples.images import draw_grid
from sa_vae_tf.samples.request import MODES, Request
from sa_vae_tf.samples.texts import samples
from sa_vae_tf.training.run_folder import RunFolder

RUN_DIR = flags.DEFINE_string("run_dir", "", "Folder of the run.")
flags.DEFINE_enum(
    "mode", "prior", MODES, "prior: z from N(0, I); reconstruct: the posterior mean of each line or image of --input, "
    "refined unless --svi_steps=0; interpolate: points on the straight way from each one's mean to the next one's.",
)  # fmt: skip
flags.DEFINE_string(
    "input",
    "",
    "For all modes but prior: text, an example a line, words separated by spaces, .gz too; or images, as "
    "of --data_file of bin/train.py, default: validation images of the run.",
)
flags.DEFINE_integer(
    "num_samples",
    None,
    "Texts; for reconstruct and interpolate from each z; default: 10 for prior, unless all would be alike, else 1. "
    "Images drawn, default 64, or taken to start from, default 32 for reconstruct and 9 for interpolate.",
    lower_bound=1,
)
flags.DEFINE_integer("points", None, "Points from one to the next, both ends included; default: 5.", lower_bound=2)
flags.DEFINE_float(
    "temperature", None, "Divides the logits; 0: the most probable word each time; default: 1 for prior, else 0."
)
flags.DEFINE_integer("top_k", None, "Draw among this many most probable words; default: all.")
flags.DEFINE_float("top_p", None, "Draw among the most probable words that together have this probability; default: 1.")
flags.DEFINE_integer("beam", None, "Beam search that keeps this many beginnings, in place of draws.", lower_bound=1)
flags.DEFINE_bool("no_unk", False, "Never write the unknown word.")
flags.DEFINE_integer(
    "max_length",
    None,
    "Words of a text, its end included, at most; default: one more than the run's --max_length, which counts no end.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "batch_size",
    None,
    "Texts written or images drawn at once, which do not depend on it but in a run that clips over a batch; default: "
    "50 or 16.",
    lower_bound=1,
)
flags.DEFINE_integer("seed", 0, "Seed of all noise.", lower_bound=0, upper_bound=2**31 - 1)
flags.DEFINE_integer("svi_steps", None, "Refinement steps of the posterior; default: as in training.", lower_bound=0)
flags.DEFINE_enum("svi_init", None, ["encoder", "zero", "random"], "Start of the refinement; default: as in training.")
flags.DEFINE_enum("device", "", ["", "auto", "cpu", "gpu"], "As of training; default: the run's own.")
OUTPUT = flags.DEFINE_string("output", "", "New file of the JSON lines, printed without; or of the grid, .png.")


def main():
    values: dict[str, Any] = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(Request)}
    run, request = RunFolder(RUN_DIR.value), Request(**values)
    if run.read_config().data == "image":
        _draw(run, request)
    else:
        _write(run, request)


def _draw(run: RunFolder, request: Request) -> None:
    if Path(OUTPUT.value).suffix.lower() != ".png":
        given = f"--output={OUTPUT.value}" if OUTPUT.value else "--output"
        raise UserError(f"{given}: expected the name of a .png file, for a run on images")
    output = _checked_output(request)
    write_atomically(output, to_png(draw_grid(run, request, progress_bar("image"))))
    print(f"Images: {OUTPUT.value}")


def _write(run: RunFolder, request: Request) -> None:
    if not OUTPUT.value:
        _print(samples(run, request))
        return
    output = _checked_output(request)
    write_atomically(output, "".join(map(json_line, samples(run, request, progress_bar("text")))))
    print(f"Texts: {OUTPUT.value}")


def _checked_output(request: Request) -> Path:
    given, output = f"--output={OUTPUT.value}", Path(OUTPUT.value)
    if os.path.lexists(output):
        raise UserError(f"{given}: is there already; expected the name of a new file")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise UserError(f"{given}: expected a file in a folder that can be written")
    # A grid in a folder of images to start from would be one of them the next time.
    if os.path.exists(request.input) and output.parent.samefile(request.input):
        raise UserError(f"{given}: is in --input={request.input}; expected a file in another folder")
    return output


def _print(texts: Iterator[dict[str, Any]]) -> None:
    for text in texts:
        sys.stdout.buffer.write(json_line(text).encode())  # JSON is UTF-8, whatever the terminal's encoding.
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    cli.run(main)

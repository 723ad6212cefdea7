"""Prints time and memory as JSON lines: python bin/benchmark.py --config=small --svi_steps=20."""

import dataclasses
import json
import logging
import shlex
import sys
from pathlib import Path

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.benchmarks import report
from sa_vae_tf.benchmarks.program import write_program
from sa_vae_tf.benchmarks.rounding import benchmark_rounding
from sa_vae_tf.benchmarks.sizes import REPEATS as USUAL_REPEATS
from sa_vae_tf.benchmarks.sizes import SIZES
from sa_vae_tf.benchmarks.step import benchmark_parts, benchmark_step
from sa_vae_tf.benchmarks.use import benchmark_evaluation, benchmark_sampling
from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training import flags as settings
from sa_vae_tf.training.build import set_up_tensorflow

# Under the name of this package its messages are shown.
logger = logging.getLogger("sa_vae_tf.benchmark")

CONFIG = flags.DEFINE_enum(
    "config", "small", list(SIZES), "Sizes: the text model's, the image model's, or the synthetic generator's. "
    "Settings of training that are given besides take the place of theirs.",
)  # fmt: skip
MEASURE = flags.DEFINE_enum(
    "measure", "step", ["step", "parts", "sampling", "evaluation", "rounding"],
    "A training step; its parts, each alone; texts or images drawn from the prior; the evaluation of a batch; what "
    "the rounding of --kernels=bfloat16, or of others than fused, to be given with it, changes in a step.",
)  # fmt: skip
COMPARE = flags.DEFINE_enum(
    "compare", None, ["unrolled"], "Times the same step by TensorFlow's plain double backpropagation too, with "
    "plain kernels and without XLA.",
)  # fmt: skip
IW_SAMPLES = flags.DEFINE_integer("iw_samples", 100, "Samples of --measure=evaluation.", lower_bound=1)
REPEATS = flags.DEFINE_integer(
    "repeats", None, "Timed calls, after one that is not timed; default: 21, of medium 3, of paper and images 1.",
    lower_bound=1,
)  # fmt: skip
REPORT_DIR = flags.DEFINE_string(
    "report_dir", "", "Measure everything, each in a process of its own, and write BENCHMARKS.md, docs/benchmarks.json "
    "and docs/benchmarks.png into this folder.",
)  # fmt: skip
PEERS = flags.DEFINE_string(
    "peers", "", "For --report_dir: JSON lines of other programs, with impl, config, K and median_s, to show beside."
)
PROGRAM_DIR = flags.DEFINE_string(
    "program_dir", "", "Write the step as a program for bin/run_program.py into this folder, instead of timing it."
)
PROGRAM_RUN = flags.DEFINE_bool(
    "program_run", True, "Take the step of --program_dir here too, so that the other runtime's results are compared."
)


def main():
    if flags.FLAGS["report_dir"].present:
        if not REPORT_DIR.value:
            raise UserError("--report_dir=: expected a folder, new or there")
        if others := _given_besides("report_dir", "peers"):
            raise UserError(f"--{others[0]}: has no meaning with --report_dir, which measures everything")
        command = shlex.join(["python", "bin/benchmark.py", *sys.argv[1:]])
        print("Written:", *report.write(Path(REPORT_DIR.value), command, PEERS.value))
        return
    if PEERS.value:
        raise UserError(f"--peers={PEERS.value}: expected --report_dir besides")
    config = _settings()
    _check(config)
    set_up_tensorflow(config)
    if flags.FLAGS["program_dir"].present:
        if MEASURE.value != "step" or COMPARE.value:
            raise UserError(f"--program_dir={PROGRAM_DIR.value}: expected --measure=step without --compare")
        if not PROGRAM_DIR.value:
            raise UserError("--program_dir=: expected a folder, new or there")
        print(json.dumps(write_program(config, Path(PROGRAM_DIR.value), CONFIG.value, PROGRAM_RUN.value)))
        return
    repeats = REPEATS.value or USUAL_REPEATS[CONFIG.value]
    if MEASURE.value != "rounding":
        logger.info("Timed calls after one that is not: %d", repeats)
    for figures in _measure(config, repeats):
        print(json.dumps({"config": CONFIG.value, "measure": MEASURE.value, **figures}))


def _given_besides(*names):
    """Returns the flags of this script and of training that were given, but for these."""
    known = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])} - {*names}
    return sorted(name for name in known if flags.FLAGS[name].present)


def _settings():
    """Returns the settings of training: those of the sizes, but for flags that were given."""
    data = SIZES[CONFIG.value]["data"]
    if flags.FLAGS["data"].present and flags.FLAGS["data"].value != data:
        raise UserError(f"--data={flags.FLAGS['data'].value}: --config={CONFIG.value} is of --data={data}")
    own = {name: value for name, value in SIZES[CONFIG.value].items() if not flags.FLAGS[name].present}
    given = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(settings.Config)}
    return settings.Config(**{**given, **own})


def _check(config):
    """Raises `UserError` where what is to be measured does not fit the settings, or a flag has no meaning for it."""
    program = flags.FLAGS["program_dir"].present
    heard = {
        "iw_samples": MEASURE.value == "evaluation" and METHODS[config.method].latent and not program,
        "repeats": MEASURE.value != "rounding" and not program,
        "program_run": program,
    }
    for name in heard:
        if flags.FLAGS[name].present and not heard[name]:
            raise UserError(f"--{name}={flags.FLAGS[name].value}: has no meaning for what is to be measured")
    refines = config.method == "sa_vae" and config.svi_steps
    if config.strategy == "multi_worker" or (config.strategy != "none" and (MEASURE.value != "step" or COMPARE.value)):
        raise UserError(
            f"--strategy={config.strategy}: expected none, or mirrored for --measure=step without --compare"
        )
    if COMPARE.value and (MEASURE.value != "step" or not refines):
        raise UserError(
            f"--compare={COMPARE.value}: expected --measure=step of --method=sa_vae with --svi_steps above 0"
        )
    if COMPARE.value and config.data == "synthetic":
        raise UserError(
            f"--compare={COMPARE.value}: expected --config of texts or images, whose kernels are hand-written"
        )
    if MEASURE.value == "parts" and (not refines or config.hvp == "authors"):
        raise UserError("--measure=parts: expected --method=sa_vae with --svi_steps above 0, and not --hvp=authors")
    if COMPARE.value and not config.refinement_settings().differentiates_every_step:
        raise UserError(
            f"--compare={COMPARE.value}: expected neither --reverse_steps nor --svi_patience, which it cannot follow"
        )
    if config.data == "text" and config.decoder != "lstm" and MEASURE.value in ("step", "parts"):
        raise UserError(
            f"--decoder={config.decoder}: expected lstm; of no other decoder of text are the operations counted"
        )
    if MEASURE.value == "rounding" and config.kernels in ("auto", "fused"):
        raise UserError("--measure=rounding: expected --kernels=bfloat16, hybrid or plain, to compare with fused")
    if MEASURE.value == "sampling" and config.data == "synthetic":
        raise UserError("--measure=sampling: expected --config of texts or images")


def _measure(config, repeats):
    if MEASURE.value == "parts":
        return benchmark_parts(config, repeats)
    if MEASURE.value == "rounding":
        return [benchmark_rounding(config)]
    if MEASURE.value == "sampling":
        return [benchmark_sampling(config, repeats)]
    if MEASURE.value == "evaluation":
        return [benchmark_evaluation(config, repeats, IW_SAMPLES.value)]
    return [benchmark_step(config, repeats, compare=bool(COMPARE.value))]


if __name__ == "__main__":
    settings.define_flags()
    flags.adopt_module_key_flags(settings)  # so that --help shows them
    cli.run(main)

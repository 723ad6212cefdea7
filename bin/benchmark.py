"""Prints time and memory of a training step as one JSON line: python bin/benchmark.py --config=small."""

import json

from absl import flags

from sa_vae_tf import cli
from sa_vae_tf.inference import METHODS, PRODUCTS
from sa_vae_tf.training.benchmark import SIZES, benchmark

CONFIG = flags.DEFINE_enum("config", "small", list(SIZES), "Sizes: the text model's, or the synthetic generator.")
METHOD = flags.DEFINE_enum("method", "sa_vae", list(METHODS), "Training objective.")
SVI_STEPS = flags.DEFINE_integer("svi_steps", 20, "Refinement steps, K.", lower_bound=0)
HVP = flags.DEFINE_enum("hvp", "exact", list(PRODUCTS), "Hessian-vector products of the reverse pass.")
JIT_COMPILE = flags.DEFINE_bool("jit_compile", True, "Compile the step with XLA.")
REPEATS = flags.DEFINE_integer("repeats", 21, "Timed steps.", lower_bound=1)


def main():
    figures = benchmark(CONFIG.value, METHOD.value, SVI_STEPS.value, HVP.value, JIT_COMPILE.value, REPEATS.value)
    print(json.dumps(figures))


if __name__ == "__main__":
    cli.run(main)

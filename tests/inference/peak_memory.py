"""Prints the peak of this process's memory, in MB, after gradients through few steps and through many.

The hidden layer is so wide that whatever is kept of a step shows.
"""

import json
import pathlib
import re

import tensorflow as tf

from sa_vae_tf.inference import RefinementSettings, negative_elbo, refine
from tests.inference import toy

BATCH, UNITS = 256, 4096
FEW, MANY = 4, 40


def peak(run, steps: int) -> float:
    """Takes the gradient of the bound after `steps` steps; returns the peak so far."""
    decoder = toy.Decoder(units=UNITS, dtype=tf.float32)
    problem = toy.make(steps, BATCH, dtype=tf.float32)
    bound = negative_elbo(decoder.negative_log_likelihood)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            context = decoder.prepare(problem.tokens)
            refined = run(bound, problem.initial, context, problem.step_draws, RefinementSettings(1e-3, 1e-3))
            loss = tf.reduce_mean(bound(refined.posterior, context, problem.final_draw))
        return tape.gradient(loss, decoder.output_kernel)

    gradients().numpy()
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s*(\d+) kB", status)[0]) / 1e3


def main() -> None:
    # The peak never falls, so the order matters.
    result = {"layer": BATCH * UNITS * 4 / 1e6, "few_steps": FEW, "many_steps": MANY}
    result["refine_few"] = peak(refine, FEW)
    result["refine_many"] = peak(refine, MANY)
    result["unrolled"] = peak(toy.unrolled, 3 * FEW)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

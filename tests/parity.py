"""One SA-VAE step on a fixture of the authors' implementation, with the production encoders and decoders.

    python -m tests.parity --inputs=X_inputs.npz --hvp=authors --clip_norm=5 --output=OUT.npz

reads the parameters, examples and noise of a fixture of text or images (format: tests/fixtures/README.md), takes one
step in the authors' convention (loss and steps on the mean over the batch, clips over the whole batch) in float64, and
writes the path of the posterior and the gradients under the fixture's names and in its layouts.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from absl import app, flags

from sa_vae_tf.inference import METHODS, PRODUCTS, Draw, LocalInference, RefinementSettings, negative_elbo
from sa_vae_tf.inference.products import AUTHORS_STEP
from tests import parity_image, parity_text


def step(inputs: Mapping[str, np.ndarray], product: str, clip_norm: float | None) -> dict[str, np.ndarray]:
    """Takes the forward and the backward pass of one training step.

    Args:
      inputs: arrays of a fixture.
      product: how Hessian-vector products are computed, see `RefinementSettings`.
      clip_norm: threshold of the clip of each refinement step, and with 'authors' of their clips around the products
        too; the other products are those of the clipped steps. None for none.

    Returns:
      `mean_k`, `logvar_k`, `loss_final`, `dL_dmean_0`, `dL_dlogvar_0` and `grad/<name>`, as a fixture's results have.

    Raises:
      ValueError: if the inputs are not those of a fixture.
    """
    problem = parity_image.problem(inputs) if "img" in inputs else parity_text.problem(inputs)
    if product == "authors" and inputs["eps"] != AUTHORS_STEP:
        raise ValueError(f"eps: {inputs['eps']}, expected {AUTHORS_STEP}, the published step")
    rate = float(inputs["lr"]) / problem.examples.shape[0]
    settings = RefinementSettings(
        step_size_mean=rate,
        step_size_log_variance=rate,
        momentum=float(inputs["momentum"]),
        clip_norm=clip_norm,
        clip_scope="batch",
        product=product,
    )

    def likelihood(z, context, seed):
        # The authors' joint clip is over the weights' own gradients, so these must be found inside the bound.
        prepared = problem.decoder.prepare(context) if product == "authors" else context
        return problem.decoder.negative_log_likelihood(z, prepared)

    seeds = tf.zeros([int(inputs["K"]) + 1, 2], tf.int32)  # Nothing reads them: there is no dropout.
    with tf.GradientTape() as tape:
        initial = problem.encoder(problem.examples)
        local = LocalInference(
            bound=negative_elbo(likelihood, float(inputs["beta"])),
            context=problem.examples if product == "authors" else problem.decoder.prepare(problem.examples),
            step_draws=Draw(tf.constant(inputs["z"], tf.float64), seeds[:-1]),
            final_draw=Draw(tf.constant(inputs["z_final"], tf.float64), seeds[-1]),
            settings=settings,
        )
        loss = METHODS["sa_vae"].objective(local, initial).loss
    path = local.refine(initial).path

    to_initial, to_variables = tape.gradient(loss, (initial, problem.variables))
    gradients = {name: tf.convert_to_tensor(g).numpy() for name, g in to_variables.items()}
    return {
        "mean_k": path.mean.numpy(),
        "logvar_k": path.log_variance.numpy(),
        "loss_final": loss.numpy(),
        "dL_dmean_0": to_initial.mean.numpy(),
        "dL_dlogvar_0": to_initial.log_variance.numpy(),
        **{f"grad/{name}": gradient for name, gradient in problem.in_their_layout(gradients).items()},
    }


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads an .npz file; raises ValueError or OSError if it is none."""
    try:
        file = np.load(path)
    except (ValueError, EOFError, zipfile.BadZipFile):
        file = None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("not an .npz file")
    with file:
        return dict(file)


def define_flags() -> None:
    # Not at import, where they could clash with those of a script in one process of tests.
    flags.DEFINE_string("inputs", None, "File to read: <prefix>_inputs.npz of a fixture.", required=True)
    flags.DEFINE_enum("hvp", "authors", PRODUCTS, "How Hessian-vector products are computed.")
    flags.DEFINE_float("clip_norm", 0.0, "Threshold of the clips; 0 for none.", lower_bound=0.0)
    flags.DEFINE_string("output", None, "File to write, .npz.", required=True)


def convert(inputs: str, output: str, product: str, clip_norm: float | None) -> None:
    """Reads one file and writes the other; ends the program with one line where that fails."""
    try:
        results = step(load(inputs), product, clip_norm)
    except (OSError, ValueError) as error:
        sys.exit(f"--inputs={inputs}: {error}")
    try:
        with open(output, "wb") as file:  # np.savez would append .npz to a name without.
            np.savez(file, **results)  # type: ignore[arg-type]
    except OSError as error:
        sys.exit(f"--output={output}: {error}")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    values = flags.FLAGS
    convert(values.inputs, values.output, values.hvp, values.clip_norm or None)


if __name__ == "__main__":
    define_flags()
    app.run(main)

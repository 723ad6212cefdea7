"""One SA-VAE step on a fixture of the authors' implementation, with the production LSTM encoder and decoder.

    python -m tests.parity --inputs=X_inputs.npz --hvp=authors --clip_norm=5 --output=OUT.npz

reads the parameters, sentences and noise of a text fixture (format: tests/fixtures/README.md), takes one step in the
authors' convention (loss and steps on the mean over the batch, clips over the whole batch) in float64, and writes
the path of the posterior and the gradients under the fixture's names and in its layouts.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from sa_vae_tf.inference import METHODS, PRODUCTS, Draw, LocalInference, RefinementSettings, negative_elbo
from sa_vae_tf.inference.products import AUTHORS_STEP
from sa_vae_tf.models import LSTMDecoder, LSTMEncoder

SCALARS = ("K", "momentum", "lr", "beta", "eps")
# The axes of each array: 4E is four times E, and a name stands for one size everywhere.
SHAPES = {
    "sents": "B T",
    "z_final": "B Z",
    "z": "K B Z",
    "param/enc_word_vecs.weight": "V W",
    "param/enc_rnn.weight_hh_l0": "4E E",
    "param/enc_rnn.weight_ih_l0": "4E W",
    "param/enc_rnn.bias_ih_l0": "4E",
    "param/enc_rnn.bias_hh_l0": "4E",
    "param/latent_linear_mean.weight": "Z E",
    "param/latent_linear_mean.bias": "Z",
    "param/latent_linear_logvar.weight": "Z E",
    "param/latent_linear_logvar.bias": "Z",
    "param/dec_word_vecs.weight": "V D",
    "param/dec_rnn.weight_hh_l0": "4H H",
    "param/dec_rnn.weight_ih_l0": "4H D+Z",
    "param/dec_rnn.bias_ih_l0": "4H",
    "param/dec_rnn.bias_hh_l0": "4H",
    "param/dec_linear.1.weight": "V H",
    "param/dec_linear.1.bias": "V",
    "param/dec.3.weight": "H Z",
    "param/dec.3.bias": "H",
}
PARAMETERS = tuple(name.removeprefix("param/") for name in SHAPES if name.startswith("param/"))
# Stored as they are; every other matrix is transposed between the two libraries.
TABLES = ("enc_word_vecs.weight", "dec_word_vecs.weight")


class BiasPair:
    """Two variables whose sum stands in for a bias.

    PyTorch's LSTM has two biases. Its outputs depend on their sum alone, but each counts in the authors' clips by the
    joint norm of all gradients: with a single bias the fixtures' clipped gradients are missed by 2%.
    """

    def __init__(self, first: np.ndarray, second: np.ndarray):
        self.variables = tf.Variable(first), tf.Variable(second)

    @property
    def value(self) -> tf.Tensor:
        return self.variables[0] + self.variables[1]


def check(inputs: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError, in one line, if `inputs` is not a text fixture of consistent sizes."""
    if "img" in inputs:
        raise ValueError("an image fixture (it has an array 'img'); expected a text fixture")
    missing = [name for name in (*SHAPES, *SCALARS) if name not in inputs]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}; expected the arrays of a text fixture")
    unknown = [name for name in inputs if name.startswith("param/") and name not in SHAPES]
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; expected the parameters of a text fixture alone")
    for name in (*SHAPES, *SCALARS):
        if not np.issubdtype(inputs[name].dtype, np.number) or not np.all(np.isfinite(inputs[name])):
            raise ValueError(f"{name}: expected finite numbers")
    for name in SCALARS:
        if inputs[name].shape != ():
            raise ValueError(f"{name}: shape {inputs[name].shape}, expected a scalar")

    sizes = {"K": int(inputs["K"])}

    def expected(axis: str, actual: int) -> int:
        if axis[0] == "4":
            return 4 * sizes.setdefault(axis[1:], actual // 4)
        return sum(sizes.setdefault(part, actual) for part in axis.split("+"))

    for name, axes in SHAPES.items():
        actual, names = inputs[name].shape, axes.split()
        if len(actual) != len(names):
            raise ValueError(f"{name}: shape {actual}, expected {len(names)} axes")
        wanted = tuple(expected(axis, size) for axis, size in zip(names, actual, strict=True))
        if actual != wanted:
            raise ValueError(f"{name}: shape {actual}, expected {wanted} ({axes})")

    tokens = inputs["sents"]
    if not np.issubdtype(tokens.dtype, np.integer) or sizes["B"] < 1 or sizes["T"] < 2:
        raise ValueError(f"sents: {tokens.dtype} {tokens.shape}, expected rows of at least two integers")
    if tokens.min() < 0 or tokens.max() >= sizes["V"]:
        raise ValueError(f"sents: {tokens.min()} to {tokens.max()}, expected token ids from 0 to {sizes['V'] - 1}")


def build_encoder(parameters: Mapping[str, np.ndarray]) -> LSTMEncoder:
    """Returns an encoder with the fixture's parameters."""
    vocabulary, embedding = parameters["enc_word_vecs.weight"].shape
    latent, units = parameters["latent_linear_mean.weight"].shape
    encoder = LSTMEncoder(vocabulary, embedding, units, latent, dtype="float64")
    bias = parameters["enc_rnn.bias_ih_l0"] + parameters["enc_rnn.bias_hh_l0"]
    encoder.embedding.assign(parameters["enc_word_vecs.weight"])
    encoder.kernel.assign(parameters["enc_rnn.weight_ih_l0"].T)
    encoder.recurrent_kernel.assign(parameters["enc_rnn.weight_hh_l0"].T)
    encoder.bias.assign(bias)
    for layer, name in ((encoder.mean, "mean"), (encoder.log_variance, "logvar")):
        layer.set_weights([parameters[f"latent_linear_{name}.weight"].T, parameters[f"latent_linear_{name}.bias"]])
    return encoder


def build_decoder(parameters: Mapping[str, np.ndarray]) -> LSTMDecoder:
    """Returns a decoder with the fixture's parameters, its LSTM's bias a `BiasPair`."""
    vocabulary, embedding = parameters["dec_word_vecs.weight"].shape
    units, latent = parameters["dec.3.weight"].shape
    decoder = LSTMDecoder(vocabulary, embedding, units, latent, dtype="float64")
    decoder.embedding.assign(parameters["dec_word_vecs.weight"])
    decoder.word_kernel.assign(parameters["dec_rnn.weight_ih_l0"][:, :embedding].T)
    decoder.latent_kernel.assign(parameters["dec_rnn.weight_ih_l0"][:, embedding:].T)
    decoder.recurrent_kernel.assign(parameters["dec_rnn.weight_hh_l0"].T)
    decoder.bias = BiasPair(parameters["dec_rnn.bias_ih_l0"], parameters["dec_rnn.bias_hh_l0"])
    decoder.start_kernel.assign(parameters["dec.3.weight"].T)
    decoder.start_bias.assign(parameters["dec.3.bias"])
    decoder.output_kernel.assign(parameters["dec_linear.1.weight"].T)
    decoder.output_bias.assign(parameters["dec_linear.1.bias"])
    return decoder


def step(inputs: Mapping[str, np.ndarray], product: str, clip_norm: float | None) -> dict[str, np.ndarray]:
    """Takes the forward and the backward pass of one training step.

    Args:
      inputs: arrays of a text fixture.
      product: how Hessian-vector products are computed, see `RefinementSettings`.
      clip_norm: threshold of the clip of each refinement step, and with 'authors' of their clips around the products
        too; the other products are those of the clipped steps. None for none.

    Returns:
      `mean_k`, `logvar_k`, `loss_final`, `dL_dmean_0`, `dL_dlogvar_0` and `grad/<name>`, as a fixture's results have.

    Raises:
      ValueError: if the inputs are not those of a text fixture.
    """
    check(inputs)
    if product == "authors" and inputs["eps"] != AUTHORS_STEP:
        raise ValueError(f"eps: {inputs['eps']}, expected {AUTHORS_STEP}, the published step")
    parameters = {name: np.asarray(inputs[f"param/{name}"], np.float64) for name in PARAMETERS}
    encoder, decoder = build_encoder(parameters), build_decoder(parameters)
    tokens = tf.constant(inputs["sents"])
    rate = float(inputs["lr"]) / tokens.shape[0]
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
        prepared = decoder.prepare(context) if product == "authors" else context
        return decoder.negative_log_likelihood(z, prepared)

    seeds = tf.zeros([int(inputs["K"]) + 1, 2], tf.int32)  # Nothing reads them: there is no dropout.
    with tf.GradientTape() as tape:
        initial = encoder(tokens)
        local = LocalInference(
            bound=negative_elbo(likelihood, float(inputs["beta"])),
            context=tokens if product == "authors" else decoder.prepare(tokens),
            step_draws=Draw(tf.constant(inputs["z"], tf.float64), seeds[:-1]),
            final_draw=Draw(tf.constant(inputs["z_final"], tf.float64), seeds[-1]),
            settings=settings,
        )
        loss = METHODS["sa_vae"].objective(local, initial).loss
    path = local.refine(initial).path

    sources = {
        "enc_word_vecs.weight": encoder.embedding,
        "enc_rnn.weight_ih_l0": encoder.kernel,
        "enc_rnn.weight_hh_l0": encoder.recurrent_kernel,
        "enc_rnn.bias": encoder.bias,
        "latent_linear_mean.weight": encoder.mean.kernel,
        "latent_linear_mean.bias": encoder.mean.bias,
        "latent_linear_logvar.weight": encoder.log_variance.kernel,
        "latent_linear_logvar.bias": encoder.log_variance.bias,
        "dec_word_vecs.weight": decoder.embedding,
        "dec_rnn.word_kernel": decoder.word_kernel,
        "dec_rnn.latent_kernel": decoder.latent_kernel,
        "dec_rnn.weight_hh_l0": decoder.recurrent_kernel,
        "dec_rnn.bias_ih_l0": decoder.bias.variables[0],
        "dec_rnn.bias_hh_l0": decoder.bias.variables[1],
        "dec_linear.1.weight": decoder.output_kernel,
        "dec_linear.1.bias": decoder.output_bias,
        "dec.3.weight": decoder.start_kernel,
        "dec.3.bias": decoder.start_bias,
    }
    variables = {name: v.value if isinstance(v, keras.Variable) else v for name, v in sources.items()}
    to_initial, to_variables = tape.gradient(loss, (initial, variables))
    gradients = {name: tf.convert_to_tensor(g).numpy() for name, g in to_variables.items()}
    gradients["enc_rnn.bias_ih_l0"] = gradients["enc_rnn.bias_hh_l0"] = gradients["enc_rnn.bias"]
    input_kernel = [gradients["dec_rnn.word_kernel"], gradients["dec_rnn.latent_kernel"]]
    gradients["dec_rnn.weight_ih_l0"] = np.concatenate(input_kernel)
    return {
        "mean_k": path.mean.numpy(),
        "logvar_k": path.log_variance.numpy(),
        "loss_final": loss.numpy(),
        "dL_dmean_0": to_initial.mean.numpy(),
        "dL_dlogvar_0": to_initial.log_variance.numpy(),
        **{f"grad/{name}": gradients[name] if name in TABLES else gradients[name].T for name in PARAMETERS},
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
    flags.DEFINE_string("inputs", None, "File to read: <prefix>_inputs.npz of a text fixture.", required=True)
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

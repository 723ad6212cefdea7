"""A text fixture as a problem for the production LSTM encoder and decoder."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from sa_vae_tf.models import LSTMDecoder, LSTMEncoder
from tests.parity_problem import Problem, check_numbers

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
    check_numbers(inputs, SHAPES, "a text")
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
    encoder.lstm[0].kernel.assign(parameters["enc_rnn.weight_ih_l0"].T)
    encoder.lstm[0].recurrent_kernel.assign(parameters["enc_rnn.weight_hh_l0"].T)
    encoder.lstm[0].bias.assign(bias)
    for layer, name in ((encoder.mean, "mean"), (encoder.log_variance, "logvar")):
        layer.set_weights([parameters[f"latent_linear_{name}.weight"].T, parameters[f"latent_linear_{name}.bias"]])
    return encoder


def build_decoder(parameters: Mapping[str, np.ndarray]) -> LSTMDecoder:
    """Returns a decoder with the fixture's parameters, its LSTM's bias a `BiasPair`."""
    vocabulary, embedding = parameters["dec_word_vecs.weight"].shape
    units, latent = parameters["dec.3.weight"].shape
    decoder = LSTMDecoder(vocabulary, embedding, units, latent, dtype="float64")
    decoder.embedding.assign(parameters["dec_word_vecs.weight"])
    decoder.lstm[0].kernel.assign(parameters["dec_rnn.weight_ih_l0"][:, :embedding].T)
    decoder.latent_kernel.assign(parameters["dec_rnn.weight_ih_l0"][:, embedding:].T)
    decoder.lstm[0].recurrent_kernel.assign(parameters["dec_rnn.weight_hh_l0"].T)
    biases = BiasPair(parameters["dec_rnn.bias_ih_l0"], parameters["dec_rnn.bias_hh_l0"])
    decoder.lstm = [decoder.lstm[0]._replace(bias=biases)]
    decoder.start_kernel.assign(parameters["dec.3.weight"].T)
    decoder.start_bias.assign(parameters["dec.3.bias"])
    decoder.output_kernel.assign(parameters["dec_linear.1.weight"].T)
    decoder.output_bias.assign(parameters["dec_linear.1.bias"])
    return decoder


def problem(inputs: Mapping[str, np.ndarray]) -> Problem:
    """Returns the problem of a text fixture; raises ValueError, in one line, if `inputs` is none."""
    check(inputs)
    parameters = {name: np.asarray(inputs[f"param/{name}"], np.float64) for name in PARAMETERS}
    encoder, decoder = build_encoder(parameters), build_decoder(parameters)
    sources = {
        "enc_word_vecs.weight": encoder.embedding,
        "enc_rnn.weight_ih_l0": encoder.lstm[0].kernel,
        "enc_rnn.weight_hh_l0": encoder.lstm[0].recurrent_kernel,
        "enc_rnn.bias": encoder.lstm[0].bias,
        "latent_linear_mean.weight": encoder.mean.kernel,
        "latent_linear_mean.bias": encoder.mean.bias,
        "latent_linear_logvar.weight": encoder.log_variance.kernel,
        "latent_linear_logvar.bias": encoder.log_variance.bias,
        "dec_word_vecs.weight": decoder.embedding,
        "dec_rnn.word_kernel": decoder.lstm[0].kernel,
        "dec_rnn.latent_kernel": decoder.latent_kernel,
        "dec_rnn.weight_hh_l0": decoder.lstm[0].recurrent_kernel,
        "dec_rnn.bias_ih_l0": decoder.lstm[0].bias.variables[0],
        "dec_rnn.bias_hh_l0": decoder.lstm[0].bias.variables[1],
        "dec_linear.1.weight": decoder.output_kernel,
        "dec_linear.1.bias": decoder.output_bias,
        "dec.3.weight": decoder.start_kernel,
        "dec.3.bias": decoder.start_bias,
    }
    variables = {name: v.value if isinstance(v, keras.Variable) else v for name, v in sources.items()}

    def in_their_layout(gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        gradients["enc_rnn.bias_ih_l0"] = gradients["enc_rnn.bias_hh_l0"] = gradients["enc_rnn.bias"]
        input_kernel = [gradients["dec_rnn.word_kernel"], gradients["dec_rnn.latent_kernel"]]
        gradients["dec_rnn.weight_ih_l0"] = np.concatenate(input_kernel)
        return {name: gradients[name] if name in TABLES else gradients[name].T for name in PARAMETERS}

    return Problem(tf.constant(inputs["sents"]), encoder, decoder, variables, in_their_layout)

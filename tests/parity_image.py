"""An image fixture as a problem for the production residual encoder and Gated PixelCNN decoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sa_vae_tf.models.pixelcnn import PixelCNNDecoder
from sa_vae_tf.models.resnet import ResNetEncoder
from tests.parity_problem import Problem, check_numbers

SIZES = ("enc_layers", "dec_layers", "dec_kernel_size", "latent_feature_map")


class Layout(NamedTuple):
    """How arrays of ours and of theirs correspond.

    Attributes:
      apart: the sizes of ours, with axes that are joined in either taken apart.
      order: of these axes in theirs.
      theirs: the shape of theirs.
    """

    apart: tuple[int, ...]
    order: tuple[int, ...]
    theirs: tuple[int, ...]

    def to_ours(self, array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        apart = array.reshape([self.apart[axis] for axis in self.order])
        return apart.transpose(np.argsort(self.order)).reshape(shape)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(self.apart).transpose(self.order).reshape(self.theirs)


def layout(name: str, shape: tuple[int, ...], inputs: Mapping[str, np.ndarray]) -> Layout:
    """Returns the layout of a parameter that has `shape` with us."""
    height, width = inputs["img"].shape[2:]
    maps, channels = int(inputs["latent_feature_map"]), int(inputs["enc_layers"][-1])
    if name == "dec_cnn.z_linear.bias":
        return Layout((height, width, maps), (2, 0, 1), shape)
    if name == "dec_cnn.z_linear.weight":
        return Layout((shape[0], height, width, maps), (3, 1, 2, 0), shape[::-1])
    if name in ("latent_linear_mean.weight", "latent_linear_logvar.weight"):
        blocks = len(inputs["enc_layers"])
        return Layout((height >> blocks, width >> blocks, channels, shape[1]), (3, 2, 0, 1), shape[::-1])
    if len(shape) == 1:
        return Layout(shape, (0,), shape)
    # A kernel; where ours is an affine map, of one place or of a square of places.
    square = 2 if name.startswith("enc_cnn") and name.count(".") == 2 else 1
    apart = shape if len(shape) == 4 else (square, square, shape[0] // square**2, shape[1])
    return Layout(apart, (3, 2, 0, 1), (apart[3], apart[2], *apart[:2]))


def check(inputs: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError, in one line, if the images, the noise or the sizes are not those of an image fixture."""
    names = [name for name in inputs if name.startswith("param/")]
    check_numbers(inputs, ["img", "z", "z_final", *SIZES, *names], "an image")
    for name in SIZES:
        if not np.issubdtype(inputs[name].dtype, np.integer) or np.any(inputs[name] < 1):
            raise ValueError(f"{name}: expected whole numbers from 1")
        if inputs[name].ndim != (name != "latent_feature_map"):
            raise ValueError(f"{name}: shape {inputs[name].shape}, expected {int(name != 'latent_feature_map')} axes")
    if len(set(inputs["dec_layers"])) != 1 or len(inputs["dec_layers"]) != len(inputs["dec_kernel_size"]):
        raise ValueError(
            f"dec_layers: {inputs['dec_layers']}, expected one number for each of dec_kernel_size, the same"
        )
    if inputs["img"].ndim != 4 or inputs["img"].shape[1] != 1:
        raise ValueError(f"img: shape {inputs['img'].shape}, expected 4 axes, of which the second is 1")
    if not np.all(np.isin(inputs["img"], [0, 1])):
        raise ValueError("img: expected zeros and ones")
    if inputs["z_final"].ndim != 2 or len(inputs["z_final"]) != len(inputs["img"]):
        raise ValueError(f"z_final: shape {inputs['z_final'].shape}, expected a row for each image")
    if inputs["z"].shape != (inputs["K"], *inputs["z_final"].shape):
        raise ValueError(f"z: shape {inputs['z'].shape}, expected {(int(inputs['K']), *inputs['z_final'].shape)}")


def build(inputs: Mapping[str, np.ndarray]) -> tuple[ResNetEncoder, PixelCNNDecoder]:
    """Returns models of the fixture's sizes."""
    height, width = inputs["img"].shape[2:]
    latent = inputs["z_final"].shape[1]
    encoder = ResNetEncoder(height, width, latent, [int(size) for size in inputs["enc_layers"]], dtype="float64")
    decoder = PixelCNNDecoder(
        height,
        width,
        latent,
        [int(size) for size in inputs["dec_kernel_size"]],
        int(inputs["dec_layers"][0]),
        int(inputs["latent_feature_map"]),
        shift_every_layer=True,
        dtype="float64",
    )
    return encoder, decoder


def encoder_variables(encoder: ResNetEncoder) -> dict[str, keras.Variable]:
    """Returns the encoder's variables under the fixture's names."""
    variables = {}
    for k, block in enumerate(encoder.blocks):
        layers = {"conv1": "first", "conv2": "second", "proj": "project"}
        for theirs, ours in layers.items():
            if ours in block:
                variables[f"enc_cnn.{2 * k}.{theirs}.weight"] = block[ours].kernel
                variables[f"enc_cnn.{2 * k}.{theirs}.bias"] = block[ours].bias
        for theirs, ours in {"bn1": "first_norm", "bn2": "second_norm"}.items():
            variables[f"enc_cnn.{2 * k}.{theirs}.weight"] = block[ours].gamma
            variables[f"enc_cnn.{2 * k}.{theirs}.bias"] = block[ours].beta
        variables[f"enc_cnn.{2 * k + 1}.weight"] = block["halve"].kernel
        variables[f"enc_cnn.{2 * k + 1}.bias"] = block["halve"].bias
    for theirs, layer in {"mean": encoder.mean, "logvar": encoder.log_variance}.items():
        variables[f"latent_linear_{theirs}.weight"] = layer.kernel
        variables[f"latent_linear_{theirs}.bias"] = layer.bias
    return variables


def decoder_variables(decoder: PixelCNNDecoder) -> dict[str, keras.Variable]:
    """Returns the decoder's variables under the fixture's names."""
    variables = {"dec_cnn.z_linear.weight": decoder.latent_kernel, "dec_cnn.z_linear.bias": decoder.latent_bias}
    for k, layer in enumerate(decoder.gated_layers):
        pairs = {
            "v_conv": (layer.vertical_kernel, layer.vertical_bias),
            "vh_conv": (layer.across_kernel, layer.across_bias),
            "h_conv": (layer.horizontal_kernel, layer.horizontal_bias),
            "h_conv_res": (layer.output_kernel, layer.output_bias),
        }
        for theirs, (kernel, bias) in pairs.items():
            variables[f"dec_cnn.modules.{k}.{theirs}.weight"] = kernel
            variables[f"dec_cnn.modules.{k}.{theirs}.bias"] = bias
    return variables | {"dec_linear.weight": decoder.output_kernel, "dec_linear.bias": decoder.output_bias}


def problem(inputs: Mapping[str, np.ndarray]) -> Problem:
    """Returns the problem of an image fixture; raises ValueError, in one line, if `inputs` is none."""
    check(inputs)
    encoder, decoder = build(inputs)
    variables = {**encoder_variables(encoder), **decoder_variables(decoder)}
    check_numbers(inputs, [f"param/{name}" for name in variables], "an image")
    layouts = {name: layout(name, tuple(variable.shape), inputs) for name, variable in variables.items()}
    for name, variable in variables.items():
        array = inputs[f"param/{name}"]
        if array.shape != layouts[name].theirs:
            raise ValueError(f"param/{name}: shape {array.shape}, expected {layouts[name].theirs}")
        variable.assign(layouts[name].to_ours(array, variable.shape))

    return Problem(
        # Whole numbers, since the authors' product wants no float tensor in what the bound reads.
        tf.constant(np.transpose(inputs["img"], [0, 2, 3, 1]).astype(np.uint8)),
        functools.partial(encoder, training=True),
        decoder,
        {name: variable.value for name, variable in variables.items()},
        lambda gradients: {name: layouts[name].to_theirs(gradient) for name, gradient in gradients.items()},
    )

"""Residual convolutional encoder of images (section 4.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import Posterior, keep_finite
from sa_vae_tf.kernels import KERNELS
from sa_vae_tf.models.initializers import uniform_stream


class Convolution(keras.layers.Conv2D):
    """A 3x3 convolution that keeps the size: Keras's layer with the quick derivatives of `KERNELS`."""

    def __init__(self, convolve: Callable[..., tf.Tensor], channels: int, **options):
        super().__init__(channels, 3, **options)
        self.convolve = convolve

    def convolution_op(self, inputs, kernel):
        return self.convolve(inputs, tf.convert_to_tensor(kernel), ((1, 1), (1, 1)))


class ResNetEncoder(keras.Model):
    """Maps an image to a posterior by residual blocks, each of which halves the image.

    A block adds to its input (through a 1x1 convolution where the number of channels changes) what two 3x3
    convolutions with batch normalisation and a ReLU between them make of it, and ends in a ReLU and a 2x2 convolution
    of stride 2. Affine maps of all that is left give mean and log variance.

    In training, batch normalisation uses the moments of the batch, and each call moves its running averages; else it
    uses these, so that an example's posterior does not depend on the others. The refinement does not call the
    encoder.

    Args:
      height, width: of the images, each at least 2 to the power of the number of blocks.
      latent_dim: dimensions of z.
      channels: of each block's convolutions, from the first block to the last.
      synchronized: whether batch normalisation takes the moments over all replicas of a `tf.distribute` strategy.
      kernels: name in `sa_vae_tf.kernels.KERNELS`.
      seed: of the initial weights.
      dtype: float type of the weights.

    Raises:
      UserError: if the images are too small for so many blocks.
    """

    def __init__(
        self,
        height: int,
        width: int,
        latent_dim: int,
        channels: Sequence[int] = (64, 64, 64),
        synchronized: bool = False,
        kernels: str = "fused",
        seed: int = 0,
        dtype: str = "float32",
    ):
        super().__init__(name="encoder", dtype=dtype)
        if min(height, width) < 2 ** len(channels):
            raise UserError(f"images of {height}x{width}: too small to be halved by {len(channels)} blocks")
        draw = uniform_stream(seed)

        def options(inputs, name, limit=None):
            # PyTorch's default, which the authors keep for convolutions.
            default = 1 / math.sqrt(inputs)
            initializers = {"kernel_initializer": draw(limit or default), "bias_initializer": draw(default)}
            return {**initializers, "dtype": dtype, "name": name}

        def dense(inputs, outputs, name, limit=None):
            layer = keras.layers.Dense(outputs, **options(inputs, name, limit))
            layer.build([None, inputs])
            return layer

        def convolution(inputs, outputs, name):
            layer = Convolution(KERNELS[kernels].convolve, outputs, **options(9 * inputs, name))
            layer.build([None, None, None, inputs])
            return layer

        def normalisation(name):
            # PyTorch's defaults.
            layer = keras.layers.BatchNormalization(
                momentum=0.9, epsilon=1e-5, synchronized=synchronized, dtype=dtype, name=name
            )
            layer.build([None, None, None, outputs])
            return layer

        self.blocks, inputs = [], 1
        for k, outputs in enumerate(channels):
            block = {
                "first": convolution(inputs, outputs, f"block_{k}_first"),
                "first_norm": normalisation(f"block_{k}_first_norm"),
                "second": convolution(outputs, outputs, f"block_{k}_second"),
                "second_norm": normalisation(f"block_{k}_second_norm"),
                "halve": dense(4 * outputs, outputs, f"block_{k}_halve"),
            }
            if inputs != outputs:
                block["project"] = dense(inputs, outputs, f"block_{k}_project")
            self.blocks.append(block)
            inputs, height, width = outputs, height // 2, width // 2
        size = height * width * inputs
        # The authors' variance, 2 / inputs.
        self.mean = dense(size, latent_dim, "mean", math.sqrt(6 / size))
        self.log_variance = dense(size, latent_dim, "log_variance", math.sqrt(6 / size))
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> Posterior:
        """Maps images of zeros and ones, [batch, height, width, 1], to the initial posterior, parts [batch, latent]."""
        maps = tf.cast(images, self.compute_dtype)
        for block in self.blocks:
            change = tf.nn.relu(block["first_norm"](block["first"](maps), training=training))
            change = block["second_norm"](block["second"](change), training=training)
            kept = block["project"](maps) if "project" in block else maps
            # A convolution with stride two is an affine map of each square; an odd row or column is left out.
            maps = block["halve"](squares(tf.nn.relu(kept + change)))
        flat = tf.reshape(maps, [-1, math.prod(maps.shape[1:])])
        return Posterior(self.mean(flat), keep_finite(self.log_variance(flat)))


def squares(maps: tf.Tensor) -> tf.Tensor:
    """Lays the pixels of each square of two by two side by side, [batch, height // 2, width // 2, 4 * channels]."""
    height, width = (size - size % 2 for size in maps.shape[1:3])
    return tf.nn.space_to_depth(maps[:, :height, :width], 2)

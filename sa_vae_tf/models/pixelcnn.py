"""Gated PixelCNN decoder of binary images that reads z beside the pixels (section 4.3).

Van den Oord et al. 2016, Conditional image generation with PixelCNN decoders (arXiv:1606.05328).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.kernels import KERNELS
from sa_vae_tf.models.gated_layer import GatedLayer, affine, down, right
from sa_vae_tf.models.initializers import uniform_stream

# Of the paper's twelve layers.
KERNEL_SIZES = (9, 9, 9, 7, 7, 7, 5, 5, 5, 3, 3, 3)

# The first channel is the image, the others are those that z is mapped to.
IMAGE, LATENT = slice(0, 1), slice(1, None)


class PixelCNNContext(NamedTuple):
    """What the decoder reads besides z.

    Attributes:
      vertical, horizontal: [batch, height, width, 2 * channels], arguments of the first layer's gates in either stack,
        but for what z adds to them.
      targets: bool [batch, height, width].
    """

    vertical: tf.Tensor
    horizontal: tf.Tensor
    targets: tf.Tensor


class PixelCNNDecoder(keras.Model):
    """Autoregressive model of the pixels in raster order, each given z and pixels before it.

    An affine map of z to `latent_maps` images lies beside the image as further channels. Of the two stacks of gated
    layers, the vertical one sees the rows above a pixel and the horizontal one those and the pixels to its left, so
    that there is no blind spot. The first layer moves the vertical stack down by a row and the horizontal one right
    by a column (mask A); later layers may see their own place (mask B), and add to the horizontal stack. An affine
    map of that gives each pixel's log odds. Without latent variable (`latent_dim` 0, z None) it is a plain Gated
    PixelCNN.

    Args:
      height, width: of the images.
      latent_dim: dimensions of z.
      kernel_sizes: odd, one a layer.
      channels: of each layer's maps.
      latent_maps: number of images that z is mapped to.
      shift_every_layer: the vertical stack is moved down by a row in every layer, as in the authors' code. Layer k
        then sees only what is k rows up and more, so the decoder sees less of the rows just above a pixel.
      kernels: name in `sa_vae_tf.kernels.KERNELS`.
      seed: of the initial weights.
      dtype: float type of the weights.

    Raises:
      UserError: if `kernel_sizes` is empty or holds a number that is not odd and positive.
    """

    def __init__(
        self,
        height: int,
        width: int,
        latent_dim: int,
        kernel_sizes: Sequence[int] = KERNEL_SIZES,
        channels: int = 32,
        latent_maps: int = 4,
        shift_every_layer: bool = False,
        kernels: str = "fused",
        seed: int = 0,
        dtype: str = "float32",
    ):
        super().__init__(name="decoder", dtype=dtype)
        if not kernel_sizes or any(size < 1 or size % 2 == 0 for size in kernel_sizes):
            raise UserError(f"kernel_sizes={tuple(kernel_sizes)}: expected odd numbers, one a layer")
        self.height, self.width, self.channels = height, width, channels
        self.latent_maps = latent_maps if latent_dim else 0
        self.shift_every_layer = shift_every_layer
        draw = uniform_stream(seed)

        def weights(name, shape, limit=None):
            # PyTorch's default range, which the authors keep for convolutions.
            default = 1 / math.sqrt(math.prod(shape[:-1]))
            return [
                self.add_weight(shape=s, initializer=draw(limit), dtype=dtype, name=f"{name}_{part}")
                for part, s, limit in (("kernel", shape, limit or default), ("bias", shape[-1:], default))
            ]

        def layer(name, reach, inputs):
            vertical = weights(f"{name}_vertical", (reach + 1, 2 * reach + 1, inputs, 2 * channels))
            across = weights(f"{name}_across", (2 * channels, 2 * channels))
            horizontal = weights(f"{name}_horizontal", (1, reach + 1, inputs, 2 * channels))
            output = weights(f"{name}_output", (channels, channels))
            own = KERNELS[kernels]
            return GatedLayer(own.convolve, own.convolve_rows, own.gate, *vertical, *across, *horizontal, *output)

        if latent_dim:
            # The authors' variance, 2 / inputs.
            size, limit = height * width * latent_maps, math.sqrt(6 / latent_dim)
            self.latent_kernel, self.latent_bias = weights("latent", (latent_dim, size), limit)
        self.gated_layers = [
            layer(f"layer_{k}", size // 2, channels if k else 1 + self.latent_maps)
            for k, size in enumerate(kernel_sizes)
        ]
        self.output_kernel, self.output_bias = weights("output", (channels, 1))
        self.built = True

    def prepare(self, images: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> PixelCNNContext:
        """Computes all that does not depend on z, for images of zeros and ones, [batch, height, width, 1]."""
        images = tf.ensure_shape(tf.cast(images, self.compute_dtype), [None, self.height, self.width, 1])
        first = self.gated_layers[0]
        return PixelCNNContext(
            down(first.vertical(images, channels=IMAGE) + first.vertical_bias.value),
            right(first.horizontal(images, channels=IMAGE) + first.horizontal_bias.value),
            images[..., 0] > 0.5,
        )

    def negative_log_likelihood(
        self, z: tf.Tensor | None, context: PixelCNNContext, training: bool = False, seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Returns -log p(image | z) in nats, [batch], summed over the pixels."""
        return tf.reduce_sum(pixel_nll(self.log_odds(z, context), context.targets), [1, 2])

    def log_odds(self, z: tf.Tensor | None, context: PixelCNNContext) -> tf.Tensor:
        """Returns the log odds of every pixel given z and the pixels before it, [batch, height, width]."""
        vertical, horizontal = self.add_latent(z, context)
        first, *others = self.gated_layers
        maps = first.output(horizontal, first.across(vertical))
        for layer in others:
            vertical = tf.nn.bias_add(layer.vertical(layer.gate(vertical)), layer.vertical_bias.value)
            if self.shift_every_layer:
                vertical = down(vertical)
            maps += layer.output(layer.horizontal(maps), layer.across_with_horizontal_bias(vertical))
        return self.output(maps)

    def add_latent(self, z: tf.Tensor | None, context: PixelCNNContext) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the arguments of the first layer's gates in the vertical and in the horizontal stack."""
        if z is None:
            return context.vertical, context.horizontal
        maps = affine(z, self.latent_kernel, self.latent_bias.value)
        maps = tf.reshape(maps, [-1, self.height, self.width, self.latent_maps])
        first = self.gated_layers[0]
        vertical = down(first.vertical(maps, channels=LATENT))
        horizontal = right(first.horizontal(maps, channels=LATENT))
        return context.vertical + vertical, context.horizontal + horizontal

    def output(self, maps: tf.Tensor) -> tf.Tensor:
        """Returns the log odds of pixels for the horizontal stack's last maps, without their last axis."""
        return affine(maps, self.output_kernel, self.output_bias.value)[..., 0]


def pixel_nll(log_odds: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """Returns -log p of pixels, bool, under their log odds, in nats."""
    return tf.nn.softplus(tf.where(pixels, -log_odds, log_odds))

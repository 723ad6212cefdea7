"""Images that show how far a run has come."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.images import ImageSplit
from sa_vae_tf.generation.image_grid import image_grid, side_by_side
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.training.model import LatentVariableModel

EXAMPLES = 16


class ImageSamples:
    """Draws samples and, with a latent variable, reconstructions of the first validation examples.

    Latent variables, noise and examples are the same each time, so that what changes is the model. Nothing of the
    model's state or of training's noise is touched.

    Args:
      model: of images.
      validation: where the examples are taken from.
    """

    def __init__(self, model: LatentVariableModel, validation: ImageSplit):
        self.model = model
        # Once: TensorFlow keeps something of every data set that is made of a generator.
        [self.batch] = validation.take(EXAMPLES).in_order(EXAMPLES)

    def __call__(self) -> dict[str, np.ndarray]:
        """Returns grids by name, uint8 [1, height, width, 1].

        They are `samples`, and `reconstructions`: each example with an image drawn from its refined posterior mean to
        its right.
        """
        index, latent = tf.range(EXAMPLES, dtype=tf.int64), self.model.method.latent
        z = self.model.draw_from_prior(index, tf.constant([0, 1]))
        grids = {"samples": image_grid(self._draw(z, index), columns=8)}
        if latent:
            drawn = self._draw(self._posterior_mean(self.batch, self.model.steps), self.batch["index"])
            grids["reconstructions"] = image_grid(side_by_side(self.batch["x"].numpy(), drawn), columns=4)
        return {name: grid[None] for name, grid in grids.items()}

    def _draw(self, z: tf.Tensor | None, index: tf.Tensor) -> np.ndarray:
        return sample_images(self.model.decoder, z, index, tf.constant([0, 2])).images.numpy()

    @tf.function(autograph=False)
    def _posterior_mean(self, batch: dict[str, tf.Tensor], steps: int) -> tf.Tensor:
        return self.model.infer(batch, steps).posterior.mean

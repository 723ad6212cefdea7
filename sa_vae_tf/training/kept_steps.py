"""How many refinement steps of a training step leave their results in memory for the reverse pass."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from sa_vae_tf.inference import Posterior, RefinementSettings, draw
from sa_vae_tf.inference.kept import Keep, Results, keeping
from sa_vae_tf.inference.products import bound_and_gradient
from sa_vae_tf.training.model import LatentVariableModel


def keep_in_memory(model: LatentVariableModel, part: tf.TensorSpec, steps: int, memory: float) -> RefinementSettings:
    """Returns the model's settings of the refinement with as many steps kept as memory allows.

    Small results, which are worth most a byte, come first; with what is left all results of some steps are kept.

    Args:
      model: whose decoder is used.
      part: of `x`, at its largest, that the decoder is given at once.
      steps: refinement steps at most.
      memory: bytes.
    """
    small, large = _bytes_of_step(model, part)
    some = min(steps, int(memory // small)) if small else 0
    memory -= some * small
    everything = min(steps, int(memory // large)) if large and (some == steps or not small) else 0
    return dataclasses.replace(model.settings, keep_small=some, keep_everything=everything)


def _bytes_of_step(model: LatentVariableModel, part: tf.TensorSpec) -> tuple[int, int]:
    """Returns the bytes of the small and of the large results of a refinement step."""

    @tf.function(autograph=False, input_signature=[part])
    def trace(x):
        seed = tf.constant([0, 0])
        zeros = tf.zeros([part.shape[0], model.latent_dim])
        _, final_draw = draw(Posterior(zeros, zeros), 0, seed)
        context = model.decoder.prepare(x, training=True, seed=seed)
        bound = model.decoder_bound(1.0, training=True)
        with keeping(Keep.ALL) as found:
            bound_and_gradient(lambda posterior: bound(posterior, context, final_draw), Posterior(zeros, zeros))
        return found

    found: list[Results] = trace.get_concrete_function().structured_outputs
    small, large = ([spec for results in found for spec in results[i]] for i in (0, 1))
    return _bytes(small), _bytes(large)


def _bytes(specs: list[tf.TensorSpec]) -> int:
    return sum(math.prod(spec.shape) * spec.dtype.size for spec in specs)

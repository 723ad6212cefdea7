"""How many refinement steps of a training step leave their results in memory for the reverse pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import tensorflow as tf

from sa_vae_tf.inference import Posterior, RefinementSettings, draw
from sa_vae_tf.inference.kept import Keep, Results, keeping
from sa_vae_tf.inference.products import bound_and_gradient
from sa_vae_tf.kernels.fusion import compiled
from sa_vae_tf.training.model import LatentVariableModel


def keep_in_memory(model: LatentVariableModel, part: tf.TensorSpec, steps: int, memory: float) -> RefinementSettings:
    """Returns the model's settings of the refinement with as many steps kept as memory allows.

    What is worth most a byte comes first: with what the small results of all steps leave of the memory the medium ones
    of some are kept, and with what these leave all results.

    Args:
      model: whose decoder is used.
      part: of `x`, at its largest, that the decoder is given at once.
      steps: refinement steps that are differentiated, at most.
      memory: bytes.
    """
    counts, room = [], steps
    for size in _bytes_of_step(model, part):
        if size:
            room = min(room, int(memory // size))
            memory -= room * size
        counts.append(room if size else 0)
    small, medium, everything = counts
    return dataclasses.replace(model.settings, keep=(small, medium, everything))


def _bytes_of_step(model: LatentVariableModel, part: tf.TensorSpec) -> list[int]:
    """Returns the bytes of the small results of a refinement step, of the medium ones, and of the large ones."""

    needed: list[Keep] = []
    # What another model of this process traced may take these shapes too, and tell of none.
    compiled.cache_clear()

    @tf.function(autograph=False, input_signature=[part])
    def trace(x):
        seed = tf.constant([0, 0])
        zeros = tf.zeros([part.shape[0], model.latent_dim])
        _, final_draw = draw(Posterior(zeros, zeros), 0, seed)
        context = model.decoder.prepare(x, training=True, seed=seed)
        bound = model.decoder_bound(1.0, training=True)
        with keeping(Keep.ALL) as step:
            bound_and_gradient(lambda posterior: bound(posterior, context, final_draw), Posterior(zeros, zeros))
        needed.extend(step.needed)
        return step.found

    found: list[Results] = trace.get_concrete_function().structured_outputs
    sizes = dict.fromkeys((Keep.SMALL, Keep.MEDIUM, Keep.ALL), 0)
    for keep, (first, second) in zip(needed, found, strict=True):
        sizes[keep] += _bytes(first)
        sizes[Keep.ALL] += _bytes(second)
    return list(sizes.values())


def _bytes(specs: Sequence[tf.TensorSpec]) -> int:
    return sum(math.prod(spec.shape) * spec.dtype.size for spec in specs)

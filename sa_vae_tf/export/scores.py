"""The figures of examples, as evaluation computes them, in a graph whose numbers of steps and samples are inputs."""

from __future__ import annotations

import tensorflow as tf

from sa_vae_tf.evaluation import importance_weighted_nll
from sa_vae_tf.training.model import Inferred, LatentVariableModel


def score(
    model: LatentVariableModel, inferred: Inferred, index: tf.Tensor, iw_samples: tf.Tensor, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Returns the figures of a batch by name, each float32 [batch]; of a model without latent variable one alone.

    Args:
      model: that infers.
      inferred: the posteriors of the batch.
      index: int64 [batch], from which the noise of an example is made.
      iw_samples: int32, samples of the importance-weighted NLL; 0 for none, its figures are then not a number.
      seed: int32, as of `bin/evaluate.py`.
    """
    bound = inferred.bound_at(inferred.refined)
    if inferred.refined is None:
        return {"nll_bound": bound}
    kl = inferred.refined.kl()
    weighted = importance_weighted_nll(
        model.decoder.negative_log_likelihood,
        inferred.refined,
        inferred.context,
        index,
        iw_samples,
        tf.stack([seed, 1]),
    )
    figures = {"nll_bound": bound, "reconstruction": bound - kl, "kl": kl}
    for name, value in (("nll_iw", weighted.nll), ("effective_samples", weighted.effective_samples)):
        figures[name] = tf.where(iw_samples > 0, value, float("nan"))
    return figures

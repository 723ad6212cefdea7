"""Keras encoders and decoders.

An encoder maps examples to a `Posterior`. A decoder keeps this contract, which is all that inference asks of it:

- `prepare(x, training, seed)` returns the context: a nest of tensors with all of the computation on examples `x`
  that does not depend on the latent variable, so that the refinement does it once for all of its steps;
- `negative_log_likelihood(z, context, training, seed)` returns -log p(x | z) in nats, [batch], for z of shape
  [batch, latent], or without latent variable for z None. It has second derivatives.
"""

from sa_vae_tf.models.lstm import LSTMDecoder, LSTMEncoder
from sa_vae_tf.models.synthetic import SyntheticGenerator

__all__ = ["LSTMDecoder", "LSTMEncoder", "SyntheticGenerator"]

"""Keras encoders and decoders.

An encoder maps examples to a `Posterior`. A decoder keeps this contract, which is all that inference asks of it:

- `prepare(x, training=False, seed=None)` returns the context: a nest of tensors with all of the computation on
  examples `x` that does not depend on the latent variable, so that the refinement does it once for all of its steps;
- `negative_log_likelihood(z, context, training=False, seed=None)` returns -log p(x | z) in nats, [batch], for z of
  shape [batch, latent], or without latent variable for z None. It has second derivatives: with plain kernels anywhere,
  with the others where the bound calls it itself, not in a `tf.function`, `tf.map_fn` or loop of its own. Inside
  `tf.vectorized_map` plain kernels alone have derivatives. To ask for a derivative that there is not is an error.

A decoder of text also writes word by word:

- `start(z, batch_size)` returns the state before the first word, a nest of tensors with a leading batch axis;
- `step(words, state)` reads a word each, int [batch], and returns the scores of the next, [batch, vocabulary], and the
  new state.
"""

from sa_vae_tf.models.dilated_cnn import DILATIONS, DilatedCNNDecoder
from sa_vae_tf.models.lstm import LSTMDecoder, LSTMEncoder
from sa_vae_tf.models.pixelcnn import PixelCNNDecoder
from sa_vae_tf.models.resnet import ResNetEncoder
from sa_vae_tf.models.synthetic import SyntheticGenerator

__all__ = [
    "DILATIONS",
    "DilatedCNNDecoder",
    "LSTMDecoder",
    "LSTMEncoder",
    "PixelCNNDecoder",
    "ResNetEncoder",
    "SyntheticGenerator",
]

"""Text from a decoder: samples, the most probable text, and the latent variables to start from.

All that is asked of a decoder is `start` and `step`, as `sa_vae_tf.models` describes them. Decoder, symbols and
settings are part of what TensorFlow compiles: give the same objects for every batch.
"""

from sa_vae_tf.generation.beam import beam_search
from sa_vae_tf.generation.latent import draw_from_prior, interpolate
from sa_vae_tf.generation.sampling import Generated, SamplingSettings, Symbols, filter_logits, sample

__all__ = [
    "Generated",
    "SamplingSettings",
    "Symbols",
    "beam_search",
    "draw_from_prior",
    "filter_logits",
    "interpolate",
    "sample",
]

"""Semi-amortized inference: the bound, its refinement, and the derivative through the refinement.

Imports TensorFlow and NumPy alone, and knows no data set and no architecture; usable on any decoder.
"""

from sa_vae_tf.inference.bound import Bound, charged_kl, negative_elbo
from sa_vae_tf.inference.derivative_check import check_derivative
from sa_vae_tf.inference.draws import Draw, draw, draw_per_example, noise_per_example
from sa_vae_tf.inference.methods import METHODS, LocalInference, Method, Objective
from sa_vae_tf.inference.posterior import Posterior, keep_finite, prior_like
from sa_vae_tf.inference.refine import Refined, refine
from sa_vae_tf.inference.settings import PRODUCTS, SCOPES, RefinementSettings

__all__ = [
    "METHODS",
    "PRODUCTS",
    "SCOPES",
    "Bound",
    "Draw",
    "LocalInference",
    "Method",
    "Objective",
    "Posterior",
    "Refined",
    "RefinementSettings",
    "charged_kl",
    "check_derivative",
    "draw",
    "draw_per_example",
    "keep_finite",
    "negative_elbo",
    "noise_per_example",
    "prior_like",
    "refine",
]

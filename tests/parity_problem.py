"""What text and image fixtures have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sa_vae_tf.inference import Posterior

SCALARS = ("K", "momentum", "lr", "beta", "eps")


class Problem(NamedTuple):
    """Models with a fixture's parameters, and its examples.

    Attributes:
      examples: what encoder and decoder read.
      encoder: function (examples) -> initial posterior.
      decoder: keeps the contract of `sa_vae_tf.models`.
      variables: those of both models, by any name.
      in_their_layout: function from gradients under the names of `variables` to the fixture's names and layouts.
    """

    examples: tf.Tensor
    encoder: Callable[[tf.Tensor], Posterior]
    decoder: tf.Module
    variables: dict[str, tf.Variable]
    in_their_layout: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def check_numbers(inputs: Mapping[str, np.ndarray], names: Iterable[str], kind: str) -> None:
    """Raises ValueError, in one line, unless `inputs` holds `names` and scalars, all finite, and no more parameters."""
    names = list(names)
    missing = [name for name in (*names, *SCALARS) if name not in inputs]
    if missing:
        raise ValueError(f"missing {', '.join(missing)}; expected the arrays of {kind} fixture")
    unknown = [name for name in inputs if name.startswith("param/") and name not in names]
    if unknown:
        raise ValueError(f"unknown {', '.join(unknown)}; expected the parameters of {kind} fixture alone")
    for name in (*names, *SCALARS):
        if not np.issubdtype(inputs[name].dtype, np.number) or not np.all(np.isfinite(inputs[name])):
            raise ValueError(f"{name}: expected finite numbers")
    for name in SCALARS:
        if inputs[name].shape != ():
            raise ValueError(f"{name}: shape {inputs[name].shape}, expected a scalar")

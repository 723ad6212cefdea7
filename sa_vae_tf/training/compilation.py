"""What a run computes with: its kernels, and whether XLA compiles its steps, by device and by size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from sa_vae_tf.kernels import LARGE

if TYPE_CHECKING:
    from sa_vae_tf.training.config import Config


def kernels(config: Config) -> str:
    """Returns the name of a run's kernels in `sa_vae_tf.kernels.KERNELS`; auto is the quickest that rounds nothing.

    On a CPU TensorFlow's own products are quicker than XLA's for images, and where no cache of a core holds the kernel
    of a recurrence. On a GPU none has been timed, and XLA has the whole step.
    """
    if config.kernels != "auto":
        return config.kernels
    recurrent = config.data == "text" and config.decoder == "lstm" and 4 * config.units**2 > LARGE
    return "hybrid" if (recurrent or config.data == "image") and not on_gpu() else "fused"


def compiles(config: Config) -> bool:
    """Whether XLA compiles a step as a whole; its programs for a GPU do not know of TensorFlow's determinism."""
    whole = on_gpu() or kernels(config) in ("fused", "plain")
    return config.jit_compile and not config.deterministic and whole


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU; to be asked after --device has been heeded."""
    return bool(tf.config.get_visible_devices("GPU"))

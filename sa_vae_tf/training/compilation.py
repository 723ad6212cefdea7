"""What a run computes with: its kernels, and whether XLA compiles its steps, by device and by size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from sa_vae_tf.training.config import Config

# Of the decoder's LSTM: with more, TensorFlow's own products are as quick as XLA's or quicker, and a run starts sooner.
UNITS = 256

CPU = Path("/proc/cpuinfo")
# What processors call their products of bfloat16: of Intel and AMD, and of Arm.
BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}
AMPERE = (8, 0)  # the first GPUs of NVIDIA that have them


def kernels(config: Config) -> str:
    """Returns the name of a run's kernels in `sa_vae_tf.kernels.KERNELS`; auto is the quickest that rounds nothing.

    On a CPU TensorFlow's own products are quicker than XLA's for images and for large texts. On a GPU none has been
    timed: XLA has the whole step where it may, else the recurrences, of which each operation would be launched alone.
    """
    if config.kernels != "auto":
        return config.kernels
    recurrent = config.data == "text" and config.decoder == "lstm" and (on_gpu() or config.units > UNITS)
    whole = on_gpu() and _may_compile(config)
    return "hybrid" if (recurrent or config.data == "image") and not whole else "fused"


def compiles(config: Config) -> bool:
    """Whether XLA compiles a step as a whole."""
    return _may_compile(config) and (on_gpu() or kernels(config) in ("fused", "plain"))


def _may_compile(config: Config) -> bool:
    return config.jit_compile and not config.deterministic  # Keras refuses both together.


def multiplies_bfloat16() -> bool:
    """Whether the device has products of bfloat16, or does not say; without, --kernels=bfloat16 is slow."""
    if gpus := tf.config.get_visible_devices("GPU"):
        details = map(tf.config.experimental.get_device_details, gpus)
        return all(about.get("compute_capability", AMPERE) >= AMPERE for about in details)
    return not CPU.exists() or not BFLOAT16.isdisjoint(CPU.read_text(encoding="utf-8").split())


def on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU; to be asked after --device has been heeded."""
    return bool(tf.config.get_visible_devices("GPU"))

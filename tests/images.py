"""A tiny corpus of images that tests write themselves, and files to keep it in."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.training.config import Config

# Codes of a MAT-file by NumPy's: of stored numbers, and of arrays.
STORED = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9, "i8": 12, "u8": 13}
CLASSES = {"f8": 6, "f4": 7, "i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12, "u4": 13, "i8": 14, "u8": 15}


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes bytes, [height, width, channels]."""
    path.write_bytes(tf.io.encode_png(image).numpy())


def write_mat(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    order: str = "<",
    compress: bool = True,
    stored: str = "",
    flags: int = 0,
) -> Path:
    """Writes a MAT-file of version 5.

    Args:
      path: of the file.
      arrays: by name.
      order: of bytes, '<' or '>'.
      compress: each array by zlib.
      stored: type the numbers are stored as, if not that of the array.
      flags: of every array, besides its class.
    """

    def element(kind: int, data: bytes, small: bool = False) -> bytes:
        if small and len(data) <= 4:
            return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")
        return struct.pack(f"{order}II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    content = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49)
    for name, array in arrays.items():
        kind = array.dtype.str[1:]
        as_stored = stored or kind
        data = element(6, struct.pack(f"{order}II", CLASSES[kind] | flags, 0))
        data += element(5, struct.pack(f"{order}{array.ndim}i", *array.shape))
        data += element(1, name.encode(), small=True)
        data += element(STORED[as_stored], array.astype(f"{order}{as_stored}").tobytes("F"), small=True)
        whole = element(14, data)
        packed = zlib.compress(whole)
        content += struct.pack(f"{order}II", 15, len(packed)) + packed if compress else whole
    path.write_bytes(content)
    return path


def bars(count: int, height: int = 8, width: int = 6, seed: int = 0) -> np.ndarray:
    """Returns images of a grey bar at one of their rows, float32 [count, height, width, 1] in [0, 1]."""
    rng = np.random.default_rng(seed)
    images = np.full([count, height, width, 1], 0.05, np.float32)
    images[np.arange(count), rng.integers(height, size=count)] = 0.9
    return images


def write(folder: Path, count: int = 40, **options: Any) -> str:
    """Writes images for training and 10 for a test into a file, and returns its path."""
    path = folder / "images.npz"
    np.savez(path, train=bars(count, **options), test=bars(10, seed=1, **options))
    return str(path)


def tiny(run_dir: str | Path, data_dir: str, data_file: str, **changes: Any) -> Config:
    """Returns settings of a run on such a file that takes seconds: three steps an epoch, the last of six images."""
    settings: dict[str, Any] = {
        "run_dir": str(run_dir),
        "data": "image",
        "data_dir": data_dir,
        "data_file": data_file,
        "image_height": 8,
        "image_width": 6,
        "encoder_channels": "4,4",
        "pixelcnn_kernels": "3,3",
        "pixelcnn_channels": 4,
        "pixelcnn_latent_maps": 2,
        "latent_dim": 3,
        "svi_steps": 2,
        "batch_size": 15,
        "eval_batch_size": 4,
        "num_epochs": 1,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "jit_compile": False,
        "kernels": "fused",
    }
    return Config(**(settings | changes))

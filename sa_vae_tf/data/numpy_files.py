"""Numeric arrays from NumPy's .npy and .npz files.

NumPy's own reader trusts what a header says of shape and type, and makes the array before it reads the numbers: here
the two must agree with the size of the file, and nothing is ever unpickled.
"""

from __future__ import annotations

import functools
import math
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from sa_vae_tf.errors import UserError

# What a compressed file may come to: a small one can hold any number of zeros.
MAX_EXPANDED = 2**29
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
WANTED = "expected numbers saved by NumPy"


def read_npy(path: str | Path) -> np.ndarray:
    """Returns the array of a .npy.

    Raises:
      UserError: if it cannot be read, or is not an array of numbers.
    """
    try:
        with open(path, "rb") as file:
            # Read as it is needed: it may be larger than memory.
            numbers = functools.partial(np.memmap, path, mode="r")
            return _array(file, Path(path).stat().st_size, str(path), numbers)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a .npz by name.

    Raises:
      UserError: if it cannot be read, holds anything else, or more than MAX_EXPANDED bytes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MAX_EXPANDED:
                raise UserError(
                    f"{path}: comes to more than {MAX_EXPANDED:,} bytes; expected a .npy of so large an array"
                )
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    where = f"{path}: {member.filename[:100]}"
                    name = member.filename.removesuffix(".npy")
                    arrays[name] = _array(file, member.file_size, where, functools.partial(_read, file))
            return arrays
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    # NotImplementedError: a compression that zipfile does not know; RuntimeError: an encrypted file.
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: {WANTED} ({error})") from None


def _read(file: IO[bytes], dtype: np.dtype, offset: int) -> np.ndarray:
    return np.frombuffer(file.read(), dtype)


def _array(file: IO[bytes], size: int, where: str, numbers: Callable[..., np.ndarray]) -> np.ndarray:
    """Returns the array of a .npy of this size in bytes, with numbers(dtype=, offset=) in it."""
    try:
        shape, in_columns, dtype = _header(file)
    except Exception as error:  # The header is a literal of Python: whatever its parser raises.
        raise UserError(f"{where}: {WANTED} ({error})") from None
    if dtype.kind not in "buif":
        raise UserError(f"{where}: values of type {dtype}; expected numbers")
    # An array without numbers may have any shape.
    if min(shape, default=1) < 0 or file.tell() + math.prod(shape) * dtype.itemsize != size or len(shape) > 4:
        raise UserError(f"{where}: its {size:,} bytes are not an array of shape {shape} of {dtype}")
    # None cannot be mapped.
    found = numbers(dtype=dtype, offset=file.tell()) if math.prod(shape) else np.zeros(0, dtype)
    if len(found) != math.prod(shape):
        raise UserError(f"{where}: it ends too early")
    return found.reshape(shape, order="F" if in_columns else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of files of Python 2, and of Python's parser.
        return HEADERS[version](file)

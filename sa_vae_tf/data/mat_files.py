"""Numeric arrays from MAT-files of version 5, what MATLAB's `save` and SciPy's `savemat` write by default.

Only SciPy has a reader of this format, and nothing else here needs SciPy. This one knows real numeric arrays, plain or
compressed, and passes over everything else; nothing in a file can make it do more than copy numbers.
Source: MAT-File Format, The MathWorks, chapter 1.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sa_vae_tf.data.numpy_files import MAX_EXPANDED
from sa_vae_tf.errors import UserError

HEADER = 128  # bytes
MATRIX, COMPRESSED = 14, 15
# How numbers are stored, by the code of a data type. MATLAB stores whole numbers in the smallest that holds them.
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
# What they stand for, by the class of an array.
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX = 0x800
TOO_LARGE = f"its arrays come to more than {MAX_EXPANDED:,} bytes"


def read_mat(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the real numeric arrays of a MAT-file by name.

    Raises:
      UserError: if it cannot be read, or is not a sound file of version 5.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    order = {b"IM": "<", b"MI": ">"}.get(content[HEADER - 2 : HEADER], "")
    if not order or struct.unpack_from(f"{order}H", content, HEADER - 4)[0] != 0x0100:
        raise UserError(f"{path}: expected a MAT-file of version 5 (in MATLAB, save with '-v7')")
    try:
        return dict(_arrays(memoryview(content)[HEADER:], order))
    except (ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: damaged MAT-file ({error})") from None


def _arrays(content: memoryview, order: str) -> Iterator[tuple[str, np.ndarray]]:
    room = MAX_EXPANDED
    for kind, data in _elements(content, order):
        if kind == COMPRESSED:
            [(kind, data)] = _elements(_decompress(data, order, room), order)
        if kind == MATRIX and (array := _array(data, order, room)):
            room -= array[1].nbytes
            yield array


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yields type and bytes of each element that lies in `data`, one after another."""
    start = 0
    while start < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, start)
        if kind >> 16:  # An element of at most four bytes, which lie where the size would.
            kind, size, begin = kind & 0xFFFF, kind >> 16, start + 4
            start += 8
        else:
            begin = start + 8
            start = begin + size + (-size % 8 if kind != COMPRESSED else 0)
        if begin + size > len(data):
            raise ValueError("it ends too early")
        yield kind, data[begin : begin + size]


def _decompress(data: memoryview, order: str, room: int) -> memoryview:
    """Returns the one element that was compressed, no more of it than its size says, with its checksum compared."""
    stream = zlib.decompressobj()
    tag = stream.decompress(data, 8)
    size = struct.unpack(f"{order}II", tag)[1]
    if size > room:
        raise ValueError(TOO_LARGE)
    return memoryview(tag + stream.decompress(stream.unconsumed_tail, size + 1))


def _array(data: memoryview, order: str, room: int) -> tuple[str, np.ndarray] | None:
    """Returns name and values of an array, or None for one that is not of real numbers."""
    (_, flags), (_, dimensions), (_, name), *parts = _elements(data, order)
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & 0xFF not in CLASSES or flag & COMPLEX:
        return None
    [(kind, stored)] = parts
    shape = [number for (number,) in struct.iter_unpack(f"{order}i", dimensions)]
    if kind not in STORED:
        raise ValueError(f"numbers of type {kind}")
    numbers = np.frombuffer(stored, f"{order}{STORED[kind]}")
    if min(shape) < 0 or math.prod(shape) != len(numbers):
        raise ValueError(f"{len(numbers)} numbers in an array of shape {shape}")
    dtype = np.dtype(CLASSES[flag & 0xFF])
    if len(numbers) * dtype.itemsize > room:
        raise ValueError(TOO_LARGE)
    # Column after column.
    values = numbers.reshape(shape, order="F").astype(dtype)
    return str(name, "ascii", "replace"), values

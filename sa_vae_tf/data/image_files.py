"""Grey images from files: a .mat of Burda et al., an array of NumPy, a folder of PNGs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from sa_vae_tf.data.mat_files import read_mat
from sa_vae_tf.data.numpy_files import read_npy, read_npz
from sa_vae_tf.data.preparation import pngs
from sa_vae_tf.errors import UserError

# Of the images in a .mat.
SIDE = 28
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 2**24  # of a PNG


class GreyImages:
    """Images as they are in a file, of which each is made float32 [height, width, 1] in [0, 1] as it is looked at.

    Args:
      images: numbers, [images, height, width] or [images, height, width, 1].
      scale: the number that is one.
    """

    def __init__(self, images: np.ndarray, scale: int):
        self._images, self._scale = images, np.float32(scale)
        self.shape = (*images.shape[:3], 1)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, number: int) -> np.ndarray:
        return self._images[number].reshape(self.shape[1:]).astype(np.float32) / self._scale


def read_images(path: str | Path) -> dict[str, GreyImages]:
    """Returns the images of a file or folder.

    Args:
      path: of one of
        - a .mat with the arrays `data`, for training, and `testdata`, 784 x number of images of 28x28, each image
          column after column (the chardata.mat of Burda et al. 2015);
        - a .npy with one array, or a .npz with one array or with `train` and `test`: number of images x height x
          width, and perhaps x 1; no object arrays;
        - a folder of .png files of one size, taken in the order of their names.
        Intensities are in [0, 1], or bytes of which 255 is 1. Bytes that are all zero or one are taken as they are.

    Returns:
      'train' and perhaps 'test'. Those of a .npy are read from disk as they are looked at.

    Raises:
      UserError: if it cannot be read, or holds anything else.
    """
    path = Path(path)
    readers = {".mat": _read_mat, ".npy": lambda path: {"train": read_npy(path)}, ".npz": _read_npz}
    if path.is_dir():
        arrays = {"train": _read_folder(path)}
    elif path.suffix.lower() not in readers:
        raise UserError(f"{path}: expected a .mat, .npy or .npz file, or a folder of .png files")
    elif not path.is_file():
        raise UserError(f"{path}: there is no such file")
    else:
        arrays = readers[path.suffix.lower()](path)
    where = {split: f"{path}: {split}" if len(arrays) > 1 else str(path) for split in arrays}
    white = {split: images.max() for split, images in arrays.items() if images.dtype == np.uint8 and images.any()}
    if len({largest > 1 for largest in white.values()}) > 1:
        which = " and ".join(f"{split} bytes up to {largest}" for split, largest in white.items())
        raise UserError(f"{path}: has in {which}; expected one value for white, 1 or 255")
    return {split: _grey(images, where[split]) for split, images in arrays.items()}


def _read_mat(path: Path) -> dict[str, np.ndarray]:
    arrays, images = read_mat(path), {}
    for split, name in (("train", "data"), ("test", "testdata")):
        if name not in arrays:
            raise UserError(f"{path}: there is no array {name} of numbers; expected data and testdata")
        shape = arrays[name].shape
        if len(shape) != 2 or shape[0] != SIDE**2:
            raise UserError(f"{path}: {name} has shape {_times(shape)}; expected {SIDE**2} x number of images")
        images[split] = arrays[name].T.reshape(-1, SIDE, SIDE).transpose(0, 2, 1)
    return images


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path)
    if len(arrays) == 1:
        return {"train": next(iter(arrays.values()))}
    if not {"train", "test"} <= arrays.keys():
        raise UserError(f"{path}: has the arrays {', '.join(arrays) or 'none'}; expected one, or train and test")
    return {split: arrays[split] for split in ("train", "test")}


def _read_folder(path: Path) -> np.ndarray:
    """Returns bytes, [images, height, width, 1]."""
    try:
        files = pngs(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not files:
        raise UserError(f"{path}: there are no .png files in this folder")
    images: list[np.ndarray] = []
    for file in files:
        image = _read_png(file)
        images.append(image)
        if image.shape != images[0].shape:
            sizes = [_times(shape[:2]) for shape in (image.shape, images[0].shape)]
            raise UserError(f"{file}: has {sizes[0]} pixels, {files[0].name} {sizes[1]}; expected images of one size")
    return np.stack(images)


def _read_png(file: Path) -> np.ndarray:
    """Returns a grey image of bytes, [height, width, 1]."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    # TensorFlow's function reads other formats too, and makes room for whatever size the header says.
    if content[:8] != PNG_SIGNATURE or len(content) < 24:
        raise UserError(f"{file}: expected a PNG image")
    width, height = struct.unpack_from(">II", content, 16)
    if width * height > MAX_PIXELS:
        raise UserError(f"{file}: has {height} x {width} pixels; expected at most {MAX_PIXELS:,}")
    try:
        image = tf.io.decode_png(content).numpy()
    except tf.errors.InvalidArgumentError:
        raise UserError(f"{file}: expected a PNG image") from None
    if image.shape[-1] != 1:
        raise UserError(
            f"{file}: has {image.shape[-1]} channels; expected one, a grey image without transparency or palette"
        )
    return image


def _grey(images: np.ndarray, where: str) -> GreyImages:
    """Returns images after a look at all of them, or says what is wrong with them."""
    if images.dtype.kind not in "buif":
        raise UserError(f"{where}: values of type {images.dtype}; expected numbers")
    if images.ndim not in (3, 4) or 0 in images.shape[1:] or images.shape[3:] not in ((), (1,)):
        raise UserError(
            f"{where}: has shape {_times(images.shape)}; expected number of images x height x width, grey, or that x 1"
        )
    if not len(images):
        raise UserError(f"{where}: has no images")
    scale = 255 if images.dtype == np.uint8 and images.max() > 1 else 1
    for number, image in enumerate(images):
        if not (image.min() >= 0 and image.max() <= scale):
            wrong = image[~((image >= 0) & (image <= scale))][0]
            raise UserError(f"{where}: image {number} has a pixel of {wrong}; expected 0 to 1, or bytes (uint8)")
    return GreyImages(images, scale)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

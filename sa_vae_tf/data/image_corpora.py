"""Corpora of grey images as TFDS builders: OMNIGLOT, MNIST, and the images of any file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from sa_vae_tf.checksums import git_blob
from sa_vae_tf.data.image_files import GreyImages, read_images
from sa_vae_tf.data.images import Intensities
from sa_vae_tf.data.preparation import fingerprint, key_shift, manual_folder, prepare
from sa_vae_tf.data.records import Records, RecordsBuilder
from sa_vae_tf.errors import UserError

logger = logging.getLogger(__name__)


@dataclasses.dataclass(kw_only=True)
class ImageConfig(tfds.core.BuilderConfig):
    """The images of which file or folder, and their height and width in pixels."""

    path: str = ""
    height: int = 28
    width: int = 28


class ImageFiles(RecordsBuilder):
    """Grey images, intensities in [0, 1], in the order of the file."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {"1.0.0": "Lists of floats.", "2.0.0": "Bytes of floats."}

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        shape = (config.height, config.width, 1)
        # The other encoding, a list of floats, makes Python numbers of all pixels.
        image = tfds.features.Tensor(shape=shape, dtype=np.float32, encoding=tfds.features.Encoding.BYTES)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"image": image}),
            description=type(self).__doc__,
            disable_shuffling=True,
        )

    def _path(self, dl_manager: tfds.download.DownloadManager) -> str | Path:
        return self.builder_config.path

    def _read(self, path: str | Path) -> dict[str, GreyImages]:
        images, config = read_images(path), self.builder_config
        for split, of_split in images.items():
            height, width = of_split.shape[1:3]
            if (height, width) != (config.height, config.width):
                which = f"{split} images" if len(images) > 1 else "images"
                raise UserError(
                    f"{path}: {which} of {height} x {width} pixels; expected {config.height} x {config.width}, which "
                    "--image_height and --image_width of training say"
                )
        return images

    def _split_generators(self, dl_manager):
        path = self._path(dl_manager)
        images = self._read(path)
        of = {split: f"{split} images" if len(images) > 1 else "images" for split in images}
        logger.info("%s: %s", path, ", ".join(f"{len(images[split]):,} {of[split]}" for split in images))
        return {split: self._generate_examples(of_split) for split, of_split in images.items()}

    def _generate_examples(self, images: GreyImages):
        shift = key_shift(len(images), 4 * math.prod(images.shape[1:]))
        for index, image in enumerate(images):
            yield index << shift, {"image": image}


class OmniglotBurda(ImageFiles):
    """OMNIGLOT at 28x28 as prepared by Burda et al. (2015), the corpus of the paper's image experiment."""

    BUILDER_CONFIGS = [ImageConfig(name="published", description="28x28.")]
    FILE = "chardata.mat"
    COUNTS = {"train": 24_345, "test": 8_070}
    # The name of the file's content in the repository it is published in.
    GIT_BLOB = "016a3536ffe5e1d38e42563a18d7a78bfaf643ec"
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Get https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat and put it into the folder "
        "omniglot_burda of the manual downloads."
    )
    OWN_FILE = "Or give a file of your own by --data_file."

    @classmethod
    def locate(cls, folder: Path) -> Path:
        """Returns the path of the file.

        Raises:
          UserError: if it is missing; says what to put where.
        """
        if not (folder / cls.FILE).is_file():
            raise UserError(
                f"{folder / cls.FILE}: there is no such file. {cls.MANUAL_DOWNLOAD_INSTRUCTIONS} {cls.OWN_FILE}"
            )
        return folder / cls.FILE

    def _path(self, dl_manager):
        return self.builder_config.path or self.locate(dl_manager.manual_dir / self.name)

    def _read(self, path):
        images = super()._read(path)
        for split, of_split in images.items():
            if len(of_split) != self.COUNTS[split]:
                raise UserError(
                    f"{path}: has {len(of_split):,} {split} images, that of {self.name} has {self.COUNTS[split]:,}. "
                    f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS} {self.OWN_FILE}"
                )
        if git_blob(path) != self.GIT_BLOB:
            raise UserError(
                f"{path}: is not the published file, by its checksum. {self.MANUAL_DOWNLOAD_INSTRUCTIONS} "
                f"{self.OWN_FILE}"
            )
        return images


def file_images(path: str, height: int, width: int, data_dir: str | None) -> dict[str, Intensities]:
    """Returns the images of a file or folder, reading it only if it or its size is new.

    Args:
      path: see `read_images`.
      height, width: of the images, in pixels.
      data_dir: where prepared data is kept; None for TFDS's default.

    Returns:
      'train' and perhaps 'test'.

    Raises:
      UserError: if it cannot be read, holds anything else or images of another size.
    """
    return _prepared(ImageFiles, path, height, width, data_dir)


def published_images(name: str, data_dir: str | None, manual_dir: str) -> Mapping[str, Intensities]:
    """Returns the images of a published corpus, preparing it on first use.

    Args:
      name: one of PUBLISHED_IMAGES.
      data_dir: where prepared data is kept; None for TFDS's default.
      manual_dir: folder of manual downloads, with one folder for each corpus; empty for TFDS's, downloads/manual in
        `data_dir`.

    Returns:
      'train' and 'test'.

    Raises:
      UserError: if a file is missing, is not the published one or cannot be downloaded.
    """
    return PUBLISHED_IMAGES[name](data_dir, manual_folder(data_dir, manual_dir) / name)


def _omniglot(data_dir: str | None, folder: Path) -> Mapping[str, Intensities]:
    return _prepared(OmniglotBurda, str(OmniglotBurda.locate(folder)), 28, 28, data_dir)


def _mnist(data_dir: str | None, folder: Path) -> Mapping[str, Intensities]:
    """Returns MNIST, which TFDS downloads."""

    builder = prepare(tfds.builder_cls("mnist"), None, data_dir, "--corpus=mnist")
    splits = {name: builder.as_dataset(split=name, batch_size=-1)["image"].numpy() for name in ("train", "test")}
    return {name: images / np.float32(255) for name, images in splits.items()}


PUBLISHED_IMAGES: dict[str, Callable[[str | None, Path], Mapping[str, Intensities]]] = {
    OmniglotBurda.name: _omniglot,
    "mnist": _mnist,
}


class ImageRecords:
    """The images of a split, read from disk as they are asked for; see `Intensities`."""

    def __init__(self, records: Records, height: int, width: int):
        self.records, self.shape = records, (len(records), height, width, 1)

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return np.stack([example["image"] for example in self.records.__getitems__(numbers.tolist())])


def _prepared(
    builder: type[ImageFiles], path: str, height: int, width: int, data_dir: str | None
) -> dict[str, Intensities]:
    files = fingerprint(path)
    config = ImageConfig(
        name=hashlib.sha256(json.dumps([files, height, width]).encode()).hexdigest()[:16],
        description=f"{height} x {width} pixels.",
        path=path,
        height=height,
        width=width,
    )
    prepared = prepare(builder, config, data_dir, path, files)
    return {split: ImageRecords(Records(prepared, split), height, width) for split in prepared.info.splits}

"""Splits of images and what is drawn from them; corpora that TFDS keeps."""

import numpy as np
import pytest
import requests
import tensorflow as tf
import tensorflow_datasets as tfds

from sa_vae_tf.checksums import git_blob
from sa_vae_tf.data import image_corpora, records
from sa_vae_tf.data.image_corpora import OmniglotBurda, file_images, published_images
from sa_vae_tf.data.images import ImageSplit, binary, image_splits
from sa_vae_tf.data.pipeline import Share
from sa_vae_tf.errors import UserError
from tests.images import bars, write, write_mat, write_png


def grey(count: int) -> np.ndarray:
    """Images of half grey that an image's number in two pixels tells apart."""
    images = np.full([count, 12, 10, 1], 0.5, np.float32)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(count) % 2, np.arange(count) // 2 % 2
    return images


def split_of(intensities: np.ndarray, seed: int = 3, number: int = 0) -> ImageSplit:
    return ImageSplit(intensities, np.arange(len(intensities)), seed, number)


def batches(data, count):
    return list(data.take(count).as_numpy_iterator())


def by_index(data, count) -> dict[int, bytes]:
    return {i: x.tobytes() for batch in batches(data, count) for i, x in zip(batch["index"], batch["x"], strict=True)}


@pytest.mark.parametrize(("count", "held_out"), [(2, 1), (9, 1), (40, 4), (19_999, 1999), (24_345, 2000)])
def test_validation_images_are_held_out_by_seed(count, held_out):
    images = {"train": np.arange(count, dtype=np.float32).reshape(-1, 1, 1, 1), "test": grey(3)}
    splits = image_splits(images, 1)
    assert {name: split.count for name, split in splits.items()} == {
        "train": count - held_out, "validation": held_out, "test": 3,
    }  # fmt: skip
    both = [splits[name].numbers for name in ("train", "validation")]
    np.testing.assert_array_equal(np.sort(np.concatenate(both)), np.arange(count))
    again, other = image_splits(images, 1), image_splits(images, 2)
    np.testing.assert_array_equal(again["validation"].numbers, splits["validation"].numbers)
    assert count < 10 or np.any(other["validation"].numbers != splits["validation"].numbers)


def test_pixels_are_ones_as_often_as_their_intensity():
    intensities = np.tile(np.linspace(0, 1, 11, dtype=np.float32)[:, None, None], [4000, 1, 1, 1])
    [batch] = batches(split_of(intensities).in_order(4000), 1)
    assert batch["x"].dtype == np.uint8
    assert set(np.unique(batch["x"])) == {0, 1}
    # Five standard deviations of a mean of 4,000 draws; none at zero and one.
    np.testing.assert_allclose(batch["x"].mean(0), intensities[0], atol=5 * 0.5 / np.sqrt(4000))
    assert not batch["x"][:, 0].any()
    assert batch["x"][:, -1].all()


def test_a_draw_depends_on_seed_split_epoch_and_index_alone():
    split = split_of(grey(20))
    once = by_index(split.in_order(8), 3)
    assert by_index(split.in_order(20), 1) == once == by_index(split.in_order(8), 3)
    epochs = [by_index(split.shuffled(8, 3, start), 3) for start in (0, 3, 6)]
    assert epochs[1] == by_index(split.shuffled(8, 3, 0).skip(3), 3)
    seen = [
        once, *epochs, by_index(split.shuffled(8, 4, 0), 3), by_index(split_of(grey(20), seed=4).in_order(8), 3),
        by_index(split_of(grey(20), number=1).in_order(8), 3),
    ]  # fmt: skip
    assert all(draws.keys() == set(range(20)) for draws in seen)
    # 118 pixels of half grey: no two draws are alike.
    assert len({image for draws in seen for image in draws.values()}) == 20 * len(seen)
    # Nothing but the draw is drawn: what was certain is so each time.
    for image in epochs[0].values():
        assert set(image[:2]) <= {0, 1}


def test_a_pixel_without_intensity_is_never_one(monkeypatch):
    class Lowest:
        def random(self, shape, dtype):
            return np.zeros(shape, dtype)

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Lowest())
    intensities = np.float32([[[0.0], [1e-30]]])
    np.testing.assert_array_equal(binary(intensities, [1]), [[[0], [1]]])


def test_an_epoch_has_every_example_once_in_an_order_of_its_own():
    split = split_of(grey(20))
    assert split.steps(8) == 3
    orders = [
        [i for batch in batches(split.shuffled(8, 1, start), 3) for i in batch["index"]] for start in (0, 3)
    ]  # fmt: skip
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(20))
    assert orders[0] != orders[1]
    # Nor is it one of another seed, an epoch sooner or later.
    assert orders[1] != [i for batch in batches(split.shuffled(8, 2, 0), 3) for i in batch["index"]]
    assert [len(batch["index"]) for batch in batches(split.shuffled(8, 1, 0), 4)] == [8, 8, 4, 8]
    for batch in batches(split.shuffled(8, 1, 0), 3):
        for i, x in zip(batch["index"], batch["x"], strict=True):
            assert (x[0, 0, 0], x[0, 1, 0]) == (i % 2, i // 2 % 2)


def test_many_images_are_shuffled_within_parts_and_by_parts(monkeypatch):
    monkeypatch.setattr(records, "PART", 8)
    # Images 0, 2, ... 38: four of each part.
    split = ImageSplit(grey(40), np.arange(0, 40, 2), 3, 0)
    assert split.steps(3) == 10
    for data in (split.in_order(3), split.shuffled(3, 1, 0), split.shuffled(3, 1, 10)):
        epoch = [batch["index"].tolist() for batch in batches(data, 10)]
        assert sorted(sum(epoch, [])) == list(range(20))
        assert [len(batch) for batch in epoch] == [3, 1] * 5
        assert all(
            len({number // 4 for number in one + other}) == 1
            for one, other in zip(epoch[::2], epoch[1::2], strict=True)
        )


@pytest.mark.parametrize("start", [1, 3, 7])
def test_goes_on_where_it_was_stopped(start):
    split = split_of(grey(20))
    whole, rest = batches(split.shuffled(8, 1, 0), 9), batches(split.shuffled(8, 1, start), 9 - start)
    for one, other in zip(whole[start:], rest, strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])
        np.testing.assert_array_equal(one["index"], other["index"])


def test_workers_read_their_rows_of_the_same_batches():
    whole = batches(split_of(grey(20)).shuffled(8, 1, 0), 5)
    shared = [batches(split_of(grey(20)).shuffled(8, 1, 0, Share(n, 2)), 5) for n in range(2)]
    for batch, *parts in zip(whole, *shared, strict=True):
        np.testing.assert_array_equal(np.concatenate([part["x"] for part in parts]), batch["x"])
        assert [part["first"] for part in parts] == [0, len(batch["x"]) // 2]


def test_take():
    split = split_of(grey(20))
    assert split.take(0).count == 20
    some = split.take(5)
    assert some.count == 5
    assert by_index(some.in_order(8), 1).items() <= by_index(split.in_order(8), 3).items()


def test_a_file_is_read_when_it_is_new(tmp_path, monkeypatch):
    path = write(tmp_path)
    found = file_images(path, 8, 6, str(tmp_path / "data"))
    np.testing.assert_array_equal(found["train"][np.arange(40)], bars(40))
    np.testing.assert_array_equal(found["test"][np.arange(10)], bars(10, seed=1))
    with monkeypatch.context() as patch:
        patch.setattr(image_corpora, "read_images", None)
        again = file_images(path, 8, 6, str(tmp_path / "data"))
    assert again.keys() == found.keys()
    for split, images in found.items():
        np.testing.assert_array_equal(again[split][np.arange(10)], images[np.arange(10)])
    np.savez(path, bars(3))
    assert file_images(path, 8, 6, str(tmp_path / "data"))["train"].shape == (3, 8, 6, 1)


def test_a_folder_with_more_than_images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(bars(3)):
        write_png(folder / f"{number}.png", (image * 255).astype(np.uint8))
    (folder / ".ipynb_checkpoints").mkdir()
    found = file_images(str(folder), 8, 6, str(tmp_path / "data"))
    # Bytes round a pixel by up to 1 / 255.
    np.testing.assert_allclose(found["train"][np.arange(3)], bars(3), atol=1 / 255)


def test_images_of_another_size(tmp_path):
    path = write(tmp_path)
    with pytest.raises(
        UserError, match="npz: train images of 8 x 6 pixels; expected 6 x 8, which --image_height and --image_width"
    ):
        file_images(path, 6, 8, str(tmp_path / "data"))
    np.savez(tmp_path / "two.npz", train=bars(3), test=bars(3, height=5))
    with pytest.raises(UserError, match="npz: test images of 5 x 6 pixels"):
        file_images(str(tmp_path / "two.npz"), 8, 6, str(tmp_path / "data"))
    with pytest.raises(UserError, match="none.npy: cannot be read"):
        file_images(str(tmp_path / "none.npy"), 6, 8, str(tmp_path / "data"))
    assert not list((tmp_path / "data" / "image_files").iterdir())  # Nothing is left of them.
    # What is prepared is of one size.
    file_images(path, 8, 6, str(tmp_path / "data"))
    for height, width in ((8, 7), (7, 6)):
        with pytest.raises(UserError, match=f"images of 8 x 6 pixels; expected {height} x {width}"):
            file_images(path, height, width, str(tmp_path / "data"))


@pytest.fixture
def chardata(tmp_path, monkeypatch):
    """A small file in the place of OMNIGLOT's, in the folder of manual downloads."""
    monkeypatch.setattr(OmniglotBurda, "COUNTS", {"train": 5, "test": 2})
    folder = tmp_path / "downloads" / "manual" / "omniglot_burda"
    folder.mkdir(parents=True)
    arrays = {"data": np.eye(784, 5), "testdata": np.zeros([784, 2])}
    path = write_mat(folder / "chardata.mat", arrays)
    monkeypatch.setattr(OmniglotBurda, "GIT_BLOB", git_blob(path))
    return path


@pytest.mark.parametrize("manual_dir", [False, True])
def test_omniglot(chardata, manual_dir, tmp_path):
    manual = str(chardata.parents[1]) if manual_dir else ""
    data = str(tmp_path / "elsewhere") if manual_dir else str(tmp_path)
    images = published_images("omniglot_burda", data, manual)
    assert {split: of_split.shape for split, of_split in images.items()} == {
        "train": (5, 28, 28, 1), "test": (2, 28, 28, 1),
    }  # fmt: skip
    # The fourth pixel of a column is that of the first column's fourth row.
    assert np.argwhere(images["train"][np.array([3])][0]).tolist() == [[3, 0, 0]]


def test_tfds_s_own_way(chardata, tmp_path):
    assert "omniglot_burda" in tfds.list_builders()
    builder = tfds.builder("omniglot_burda", data_dir=tmp_path)
    builder.download_and_prepare()
    assert len(builder.as_data_source("train")) == 5
    chardata.unlink()
    with pytest.raises(AssertionError, match="instructions:\nGet https"):
        tfds.builder("omniglot_burda", data_dir=tmp_path / "other").download_and_prepare()


def test_a_missing_omniglot(tmp_path):
    assert OmniglotBurda.COUNTS == {"train": 24_345, "test": 8_070}
    with pytest.raises(UserError) as error:
        published_images("omniglot_burda", str(tmp_path), "")
    folder = tmp_path / "downloads" / "manual" / "omniglot_burda"
    message = f"{folder}/chardata.mat: there is no such file. {OmniglotBurda.MANUAL_DOWNLOAD_INSTRUCTIONS} "
    message += "Or give a file of your own by --data_file."
    assert str(error.value) == message


def test_an_omniglot_of_other_images(chardata, tmp_path):
    write_mat(chardata, {"data": np.zeros([784, 4]), "testdata": np.zeros([784, 2])})
    with pytest.raises(UserError, match="has 4 train images, that of omniglot_burda has 5. Get .* by --data_file"):
        published_images("omniglot_burda", str(tmp_path), "")
    write_mat(chardata, {"data": np.ones([784, 5]), "testdata": np.zeros([784, 2])})
    with pytest.raises(UserError, match="chardata.mat: is not the published file, by its checksum. Get .* --data_file"):
        published_images("omniglot_burda", str(tmp_path), "")


class Mnist:
    """Stands for the builder of TFDS whose files are there."""

    name, VERSION = "mnist", "3.0.1"

    def __init__(self, *, config, data_dir):
        assert config is None
        self.data_path = data_dir / "mnist" / "3.0.1"

    def download_and_prepare(self):
        self.data_path.mkdir(parents=True)

    def as_dataset(self, split, batch_size):
        assert batch_size == -1
        count = {"train": 4, "test": 2}[split]
        return {"image": tf.fill([count, 28, 28, 1], tf.constant(51, tf.uint8)), "label": tf.zeros(count)}


def test_mnist(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tfds, "builder_cls", {"mnist": Mnist}.__getitem__)
        images = published_images("mnist", str(tmp_path), "")
    assert {split: of_split.shape[0] for split, of_split in images.items()} == {"train": 4, "test": 2}
    assert images["train"].dtype == np.float32
    np.testing.assert_array_equal(images["train"], np.full([4, 28, 28, 1], np.float32(0.2)))


def test_no_network(tmp_path, monkeypatch):
    def download_and_prepare(self, **options):
        raise requests.ConnectionError("HTTPSConnectionPool: Max retries exceeded\n")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", download_and_prepare)
    with pytest.raises(UserError) as error:
        published_images("mnist", str(tmp_path), "")
    assert str(error.value) == "--corpus=mnist: TFDS cannot download it (ConnectionError); expected a network"

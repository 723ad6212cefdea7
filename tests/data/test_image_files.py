"""Images from each kind of file, the right way up, and what is wrong with a file."""

import struct

import numpy as np
import pytest

from sa_vae_tf.data.image_files import read_images
from sa_vae_tf.errors import UserError
from tests.images import bars, write_mat, write_png

# An image that no flip or turn leaves as it is.
CORNER = np.zeros([28, 28], np.float32)
CORNER[0, :20] = 1
CORNER[:10, 0] = 0.5


def column_major(images: np.ndarray) -> np.ndarray:
    """Lays images [count, 28, 28] out as in chardata.mat, [784, count]."""
    return np.stack([image.reshape(-1, order="F") for image in images], 1).astype(np.float64)


def test_a_mat_of_burda(tmp_path):
    train, test = np.stack([CORNER, CORNER.T, 1 - CORNER]), CORNER[None]
    path = write_mat(tmp_path / "chardata.mat", {"data": column_major(train), "testdata": column_major(test)})
    found = read_images(path)
    assert {split: images[0].dtype for split, images in found.items()} == {"train": np.float32, "test": np.float32}
    np.testing.assert_array_equal(found["train"], train[..., None])
    np.testing.assert_array_equal(found["test"], test[..., None])


@pytest.mark.parametrize("axis", [(), (1,)])
def test_arrays_of_numpy(axis, tmp_path):
    images = bars(5).reshape(5, 8, 6, *axis)
    for path, expected in (
        (tmp_path / "one.npy", {"train": bars(5)}),
        (tmp_path / "one.npz", {"train": bars(5)}),
        (tmp_path / "two.npz", {"train": bars(5), "test": bars(3)}),
    ):
        if path.suffix == ".npy":
            np.save(path, images)
        elif len(expected) == 1:
            np.savez(path, images)
        else:
            np.savez_compressed(path, train=images, test=bars(3))
        found = read_images(path)
        assert found.keys() == expected.keys()
        for split, of_split in expected.items():
            np.testing.assert_array_equal(found[split], of_split)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.array([0, 51, 255], np.uint8), [0, 0.2, 1]),
        (np.array([0, 1, 1], np.uint8), [0, 1, 1]),
        (np.array([False, True, True]), [0, 1, 1]),
        (np.array([0, 1, 1]), [0, 1, 1]),
        (np.array([0, 0.2, 1]), [0, 0.2, 1]),
    ],
)
def test_types_of_pixels(images, expected, tmp_path):
    np.save(tmp_path / "some.npy", np.tile(images[:, None, None], [1, 2, 2]))
    found = read_images(tmp_path / "some.npy")["train"]
    assert found[0].dtype == np.float32
    np.testing.assert_array_equal(np.stack(found)[:, 1, 0, 0], np.float32(expected))


def test_what_is_white_is_the_same_for_all_arrays_of_a_file(tmp_path):
    white = np.full([2, 3, 3], 255, np.uint8)
    for train, test in ((white, white // 255), (white // 255, white)):
        np.savez(tmp_path / "some.npz", train=train, test=test)
        message = f"some.npz: has in train bytes up to {train.max()} and test bytes up to {test.max()}; expected one"
        with pytest.raises(UserError, match=message):
            read_images(tmp_path / "some.npz")
    np.savez(tmp_path / "some.npz", train=white, test=0 * white)  # Black is black.
    assert not read_images(tmp_path / "some.npz")["test"][0].any()


def test_black_and_white_pngs(tmp_path):
    write_png(tmp_path / "a.png", np.eye(4, 5, dtype=np.uint8)[..., None])
    np.testing.assert_array_equal(read_images(tmp_path)["train"][0], np.eye(4, 5)[..., None])


def test_a_folder_of_pngs(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, [3, 4, 5, 1]).astype(np.uint8)
    images[2] = np.eye(4, 5, dtype=np.uint8)[..., None]  # Nearly black, not binary.
    for name, image in zip(("b.png", "a.PNG", "c.png"), images, strict=True):
        write_png(tmp_path / name, image)
    for other in ("notes.txt", "._b.png"):  # the second as macOS leaves it on a disk that is not its own
        (tmp_path / other).write_text("not an image")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "older.png").mkdir()
    found = read_images(tmp_path)
    assert found.keys() == {"train"}
    np.testing.assert_array_equal(found["train"], images[[1, 0, 2]] / np.float32(255))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("one.mat", {"data": np.zeros([784, 2])}, "there is no array testdata of numbers; expected data and testdata"),
        ("one.mat", {"testdata": np.zeros([784, 2])}, "there is no array data of numbers"),
        (
            "one.mat",
            {"data": np.zeros([100, 2]), "testdata": np.zeros([784, 2])},
            "data has shape 100 x 2; expected 784 x number of images",
        ),
        (
            "one.mat",
            {"data": np.full([784, 2], 2.0), "testdata": np.zeros([784, 2])},
            "one.mat: train: image 0 has a pixel",
        ),
        ("one.mat", {"data": np.zeros([784, 2]), "testdata": np.zeros([784, 0])}, "one.mat: test: has no images"),
        ("one.npy", np.full([2, 3, 3], 1.5), r"image 0 has a pixel of 1.5; expected 0 to 1, or bytes \(uint8\)"),
        ("one.npy", np.full([2, 3, 3], -0.5), "image 0 has a pixel of -0.5"),
        ("one.npy", np.where(np.arange(8).reshape(2, 2, 2) == 5, np.nan, 0), "image 1 has a pixel of nan"),
        ("one.npy", np.full([2, 3, 3], 255), "image 0 has a pixel of 255"),
        (
            "one.npy",
            np.zeros([2, 3, 3, 3]),
            "has shape 2 x 3 x 3 x 3; expected number of images x height x width, grey,",
        ),
        (
            "one.npy",
            np.zeros([2, 1, 3, 4]),
            "has shape 2 x 1 x 3 x 4; expected number of images x height x width, grey,",
        ),
        ("one.npy", np.zeros([2, 9]), "has shape 2 x 9; expected number of images x height x width"),
        ("one.npy", np.zeros([0, 3, 3]), "has no images"),
        ("one.npy", np.zeros([2, 0, 3]), "has shape 2 x 0 x 3"),
        ("one.npy", np.full([2, 3, 3], 1j), "values of type complex128; expected numbers"),
        ("one.npy", np.array([[["a"]]]), "values of type <U1; expected numbers"),
        ("one.npy", b"not an array", "expected numbers saved by NumPy"),
        ("one.npz", b"not a zip file", "expected numbers saved by NumPy"),
        ("one.npz", {"a": bars(2), "b": bars(2)}, "has the arrays a, b; expected one, or train and test"),
        ("one.npz", {}, "has the arrays none; expected one"),
        ("one.txt", b"text", "expected a .mat, .npy or .npz file, or a folder of .png files"),
        ("none.npy", None, "there is no such file"),
        ("folder", {}, "there are no .png files in this folder"),
        ("folder", {"a": np.zeros([4, 4, 3])}, "a.png: has 3 channels; expected one, a grey image"),
        (
            "folder",
            {"a": np.zeros([4, 4, 1]), "b": np.zeros([4, 5, 1])},
            "b.png: has 4 x 5 pixels, a.png 4 x 4; expected images of one size",
        ),
        ("folder", {"a": b"\x89PNG nothing"}, "a.png: expected a PNG image"),
        # A header alone: what it says is looked at before TensorFlow makes room for it.
        (
            "folder",
            {"a": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II5B", 4097, 4096, 8, 0, 0, 0, 0)},
            "a.png: has 4096 x 4097 pixels; expected at most 16,777,216",
        ),
    ],
)
def test_what_is_wrong_with_a_file(name, content, message, tmp_path):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        for file, image in content.items():
            if isinstance(image, bytes):
                (path / f"{file}.png").write_bytes(image)
            else:
                write_png(path / f"{file}.png", image.astype(np.uint8))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    elif name.endswith(".mat"):
        write_mat(path, content)
    elif name.endswith(".npz"):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(UserError, match=message) as error:
        read_images(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_nothing_is_unpickled(tmp_path):
    np.save(tmp_path / "some.npy", np.array([object()]), allow_pickle=True)
    np.savez(tmp_path / "some.npz", np.array([{}], dtype=object))
    for name, where in (("some.npy", "some.npy"), ("some.npz", "some.npz: arr_0.npy")):
        with pytest.raises(UserError, match=f"{where}: values of type object; expected numbers"):
            read_images(tmp_path / name)

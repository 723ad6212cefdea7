"""Image files: arrays of NumPy, MAT-files, folders of PNGs."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.data.image_files import read_images
from tests import images, runs
from tests.fuzz.attempts import assert_refused_by, attempt, contents, examples
from tests.fuzz.mutations import mutated

KIND = "image files"
ARRAY = images.bars(5)
BURDA = np.linspace(0, 1, 784 * 3).reshape(784, 3)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def png(image: np.ndarray) -> bytes:
    return tf.io.encode_png(image).numpy()


NPY, PNG = npy(ARRAY), png(np.arange(30, dtype=np.uint8).reshape(6, 5, 1) * 8)
NPZ = npz(**{"train.npy": NPY, "test.npy": npy(ARRAY[:2])})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def mats(folder) -> list[bytes]:
    arrays = {"data": BURDA, "testdata": BURDA[:, :1]}
    return [images.write_mat(folder / "valid.mat", arrays, compress=one).read_bytes() for one in (True, False)]


def check(folder, content: bytes, name: str) -> None:
    path = folder / name
    path.write_bytes(content)
    whole = path.parent if name.endswith(".png") else path
    was_read, found = attempt(KIND, lambda: read_images(whole), path)
    if was_read:
        for of_split in map(np.stack, found.values()):
            assert of_split.dtype == np.float32
            assert of_split.ndim == 4
            assert of_split.shape[-1] == 1
            assert of_split.min() >= 0
            assert of_split.max() <= 1


class Unpickled:
    """Fails the test that unpickles it."""

    def __reduce__(self):
        return pytest.fail, ("something was unpickled",)


literal = st.recursive(
    st.sampled_from(
        ["1", "2", "-1", "True", "None", "'<f4'", "'|O'", "'f4,f4'", "'\\x1b'", "b''", "9" * 30, "1e9", "{}"]
    ),
    lambda inner: st.lists(inner, max_size=4).map(lambda some: f"({''.join(one + ',' for one in some)})"),
    max_leaves=5,
)
plain_header = st.builds(
    lambda *values: "{{'descr': {}, 'fortran_order': {}, 'shape': {}}}".format(*values),
    st.sampled_from(["'<f4'", "'|u1'", "'|b1'", "'>f8'", "'<f2'", "'|O'", "'<c8'", "'<U3'", "'<M8[s]'", "''"])
    | literal,
    st.sampled_from(["False", "True"]) | literal,
    st.lists(st.integers(-1, 5) | st.just(2**40), max_size=5).map(lambda sizes: str(tuple(sizes))) | literal,
)
odd_header = (
    st.sampled_from(["(" * 3000, "{" * 300, "'", "{'descr'", "[]" * 900, "\\", "{[]: 1}", "-" * 9000, '"\\d"'])
    | literal
)


def with_header(header: str, version: tuple[int, int], content: bytes, size: int) -> bytes:
    length = struct.pack("<H" if version[0] == 1 else "<I", max(0, min(len(header) + 1 + size, 2**16 - 1)))
    return b"\x93NUMPY" + bytes(version) + length + header.encode("latin1", "replace") + b"\n" + content


arrays_by_hand = st.builds(
    with_header,
    plain_header | odd_header,
    st.sampled_from([(1, 0), (1, 0), (2, 0), (3, 0), (9, 9)]),
    st.binary(max_size=40) | st.sampled_from([b"\0" * 48, b"\xff" * 100]),
    st.sampled_from([0, 0, 0, 0, -3, 7]),
)


def filled(shape: list[int], dtype: str, value: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.full(shape, value).astype(dtype)


values = st.sampled_from([0, 0.5, 1, 1.5, -0.1, 255, np.nan, np.inf, 1e300])
arrays_of_numpy = st.builds(
    filled,
    st.lists(st.integers(0, 4), max_size=5),
    st.sampled_from([bool, "u1", "i1", ">u2", "<i8", "f2", "f4", ">f8", "g", "c8", "O", "S2", "U2", "M8[s]", "u1,f4"]),
    values,
).map(npy)  # fmt: skip
arrays = arrays_by_hand | arrays_of_numpy | st.just(npy(np.array([Unpickled()])))
member_names = st.sampled_from(
    ["train.npy", "test.npy", "arr_0.npy", "notes.txt", "a\x1b[31m.npy", "../up.npy", "train"]
)
archives = st.dictionaries(member_names, arrays | st.binary(max_size=30) | st.just(NPY), max_size=3).map(
    lambda members: npz(**members)
)


@examples
@given(arrays)
@pytest.mark.filterwarnings("error")
def test_arrays_of_other_forms(folder, content):
    check(folder, content, "some.npy")


@examples
@given(archives | archives.flatmap(mutated))
@pytest.mark.filterwarnings("error")
def test_archives_of_other_forms(folder, content):
    check(folder, content, "some.npz")


@examples
@given(st.data())
def test_damaged_files(folder, mats, data):
    valid = {"damaged.npy": NPY, "damaged.npz": NPZ, "plain.mat": mats[1], "damaged.mat": mats[0]}
    name = data.draw(st.sampled_from([*valid, "pngs/damaged.png"]))
    (folder / "pngs").mkdir(exist_ok=True)
    check(folder, data.draw(mutated(valid.get(name, PNG))), name)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, depth: int, colours: int, rows: bytes) -> bytes:
    """Returns a PNG whose chunks are sound, whatever is in them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@examples
@given(
    st.builds(
        png_of,
        st.integers(0, 9) | st.just(2**31 - 1),
        st.integers(0, 9) | st.just(2**31 - 1),
        st.sampled_from([1, 2, 4, 8, 16, 3]),
        st.integers(0, 7),
        st.binary(max_size=200),
    )
    | st.sampled_from([b"GIF89a", tf.io.encode_jpeg(np.zeros([4, 4, 1], np.uint8)).numpy(), b"BM" + bytes(60)])
)
def test_pngs_of_other_forms(folder, content):
    (folder / "other").mkdir(exist_ok=True)
    check(folder, content, "other/some.png")


def mat_element(kind: int, content: bytes, size: int | None = None) -> bytes:
    return struct.pack("<II", kind, len(content) if size is None else size) + content + b"\0" * (-len(content) % 8)


@st.composite
def mat_files(draw) -> bytes:
    """A MAT-file whose header is right and whose elements are of any kind, size and nesting."""
    small = st.binary(max_size=24)
    sizes = st.none() | st.sampled_from([0, 1, 4, 8, 2**16, 2**31, 2**32 - 1])
    element = st.builds(mat_element, st.integers(0, 16) | st.just(2**16 + 1), small, sizes)
    name = st.sampled_from([b"data", b"testdata", b"\x1b[2J"])
    array = st.builds(
        lambda flags, shape, name, kind, numbers: mat_element(
            14,
            mat_element(6, struct.pack("<II", flags, 0))
            + mat_element(5, struct.pack(f"<{len(shape)}i", *shape))
            + mat_element(1, name)
            + mat_element(kind, numbers),
        ),
        st.sampled_from([6, 7, 9, 6 | 0x800, 99]),
        st.lists(st.integers(-1, 3) | st.sampled_from([784, 2**31 - 1]), max_size=70),
        name,
        st.integers(0, 14),
        small | st.just(bytes(784)) | st.just(bytes(784 * 8)),
    )
    packed = st.builds(
        lambda content, size, cut: mat_element(15, zlib.compress(struct.pack("<II", 14, size) + content)[:cut]),
        element | array,
        st.sampled_from([0, 16, 2**29, 2**32 - 1]),
        st.sampled_from([None, None, 5, -1]),
    )
    parts = draw(
        st.lists(element | array | array.map(lambda one: mat_element(15, zlib.compress(one))) | packed, max_size=4)
    )
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49) + b"".join(parts)


@examples
@given(mat_files())
def test_mat_files_of_other_forms(folder, content):
    check(folder, content, "some.mat")


def archive_of_zeros(size: int) -> bytes:
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.npy", "w") as member,
    ):
        for _ in range(size >> 20):
            member.write(bytes(2**20))
    return file.getvalue()


def mat_of_zeros(said: int) -> bytes:
    packed = zlib.compress(struct.pack("<II", 14, said) + bytes(2**27), 1)
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<HHII", 0x0100, 0x4D49, 15, len(packed)) + packed


LARGE = "{'descr': '|u1', 'fortran_order': False, 'shape': (30000, 300, 300)}"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("bomb.npy", lambda: with_header(LARGE, (1, 0), b"", 0)),
        ("bomb.npz", lambda: archive_of_zeros(600 << 20)),
        ("says.npz", lambda: npz(**{"a.npy": with_header(LARGE, (1, 0), b"", 0)})),
        ("less.mat", lambda: mat_of_zeros(64)),
        ("more.mat", lambda: mat_of_zeros(2**32 - 1)),
        ("bombs/bomb.png", lambda: png_of(30_000, 30_000, 8, 0, bytes(30_001 * 1_000))),
    ],
)
def test_small_files_that_come_to_gigabytes(name, make, folder):
    (folder / "bombs").mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(make())
    assert path.stat().st_size < 4_000_000
    was_read, _ = attempt(KIND, lambda: read_images(path.parent if name.endswith("png") else path), path)
    assert not was_read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("some.npy", NPY[:-1]),
        ("some.npz", NPZ[:300] + NPZ[301:]),
        ("some.mat", mat_of_zeros(2**20)),
        ("some.npy", npy(np.array([Unpickled()]))),
    ],
    ids=["cut", "damaged", "zeros", "object"],
)
def test_the_script_ends_with_one_line(name, content, launcher, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    before = contents(tmp_path)
    config = images.tiny(tmp_path / "run", str(tmp_path / "data"), str(path))
    assert_refused_by(launcher.run("bin/train.py", *runs.arguments(config)), path)
    assert contents(tmp_path) == before

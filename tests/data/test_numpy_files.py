"""Arrays from NumPy's files: those that NumPy itself reads, unless they are not what their header says."""

import io
import re
import zipfile

import numpy as np
import pytest

from sa_vae_tf.data.numpy_files import read_npy, read_npz
from sa_vae_tf.errors import UserError


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">i4", "f2", "<f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes(dtype, order, tmp_path):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype, order=order)
    np.save(tmp_path / "some.npy", array)
    np.savez_compressed(tmp_path / "some.npz", one=array, other=array[:1])
    found = {"": read_npy(tmp_path / "some.npy"), **read_npz(tmp_path / "some.npz")}
    for name, expected in {"": array, "one": array, "other": array[:1]}.items():
        assert found[name].dtype == expected.dtype
        np.testing.assert_array_equal(found[name], expected)


def header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected numbers saved by NumPy"),
        (header("(2, 3)") + b"12345", "bytes are not an array of shape (2, 3) of uint8"),
        (header("(2, 3)") + b"1234567", "bytes are not an array of shape (2, 3) of uint8"),
        (header("(9999999, 999999999)"), "bytes are not an array of shape (9999999, 999999999) of uint8"),
        (header("(-1, -6)") + b"123456", "bytes are not an array of shape (-1, -6) of uint8"),
        (header("(1, 1, 1, 1, 1)") + b"1", "bytes are not an array of shape (1, 1, 1, 1, 1) of uint8"),
        (header("(" * 500), "expected numbers saved by NumPy"),
        (header("{[]: 1}"), "expected numbers saved by NumPy"),
        (header("(1,)", "'|O'") + b"12345678", "values of type object; expected numbers"),
        (header("(1,)", "[('a', 'u1')]") + b"1", "values of type [('a', 'u1')]; expected numbers"),
    ],
)
def test_what_is_not_as_its_header_says(content, message, tmp_path):
    (tmp_path / "some.npy").write_bytes(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}/some.npy: .*{re.escape(message)}"):
        read_npy(tmp_path / "some.npy")
    with zipfile.ZipFile(tmp_path / "some.npz", "w") as archive:
        archive.writestr("one.npy", content)
    with pytest.raises(UserError, match=rf"^{tmp_path}/some.npz: one.npy: .*{re.escape(message)}"):
        read_npz(tmp_path / "some.npz")


def test_a_member_that_is_no_array(tmp_path):
    np.savez(tmp_path / "some.npz", one=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "some.npz", "a") as archive:
        archive.writestr("notes.txt", "text")
    with pytest.raises(UserError, match=r"some.npz: notes.txt: expected numbers saved by NumPy"):
        read_npz(tmp_path / "some.npz")


def test_a_small_file_of_many_zeros(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(33):
            archive.writestr(f"{number}.npy", bytes(2**24))
    (tmp_path / "some.npz").write_bytes(content.getvalue())
    with pytest.raises(UserError, match="some.npz: comes to more than 536,870,912 bytes; expected a .npy of so large"):
        read_npz(tmp_path / "some.npz")

"""Arrays of MAT-files as MATLAB and SciPy write them, and files that are damaged."""

import zlib

import numpy as np
import pytest

from sa_vae_tf.data import mat_files
from sa_vae_tf.data.mat_files import read_mat
from sa_vae_tf.errors import UserError
from tests.images import CLASSES, write_mat

ARRAY = np.arange(24.0).reshape(2, 3, 4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", CLASSES)
def test_arrays_come_back(order, compress, kind, tmp_path):
    arrays = {"one": ARRAY.astype(kind), "a": np.array([[7]], kind), "empty": np.zeros([0, 3], kind)}
    found = read_mat(write_mat(tmp_path / "some.mat", arrays, order, compress))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_whole_numbers_stored_in_few_bytes(tmp_path):
    found = read_mat(write_mat(tmp_path / "some.mat", {"data": ARRAY}, stored="u1"))["data"]
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, ARRAY)


@pytest.mark.parametrize("flags", [0x800, 16])
def test_other_kinds_of_arrays_are_passed_over(flags, tmp_path):
    # Complex numbers; and double with that bit is 22, no class of numbers.
    assert read_mat(write_mat(tmp_path / "some.mat", {"data": ARRAY}, flags=flags)) == {}


def test_another_format(tmp_path):
    for content in (b"", b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", b"\x89HDF\r\n" * 50):
        (tmp_path / "some.mat").write_bytes(content)
        with pytest.raises(UserError, match="some.mat: expected a MAT-file of version 5"):
            read_mat(tmp_path / "some.mat")
    with pytest.raises(UserError, match=r"none.mat: cannot be read \(No such file"):
        read_mat(tmp_path / "none.mat")


@pytest.mark.parametrize("compress", [False, True])
def test_a_damaged_file_is_an_error_or_another_array(compress, tmp_path):
    path = write_mat(tmp_path / "some.mat", {"data": ARRAY}, compress=compress)
    sound = path.read_bytes()
    wrong = [sound[:size] for size in range(129, len(sound))]
    # Every byte after the header, one at a time.
    wrong += [sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :] for place in range(128, len(sound))]
    failed = 0
    for content in wrong:
        path.write_bytes(content)
        try:
            read_mat(path)
        except UserError as error:
            failed += "damaged MAT-file" in str(error)
    # What is compressed has a checksum. Else numbers, names and what is between them may be anything.
    assert failed >= (len(wrong) - 8 if compress else len(sound) - 129)


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_that_are_too_large_together(compress, tmp_path, monkeypatch):
    # Room for one, with what is around its numbers.
    monkeypatch.setattr(mat_files, "MAX_EXPANDED", 2 * ARRAY.nbytes - 8)
    arrays = {"one": ARRAY}
    assert read_mat(write_mat(tmp_path / "some.mat", arrays, compress=compress)).keys() == arrays.keys()
    arrays["other"] = ARRAY
    with pytest.raises(UserError, match=r"some.mat: damaged MAT-file \(its arrays come to more than"):
        read_mat(write_mat(tmp_path / "some.mat", arrays, compress=compress))


def test_no_more_is_decompressed_than_the_size_says(tmp_path):
    path = write_mat(tmp_path / "some.mat", {"data": np.zeros([1000, 1000])})
    content = bytearray(path.read_bytes())
    assert len(content) < 20_000 < read_mat(path)["data"].nbytes
    whole = bytearray(zlib.decompress(content[136:]))
    whole[4:8] = (100).to_bytes(4, "little")
    packed = zlib.compress(bytes(whole))
    path.write_bytes(bytes(content[:132]) + len(packed).to_bytes(4, "little") + packed)
    with pytest.raises(UserError, match="damaged MAT-file"):
        read_mat(path)

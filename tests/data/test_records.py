"""Prepared examples by number; what is damaged is named."""

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from sa_vae_tf.data import records as of_records
from sa_vae_tf.data.records import Records, RecordsBuilder, parts
from sa_vae_tf.errors import UserError

COUNT = 2000


class Numbers(RecordsBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"x": tfds.features.Tensor(shape=(40,), dtype=np.int64)})
        return self.dataset_info_from_configs(features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        return ((i, {"x": np.full(40, i)}) for i in range(COUNT))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    builder = Numbers(data_dir=folder)
    # Two files.
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    return folder


def read(records: Records, numbers: list[int]) -> list[int]:
    return [int(example["x"][0]) for example in records.__getitems__(numbers)]


def records_in(folder) -> Records:
    return Records(Numbers(data_dir=folder), "train")


def test_examples_by_number(prepared):
    records = records_in(prepared)
    assert len(records) == COUNT
    numbers = [5, 0, COUNT - 1, 5, COUNT // 2]
    assert read(records, numbers) == numbers


def test_parts_are_read_one_after_the_other(prepared, monkeypatch):
    monkeypatch.setattr(of_records, "PART", 300)  # the fourth is in both files
    opened = []
    builder = Numbers(data_dir=prepared)
    source = builder.as_data_source
    monkeypatch.setattr(builder, "as_data_source", lambda split: opened.append(split) or source(split))
    records = Records(builder, "train")
    for part in range(0, COUNT, 300):
        numbers = list(range(part, min(part + 300, COUNT)))
        assert read(records, numbers[::-1]) == numbers[::-1]
        assert read(records, numbers[:3]) == numbers[:3]
    assert opened == [f"train[{first}:{min(first + 300, COUNT)}]" for first in range(0, COUNT, 300)]
    numbers = [5, COUNT - 1, 299, 300, 5]
    assert read(records, numbers) == numbers
    # Of two parts by turns the files are opened each time: those of one are open.
    opened.clear()
    for number in (0, 300, 0, 300):
        assert read(records, [number]) == [number]
    assert opened == ["train[0:300]", "train[300:600]"] * 2


def test_where_numbers_are_cut_into_parts(monkeypatch):
    monkeypatch.setattr(of_records, "PART", 4)
    assert parts(range(9)) == [range(4), range(4, 8), range(8, 9)]
    assert parts(range(8)) == [range(4), range(4, 8)]
    assert parts(np.array([1, 3, 4, 12])) == [range(2), range(2, 3), range(3, 4)]
    assert parts([]) == []


@pytest.mark.parametrize("shard", [0, 1])
def test_a_damaged_record_is_named(shard, prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "copy")
    path = sorted(folder.rglob("*array_record*"))[shard]
    content = bytearray(path.read_bytes())
    # In the part of the file that holds records; after them comes what is padded to a whole block.
    content[len(content.rstrip(b"\0")) // 3] ^= 16
    path.write_bytes(content)
    records = records_in(folder)
    damaged = [number for number in range(COUNT) if not is_readable(records, number)]
    first = shard * COUNT // 2
    assert damaged
    assert set(damaged) <= set(range(first, first + COUNT // 2))
    with pytest.raises(UserError) as error:
        read(records, [0 if shard else COUNT - 1, damaged[0], damaged[0] - 1])
    record = damaged[0] - first
    wanted = f"{path}: record {record} is damaged; delete {path.parent}, and the same command prepares it anew"
    assert str(error.value) == wanted


def is_readable(records: Records, number: int) -> bool:
    try:
        return read(records, [number]) == [number]
    except UserError:
        return False


def test_a_file_that_is_cut_off_or_gone(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "copy")
    path = sorted(folder.rglob("*array_record*"))[1]
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"^{path}: record 0 is damaged"):
        read(records_in(folder), [COUNT // 2])
    path.unlink()
    with pytest.raises(UserError, match=f"^{path}: record 0 is damaged"):
        read(records_in(folder), [COUNT // 2])


def test_an_error_of_the_moment_is_no_damage(prepared, monkeypatch):
    records = records_in(prepared)
    whole, errors = records._read, [RuntimeError("Too many open files")]

    def sometimes(numbers):
        if errors:
            raise errors.pop()
        return whole(numbers)

    monkeypatch.setattr(records, "_read", sometimes)
    with pytest.raises(RuntimeError, match="Too many open files"):
        read(records, [3, 4])
    assert read(records, [3, 4]) == [3, 4]

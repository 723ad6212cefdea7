"""Preparing once, with clear errors."""

import errno
import fcntl
import logging
import os
import threading
import time
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError
from tensorflow_datasets.core import shuffle

from sa_vae_tf.data import manifest, synthetic
from sa_vae_tf.data.preparation import KEY_BITS, PART_BYTES, PARTS, fingerprint, key_shift, prepare
from sa_vae_tf.errors import UserError

# Where the data of the builder here is prepared.
PLACE = Path("numbers", "1.0.0")


class Builder:
    """Stands for a TFDS builder, which reads its files when it is made."""

    name, VERSION = "numbers", "1.0.0"
    error: Exception | None = None

    def __init__(self, *, config, data_dir):
        self.data_path = data_dir / PLACE
        if self.is_prepared() and (self.data_path / "info").read_text() != "{}":
            raise ParseError("line 1\nline 2")

    def is_prepared(self):
        return (self.data_path / "info").exists()

    def download_and_prepare(self):
        if self.error:
            raise self.error
        print("Downloading")
        assert not self.is_prepared()
        time.sleep(0.2)
        self.data_path.mkdir(parents=True)
        (self.data_path / "data").write_text("whole")
        (self.data_path / "info").write_text("{}")


def failing(error):
    return type("Failing", (Builder,), {"error": error})


def test_of_runs_that_start_at_once_one_prepares(tmp_path, capfd):
    builders = []
    run = lambda: builders.append(prepare(Builder, None, str(tmp_path), "x"))  # noqa: E731
    runs = [threading.Thread(target=run) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [builder.is_prepared() for builder in builders] == [True] * 4
    assert capfd.readouterr().out == ""


def test_a_run_that_waits_for_another_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, "sa_vae_tf")
    run = threading.Thread(target=prepare, args=(Builder, None, str(tmp_path), "x"))
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run.start()
        limit = time.monotonic() + 60
        while not caplog.records:
            assert time.monotonic() < limit
            time.sleep(0.01)
    run.join()
    assert [record.getMessage() for record in caplog.records] == [
        f"Waiting for another process that prepares data in {tmp_path}",
        f"Preparing x in {tmp_path / PLACE}",
    ]


def test_what_is_prepared_needs_no_lock(tmp_path):
    prepare(Builder, None, str(tmp_path), "x")
    (tmp_path / ".lock").unlink()
    assert prepare(Builder, None, str(tmp_path), "x").is_prepared()
    assert not (tmp_path / ".lock").exists()


def test_folder_in_the_user_s_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepare(Builder, None, "~/data", "x").data_path == tmp_path / "data" / PLACE


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG])
@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_full_disk(tmp_path, code, kind):
    error = OSError(code, os.strerror(code)) if kind is OSError else RuntimeError(f"write(): {os.strerror(code)}; at 9")
    with pytest.raises(OSError, match=os.strerror(code)) as raised:
        prepare(failing(error), None, str(tmp_path), "x")
    assert raised.value.errno == code


def test_other_errors(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"^--data_dir={tmp_path}: cannot write there .Permission denied.$"):
        prepare(failing(PermissionError(13, "Permission denied")), None, str(tmp_path), "x")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path / "file"))
    for data_dir in (None, ""):  # The folder is named, not the flag's empty value.
        with pytest.raises(UserError, match=f"^--data_dir={tmp_path}/file: cannot write there .File exists.$"):
            prepare(Builder, None, data_dir, "x")
    for error in (RuntimeError("else"), UserError("the user's")):
        with pytest.raises(type(error), match=f"^{error}$"):
            prepare(failing(error), None, str(tmp_path), "x")


def test_what_is_prepared_and_cannot_be_read(tmp_path, monkeypatch):
    file = prepare(Builder, None, str(tmp_path), "x").data_path / "data"

    def unreadable(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

    monkeypatch.setattr(manifest, "sha256", unreadable)
    with pytest.raises(UserError, match=f"^{file}: cannot be read .Input/output error.$"):
        prepare(Builder, None, str(tmp_path), "x")


def test_what_a_killed_process_left_is_prepared_anew(tmp_path):
    (tmp_path / PLACE).mkdir(parents=True)
    (tmp_path / PLACE / "data").write_text("hal")
    builder = prepare(Builder, None, str(tmp_path), "x")
    assert (builder.data_path / "data").read_text() == "whole"


def test_what_another_program_prepared_is_kept(tmp_path):
    (tmp_path / PLACE).mkdir(parents=True)
    (tmp_path / PLACE / "info").write_text("{}")
    (tmp_path / PLACE / "data").write_text("theirs")
    builder = prepare(Builder, None, str(tmp_path), "x")
    assert (builder.data_path / "data").read_text() == "theirs"


@pytest.mark.parametrize("name", ["data", "info"])
def test_prepared_data_that_is_damaged(name, tmp_path):
    place = prepare(Builder, None, str(tmp_path), "x").data_path
    (place / name).write_text("")
    with pytest.raises(UserError, match=f"^{place}/{name}: is damaged; delete {place}, and the same command makes it"):
        prepare(Builder, None, str(tmp_path), "x")


def test_what_another_program_prepared_and_cannot_be_read(tmp_path):
    (tmp_path / PLACE).mkdir(parents=True)
    (tmp_path / PLACE / "info").write_text("")
    message = f"^{tmp_path / PLACE}: what was prepared there cannot be read .ParseError.; delete that folder, and"
    with pytest.raises(UserError, match=message):
        prepare(Builder, None, str(tmp_path), "x")
    assert (tmp_path / PLACE / "info").exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b'{"fileFormat": "none"}'])
def test_damage_is_named_before_tfds_reads_it(content, tmp_path):
    def prepared():
        return synthetic.builder(seed=1, examples=3, data_dir=str(tmp_path))

    place = Path(prepared().data_dir)
    assert place == tmp_path / "synthetic_sequences" / "seed_1_3" / str(prepared().VERSION)
    (place / "dataset_info.json").write_bytes(content)
    with pytest.raises(UserError, match=f"^{place}/dataset_info.json: is damaged; delete {place}, and the same"):
        prepared()
    (place / manifest.NAME).unlink()
    with pytest.raises(UserError, match=f"^{place}: what was prepared there cannot be read .[A-Za-z]*Error.; delete"):
        prepared()


def test_a_file_that_changes_while_it_is_read(tmp_path):
    source = tmp_path / "source"
    source.write_text("one")
    files = fingerprint(source)

    class Changing(Builder):
        def download_and_prepare(self):
            source.write_text("another")
            super().download_and_prepare()

    with pytest.raises(UserError, match=f"^{source}: changed while it was read; give the same command again$"):
        prepare(Changing, None, str(tmp_path), "x", files)
    # Nothing of it is used.
    assert prepare(Builder, None, str(tmp_path), "x", fingerprint(source)).is_prepared()


def test_a_pipe_is_no_file_that_is_read_more_than_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(UserError, match=f"^{path}: is a pipe or a device; expected a file, which is read more tha"):
            fingerprint(path)


@pytest.mark.parametrize(
    ("count", "size", "at_most"),
    [
        (10**5, 3136, PART_BYTES // 3136),
        (10**6, 3136, PART_BYTES // 3136),
        (10**3, 2**30, 2),  # more than a part may have, each
        (2**27, 800, 2**28 // PARTS),  # more than the parts have room for
    ],
)
def test_parts_are_of_bounded_size(count, size, at_most):
    shift = key_shift(count, size)
    assert (count - 1) << shift < 2**KEY_BITS
    assert 0 < (2**KEY_BITS // PARTS) >> shift <= at_most
    parts = [shuffle.get_bucket_number(number << shift, PARTS) for number in (0, at_most + 1, count - 1)]
    assert parts[0] == 0 < parts[1] <= parts[2] < PARTS

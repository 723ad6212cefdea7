"""Files that are written whole, folders that can be written, paths that TensorFlow cannot read from."""

import errno
import os

import pytest
import tensorflow as tf

from sa_vae_tf import files
from sa_vae_tf.errors import UserError
from sa_vae_tf.files import check_readable, writable_folder, write_atomically


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "some.txt"
    assert write_atomically(path, "one\n") == path
    write_atomically(path, "two\n")
    assert path.read_text() == "two\n"

    def fail(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "three\n")
    assert path.read_text() == "two\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_made_or_refused(tmp_path):
    for _ in range(2):
        assert writable_folder("runs", tmp_path / "a/b") == tmp_path / "a/b"
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a/b"]
    assert not list((tmp_path / "a/b").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^--runs={tmp_path}/file: cannot write there .File exists.$"):
        writable_folder("runs", tmp_path / "file")


@pytest.mark.parametrize("name", ["a*b", "a?b", "a]b", "{a}", "a b", "ä"])
def test_what_tensorflow_reads(name, tmp_path):
    folder = tmp_path / name
    check_readable("run_dir", folder)
    (tmp_path / "aXb").mkdir()  # Which a pattern matches as well.
    for path, value in ((tmp_path / "aXb", 2.0), (folder, 1.0)):
        tf.train.Checkpoint(variable=tf.Variable(value)).write(str(path / "checkpoint"))
    variable = tf.Variable(0.0)
    tf.train.Checkpoint(variable=variable).read(str(folder / "checkpoint"))
    assert variable.numpy() == 1.0


@pytest.mark.parametrize("name", ["a[1]b", "a\\b"])
def test_what_it_does_not_read(name, tmp_path):
    path = tf.train.Checkpoint(variable=tf.Variable(1.0)).write(str(tmp_path / name / "checkpoint"))
    with pytest.raises(tf.errors.NotFoundError):
        tf.train.load_checkpoint(path)
    with pytest.raises(UserError) as error:
        check_readable("run_dir", tmp_path / name)
    expected = "TensorFlow could not read what it writes there; expected a path without [ and \\"
    assert str(error.value) == f"--run_dir={tmp_path / name}: {expected}"

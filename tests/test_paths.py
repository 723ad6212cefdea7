"""Paths that TensorFlow can write to and not read from."""

import pytest
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.paths import check_readable


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

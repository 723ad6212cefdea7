"""Files that change after a run began."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.sources import (
    check_kept_sources,
    check_sources,
    check_test_file,
    explaining_moved_files,
    from_anywhere,
    moved,
    write_sources,
)


@pytest.fixture
def run(tmp_path):
    """A run that has begun."""
    run = RunFolder(tmp_path / "run")
    (run.path / "checkpoints").mkdir(parents=True)
    return run


def keep_sources(run, sources, test_file=""):
    """Checks files and writes them down, as training does."""
    write_sources(run, {**check_sources(run, sources), **check_test_file(run, test_file)})


def test_a_file_that_changes(run, tmp_path):
    train = tmp_path / "train.txt"
    train.write_text("a b\n")
    sources = {"train": str(train)}
    keep_sources(run, sources)
    keep_sources(run, sources)
    check_sources(run, sources)
    # Written anew, or touched, it is the same.
    os.utime(train, (1, 1))
    keep_sources(run, sources)
    train.write_text("a c\n")
    for check in (keep_sources, check_sources):
        with pytest.raises(UserError) as error:
            check(run, sources)
    began = f"holds something else than when the run in --run_dir={run.path} began (4 bytes then, 4 now)"
    assert str(error.value) == f"{train}: {began}; expected what it was, or another run"
    train.write_text("a b\n")
    check_sources(run, sources)
    # A split that came later.
    kept = (run.path / "sources.json").read_text()
    check_sources(run, {**sources, "test": str(train)})
    assert (run.path / "sources.json").read_text() == kept
    keep_sources(run, {**sources, "test": str(train)})
    assert (run.path / "sources.json").read_text() != kept


def test_files_are_found_where_they_were(run, tmp_path):
    check_kept_sources(run)
    for split in ("train", "validation"):
        (tmp_path / split).write_text("a b\n")
    keep_sources(run, {split: str(tmp_path / split) for split in ("train", "validation")})
    check_kept_sources(run)
    (tmp_path / "train").unlink()
    check_kept_sources(run)
    (tmp_path / "validation").write_text("a c\n")
    with pytest.raises(UserError, match="validation: holds something else"):
        check_kept_sources(run)


@pytest.mark.parametrize("path", [None, 3, "", "\0"])
def test_a_place_that_is_none(path, run):
    state = {"path": path, "bytes": 1, "modified_ns": 1, "sha256": ""}
    (run.path / "sources.json").write_text(json.dumps({"train": state}))
    check_kept_sources(run)


def test_a_folder(run, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "ab":
        (folder / f"{name}.png").write_bytes(name.encode())
    keep_sources(run, {"train": str(folder)})
    # What is not read does not count.
    (folder / ".DS_Store").write_bytes(b"c")
    (folder / "more.png").mkdir()
    check_sources(run, {"train": str(folder)})
    # One of them that changes, of the same size, is the newest.
    for seconds, name in enumerate("ab"):
        os.utime(folder / f"{name}.png", (seconds, seconds))
    keep_sources(run, {"train": str(folder)})
    (folder / "b.png").write_bytes(b"d")
    with pytest.raises(UserError, match="2 bytes then, 2 now"):
        check_sources(run, {"train": str(folder)})
    (folder / "b.png").write_bytes(b"b")
    (folder / "c.png").write_bytes(b"c")
    with pytest.raises(UserError, match="2 bytes then, 3 now"):
        check_sources(run, {"train": str(folder)})
    for name in "abc":
        (folder / f"{name}.png").unlink()
    with pytest.raises(UserError, match=f"^{folder}: is a folder without .png files; expected"):
        check_kept_sources(run)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'{"train": 3}', b'{"train": {}}', b"\xff"])
def test_a_list_that_is_damaged_is_made_anew(content, run, tmp_path, caplog):
    np.save(tmp_path / "a.npy", np.zeros(3))
    sources = {"train": str(tmp_path / "a.npy")}
    (run.path / "sources.json").write_bytes(content)
    keep_sources(run, sources)
    [record] = caplog.records
    assert record.getMessage().startswith(f"{run.path}/sources.json: is damaged: whether the run's files have changed")
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(UserError, match="holds something else"):
        check_sources(run, sources)


def test_a_run_without_files(run):
    check_sources(run, {})
    assert not (run.path / "sources.json").exists()


def test_a_folder_in_which_nothing_has_begun(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    for content in "ab":
        (tmp_path / "x").write_text(content)
        check_sources(run, {"train": str(tmp_path / "x")})


def settings(folder) -> Config:
    """Returns settings that name three files of a folder, after writing those that are not there."""
    folder.mkdir(exist_ok=True)
    files = {name: str(folder / name) for name in ("train_file", "val_file", "vocab_file")}
    for name in files:
        (folder / name).exists() or (folder / name).write_text(name)
    return Config(data="text", **files)


def test_files_that_were_moved_are_those_that_hold_the_same(run, tmp_path, monkeypatch):
    there, here = settings(tmp_path / "old"), settings(tmp_path / "new")
    assert moved(run, there, here) == there  # Nothing is known of what they held.
    keep_sources(run, {"train": there.train_file, "validation": there.val_file, "vocabulary": there.vocab_file})
    assert moved(run, there, here) == here
    (tmp_path / "new" / "val_file").write_text("other")
    found = moved(run, there, here)
    assert (found.train_file, found.val_file, found.vocab_file) == (here.train_file, there.val_file, here.vocab_file)
    # The same place in other words, whatever it holds now.
    monkeypatch.chdir(tmp_path / "old")
    (tmp_path / "old" / "val_file").write_text("other")
    assert moved(run, there, dataclasses.replace(there, val_file="val_file")).val_file == "val_file"
    (tmp_path / "new" / "train_file").unlink()
    with pytest.raises(UserError, match=f"^--train_file={tmp_path}/new/train_file: cannot be read"):
        moved(run, there, here)


def test_files_are_found_from_any_folder(run, tmp_path, monkeypatch):
    whole = settings(tmp_path / "data")
    names = {name: name for name in ("train_file", "val_file", "vocab_file", "test_file")}
    (tmp_path / "data" / "test_file").write_text("test")
    monkeypatch.chdir(tmp_path / "data")
    given = Config(data="text", **names)
    assert from_anywhere(run, given) == given
    keep_sources(run, {"train": given.train_file, "validation": given.val_file}, given.test_file)
    # Another folder has others of these names.
    settings(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    found = from_anywhere(run, given)
    assert (found.train_file, found.val_file, found.vocab_file) == (whole.train_file, whole.val_file, given.vocab_file)
    assert found.test_file == str(tmp_path / "data" / "test_file")
    # Somebody wrote another name into flags.txt.
    assert from_anywhere(run, dataclasses.replace(given, test_file="val_file")).test_file == "val_file"
    # Where all has been moved, to another machine perhaps, the names are those of this folder.
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert from_anywhere(run, given) == given


def test_the_test_file_may_be_another(run, tmp_path):
    whole = settings(tmp_path / "data")
    sources = {"train": whole.train_file}
    keep_sources(run, sources, whole.val_file)
    keep_sources(run, sources, whole.vocab_file)
    Path(whole.vocab_file).write_text("other")
    check_kept_sources(run)
    with pytest.raises(UserError, match=f"^--test_file={tmp_path}/none: cannot be read"):
        keep_sources(run, sources, f"{tmp_path}/none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"^--test_file={tmp_path}/empty: is a folder without .png files"):
        keep_sources(run, sources, f"{tmp_path}/empty")


def test_what_is_to_be_done_where_a_file_is_missing(run):
    run.flags_file.write_text("--data=text\n--train_file=b.txt\n--val_file=a.txt\n")
    with pytest.raises(UserError) as error, explaining_moved_files(run):
        raise UserError("--val_file=a.txt: cannot be read (No such file or directory)")
    assert str(error.value).endswith(f"; if it was moved, write its new place into {run.flags_file}")
    for message in ("--val_file=a.txt: is empty", "--test_file=a: cannot be read (No such file or directory)"):
        with pytest.raises(UserError) as error, explaining_moved_files(run):
            raise UserError(message)
        assert str(error.value) == message

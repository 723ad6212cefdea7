"""Files that change after a run began."""

import json
import os

import numpy as np
import pytest

from sa_vae_tf.errors import UserError
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.sources import check_kept_sources, check_sources, keep_sources


@pytest.fixture
def run(tmp_path):
    """A run that has begun."""
    run = RunFolder(tmp_path / "run")
    (run.path / "checkpoints").mkdir(parents=True)
    return run


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
    (folder / "c.png").write_bytes(b"c")
    with pytest.raises(UserError, match="2 bytes then, 3 now"):
        check_sources(run, {"train": str(folder)})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b'{"train": 3}', b'{"train": {}}', b"\xff"])
def test_a_list_that_is_damaged_is_made_anew(content, run, tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    sources = {"train": str(tmp_path / "a.npy")}
    (run.path / "sources.json").write_bytes(content)
    keep_sources(run, sources)
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

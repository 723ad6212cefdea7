"""The checksums of an export's files."""

import shutil
import subprocess

import pytest

from sa_vae_tf.export.manifest import MANIFEST, write_manifest


@pytest.fixture
def folder(tmp_path):
    for name in ("saved_model.pb", "variables/variables.index", "assets/wörter.txt", "assets.extra/other"):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100_000)
    write_manifest(tmp_path / "model")
    return tmp_path / "model"


def test_every_file_is_listed_once(folder):
    lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    names = ["assets.extra/other", "assets/wörter.txt", "saved_model.pb", "variables/variables.index"]
    assert sorted(line[66:] for line in lines) == names
    assert all(line[64:66] == "  " for line in lines)
    write_manifest(folder)
    assert (folder / MANIFEST).read_text(encoding="utf-8").splitlines() == lines


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum here")
def test_sha256sum_checks_it(folder):
    command = ["sha256sum", "--check", "--strict", MANIFEST]
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0
    (folder / "saved_model.pb").write_bytes(b"another")
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "saved_model.pb: FAILED" in ended.stdout

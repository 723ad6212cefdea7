"""What was made is looked at before it is used."""

import pytest

from sa_vae_tf.data import manifest
from sa_vae_tf.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name, content in (("info.json", "{}"), ("empty", ""), ("a-train.array_record-00000-of-00001", "records")):
        (tmp_path / name).write_text(content)
    assert not manifest.exists(tmp_path)
    manifest.write(tmp_path)
    return tmp_path


def test_a_folder_as_it_was(folder):
    assert manifest.exists(folder)
    manifest.check(folder)
    (folder / "new").write_text("another file")
    manifest.check(folder)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("info.json", b"{ ", "damaged"),
        ("info.json", b"{}}", "damaged"),
        ("info.json", None, "missing"),
        ("empty", b"x", "damaged"),
        ("a-train.array_record-00000-of-00001", b"record", "damaged"),
        # Of the same size: its own checksums tell.
        ("a-train.array_record-00000-of-00001", b"recorda", ""),
        (manifest.NAME, b"", "damaged"),
        (manifest.NAME, b"[1]", "damaged"),
        (manifest.NAME, b"\xff", "damaged"),
    ],
)
def test_damage(name, content, what, folder):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    if not what:
        return manifest.check(folder)
    with pytest.raises(UserError) as error:
        manifest.check(folder)
    wanted = f"{folder / name}: is {what}; delete {folder}, and the same command makes it anew"
    assert str(error.value) == wanted

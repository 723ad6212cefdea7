"""Checksums of files, as other programs know them."""

from sa_vae_tf.checksums import git_blob, sha256


def test_what_others_give(tmp_path):
    (tmp_path / "a").write_bytes(b"hello\n")
    (tmp_path / "b").write_bytes(b"")
    # `git hash-object` and `sha256sum`.
    assert git_blob(tmp_path / "a") == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert git_blob(tmp_path / "b") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert sha256(tmp_path / "b") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256(tmp_path / "a", tmp_path / "b") == sha256(tmp_path / "a")

"""The checksums of an export's files: a damaged one is known before TensorFlow reads it, and perhaps crashes on it."""

from __future__ import annotations

from pathlib import Path

from sa_vae_tf.checksums import sha256

# Where SavedModels keep what TensorFlow does not read; in the form of `sha256sum`, which can check it too.
MANIFEST = "assets.extra/SHA256SUMS"


def write_manifest(folder: Path) -> None:
    """Writes the checksum of every file of a SavedModel."""
    manifest = folder / MANIFEST
    manifest.parent.mkdir(exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != manifest)
    lines = (f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    manifest.write_text("".join(lines), encoding="utf-8")

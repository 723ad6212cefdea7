"""Files and folders: written whole or not at all, or refused in one line before any work is done."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sa_vae_tf.errors import UserError


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Writes a file whole or not at all, replacing the one that was there, and returns its path; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: two that evaluate one run may end together.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        return temporary.replace(path)
    except BaseException:  # As of a full disk, of which it would hold a part.
        temporary.unlink(missing_ok=True)
        raise


def writable_folder(flag: str, path: str | Path) -> Path:
    """Returns a folder that can be written, which is made if it is not there.

    Raises:
      UserError: if there can be none; names the flag.
    """
    try:
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UserError(f"--{flag}={path}: cannot write there ({error.strerror})") from None


def check_readable(flag: str, folder: str | Path) -> None:
    r"""Checks that TensorFlow can read again what it writes into a folder.

    It takes the path of a checkpoint that it reads, as it is given, for a pattern. * and ? match themselves, [...] and
    \ do not.

    Raises:
      UserError: if it could not.
    """
    if "[" in str(folder) or "\\" in str(folder):
        raise UserError(
            f"--{flag}={folder}: TensorFlow could not read what it writes there; expected a path without [ and \\"
        )

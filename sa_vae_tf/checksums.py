"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any


def sha256(*paths: str | Path) -> str:
    """Returns the SHA-256 of what is in these files, one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        _add(digest, path)
    return digest.hexdigest()


def git_blob(path: str | Path) -> str:
    """Returns by what name git keeps what is in a file, in hexadecimal digits: a checksum that repositories publish."""
    digest = hashlib.sha1(b"blob %d\0" % Path(path).stat().st_size, usedforsecurity=False)
    _add(digest, path)
    return digest.hexdigest()


def _add(digest: Any, path: str | Path) -> None:
    with open(path, "rb") as file:
        while content := file.read(2**20):
            digest.update(content)

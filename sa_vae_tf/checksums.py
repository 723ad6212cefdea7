"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(*paths: str | Path) -> str:
    """Returns the SHA-256 of what is in these files, one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while content := file.read(2**20):
                digest.update(content)
    return digest.hexdigest()

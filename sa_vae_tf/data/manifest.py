"""What the files of a folder were when it was made, so that damage is noticed before it is used."""

from __future__ import annotations

import json
from pathlib import Path

from sa_vae_tf.checksums import sha256
from sa_vae_tf.errors import UserError
from sa_vae_tf.files import write_atomically

NAME = "manifest.json"
# Their records have checksums of their own, and may be too many to be read at every start.
RECORDS = "array_record"


def exists(folder: str | Path) -> bool:
    """Whether the folder was made to its end."""
    return Path(folder, NAME).is_file()


def write(folder: str | Path) -> None:
    """Writes down what is in a folder."""
    found = {file.name: _state(file) for file in sorted(Path(folder).iterdir())}
    write_atomically(Path(folder, NAME), json.dumps(found, indent=1))


def check(folder: str | Path) -> None:
    """Checks that all is in the folder as it was written.

    Raises:
      UserError: if anything is missing or different.
    """
    path = Path(folder, NAME)
    remedy = f"delete {folder}, and the same command makes it anew"
    try:
        expected = dict(json.loads(path.read_text()))
    except (ValueError, TypeError):
        raise UserError(f"{path}: is damaged; {remedy}") from None
    for name, state in expected.items():
        file = Path(folder, name)
        if not file.is_file() or _state(file) != state:
            raise UserError(f"{file}: is {'damaged' if file.is_file() else 'missing'}; {remedy}")


def _state(file: Path) -> list[int | str]:
    """Returns the size of a file and, unless it holds records, its SHA-256."""
    if RECORDS in file.name:
        return [file.stat().st_size]
    return [file.stat().st_size, sha256(file)]

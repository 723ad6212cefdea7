"""Paths that TensorFlow can write to and not read from."""

from pathlib import Path

from sa_vae_tf.errors import UserError


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

"""Flag files: a flag on each line, comments on lines that begin with # or //, other flag files by --flagfile=name.

Read here rather than by absl, which ignores a file that includes itself, and follows files that include each other to
any depth and any number. A value that is ~ or begins with ~/, there or on the command line, is in the home folder:
shells leave it as it is behind an equals sign.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from sa_vae_tf.errors import UserError

WANTED = "expected a file with a flag on each line"
LONGEST_NAME = 60
MAX_BYTES = 1_000_000
MAX_FILES = 100  # that one includes, counted as often as they are included


def expand(argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Puts the flags of the files that a command line names in their place.

    Returns:
      The command line without --flagfile, and the flags of each file that it named.

    Raises:
      UserError: if a file cannot be read, has no flag, or includes itself.
    """
    files: dict[str, list[str]] = {}
    expanded: list[str] = []
    rest = iter(argv)
    for argument in rest:
        if argument == "--":
            return [*expanded, argument, *rest], files
        name = _named(argument)
        if name is None:
            expanded.append(_at_home(_checked(argument)))
        else:
            name = name or ("" if "=" in argument else next(rest, ""))
            files[name] = read_flag_file(name)
            expanded += files[name]
    return expanded, files


def read_flag_file(name: str) -> list[str]:
    """Returns the flags of a file and of those that it includes.

    Raises:
      UserError: if a file cannot be read, has no flag, or includes itself.
    """
    read: list[str] = []
    lines = _lines(name, (), read)
    if not lines:
        raise UserError(f"--flagfile={name}: there is no flag in it; {WANTED}")
    return lines


def _lines(name: str, within: tuple[str, ...], read: list[str]) -> list[str]:
    """Returns the flags of a file that is included by those `within`; `read` are all that were read so far."""
    path = os.path.expanduser(name)
    text = _text(name, path)  # before its place is looked for, which a name with a null byte has not
    if os.path.realpath(path) in within:
        raise UserError(f"--flagfile={name}: includes itself; {WANTED}")
    read.append(name)
    if len(read) > 1 + MAX_FILES:
        raise UserError(f"--flagfile={read[0]}: includes more than {MAX_FILES} files; {WANTED}")
    lines: list[str] = []
    for line in map(str.strip, text.split("\n")):
        included = _named(line)
        if included is not None:
            lines += _lines(included, (*within, os.path.realpath(path)), read)
        elif line and not line.startswith(("#", "//")):
            lines.append(_at_home(_checked(line, f"--flagfile={name}: ")))
    return lines


def _checked(argument: str, where: str = "") -> str:
    """Refuses a flag with an endless name, for which absl would look for names that are like it."""
    if argument.startswith("-") and len(argument.split("=")[0]) > LONGEST_NAME:
        raise UserError(f"{where}Unknown command line flag {argument[:LONGEST_NAME]!r}")
    return argument


def _at_home(argument: str) -> str:
    """Returns an argument with the home folder in place of the ~ that its value begins with, if any."""
    return re.sub(r"^(--?\w+=)~(?=/|\Z)", lambda found: found[1] + os.path.expanduser("~"), argument)


def _text(name: str, path: str) -> str:
    if not name:
        raise UserError(f"--flagfile=: {WANTED}")
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"--flagfile={name}: {error.strerror}; {WANTED}") from None
    except ValueError as error:  # Not UTF-8, or no name that a file can have.
        raise UserError(f"--flagfile={name}: expected a text file with a flag on each line ({error})") from None
    if len(content) > MAX_BYTES:
        raise UserError(f"--flagfile={name}: has more than {MAX_BYTES:,} bytes; {WANTED}")
    return text


def _named(argument: str) -> str | None:
    """Returns the name that --flagfile=name gives, "" for --flagfile alone, None for anything else."""
    match = re.fullmatch(r"--?flagfile(?:=(.*))?", argument, re.DOTALL)
    return match and (match[1] or "").strip()

"""Examples from files of text: one a line, words separated by spaces, plain or gzip (.gz)."""

from __future__ import annotations

import codecs
import collections
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from sa_vae_tf.errors import UserError

# A line that long is a file that has no lines, and would have to fit in memory.
MAX_CHARACTERS = 1_000_000
BYTES_PER_CHARACTER = 4  # at most, in UTF-8


def read_lines(path: str | Path) -> Iterator[list[str]]:
    """Yields the words of each line, [] for a blank one, holding one line at a time in memory.

    Args:
      path: a text file in UTF-8, with or without a byte order mark, or its gzip with a name that ends in .gz.

    Raises:
      UserError: if the file cannot be read, holds bytes that are not UTF-8, a line of MAX_CHARACTERS or more, or lines
        that end by a carriage return alone.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if str(path).endswith(".gz") else open(path, "rb") as file:
            while line := file.readline(MAX_CHARACTERS * BYTES_PER_CHARACTER):
                number += 1
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)
                # A line that the limit has cut may end within a character, but has too many of them anyway.
                text = line.decode(errors="strict" if len(line) < MAX_CHARACTERS * BYTES_PER_CHARACTER else "replace")
                # Of one line alone, in any other file a carriage return is a space.
                if number == 1 and "\n" not in text and "\r" in text.rstrip("\r"):
                    raise UserError(f"{path}: its lines end by a carriage return alone; expected line feeds")
                if len(text.rstrip("\r\n")) >= MAX_CHARACTERS:
                    raise UserError(
                        f"{path}: line {number} has {MAX_CHARACTERS:,} characters or more; expected one example a line"
                    )
                yield text.split()
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UserError(f"{path}: line {number} is not UTF-8 text (byte 0x{byte:02x} at {error.start})") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged gzip file, after line {number} ({error})") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def read_examples(
    path: str | Path, max_length: int, dropped: collections.Counter[str] | None = None
) -> Iterator[list[str]]:
    """Yields the words of every line that has 1 to `max_length` of them.

    Args:
      path: see `read_lines`.
      max_length: in words.
      dropped: is told the number of other lines, as "blank" and "long".

    Raises:
      UserError: if there is no such line, or for a file that `read_lines` cannot read.
    """
    dropped = collections.Counter() if dropped is None else dropped
    empty = True
    for words in read_lines(path):
        if not words:
            dropped["blank"] += 1
        elif len(words) > max_length:
            dropped["long"] += 1
        else:
            empty = False
            yield words
    if empty and dropped["long"]:
        raise UserError(f"{path}: every line has more than --max_length={max_length} words ({dropped['long']:,} lines)")
    if empty:
        raise UserError(f"{path}: has no words; expected one example a line, words separated by spaces")


def count_words(path: str | Path, max_length: int) -> collections.Counter[str]:
    """Returns how often each word occurs in the examples of a file."""
    counts: collections.Counter[str] = collections.Counter()
    for words in read_examples(path, max_length):
        counts.update(words)
    return counts

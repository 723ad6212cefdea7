"""Words and their ids."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

from sa_vae_tf.data.text_files import read_lines
from sa_vae_tf.errors import UserError

PAD, UNKNOWN, START, END = range(4)
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
# How corpora that have unknown words write them.
UNKNOWN_WORDS = ("_UNK", "<unk>")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows; a word's id is its place.

    Attributes:
      words: all of them, each once, the four special symbols first.
    """

    words: tuple[str, ...]

    @classmethod
    def from_counts(cls, counts: Mapping[str, int], size: int = 0, min_count: int = 1) -> Vocabulary:
        """Returns the vocabulary of the most frequent words, in that order, equally frequent ones in the alphabet's.

        Args:
          counts: how often each word occurs in the training text.
          size: number of words beside the special symbols, at most; 0 for all.
          min_count: how often a word must occur.

        Raises:
          UserError: if no word occurs so often.
        """
        reserved = {*SPECIAL, *UNKNOWN_WORDS}
        frequent = [word for word, count in counts.items() if count >= min_count and word not in reserved]
        if not frequent:
            raise UserError(f"--min_count={min_count}: no word of the training text occurs so often")
        frequent.sort(key=lambda word: (-counts[word], word))
        return cls(SPECIAL + tuple(frequent[: size or None]))

    @classmethod
    def read(cls, path: str | Path) -> Vocabulary:
        """Returns the vocabulary of a file with a word and its id on each line.

        Raises:
          UserError: if the file is not of this form, has a word or an id twice, or lacks an id or a special symbol.
        """
        words: dict[int, str] = {}
        seen = set()
        for line, fields in enumerate(read_lines(path), 1):
            if not fields:
                continue
            where = f"{path}: line {line}"
            # Nine digits are more words than memory holds, and what int() reads at once.
            if len(fields) != 2 or not (fields[1].isascii() and fields[1].isdecimal() and len(fields[1]) <= 9):
                raise UserError(f"{where}: expected a word, a space and its id, found {' '.join(fields)[:50]!r}")
            word, number = fields[0], int(fields[1])
            if word in seen:
                raise UserError(f"{where}: word {word[:50]!r} for the second time")
            if number in words:
                raise UserError(f"{where}: id {number} for the second time")
            seen.add(word)
            words[number] = word
        for number, word in enumerate(SPECIAL):
            if words.get(number) != word:
                raise UserError(f"{path}: expected {word!r} with id {number}, found {words.get(number)!r}")
        if missing := next((number for number in range(len(words)) if number not in words), None):
            raise UserError(f"{path}: no word has id {missing}; expected ids 0 to {len(words) - 1} without gaps")
        return cls(tuple(words[number] for number in range(len(words))))

    def write(self, path: str | Path) -> None:
        """Writes the file that `read` reads."""
        lines = (f"{word} {number}\n" for number, word in enumerate(self.words))
        Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        # Special symbols that occur in a text are words like any other, and not known.
        return {word: number for number, word in enumerate(self.words) if number >= len(SPECIAL)}

    @property
    def unknown_id(self) -> int:
        """Id of every word that is not known: that of _UNK where the vocabulary has this word, or 1."""
        return self._ids.get("_UNK", UNKNOWN)

    def encode(self, words: Iterable[str]) -> list[int]:
        """Returns the ids of `<s> words </s>`."""
        unknown = self.unknown_id
        return [START, *(self._ids.get(word, unknown) for word in words), END]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the words before `</s>`, without `<s>` and padding, separated by spaces."""
        words = []
        for number in ids:
            if number == END:
                break
            if number not in (START, PAD):
                words.append(self.words[number])
        return " ".join(words)

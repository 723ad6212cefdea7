"""Damage to the bytes of a valid file."""

from hypothesis import strategies as st


def _flip(content: bytes, at: int, to: int, piece: bytes) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << to % 8]) + content[at + 1 :] if at < len(content) else content


def _truncate(content: bytes, at: int, to: int, piece: bytes) -> bytes:
    return content[:at]


def _insert(content: bytes, at: int, to: int, piece: bytes) -> bytes:
    return content[:at] + piece + content[at:]


def _overwrite(content: bytes, at: int, to: int, piece: bytes) -> bytes:
    return content[:at] + piece + content[at + len(piece) :]


def _delete(content: bytes, at: int, to: int, piece: bytes) -> bytes:
    return content[: min(at, to)] + content[max(at, to) :]


def _duplicate(content: bytes, at: int, to: int, piece: bytes) -> bytes:
    return content[: max(at, to)] + content[min(at, to) :]


def _swap(content: bytes, at: int, to: int, piece: bytes) -> bytes:
    first, last = sorted((at, to))
    size = min(len(piece) + 1, last - first, len(content) - last)
    one, other = content[first : first + size], content[last : last + size]
    return content[:first] + other + content[first + size : last] + one + content[last + size :]


EDITS = [_flip, _truncate, _insert, _overwrite, _delete, _duplicate, _swap]


@st.composite
def mutated(draw, content: bytes) -> bytes:
    """A file of which one to four places were damaged: more of them at its ends, where headers and footers lie."""
    damaged = content
    for _ in range(draw(st.integers(1, 4))):
        size = len(damaged)
        near_an_end = st.integers(0, min(64, size)) | st.integers(0, min(64, size)).map(lambda n, size=size: size - n)
        place = st.integers(0, size) | near_an_end
        edit = draw(st.sampled_from(EDITS))
        damaged = edit(damaged, draw(place), draw(place), draw(st.binary(min_size=1, max_size=9)))
    return damaged

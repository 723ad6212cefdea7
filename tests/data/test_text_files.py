"""Lines, words and errors of text files."""

import collections
import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.data import text_files
from sa_vae_tf.data.text_files import count_words, read_examples, read_lines
from sa_vae_tf.errors import UserError


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_words_of_lines(tmp_path, name):
    path = tmp_path / name
    text = "the cat\n\n  déjà  vu \r\n \nlast".encode()
    path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert list(read_lines(path)) == [["the", "cat"], [], ["déjà", "vu"], [], ["last"]]
    assert list(read_lines(str(path))) == list(read_lines(path))


def test_examples_are_the_lines_of_allowed_length(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a b\n\na b c\na\n \na b c d\na b c")
    dropped = collections.Counter()
    assert list(read_examples(path, 3, dropped)) == [["a", "b"], ["a", "b", "c"], ["a"], ["a", "b", "c"]]
    assert dropped == {"blank": 2, "long": 1}
    # Words of lines that training does not see are not counted.
    assert count_words(path, 3) == {"a": 4, "b": 3, "c": 2}
    assert count_words(path, 2) == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "has no words"),
        ("blank.txt", b"\n \n", "has no words"),
        ("long.txt", b"a b c\n\nd e f\n", r"every line has more than --max_length=2 words \(2 lines\)"),
        ("latin.txt", b"fine\nna\xefve\n", r"line 2 is not UTF-8 text \(byte 0xef at 2\)"),
        ("cut.txt", b"fine\nna\xc3", r"line 2 is not UTF-8 text \(byte 0xc3 at 2\)"),
        ("plain.txt.gz", b"not gzip\n", "damaged gzip file, after line 0"),
        ("cut.txt.gz", gzip.compress(b"a b\n" * 9, mtime=0)[:-9], "damaged gzip file"),
        ("wrong.txt.gz", gzip.compress(b"a b\n" * 9, mtime=0)[:-9] + b"123456789", "damaged gzip file"),
        ("old.txt", b"a b\rc d\r", "its lines end by a carriage return alone; expected line feeds"),
        ("old.txt.gz", gzip.compress(b"a b\rc d" * 2_000_000, 1), "its lines end by a carriage return alone"),
        ("gzip.txt", gzip.compress(b"a b\n", mtime=0), "line 1 is not UTF-8 text"),
    ],
)
def test_wrong_files(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: {message}") as error:
        list(read_examples(path, 2))
    assert "\n" not in str(error.value)


@given(content=st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_lines_or_the_user_s_error(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(content)
    try:
        expected = [line.split() for line in content.decode().split("\n")]
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        with pytest.raises(UserError, match=f"^{path}: line {line} is not UTF-8 text"):
            list(read_lines(path))
        return
    if b"\n" not in content and b"\r" in content.rstrip(b"\r"):
        with pytest.raises(UserError, match=f"^{path}: its lines end by a carriage return alone"):
            list(read_lines(path))
    else:
        # The last line may end or not.
        assert list(read_lines(path)) == (expected if content and not content.endswith(b"\n") else expected[:-1])


@given(damage=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=3), end=st.integers(0, 99))
def test_any_damage_of_a_compressed_file_is_the_user_s_error(damage, end, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt.gz"
    text = b"the cat sat on the mat\n" * 9
    content = bytearray(gzip.compress(text, mtime=0))
    for place, byte in damage:
        content[place % len(content)] = byte
    path.write_bytes(content[:end])
    try:
        lines = list(read_lines(path))
    except UserError as raised:
        error = str(raised)
    else:
        # Damage of the header may be without consequence, and nothing at all is an empty file.
        assert lines == [line.split() for line in text.decode().splitlines()] or end == 0
        return
    assert error.startswith(f"{path}: ")


def test_files_that_cannot_be_opened(tmp_path):
    for name in ("none.txt", "none.txt.gz"):
        with pytest.raises(UserError, match=f"^{tmp_path}/{name}: cannot be read .No such file"):
            list(read_lines(tmp_path / name))
    with pytest.raises(UserError, match=f"^{tmp_path}: cannot be read .Is a directory"):
        list(read_lines(tmp_path))


@pytest.mark.parametrize("character", ["a", "é", "字", "😀"])
def test_a_line_of_a_million_characters(tmp_path, character):
    path = tmp_path / "text.txt"
    path.write_text("fine\n" + 999_999 * character + "\nfine\n", encoding="utf-8")
    assert [len(words) for words in read_lines(path)] == [1, 1, 1]
    path.write_text("fine\n" + 1_000_000 * character + "\nfine\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"^{path}: line 2 has 1,000,000 characters or more"):
        list(read_lines(path))


@pytest.mark.parametrize("byte", [b"a", b" ", b"\xff", b"\0"])
def test_a_file_without_lines_is_not_read_into_memory(tmp_path, byte):
    path = tmp_path / "text.txt.gz"
    path.write_bytes(gzip.compress(64_000_000 * byte, 1))
    tracemalloc.start()
    with pytest.raises(UserError, match="line 1 has 1,000,000 characters or more"):
        list(read_lines(path))
    # The first bytes, and the text they decode to.
    assert tracemalloc.get_traced_memory()[1] < 40_000_000
    tracemalloc.stop()


def test_a_large_file_is_read_a_line_at_a_time(tmp_path):
    path = tmp_path / "text.txt.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(10):
            file.write(b"a b c d\n" * 5_000)
    tracemalloc.start()
    assert sum(len(words) for words in read_examples(path, 9)) == 200_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_limit_leaves_room_for_every_character():
    assert len(chr(0x10FFFF).encode()) == text_files.BYTES_PER_CHARACTER


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(name, tmp_path):
    content = "\ufeffthe cat\nthe \ufeffdog\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(read_lines(tmp_path / name)) == [["the", "cat"], ["the", "\ufeffdog"]]

"""Text files: an example a line, plain or gzip."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.data.text_files import MAX_CHARACTERS, count_words, read_examples, read_lines
from tests import corpora
from tests.fuzz.attempts import assert_refused_by, attempt, contents, examples
from tests.fuzz.mutations import mutated

KIND = "text files"
TEXT = "the cat sees\n\na bird\r\nvögel 日本 <script>\nlast\u2028line\n".encode() * 3
GZIP = gzip.compress(TEXT, mtime=0)
LONG = b"x " * (MAX_CHARACTERS // 2)

piece = st.one_of(
    st.sampled_from(["the cat", " ", "\t", "\0", "\x1b[2J", "\x85", "\u2028", "\u3000", "\ufeff", "\U0001f600", "\r"]),
    st.text(max_size=8),
).map(lambda text: text.encode(errors="surrogatepass"))
wrong = st.sampled_from([b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xef\xbb\xbf"]) | st.binary(
    max_size=9
)
end = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b""])
structured = st.lists(st.builds(lambda *parts: b"".join(parts), piece, piece | wrong, end), max_size=6).map(b"".join)
zipped = structured.map(lambda content: gzip.compress(content, 1)) | st.just(GZIP)
of_gz = st.one_of(
    structured,  # without gzip
    st.builds(lambda one, cut: one[: len(one) * cut // 100], zipped, st.integers(0, 99)),
    st.builds(lambda one, other: one + other, zipped, zipped | st.binary(max_size=20)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("texts")


def check(folder, content: bytes, name: str) -> None:
    path = folder / name
    path.write_bytes(content)
    was_read, found = attempt(KIND, lambda: list(read_examples(path, 20)), path)
    if was_read:
        plain = gzip.decompress(content) if name.endswith(".gz") else content
        every = [line.split() for line in plain.decode("utf-8-sig").split("\n")]
        assert found == [words for words in every if 0 < len(words) <= 20]
        assert sum(count_words(path, 20).values()) == sum(map(len, found))


@examples
@given(structured)
def test_lines_of_other_forms(folder, content):
    check(folder, content, "some.txt")


@examples
@given(of_gz)
def test_gzip_of_other_forms(folder, content):
    check(folder, content, "some.txt.gz")


@examples
@given(mutated(TEXT) | mutated(TEXT * 200))
def test_damaged_files(folder, content):
    check(folder, content, "damaged.txt")


@examples
@given(mutated(GZIP))
def test_damaged_gzip(folder, content):
    check(folder, content, "damaged.txt.gz")


@pytest.mark.parametrize(
    "content", [LONG, b"\0" * 20_000_000, b"\x80" * 5_000_000, LONG[:-8] + b"\n" + LONG], ids=range(4)
)
@pytest.mark.parametrize("name", ["long.txt", "long.txt.gz"])
def test_huge_lines_are_not_held_in_memory(folder, content, name):
    (folder / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    was_read, _ = attempt(KIND, lambda: sum(1 for _ in read_lines(folder / name)), folder / name)
    assert not was_read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.txt", b"the \xff cat\n"),
        ("val.txt", b"\n \n"),
        ("train.gz", GZIP[:-9]),
        ("val.gz", b"the cat\n"),
        ("train.txt", LONG),
    ],
    ids=["not UTF-8", "blank", "cut gzip", "no gzip", "long"],
)
def test_the_script_ends_with_one_line(name, content, launcher, tmp_path):
    files = corpora.write(tmp_path)
    path = tmp_path / name
    path.write_bytes(content)
    files[f"{path.stem}_file"] = str(path)
    before = contents(tmp_path)
    names = [f"--{flag}={value}" for flag, value in files.items()]
    ended = launcher.run(
        "bin/train.py", "--data=text", f"--run_dir={tmp_path}/run", f"--data_dir={tmp_path}/data", *names
    )
    assert_refused_by(ended, path)
    assert contents(tmp_path) == before

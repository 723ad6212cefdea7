"""Vocabulary files: a word and its id on each line, as a run's own or as yahoo.dict."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.data.vocabulary import SPECIAL, Vocabulary
from tests import corpora
from tests.fuzz.attempts import assert_refused_by, attempt, contents, examples
from tests.fuzz.mutations import mutated

KIND = "vocabulary files"
WORDS = [*SPECIAL, "_UNK", "the", "vögel", "日本", "<script>", "\x1b[31m", "\u200b", "a" * 300]
OWN = "".join(f"{word} {number}\n" for number, word in enumerate(WORDS)).encode()
# As the authors' file: in any order, its ids ascending, with a word for the unknown one.
YAHOO = "".join(f"{word} {number}\n" for number, word in sorted(enumerate(WORDS), key=lambda pair: pair[1])).encode()

words = st.sampled_from([*WORDS, "", " ", "\t", "\x85", "\u2028", "\ufeff", "\0"]) | st.text(max_size=5)
ids = st.integers(-2, 20).map(str) | st.sampled_from(["", "1e3", "0x1", "٣", "²", "9" * 9, "9" * 5000, "-0", "1_0"])
line = st.builds(lambda *parts: "".join(parts), words, st.sampled_from([" ", "  ", "\t", ""]), ids)
lines = st.lists(line, max_size=8).map(lambda some: [f"{w} {i}" for i, w in enumerate(SPECIAL)] + some)
structured = st.builds(
    lambda some, end: end.join(some).encode(errors="surrogatepass"),
    lines | st.lists(line, max_size=4) | lines.flatmap(st.permutations),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("vocabularies")


@pytest.mark.parametrize("content", [OWN, YAHOO])
def test_the_files_before_they_are_damaged_are_read(content, folder):
    (folder / "valid.txt").write_bytes(content)
    assert Vocabulary.read(folder / "valid.txt").words == tuple(WORDS)


def check(folder, content: bytes, name: str) -> None:
    path = folder / name
    path.write_bytes(content)
    was_read, vocabulary = attempt(KIND, lambda: Vocabulary.read(path), path)
    if was_read:
        vocabulary.write(folder / "again.txt")
        assert Vocabulary.read(folder / "again.txt") == vocabulary
        assert vocabulary.decode(vocabulary.encode(["the"])) in ("the", vocabulary.words[vocabulary.unknown_id])


@examples
@given(structured, st.booleans())
def test_lines_of_other_forms(folder, content, zipped):
    check(folder, gzip.compress(content, 1) if zipped else content, "some.gz" if zipped else "some.txt")


@examples
@given(st.one_of([mutated(content) for content in (OWN, YAHOO)]))
def test_damaged_files(folder, content):
    check(folder, content, "damaged.dict")


@pytest.mark.parametrize(
    "content", [b"", OWN.replace(b"the 5", b"the \x1b[2J 5"), OWN[:-3] + b"\xff\xff", OWN.replace(b"the 5", b"the 99")]
)
def test_the_script_ends_with_one_line(content, launcher, tmp_path):
    files = corpora.write(tmp_path)
    path = tmp_path / "damaged.txt"
    path.write_bytes(content)
    before = contents(tmp_path)
    names = [f"--{flag}={value}" for flag, value in files.items()]
    folders = [f"--run_dir={tmp_path}/run", f"--data_dir={tmp_path}/data"]
    ended = launcher.run("bin/train.py", "--data=text", *names, *folders, f"--vocab_file={path}")
    assert_refused_by(ended, path)
    assert contents(tmp_path) == before

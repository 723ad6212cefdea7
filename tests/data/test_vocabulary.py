"""Words to ids and back, and the vocabulary's file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.data.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary
from sa_vae_tf.errors import UserError

# Any text without white space in it; lone surrogates are not text.
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda word: word.split() == [word])
ordinary = words.filter(lambda word: word not in (*SPECIAL, "_UNK"))


def vocabulary(*more: str) -> Vocabulary:
    return Vocabulary(SPECIAL + more)


def test_special_symbols():
    assert (PAD, UNKNOWN, START, END) == (0, 1, 2, 3)
    assert SPECIAL == ("<pad>", "<unk>", "<s>", "</s>")


def test_most_frequent_words_first_and_ties_by_the_alphabet():
    counts = {"rare": 1, "b": 2, "a": 2, "the": 9, "_UNK": 50, "<unk>": 40, "<s>": 30, "</s>": 20, "<pad>": 10}
    assert Vocabulary.from_counts(counts) == vocabulary("the", "a", "b", "rare")
    assert Vocabulary.from_counts(counts, size=2) == vocabulary("the", "a")
    assert Vocabulary.from_counts(counts, min_count=2) == vocabulary("the", "a", "b")
    assert Vocabulary.from_counts(counts, size=2, min_count=9) == vocabulary("the")
    assert len(Vocabulary.from_counts(counts, size=2)) == 6
    for unknown in (counts, {"<unk>": 12}):
        with pytest.raises(UserError, match="^--min_count=10: no word of the training text occurs so often$"):
            Vocabulary.from_counts(unknown, min_count=10)


def test_unknown_words():
    text = ["b", "new", "<unk>", "_UNK", "<s>", "</s>", "<pad>", "a"]
    # Control symbols in a text must not end it, nor be taken for padding.
    assert vocabulary("a", "b").encode(text) == [START, 5, *6 * [UNKNOWN], 4, END]
    # As in the authors' file, where <unk> has an id that no text uses.
    assert vocabulary("_UNK", "a", "b").encode(text) == [START, 6, *6 * [4], 5, END]
    assert vocabulary("a").unknown_id == UNKNOWN
    assert vocabulary("a", "_UNK").unknown_id == 5


def test_decode():
    known = vocabulary("a", "b")
    assert known.decode([START, 4, 5, END, PAD, PAD]) == "a b"
    assert known.decode([4, UNKNOWN, 5]) == "a <unk> b"
    assert known.decode([START, END, 4]) == ""
    assert vocabulary("_UNK").decode([4]) == "_UNK"


@given(st.lists(ordinary, unique=True), st.data())
def test_known_text_round_trips(known, data):
    of_known = Vocabulary(SPECIAL + tuple(known))
    text = data.draw(st.lists(st.sampled_from(known))) if known else []
    ids = of_known.encode(text)
    assert of_known.decode(ids) == " ".join(text)
    assert of_known.decode([*ids, PAD, PAD]) == " ".join(text)
    assert [ids[0], ids[-1]] == [START, END]
    assert min(ids[1:-1], default=4) >= 4


@given(st.lists(words))
def test_any_text_has_ids_that_end_nothing(text):
    ids = vocabulary("a", "_UNK").encode(text)
    assert len(ids) == len(text) + 2
    assert {4, 5} >= set(ids[1:-1])


@given(known=st.lists(ordinary, unique=True))
def test_file_round_trips(known, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    of_known = Vocabulary(SPECIAL + tuple(known))
    of_known.write(path)
    assert Vocabulary.read(path) == of_known


GOOD = "<pad> 0\n<unk> 1\n<s> 2\n</s> 3\n_UNK 4\nthe 5\n"


def test_file_s_format(tmp_path):
    path = tmp_path / "vocabulary.txt"
    path.write_text(GOOD)
    assert Vocabulary.read(path) == vocabulary("_UNK", "the")
    Vocabulary.read(path).write(tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_text() == GOOD
    # The order of lines says nothing.
    path.write_text("".join(sorted(GOOD.splitlines(keepends=True))) + "\n")
    assert Vocabulary.read(path) == vocabulary("_UNK", "the")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": expected '<pad>' with id 0, found None"),
        (GOOD.replace("the 5", "the 6"), ": no word has id 5; expected ids 0 to 5 without gaps"),
        (GOOD + "the 6\n", ": line 7: word 'the' for the second time"),
        (GOOD + "cat 5\n", ": line 7: id 5 for the second time"),
        (GOOD + "cat\n", ": line 7: expected a word, a space and its id, found 'cat'"),
        (GOOD + "cat six\n", ": line 7: expected a word, a space and its id, found 'cat six'"),
        (GOOD + "cat 6 7\n", ": line 7: expected a word, a space and its id, found 'cat 6 7'"),
        (GOOD + "cat -6\n", ": line 7: expected a word"),
        (GOOD + "cat 6.0\n", ": line 7: expected a word"),
        (GOOD + "cat ²\n", ": line 7: expected a word"),
        (GOOD + f"cat {9 * '9'}\n", ": no word has id 6"),
        (GOOD + f"cat {5000 * '9'}\n", ": line 7: expected a word"),
        (GOOD.replace("<s>", "<bos>"), ": expected '<s>' with id 2, found '<bos>'"),
        (GOOD.replace("<unk> 1\n", ""), ": expected '<unk>' with id 1, found None"),
    ],
)
def test_wrong_files(tmp_path, content, message):
    path = tmp_path / "vocabulary.txt"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        Vocabulary.read(path)
    assert str(error.value).startswith(f"{path}{message}")
    assert len(str(error.value).splitlines()) == 1


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=f"^{tmp_path}/none: cannot be read"):
        Vocabulary.read(tmp_path / "none")


damaged = st.one_of(
    st.binary(),
    st.lists(st.tuples(st.sampled_from([*SPECIAL, "a", "b"]), st.integers(-1, 7))).map(
        lambda lines: "\n".join(f"{word} {number}" for word, number in lines).encode()
    ),
    # The good file with some bytes replaced.
    st.tuples(st.integers(0, len(GOOD)), st.integers(0, 9), st.binary(max_size=9)).map(
        lambda cut: GOOD.encode()[: cut[0]] + cut[2] + GOOD.encode()[cut[0] + cut[1] :]
    ),
)


@given(content=damaged)
def test_any_file_is_a_vocabulary_or_the_user_s_error(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    path.write_bytes(content)
    try:
        read = Vocabulary.read(path)
    except UserError as raised:
        error = str(raised)
    else:
        assert read.words[:4] == SPECIAL
        assert len(set(read.words)) == len(read)
        return
    assert error.startswith(f"{path}: ")
    assert len(error.splitlines()) == 1

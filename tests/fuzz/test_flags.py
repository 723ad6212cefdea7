"""Flag files and command lines, through the parser that the scripts use."""

import dataclasses
from pathlib import Path
from unittest import mock

import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf import cli
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import define_flags, from_flagfile, from_flags, to_flagfile
from tests.fuzz.attempts import assert_one_line, assert_refused_by, attempt, contents, examples, fewer_examples
from tests.fuzz.mutations import mutated
from tests.launcher import ROOT

KIND = "flag files"
VALID = [path.read_bytes() for path in sorted(ROOT.glob("*.flags"))]

names = st.sampled_from([field.name for field in dataclasses.fields(Config)]) | st.sampled_from(
    ["no_such", "", "-", "nojit_compile", "flagfile", "undefok", "--", "seed\x1b[2J", "日本"]
)
values = st.one_of(
    st.integers(-3, 30).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", " ", "true", "no", "sa_vae", "text", "'quoted \"twice\"'", "9" * 5000, "0x" + "f" * 5000,
         "-0x" + "f" * 5000,
         "1e999", "٣", "1,2", "10:10,15:5", f"0:{'9' * 5000}", "uniform", "a=b=c", "\0", "\x1b]0;title\x07", "{self}",
         "{other}", "/", "no/such/file"]
    ),
    st.text(max_size=8),
)  # fmt: skip
line = st.builds(
    lambda dashes, name, equals, value: dashes + name + equals + value,
    st.sampled_from(["--", "--", "--", "-", "", "#", "//", " --", "---"]),
    names,
    st.sampled_from(["=", "=", "=", " ", "", "=="]),
    values,
)
structured = st.lists(line, max_size=5).map(lambda lines: "\n".join(lines).encode(errors="surrogatepass"))


# One of them is in every message.
NAMED = ("--", "flag ", "argument ", "-nojit_compile")


class Refused(Exception):
    """What a script says before it ends."""


def parse(*arguments: str) -> Config:
    """Returns the settings of a command line, parsed as bin/train.py does."""
    values = flags.FlagValues()
    define_flags(values)

    def fail(message: str, status: int):
        assert status == cli.WRONG_FLAGS
        raise Refused(cli.one_line(message))

    with mock.patch.object(flags, "FLAGS", values), mock.patch.object(cli, "_fail", fail):
        try:
            cli._parse(["train.py", *arguments])
            return from_flags(values)
        except UserError as error:
            raise Refused(str(error)) from None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flags")
    (folder / "other.flags").write_text("--seed=3\n--svi_steps=4\n")
    return folder


def check(path: Path, content: bytes, *others: str) -> None:
    content = content.replace(b"{self}", str(path).encode()).replace(b"{other}", f"{path.parent}/other.flags".encode())
    path.write_bytes(content)
    was_read, config = attempt(KIND, lambda: parse(f"--flagfile={path}", *others), path, *NAMED, refusal=Refused)
    if was_read:
        path.write_text(to_flagfile(config), encoding="utf-8")
        assert from_flagfile(str(path)) == config
    path.write_bytes(content)
    try:
        from_flagfile(str(path))
    except UserError as error:
        assert_one_line(str(error), path)


@pytest.mark.parametrize("content", VALID)
def test_the_files_before_they_are_damaged_are_read(content, folder):
    (folder / "valid.flags").write_bytes(content)
    assert isinstance(parse(f"--flagfile={folder}/valid.flags"), Config)


@examples
@given(structured)
def test_files_of_other_forms(folder, content):
    check(folder / "some.flags", content)


@examples
@given(st.one_of([mutated(content) for content in VALID]) | st.binary())
def test_damaged_files(folder, content):
    check(folder / "damaged.flags", content)


@fewer_examples
@given(st.lists(line | st.sampled_from(["--", "--flagfile", "vae", "--seed"]), max_size=4))
def test_command_lines(folder, arguments):
    fill = lambda text: text.replace("{self}", str(folder)).replace("{other}", f"{folder}/other.flags")  # noqa: E731
    arguments = [fill(argument) for argument in arguments]
    attempt(KIND, lambda: parse(*arguments), *NAMED, refusal=Refused)


def test_files_that_include_each_other_again_and_again(folder):
    for depth in range(30):
        (folder / f"{depth}.flags").write_text(f"--flagfile={folder}/{depth + 1}.flags\n" * 2)
    (folder / "30.flags").write_text("--seed=3\n")
    assert attempt(KIND, lambda: parse(f"--flagfile={folder}/0.flags"), folder / "0.flags", refusal=Refused) == (
        False,
        None,
    )


@pytest.mark.parametrize(
    "content",
    [
        b"--seed=3\n--flagfile={self}\n",
        b"--units=\x1b[31m\n",
        b"--flagfile=\0\n",
        b"\x80\0\xff",
        b"--svi_steps=" + b"9" * 3000,
        b"--bound_weights=uniform\n--svi_steps=2000000000\n",
    ],
    ids=["itself", "escape", "null byte", "bytes", "digits", "weights"],
)
def test_the_script_ends_with_one_line(content, launcher, tmp_path):
    path = tmp_path / "some.flags"
    path.write_bytes(content.replace(b"{self}", str(path).encode()))
    before = contents(tmp_path)
    ended = launcher.run("bin/train.py", f"--run_dir={tmp_path}/run", f"--flagfile={path}")
    assert_refused_by(ended, path, "--svi_steps=", r"--flagfile=\x00")
    assert contents(tmp_path) == before
    assert not (tmp_path / "run").exists()

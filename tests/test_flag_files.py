"""Flag files: their flags in their place, comments and other files in them, and what is wrong with one."""

import pytest

from sa_vae_tf.errors import UserError
from sa_vae_tf.flag_files import expand, read_flag_file


def test_flags_come_where_the_file_is_named(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("// A comment.\n--b=2\n\n  --c=3 4  \n  # Another.\n\t//--d\n")
    outer.write_bytes(f"\ufeff# A comment.\r\n--a=1\r\n--flagfile={inner}\r\n-d\r\n--flagfile={inner}".encode())
    inside = ["--b=2", "--c=3 4"]
    lines = ["--a=1", *inside, "-d", *inside]
    assert read_flag_file(str(outer)) == lines
    for given in ([f"--flagfile={outer}"], [f"-flagfile={outer}"], ["--flagfile", str(outer)]):
        assert expand(["x.py", "--e", *given, "--f"]) == (["x.py", "--e", *lines, "--f"], {str(outer): lines})
    assert expand(["x.py", "--", f"--flagfile={outer}"]) == (["x.py", "--", f"--flagfile={outer}"], {})


def test_a_file_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "some.flags").write_text("--a")
    assert read_flag_file("~/some.flags") == ["--a"]
    # Of what a shell would expand only this.
    given = ["--a=~/b/~", "-a=~", "--a=~b/c", "--a=b~/c", "--a", "~/b"]
    expected = [f"--a={tmp_path}/b/~", f"-a={tmp_path}", *given[2:]]
    assert expand(["x.py", *given])[0] == ["x.py", *expected]
    (tmp_path / "some.flags").write_text("\n".join(given))
    assert read_flag_file("~/some.flags") == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("--flagfile={path}", "includes itself"),
        ("--flagfile={folder}/../{folder.name}/some.flags", "includes itself"),
        ("--flagfile={folder}/none.flags", "none.flags: No such file or directory; expected a file with a flag on"),
        ("--flagfile=", "^--flagfile=: expected a file with a flag on each line"),
        ("--flagfile={folder}/other.flags\n" * 101, "some.flags: includes more than 100 files"),
        ("#" * 1_000_001, "some.flags: has more than 1,000,000 bytes"),
        ("# Nothing else.\n", "some.flags: there is no flag in it"),
    ],
)
def test_what_is_wrong_with_a_file(content, message, tmp_path):
    path = tmp_path / "some.flags"
    (tmp_path / "other.flags").write_text("--a")
    path.write_text(content.replace("{folder.name}", tmp_path.name).format(path=path, folder=tmp_path))
    with pytest.raises(UserError, match=message):
        read_flag_file(str(path))


def test_as_many_files_as_may_be(tmp_path):
    (tmp_path / "other.flags").write_text("--a")
    (tmp_path / "some.flags").write_text(f"--flagfile={tmp_path}/other.flags\n" * 100)
    assert read_flag_file(f"{tmp_path}/some.flags") == ["--a"] * 100
    # Not counted from one file of a command line to the next.
    assert expand(["x.py", *[f"--flagfile={tmp_path}/some.flags"] * 2])[0] == ["x.py", *["--a"] * 200]


def test_an_endless_name(tmp_path):
    # absl would look for flags of a like name, for minutes.
    (tmp_path / "some.flags").write_text("--seed=3\n--" + "s" * 900)
    with pytest.raises(UserError, match=f"^--flagfile={tmp_path}/some.flags: Unknown command line flag '--sss"):
        read_flag_file(f"{tmp_path}/some.flags")
    with pytest.raises(UserError, match="^Unknown command line flag '--sss"):
        expand(["x.py", "--" + "s" * 900 + "=3"])


def test_files_that_include_each_other(tmp_path):
    for one, other in ("ab", "ba"):
        (tmp_path / one).write_text(f"--x\n--flagfile={tmp_path}/{other}\n")
    with pytest.raises(UserError, match=f"^--flagfile={tmp_path}/a: includes itself"):
        read_flag_file(f"{tmp_path}/a")

"""Text by the script: where it goes, and what is wrong with a command."""

import json
import os
import subprocess
import sys

import pytest

from sa_vae_tf.training.train import train
from tests import corpora
from tests.bin.test_errors import assert_one_line
from tests.launcher import ROOT


@pytest.fixture(scope="module")
def run_dir(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    files = corpora.write(folder)
    for path in files.values():  # Words of more than one byte a letter.
        with open(path, encoding="utf-8") as file:
            text = file.read().replace("bird", "vögel")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    config = corpora.tiny(folder / "run", data_dir, files, method="vae", num_epochs=1, max_steps=1, max_length=14)
    return train(config, verbose=0).path


def test_lines_are_printed_or_written(launcher, run_dir, tmp_path):
    command = ["bin/sample.py", f"--run_dir={run_dir}", "--num_samples=8", "--top_k=15", "--top_p=0.99"]
    printed = launcher.run(*command)
    assert (printed.status, printed.stderr) == (0, "")
    lines = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [line["mode"] for line in lines] == ["prior"] * 8
    assert "vögel" in printed.stdout  # As it is, not as \u00f6.
    written = launcher.run(*command, f"--output={tmp_path}/texts.jsonl")
    assert (written.status, written.stdout, written.stderr) == (0, f"Texts: {tmp_path}/texts.jsonl\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]
    assert (tmp_path / "texts.jsonl").read_text(encoding="utf-8") == printed.stdout
    # Of a link that leads nowhere, too, what lies there is not replaced.
    (tmp_path / "link").symlink_to("new.jsonl")
    for there in (f"{tmp_path}/texts.jsonl", f"{tmp_path}/link", f"{run_dir}/flags.txt"):
        message = f"sample.py: error: --output={there}: is there already; expected the name of a new file"
        assert_one_line(launcher.run(*command, f"--output={there}"), 2, message)
    assert (tmp_path / "texts.jsonl").read_text(encoding="utf-8") == printed.stdout


def test_every_flag_arrives(launcher, run_dir, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\nthe dog\nthe vögel\n", encoding="utf-8")
    ended = launcher.run(
        "bin/sample.py", f"--run_dir={run_dir}", "--mode=interpolate", f"--input={tmp_path}/lines.txt", "--points=2",
        "--beam=2", "--no_unk", "--max_length=3", "--batch_size=3", "--svi_steps=1", "--svi_init=zero",
    )  # fmt: skip
    assert (ended.status, ended.stderr) == (0, "")
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(line["from"], line["to"], line["position"]) for line in lines] == [
        ("the cat", "the dog", 0), ("the cat", "the dog", 1), ("the dog", "the vögel", 0), ("the dog", "the vögel", 1),
    ]  # fmt: skip
    assert all(len(line["text"].split()) <= 3 for line in lines)


@pytest.mark.slow
def test_a_reader_that_has_enough(run_dir):
    # In Latin-1, which JSON is not written in.
    command = [sys.executable, "bin/sample.py", f"--run_dir={run_dir}", "--num_samples=1000", "--batch_size=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment
    ) as process:
        assert json.loads(process.stdout.readline().decode("utf-8"))["mode"] == "prior"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=posterior"], "--mode=posterior: expected one of prior, reconstruct, interpolate"),
        (["--mode=reconstruct"], "--input: expected a text file, an example a line, for --mode=reconstruct"),
        (
            ["--mode=reconstruct", "--input={tmp}/none"],
            "--input={tmp}/none: cannot be read (No such file or directory)",
        ),
        (
            ["--beam=3", "--temperature=0.5"],
            "--temperature=0.5: --beam=3 takes the place of draws; expected one of the",
        ),
        (["--beam=0"], "--beam=0: expected a positive integer"),
        (["--points=1"], "--points=1: expected"),
        (["--top_p=1.5"], "--top_p=1.5: expected a number in (0, 1]"),
        (["--num_samples=0"], "--num_samples=0: expected a positive integer"),
        (["--output={tmp}"], "--output={tmp}: is there already; expected the name of a new file"),
        (["--output={tmp}/none/texts.jsonl"], "--output={tmp}/none/texts.jsonl: expected a file in a folder that can"),
        (["--run_dir={tmp}"], "--run_dir={tmp}: no run there"),
    ],
)
def test_wrong_flags(arguments, message, launcher, run_dir, tmp_path):
    (tmp_path / "lines.txt").write_text("the cat\n")
    fill = [text.replace("{tmp}", str(tmp_path)) for text in [*arguments, message]]
    ended = launcher.run("bin/sample.py", f"--run_dir={run_dir}", *fill[:-1])
    assert_one_line(ended, 2, f"sample.py: error: {fill[-1]}")


def test_help_lists_the_flags(launcher):
    ended = launcher.run("bin/sample.py", "--help")
    assert "--temperature" in ended.stdout
    assert (ended.status, ended.stderr) == (0, "")

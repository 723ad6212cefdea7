"""Table 1 and Figure 1 from tiny runs: what is written, not what it says."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sa_vae_tf.analysis.table1 import GENERATORS, ROWS
from tests import corpora, images, runs
from tests.bin.test_errors import assert_one_line
from tests.launcher import ROOT


@pytest.mark.slow
def test_table_and_figure(launcher, data_dir, tmp_path):
    config = runs.tiny("", data_dir, num_epochs=1)
    arguments = [*runs.arguments(config), f"--runs={tmp_path / 'runs'}", f"--output_dir={tmp_path / 'docs'}"]
    ended = launcher.run("bin/reproduce.py", "--table=1", "--seeds=1", *arguments)
    assert ended.status == 0, ended.stderr
    table = json.loads((tmp_path / "docs" / "table1.json").read_text())
    for generator in GENERATORS:
        assert set(table["rows"][generator]) == {row.name for row in ROWS}
    text = (tmp_path / "docs" / "table1.md").read_text()
    assert text in ended.stdout
    assert all(f"| {row.name} |" in text for row in ROWS)
    assert (tmp_path / "docs" / "table1.png").stat().st_size > 10_000

    # Its runs are those of the table.
    before = {path: path.stat().st_mtime for path in (tmp_path / "runs").rglob("metrics.jsonl")}
    ended = launcher.run("bin/reproduce.py", "--figure=1", *arguments)
    assert ended.status == 0, ended.stderr
    assert {path: path.stat().st_mtime for path in (tmp_path / "runs").rglob("metrics.jsonl")} == before
    assert (tmp_path / "docs" / "figure1.png").stat().st_size > 10_000
    assert set(json.loads((tmp_path / "docs" / "figure1.json").read_text())["trajectories"]) == {"VAE", "SVI", "SA-VAE"}


@pytest.mark.slow
def test_interrupted(data_dir, tmp_path):
    # As by Ctrl-C, which reaches the process that trains besides.
    arguments = [
        *runs.arguments(runs.tiny("", data_dir, num_epochs=1)),
        f"--runs={tmp_path}",
        f"--output_dir={tmp_path}",
    ]
    process = subprocess.Popen(
        [sys.executable, "bin/reproduce.py", "--table=1", "--seeds=1", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(tmp_path.glob("table1/*/flags.txt")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    lines = process.communicate()[1].splitlines()
    assert lines[-1] == "reproduce.py: interrupted"
    assert all(line.startswith("reproduce.py: INFO: ") for line in lines[:-1] if line and "stopping after" not in line)
    assert process.returncode == 130


@pytest.mark.slow
def test_table_2_of_text(launcher, data_dir, tmp_path):
    files = corpora.write(tmp_path)
    config = corpora.tiny("", data_dir, files)
    flagfile = tmp_path / "tiny.flags"
    flagfile.write_text("".join(f"{line}\n" for line in runs.arguments(config) if not line.startswith("--run_dir")))
    common = [f"--flagfile={flagfile}", f"--runs={tmp_path / 'runs'}", f"--output_dir={tmp_path / 'out'}"]
    rows = "--rows=LM,VAE,SA-VAE 2"
    ended = launcher.run("bin/reproduce.py", "--table=2", "--seeds=1", "--iw_samples=2", rows, *common)
    assert ended.status == 0, ended.stderr
    table = (tmp_path / "out" / "table2.md").read_text()
    assert "| SA-VAE 2 |" in table
    assert f"python bin/train.py --flagfile={flagfile}" in table
    assert_one_line(
        launcher.run("bin/reproduce.py", "--table=2", "--rows=SA-VAE 3", *common), 2, "--rows=SA-VAE 3: expected"
    )


@pytest.mark.slow
def test_table_3_of_images(launcher, data_dir, tmp_path):
    config = images.tiny("", data_dir, images.write(tmp_path))
    flagfile = tmp_path / "tiny.flags"
    flagfile.write_text("".join(f"{line}\n" for line in runs.arguments(config) if not line.startswith("--run_dir")))
    common = [f"--flagfile={flagfile}", f"--runs={tmp_path / 'runs'}", f"--output_dir={tmp_path / 'out'}"]
    rows = "--rows=Gated PixelCNN,VAE"
    ended = launcher.run("bin/reproduce.py", "--table=3", "--seeds=1", "--iw_samples=2", rows, *common)
    assert ended.status == 0, ended.stderr
    table = (tmp_path / "out" / "table3.md").read_text()
    assert "| Gated PixelCNN |" in table
    assert "# VAE\npython bin/train.py" in table

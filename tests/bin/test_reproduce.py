"""Table 1 and Figure 1 from tiny runs: what is written, not what it says."""

import json

import pytest

from sa_vae_tf.analysis.table1 import GENERATORS, ROWS
from tests import runs


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

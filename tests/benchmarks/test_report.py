"""BENCHMARKS.md from given lines."""

import json
import os
import re

import pytest

from sa_vae_tf.benchmarks import plot, report, suite
from sa_vae_tf.benchmarks.sizes import SIZES
from sa_vae_tf.errors import UserError

STEP = {"config": "small", "measure": "step", "method": "sa_vae", "svi_steps": 5, "hvp": "exact", "kernels": "fused",
        "jit_compile": True, "median_s": 0.5, "replicas": 1, "kept_mib": 1024, "kept_steps": [5, 5, 5],
        "peak_gib": 1.0, "gflops": 100.0, "peak_gflops": 200.0, "peak_share": 0.5, "traffic_s": 0.1,
        "repeats": 3}  # fmt: skip
LINES = [
    {**STEP, "method": "vae", "svi_steps": 0, "median_s": 0.125},
    STEP,
    {**STEP, "hvp": "finite_difference", "median_s": 0.25},
    {**STEP, "unrolled_s": 2.0, "unrolled_gib": 3.0},
    {"config": "small", "measure": "parts", "part": "reverse", "svi_steps": 5, "hvp": "exact", "median_s": 0.3,
     "products_s": 0.2, "traffic_s": 0.05},
    {**STEP, "kernels": "bfloat16", "jit_compile": False, "median_s": 0.4},
    {**STEP, "kept_mib": 2048, "median_s": 0.25},
    {**STEP, "replicas": 2, "median_s": 0.125},
    {**STEP, "replicas": 2, "kept_mib": 2048, "median_s": 0.1},
    {**STEP, "kernels": "bfloat16", "jit_compile": False, "replicas": 2, "median_s": 0.2},
    {**STEP, "kernels": "bfloat16", "jit_compile": False, "kept_mib": 2048, "median_s": 0.05},
    {"config": "small", "measure": "rounding", "svi_steps": 5, "kernels": "bfloat16", "gradient_distance": 0.01,
     "loss_distance": 1e-4},
    {"config": "medium", "measure": "evaluation", "median_s": 1.5, "examples_per_second": 10.0, "peak_gib": 0.7,
     "iw_samples": 100},
]  # fmt: skip


@pytest.fixture
def peers(tmp_path):
    path = tmp_path / "peers.jsonl"
    path.write_text('{"impl": "jax", "config": "small", "K": 5, "median_s": 1.0, "more": []}\n\n')
    return str(path)


def test_tables_and_plot(tmp_path, monkeypatch, peers):
    measured = iter([LINES])
    monkeypatch.setattr(report, "suite", lambda: [[]])
    monkeypatch.setattr(report, "_measured", lambda arguments: next(measured))
    written = report.write(tmp_path / "new", "a command", peers)
    assert all(path.stat().st_size for path in written)
    text = written[0].read_text()
    for row in (
        "| small | sa_vae | 5 | exact | fused | yes | 1 | 1024 | 5/5/5 | 3 | 0.5 | 1.00 | 100 | 0.25 | 0.50 | 0.1 |",
        "| small | sa_vae | 5 | 0.5 | 2 | 1.00 | 3.00 |",
        "| small | 5 | reverse | 0.3 | 0.2 | 0.05 |",
        "| medium | evaluation | 100 | 1.5 | 10.0 | 0.70 |",
        "| small | 5 | bfloat16 | 0.01 | 0.0001 |",
        "| jax | small | 5 | 1 | 2.00 | 8.00 | 10.00 | 4.00 | 2.50 | 5.00 | 20.00 |",
    ):
        assert row in text.splitlines()
    assert "`a command`" in text
    assert json.loads(written[2].read_text())["lines"] == LINES


def test_a_file_where_the_report_is_to_go(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--report_dir=.*file/docs: cannot write there"):
        report.write(tmp_path / "file", "a command")


def test_an_interrupted_report_goes_on(tmp_path, monkeypatch):
    asked = []

    def measured(arguments):
        asked.append(arguments)
        if asked == [["a"], ["b"]]:
            raise KeyboardInterrupt
        return LINES if arguments == ["a"] else [{**STEP, "svi_steps": 40}]

    monkeypatch.setattr(report, "suite", lambda: [["a"], ["b"]])
    monkeypatch.setattr(report, "_measured", measured)
    with pytest.raises(KeyboardInterrupt):
        report.write(tmp_path, "a command")
    with (tmp_path / "docs" / "benchmarks.jsonl").open("a") as file:
        file.write(json.dumps({"machine": "another", "arguments": "b", "lines": []}) + "\n")
        file.write('{"arguments": "b", "li')  # Killed while it wrote.
    written = report.write(tmp_path, "a command")
    assert asked == [["a"], ["b"], ["b"]]
    assert json.loads(written[2].read_text())["lines"] == [*LINES, {**STEP, "svi_steps": 40}]
    assert not (tmp_path / "docs" / "benchmarks.jsonl").exists()


def test_a_machine_is_named_with_what_its_seconds_depend_on(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 avx512_bf16 avx512f\n" * 2)
    monkeypatch.setattr(report, "CPU", info)
    assert f"{os.cpu_count()} cores of Some CPU (avx512_bf16); Python" in report._machine()


def test_every_measurement_is_one_the_script_knows():
    for arguments in report.suite():
        assert arguments[0].removeprefix("--config=") in SIZES


@pytest.mark.parametrize(("gpus", "devices"), [(0, 3), (2, 2)])
def test_steps_are_spread_over_all_devices(gpus, devices, monkeypatch):
    monkeypatch.setattr(suite.tf.config, "list_physical_devices", lambda kind: [f"{kind}:{n}" for n in range(gpus)])
    monkeypatch.setattr(suite.os, "sched_getaffinity", lambda process: {0, 4, 5})
    spread = [arguments for arguments in suite.suite() if "--strategy=mirrored" in arguments]
    assert len(spread) > 5
    assert all(f"--replicas={devices}" in arguments for arguments in spread)


def test_curves_of_the_plot():
    others = [{"impl": "jax", "config": config, "svi_steps": 5, "median_s": 1.0} for config in ("small", "medium")]
    curves = {name: points for name, _, points in plot._series("small", LINES, others)}
    assert curves == {
        "exact, and a VAE": [(0, 0.125), (5, 0.5)],
        "factors of bfloat16": [(5, 0.4)],
        "a device a core": [(5, 0.125)],
        "finite differences": [(5, 0.25)],
        "plain double backpropagation": [(5, 2.0)],
        "another program": [(5, 1.0)],
    }
    for config in ("medium", "paper", "images"):  # Each has the same curves, whose colours are told once.
        names, _, points = zip(*plot._series(config, LINES, others), strict=True)
        assert names == tuple(curves)
        assert points == ([],) * 5 + ([(5, 1.0)] if config == "medium" else [],)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "'{': expected JSON with impl, config, K, median_s"),
        ("[]", "'[]': expected JSON with"),
        ('{"config": "small", "K": 5, "median_s": 1}', "impl: missing: expected a name"),
        ('{"impl": "jax", "config": "small", "K": "five", "median_s": 1}', "K: 'five': expected a whole number of"),
        ('{"impl": "jax", "config": "huge", "K": 5, "median_s": 1}', "config: 'huge': expected one of small, medium, "),
        ('{"impl": "jax", "config": "small", "K": 5, "median_s": -1}', "median_s: -1: expected a positive number of"),
        ('{"impl": "jax", "config": "small", "K": 5, "median_s": NaN}', "median_s: nan: expected a positive number of"),
    ],
)
def test_malformed_lines_of_others(content, message, tmp_path):
    path = tmp_path / "peers.jsonl"
    path.write_text("\n" + content)
    with pytest.raises(UserError, match=f"--peers=.*: line 2: {re.escape(message)}"):
        report.write(tmp_path, "a command", str(path))

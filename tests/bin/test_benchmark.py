"""The benchmark's line."""

import json

import pytest

KEYS = {"median_s", "peak_gib", "gflops", "peak_share"}


def benchmark(launcher, *arguments: str) -> dict:
    ended = launcher.run("bin/benchmark.py", *arguments)
    assert ended.status == 0, ended.stderr
    [line] = ended.stdout.splitlines()
    return json.loads(line)


@pytest.mark.parametrize("config", ["small", pytest.param("synthetic", marks=pytest.mark.slow)])
def test_one_json_line(config, launcher):
    figures = benchmark(
        launcher, f"--config={config}", "--method=vae", "--svi_steps=3", "--repeats=1", "--nojit_compile"
    )
    assert set(figures) >= KEYS
    assert all(figures[name] > 0 for name in KEYS)
    assert figures["gflops"] / figures["peak_gflops"] == pytest.approx(figures["peak_share"], abs=0.01)
    assert (figures["config"], figures["svi_steps"]) == (config, 0)  # A VAE takes no steps.


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_steps(launcher):
    peaks = {
        steps: benchmark(launcher, "--config=small", f"--svi_steps={steps}", "--repeats=5")["peak_gib"]
        for steps in (5, 80)
    }
    assert peaks[80] <= 1.1 * peaks[5], peaks

"""The benchmark's line."""

import json
import subprocess
import sys

import pytest

SMALL_IMAGES = ["--image_height=8", "--image_width=6", "--encoder_channels=4,4", "--pixelcnn_kernels=3,3"]
KEYS = {"median_s", "peak_gib", "gflops", "peak_share"}


def benchmark(launcher, *arguments: str) -> list[dict]:
    ended = launcher.run("bin/benchmark.py", *arguments)
    assert ended.status == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("config", ["small", pytest.param("synthetic", marks=pytest.mark.slow)])
def test_one_json_line(config, launcher):
    [figures] = benchmark(
        launcher, f"--config={config}", "--method=vae", "--svi_steps=3", "--repeats=1", "--nojit_compile"
    )
    assert set(figures) >= KEYS
    assert all(figures[name] > 0 for name in KEYS)
    assert figures["gflops"] / figures["peak_gflops"] == pytest.approx(figures["peak_share"], abs=0.01)
    assert (figures["config"], figures["svi_steps"]) == (config, 0)  # A VAE takes no steps.


@pytest.mark.slow
def test_a_device_a_core(launcher):
    [figures] = benchmark(
        launcher, "--config=synthetic", "--svi_steps=1", "--repeats=1", "--strategy=mirrored", "--replicas=2"
    )
    assert (figures["replicas"], figures["jit_compile"]) == (2, True)
    ended = launcher.run("bin/benchmark.py", "--config=small", "--measure=parts", "--strategy=mirrored")
    assert ended.status == 2
    assert "--strategy=mirrored: expected none, or mirrored for --measure=step" in ended.stderr


@pytest.mark.slow
def test_images_are_not_compiled_on_several_devices(launcher):
    [figures] = benchmark(
        launcher,
        "--config=images",
        "--kernels=fused",
        "--method=vae",
        "--repeats=1",
        "--strategy=mirrored",
        "--replicas=2",
        "--batch_size=4",
        *SMALL_IMAGES,
    )
    assert (figures["replicas"], figures["jit_compile"]) == (2, False)


@pytest.mark.parametrize(
    "measure",
    ["evaluation", *(pytest.param(name, marks=pytest.mark.slow) for name in ("parts", "sampling"))],
)
def test_settings_of_training_take_the_place_of_the_sizes(measure, launcher):
    lines = benchmark(
        launcher,
        "--config=images",
        f"--measure={measure}",
        "--repeats=1",
        "--nojit_compile",
        "--svi_steps=2",
        "--batch_size=4",
        *(["--iw_samples=3"] if measure == "evaluation" else []),
        *SMALL_IMAGES,
    )
    assert {line["measure"] for line in lines} == {measure}
    assert all(line["median_s"] > 0 for line in lines)
    assert len(lines) == (5 if measure == "parts" else 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=images", "--iw_samples=3"], "--iw_samples=3: has no meaning for what is to be measured"),
        (["--measure=evaluation", "--method=lm", "--iw_samples=3"], "--iw_samples=3: has no meaning for what is"),
        (["--measure=rounding", "--kernels=plain", "--repeats=2"], "--repeats=2: has no meaning for what is to be"),
        (["--program_dir=new", "--repeats=2"], "--repeats=2: has no meaning for what is to be measured"),
        (["--noprogram_run"], "--program_run=False: has no meaning for what is to be measured"),
        (["--data=image"], "--data=image: --config=small is of --data=text"),
    ],
)
def test_flags_without_a_meaning(arguments, message, launcher):
    ended = launcher.run("bin/benchmark.py", *arguments)
    assert ended.status == 2
    assert message in ended.stderr


def test_rounded_factors(launcher):
    [line] = benchmark(launcher, "--config=small", "--measure=rounding", "--kernels=bfloat16", "--svi_steps=1")
    # Factors of eight bits, whose errors in long sums partly cancel. Other noise would be a hundred times that.
    assert 1e-5 < line["gradient_distance"] < 0.01
    assert 0 < line["loss_distance"] < 1e-2


def test_a_program_for_another_runtime(launcher, tmp_path):
    folder = tmp_path / "program"
    [line] = benchmark(launcher, "--config=synthetic", "--svi_steps=2", f"--program_dir={folder}")
    program = json.loads((folder / "program.json").read_text())
    assert line["kept_steps"] == program["kept_steps"]
    assert {path.name for path in folder.iterdir()} == {"step.mlir", "inputs.npz", "program.json"}
    # What the step changes is as it was given, and what it returns besides are its figures.
    inputs, outputs, updates = (program[name] for name in ("inputs", "outputs", "updates"))
    assert all(
        outputs[int(output)] == {k: inputs[given][k] for k in ("dtype", "shape")} for output, given in updates.items()
    )
    assert program["results"] == sorted(program["expected"])
    assert len(outputs) == len(program["results"]) + len(updates)
    assert 0 < program["expected"]["gradient_norm"] < 1e4
    ended = launcher.run("bin/benchmark.py", "--config=small", "--strategy=mirrored", f"--program_dir={folder}")
    assert ended.status == 2
    assert "--strategy=mirrored: expected none, for a program of one device" in ended.stderr
    ended = launcher.run("bin/benchmark.py", "--config=small", f"--program_dir={folder / 'step.mlir'}")
    assert ended.status == 2
    assert "step.mlir: cannot write there (File exists)" in ended.stderr


def test_a_program_is_for_a_gpu_where_kernels_are_to_be_chosen(launcher, tmp_path):
    arguments = ["--config=images", *SMALL_IMAGES, "--batch_size=2", "--method=vae", "--noprogram_run"]
    [line] = benchmark(launcher, *arguments, f"--program_dir={tmp_path}")
    assert line["kernels"] == "fused"


def test_jax_runs_a_program(launcher, tmp_path):
    pytest.importorskip("jax", reason="JAX is no requirement of this package's")
    folder = tmp_path / "program"
    benchmark(launcher, "--config=synthetic", "--svi_steps=2", f"--program_dir={folder}")
    ended = subprocess.run(
        [sys.executable, "bin/run_program.py", "--repeats=1", folder], capture_output=True, text=True
    )
    line = json.loads(ended.stdout)
    # The same compiler, of another version.
    assert max(line["distance"].values()) < 1e-5


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_steps(launcher):
    peaks = {
        steps: benchmark(launcher, "--config=small", f"--svi_steps={steps}", "--repeats=5", "--kept_mib=0")[0][
            "peak_gib"
        ]
        for steps in (5, 80)
    }
    assert peaks[80] <= 1.1 * peaks[5], peaks

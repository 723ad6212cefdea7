"""Export and scoring of a run on images by the scripts, and an export where this package is not."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.training.run_folder import RunFolder
from tests import images, runs
from tests.bin.test_errors import assert_one_line
from tests.bin.test_export import CLI, WITHOUT_PACKAGE, assert_constant_memory, read, score
from tests.launcher import ROOT


@pytest.fixture(scope="module")
def run_dir(launcher, data_dir, tmp_path_factory):
    data_file = images.write(tmp_path_factory.mktemp("corpus"))
    config = images.tiny(tmp_path_factory.mktemp("runs") / "mine", data_dir, data_file)
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert ended.status == 0, ended.stderr
    return config.run_dir


@pytest.fixture(scope="module")
def model(launcher, run_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "mine"
    ended = launcher.run("bin/export.py", f"--run_dir={run_dir}", f"--export_dir={folder}")
    assert (ended.status, ended.stdout, ended.stderr) == (0, f"SavedModel: {folder}/1\n", "")
    return folder / "1"


def save(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


GREY = images.bars(40, seed=3)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(GREY[:5], id="float32", marks=pytest.mark.slow),
        pytest.param(np.float64(GREY[:21, ..., 0]), id="float64", marks=pytest.mark.slow),
        pytest.param(np.uint8(255 * GREY), id="bytes"),
        pytest.param(np.uint8(GREY > 0.5), id="binary", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_scores_of_a_file_are_those_of_evaluation(array, launcher, model, run_dir, tmp_path):
    file = save(tmp_path / "images.npy", array)
    ended = score(launcher, model, file, tmp_path / "out.jsonl", "--iw_samples=3", "--seed=2", "--batch_size=4")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{len(array)} images, ")
    assert f"{len(array)} scored, 0 kept with their error" in ended.stdout
    records = read(tmp_path / "out.jsonl")
    assert [record["image"] for record in records] == list(range(len(array)))
    results = evaluate(RunFolder(run_dir), seed=2, iw_samples=3, gap_steps=0, test_file=str(file))
    for name in ("nll_bound", "reconstruction", "nll_iw", "effective_samples"):
        assert np.mean([record[name] for record in records]) == pytest.approx(results[name], rel=1e-5), name


def test_malformed_images_are_kept_in_their_place(launcher, model, tmp_path):
    array = np.float64(GREY[:9])
    wrong = {1: np.nan, 4: -0.25, 8: 1e300}
    for number, value in wrong.items():
        array[number, 3, 2] = value
    ended = score(launcher, model, save(tmp_path / "wrong.npy", array), tmp_path / "wrong.jsonl")
    told = {i: f"a pixel of {value}; expected 0 to 1, or bytes (uint8)" for i, value in wrong.items()}
    assert ended.status == 0
    assert ended.stderr.splitlines() == [
        f"score.py: WARNING: {tmp_path}/wrong.npy: image {i}: {what}" for i, what in told.items()
    ]
    records = read(tmp_path / "wrong.jsonl")
    assert {record["image"]: record["error"] for record in records if "error" in record} == told
    # They take no part: the others are scored as a file of their own.
    right = [record for record in records if "error" not in record]
    file = save(tmp_path / "right.npy", np.delete(array, list(wrong), 0))
    assert score(launcher, model, file, tmp_path / "right.jsonl").status == 0
    alone = read(tmp_path / "right.jsonl")
    assert [record["nll_bound"] for record in right] == pytest.approx([record["nll_bound"] for record in alone])


@pytest.mark.slow
def test_a_stopped_scoring_goes_on(launcher, model, tmp_path):
    file = save(tmp_path / "images.npy", np.where(np.arange(40)[:, None, None, None] % 9, GREY, np.nan))
    common = (f"--saved_model={model}", f"--input={file}", f"--output={tmp_path}/out.jsonl", "--batch_size=1")
    ended = launcher.run("bin/score.py", *common, limits={"FSIZE": 5000})
    assert ended.status == 1
    assert ended.stderr.endswith("File too large; the same command goes on\n")
    (partial,) = tmp_path.glob(".*.partial")
    assert partial.read_bytes().count(b"\n") >= 16  # As many as are written at once.
    assert launcher.run("bin/score.py", *common).status == 0
    assert score(launcher, model, file, tmp_path / "whole.jsonl", "--batch_size=1").status == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_where_the_package_is_not(model, tmp_path):
    file = save(tmp_path / "images.npy", np.float32(GREY > 0.5))
    client = WITHOUT_PACKAGE + (
        "import json, numpy as np, tensorflow as tf\n"
        f"model, pixels = tf.saved_model.load({str(model)!r}), np.load({str(file)!r})\n"
        "scores = model.score(pixels, index=range(40))\n"
        "assert model.reconstruct(pixels)['images'].shape == pixels.shape\n"
        "print(json.dumps(scores['nll_bound'].numpy().tolist()))\n"
    )
    ended = subprocess.run([sys.executable, "-c", client], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "WARNING:absl" not in ended.stderr
    script = f"import runpy; runpy.run_path({str(ROOT / 'bin/score.py')!r}, run_name='__main__')"
    command = [sys.executable, "-c", WITHOUT_PACKAGE + script]
    command += [f"--saved_model={model}", f"--input={file}", "--output=out.jsonl"]
    scored = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (scored.returncode, scored.stderr) == (0, "")
    bounds = [record["nll_bound"] for record in read(tmp_path / "out.jsonl")]
    assert bounds == pytest.approx(json.loads(ended.stdout), rel=1e-5)


def test_saved_model_cli(launcher, model, tmp_path):
    file = save(tmp_path / "images.npy", np.float32(GREY > 0.5))
    common = (f"--dir={model}", "--tag_set=serve", "--signature_def=serving_default")
    ended = launcher.run(CLI, "run", *common, f"--inputs=pixels={file}")
    assert ended.status == 0, ended.stderr
    assert "Result for output key nll_bound:" in ended.stdout


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros([3, 6, 8]), "float64 of shape 3 x 6 x 8; expected numbers, images x 8 x 6"),
        (np.zeros([3, 8, 6, 2]), "float64 of shape 3 x 8 x 6 x 2; expected numbers, images x 8 x 6"),
        (np.full([3, 8, 6], "x"), "<U1 of shape 3 x 8 x 6; expected numbers, images x 8 x 6"),
        (np.full([3, 8, 6], None), "expected a .npy, whole, with an array of numbers"),
        (None, "expected a .npy, whole, with an array of numbers"),
    ],
    ids=["turned", "channels", "text", "objects", "lines"],
)
def test_wrong_arrays(array, message, launcher, model, tmp_path):
    if array is None:
        (tmp_path / "images.npy").write_text("the cat\n")
    else:
        np.save(tmp_path / "images.npy", array, allow_pickle=True)
    ended = score(launcher, model, tmp_path / "images.npy", tmp_path / "out.jsonl")
    assert_one_line(ended, 2, f"score.py: error: --input={tmp_path}/images.npy: {message}")


def test_other_wrong_inputs(launcher, model, tmp_path):
    ended = score(launcher, model, tmp_path / "none.npy", tmp_path / "out.jsonl")
    assert_one_line(ended, 2, f"--input={tmp_path}/none.npy: cannot be read (No such file or directory)")
    np.savez(tmp_path / "two.npz", train=GREY, test=GREY)
    ended = score(launcher, model, tmp_path / "two.npz", tmp_path / "out.jsonl")
    assert_one_line(ended, 2, f"--input={tmp_path}/two.npz: a .npz; expected a .npy, which has one array")


@pytest.mark.slow
def test_ten_thousand_images_in_constant_memory(launcher, data_dir, tmp_path):
    # Of the size of OMNIGLOT, by a model of some size, so that what a batch takes would show if it were kept.
    size = {"height": 28, "width": 28}
    config = images.tiny(
        tmp_path / "run", data_dir, images.write(tmp_path, **size), image_height=28, image_width=28,
        pixelcnn_channels=8, svi_steps=5, num_epochs=0,
    )  # fmt: skip
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    model = tmp_path / "export" / "1"
    assert launcher.run("bin/export.py", f"--run_dir={config.run_dir}", f"--export_dir={model.parent}").status == 0
    file = save(tmp_path / "images.npy", np.float32(images.bars(10_000, **size) > 0.5))
    for steps in (0, 5):
        assert_constant_memory(model, file, steps)

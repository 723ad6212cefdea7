"""Run folders: checkpoints, settings, figures and results."""

import dataclasses
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.analysis.experiments import read_results
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.training.build import build_model
from sa_vae_tf.training.checkpoints import Checkpoints
from sa_vae_tf.training.run_folder import RunFolder
from tests import runs
from tests.fuzz.attempts import assert_refused_by, attempt, contents, examples, fewer_examples
from tests.fuzz.mutations import mutated

KIND = "run folders"
DATA = "data-00000-of-00001"
SETTINGS = dataclasses.replace(runs.TINY, run_dir="somewhere", optimizer="adam", embedding_dim=1, units=1)
STEPS = {"latest": (3, 6, 9), "best": (3, 6)}
FIGURES = [{"epoch": n, "step": 3 * n, "svi_steps": 2, "val_nll_bound": 1.5 / n, "val_kl": 1e-9} for n in (1, 2, 3)]


class Sound:
    """Checkpoints that are whole: their files, and the state that each of them holds."""

    def __init__(self, folder: Path):
        self.model = build_model(SETTINGS, steps_per_epoch=3)
        self.checkpoints = Checkpoints(RunFolder(folder), self.model, {"best_bound": tf.Variable(0.0)})
        self.states = {}
        for step in STEPS["latest"]:
            for variable in self.checkpoints.training.values():
                variable.assign(tf.cast(np.random.default_rng(step).uniform(1, 9, variable.shape), variable.dtype))
            self.model.step.assign(step)
            self.checkpoints.save()
            if step in STEPS["best"]:
                self.checkpoints.save_best()
            self.states[step] = self.state()
        self.files = contents(folder)

    def state(self) -> dict[str, np.ndarray]:
        return {name: variable.numpy() for name, variable in self.checkpoints.training.items()}

    def write(self, files: dict[Path, bytes]) -> None:
        shutil.rmtree(self.checkpoints.latest.parent)
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return Sound(tmp_path_factory.mktemp("run"))


def check(sound: Sound, files: dict[Path, bytes]) -> None:
    """Restores from damaged checkpoints: all of a sound one, or nothing."""
    sound.write(files)
    for part, restore in (("latest", sound.checkpoints.restore_latest), ("best", sound.checkpoints.restore_best)):
        before = sound.state()
        was_read, found = attempt(KIND, restore, sound.checkpoints.latest, sound.checkpoints.best)
        names = sound.checkpoints.training if part == "latest" else sound.checkpoints.weights
        after = sound.state()
        if was_read and found:
            # Their steps tell them apart, and no other number is a checkpoint's.
            assert int(after["step"]) in sound.states
        expected = sound.states[int(after["step"])] if was_read and found else before
        for name in names:
            np.testing.assert_array_equal(after[name], expected[name], err_msg=name)


@fewer_examples
@given(st.data())
def test_damaged_checkpoints(sound, data):
    files = dict(sound.files)
    # All of those that a fallback could end at, or some.
    for path in data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, unique=True) | st.just(sorted(files))):
        files[path] = data.draw(mutated(files[path]))
    check(sound, files)


@fewer_examples
@given(st.data())
def test_checkpoints_with_files_of_others(sound, data):
    files = dict(sound.files)
    paths = sorted(files)
    for _ in range(data.draw(st.integers(1, 6))):
        one, other = data.draw(st.sampled_from(paths)), data.draw(st.sampled_from(paths))
        what = data.draw(st.sampled_from(["swap", "copy", "empty", "remove", "rename"]))
        if what == "remove":
            files.pop(one, None)
        elif what == "empty":
            files[one] = b""
        elif what == "rename":
            odd = data.draw(
                st.sampled_from(["ckpt-.index", "ckpt-x.index", "ckpt-99.index", "ckpt-notes.txt", f"ckpt-9.{DATA}"])
            )
            files[one.with_name(odd)] = sound.files[one]
        elif what == "copy":
            files[one] = sound.files[other]
        else:
            files[one], files[other] = sound.files[other], sound.files[one]
    check(sound, files)
    sound.checkpoints.save()
    assert sound.checkpoints.restore_latest()


def in_groups(value: int, more: int) -> bytes:
    """Returns a number in groups of seven bits, all but the last marked as having `more` after it."""
    return bytes([*(value >> 7 * n & 0x7F | 0x80 for n in range(more)), value >> 7 * more & 0x7F])


sizes = st.integers(0, 2**64) | st.integers(0, 64).map(lambda n: 2**n)
groups = st.builds(in_groups, sizes, st.integers(0, 9))


@fewer_examples
@given(st.lists(groups, min_size=4, max_size=4).map(b"".join))
def test_indexes_that_say_their_blocks_are_elsewhere(sound, footer):
    # TensorFlow would take the size of a block for granted, and end with the process for want of memory.
    files = dict(sound.files)
    for path in files:
        if path.suffix == ".index":
            files[path] = files[path][:-48] + footer[:40].ljust(40, b"\0") + files[path][-8:]
    check(sound, files)


VALID = {
    "flags.txt": (Path(__file__).parents[2] / "synthetic.flags").read_bytes(),
    "vocabulary.txt": b"<pad> 0\n<unk> 1\n<s> 2\n</s> 3\nthe 4\ncat 5\n",
    "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in FIGURES).encode(),
    "results.json": json.dumps({"nll_bound": 1.5, "nll_iw": None, "split": "test"}, indent=2).encode(),
}
READ = {
    "flags.txt": lambda folder: RunFolder(folder).read_config(),
    "vocabulary.txt": lambda folder: Vocabulary.read(folder / "vocabulary.txt"),
    "metrics.jsonl": lambda folder: RunFolder(folder).read_metrics(),
    "results.json": lambda folder: read_results(folder / "results.json"),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from([*FIGURES[0], "x"]), inner, max_size=3),
    max_leaves=5,
)
json_texts = st.lists(
    json_values.map(json.dumps) | st.sampled_from(["[" * 99_999, "9" * 9999, "{", ""]), max_size=4
).map(lambda lines: "\n".join([*lines, ""]).encode())


def check_file(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    was_read, found = attempt(KIND, lambda: READ[name](folder), folder / name)
    if was_read and name == "metrics.jsonl":
        run = RunFolder(folder)
        assert run.epochs() >= 0
        run.forget_metrics_after(6, steps_per_epoch=3)
        assert run.read_metrics() == [line for line in found if line["step"] <= 6 and line["step"] % 3 == 0] or found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@examples
@given(st.sampled_from(sorted(VALID)).flatmap(lambda name: st.tuples(st.just(name), mutated(VALID[name]))))
def test_damaged_files(folder, named):
    check_file(folder, *named)


@examples
@given(st.sampled_from(["metrics.jsonl", "results.json"]), json_texts)
def test_figures_of_other_forms(folder, name, content):
    check_file(folder, name, content)


def _damage(folder: Path, pattern: str, change) -> None:
    for path in folder.glob(pattern):
        path.write_bytes(change(path.read_bytes()))


@pytest.fixture(scope="module")
def run_dir(launcher, data_dir, tmp_path_factory):
    config = runs.tiny(tmp_path_factory.mktemp("runs") / "sound", data_dir, method="vae", num_epochs=1)
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    return Path(config.run_dir)


@pytest.mark.parametrize(
    ("pattern", "change", "name"),
    [
        ("checkpoints/*/*", lambda content: b"", "checkpoints/best"),
        ("checkpoints/*/*.index", lambda content: content[:-48] + b"\xff" * 9 + content[-39:], "checkpoints/best"),
        ("checkpoints/*/*.data*", lambda content: random.Random(1).randbytes(len(content)), "checkpoints/best"),
        ("flags.txt", lambda content: content.replace(b"--seed", b"--se\x1bed"), "flags.txt"),
        ("metrics.jsonl", lambda content: b"\x80" + content, "metrics.jsonl"),
    ],
    ids=["empty", "index", "data", "flags", "metrics"],
)
def test_the_script_ends_with_one_line(pattern, change, name, launcher, run_dir, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_dir, folder)
    _damage(folder, pattern, change)
    before = contents(folder)
    ended = launcher.run("bin/evaluate.py", f"--run_dir={folder}", "--iw_samples=1")
    assert ended.status == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    *warnings, error = ended.stderr.splitlines(keepends=True)
    assert all(": WARNING: " in line and "cannot be read (" in line for line in warnings)
    assert_refused_by(ended._replace(stderr=error), folder / name)
    assert contents(folder) == before

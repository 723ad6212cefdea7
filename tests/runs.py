"""Training runs so small that a test can afford several, and what is in their folders."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import to_flagfile
from sa_vae_tf.training.run_folder import RunFolder

# Three steps an epoch, the last with half a batch. XLA takes longer to compile than all of the training.
TINY = Config(
    num_examples=50,
    batch_size=20,
    eval_batch_size=50,
    embedding_dim=4,
    units=4,
    svi_steps=2,
    generator="learned",
    jit_compile=False,
)
TIMES = {"step_seconds", "steps_per_second", "examples_per_second"}


def tiny(run_dir: str | Path, data_dir: str, **changes: Any) -> Config:
    return dataclasses.replace(TINY, run_dir=str(run_dir), data_dir=data_dir, **changes)


def arguments(config: Config) -> list[str]:
    """Returns the command line of these settings."""
    return to_flagfile(config).splitlines()


def figures(run_dir: str | Path) -> list[dict[str, Any]]:
    """Returns the lines of metrics.jsonl without times."""
    lines = RunFolder(run_dir).read_metrics()
    return [{name: value for name, value in line.items() if name not in TIMES} for line in lines]


def numbers(folder: Path) -> list[int]:
    """Returns the numbers of the checkpoints in a folder."""
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("*.index"))


def newest(run_dir: str | Path) -> int:
    """Returns the step of a run's newest checkpoint, -1 for none."""
    return max(numbers(Path(run_dir, "checkpoints", "latest")), default=-1)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """Returns what is in the newest checkpoint of a folder."""
    reader = tf.train.load_checkpoint(str(folder / f"ckpt-{numbers(folder)[-1]}"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Returns step and value of each point of TensorBoard's scalars by name."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def assert_same_end(run_dir: str | Path, expected: str | Path) -> None:
    """Asserts that two runs ended alike, bit for bit: figures, the state of training and the best weights."""
    assert figures(run_dir) == figures(expected)
    for kind in ("latest", "best"):
        folders = [Path(path, "checkpoints", kind) for path in (run_dir, expected)]
        assert numbers(folders[0])[-1] == numbers(folders[1])[-1]
        actual, wanted = map(tensors, folders)
        assert actual.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_array_equal(actual[name], value, err_msg=name)

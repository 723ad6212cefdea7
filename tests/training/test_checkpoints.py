"""Checkpoints, sound and damaged."""

import dataclasses
import logging
import random

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.errors import UserError
from sa_vae_tf.training import checkpoints as module
from sa_vae_tf.training.build import build_model
from sa_vae_tf.training.checkpoints import Checkpoints
from sa_vae_tf.training.run_folder import RunFolder
from tests import runs

SETTINGS = dataclasses.replace(runs.TINY, run_dir="somewhere", optimizer="adam", embedding_dim=1, units=1)
DATA = "data-00000-of-00001"


@pytest.fixture(scope="module")
def model():
    return build_model(SETTINGS, steps_per_epoch=3)


@pytest.fixture
def checkpoints(model, tmp_path):
    return Checkpoints(RunFolder(tmp_path), model, {"best_bound": tf.Variable(0.0), "decaying": tf.Variable(False)})


def scramble(checkpoints: Checkpoints, step: int) -> dict[str, np.ndarray]:
    """Gives every variable a value of its own that depends on the step, and returns the values by name."""
    generator = np.random.default_rng(step)
    for variable in checkpoints.training.values():
        variable.assign(tf.cast(generator.uniform(1, 100, variable.shape), variable.dtype))
    checkpoints.model.step.assign(step)
    return values(checkpoints)


def values(checkpoints: Checkpoints) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in checkpoints.training.items()}


def assert_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def test_all_of_the_state_comes_back_in_another_model_of_the_process(checkpoints):
    saved = scramble(checkpoints, 7)
    checkpoints.save()
    # Keras numbers the names of further optimisers: adam, adam_1.
    other = Checkpoints(
        RunFolder(checkpoints.latest.parents[1]),
        build_model(dataclasses.replace(SETTINGS, seed=2), steps_per_epoch=3),
        {"best_bound": tf.Variable(5.0), "decaying": tf.Variable(True)},
    )
    assert other.restore_latest()
    assert_equal(values(other), saved)
    for group, variables in (("weights", other.model.weights), ("optimizer", other.model.optimizer.variables)):
        assert sum(name.startswith(f"{group}/") for name in saved) == len(variables)
        for i, variable in enumerate(variables):
            np.testing.assert_array_equal(variable.numpy(), saved[f"{group}/{i}"])
    assert other.model.encoder.trainable_variables
    assert int(other.model.step) == 7
    assert int(other.model.skipped) == saved["skipped"]


def test_nothing_to_restore(checkpoints):
    before = scramble(checkpoints, 7)
    assert not checkpoints.restore_latest()
    assert not checkpoints.restore_best()
    assert_equal(values(checkpoints), before)


def test_three_latest_and_two_best_are_kept(checkpoints):
    for step in (8, 9, 10, 11):
        scramble(checkpoints, step)
        checkpoints.save()
        checkpoints.save_best()
    # By number, not by name: 10 comes after 9.
    assert runs.numbers(checkpoints.latest) == [9, 10, 11]
    assert runs.numbers(checkpoints.best) == [10, 11]
    for folder, kept in ((checkpoints.latest, 3), (checkpoints.best, 2)):
        assert len(list(folder.iterdir())) == 2 * kept


def test_what_a_killed_process_left_is_cleared(checkpoints):
    scramble(checkpoints, 3)
    checkpoints.save()
    for left in ("ckpt-4.data-00000-of-00001.tempstate123", "ckpt-2.data-00000-of-00001", "ckpt-4.index.tempstate9"):
        (checkpoints.latest / left).write_bytes(b"half")
    saved = scramble(checkpoints, 5)
    checkpoints.save()
    assert sorted(path.name for path in checkpoints.latest.iterdir()) == [
        f"ckpt-{n}.{kind}" for n in (3, 5) for kind in (DATA, "index")
    ]
    scramble(checkpoints, 6)
    assert checkpoints.restore_latest()
    assert_equal(values(checkpoints), saved)


def test_the_best_weights_and_else_the_latest(checkpoints):
    latest = scramble(checkpoints, 5)
    checkpoints.save()
    before = scramble(checkpoints, 6)
    assert checkpoints.restore_best()
    weights = {name for name in latest if name.startswith("weights/")} | {"step"}
    for name, value in values(checkpoints).items():
        np.testing.assert_array_equal(value, (latest if name in weights else before)[name])
    best = scramble(checkpoints, 4)
    checkpoints.save_best()
    scramble(checkpoints, 6)
    assert checkpoints.restore_best()
    for name in weights:
        np.testing.assert_array_equal(values(checkpoints)[name], best[name])


KINDS = {
    "latest": (Checkpoints.save, Checkpoints.restore_latest),
    "best": (Checkpoints.save_best, Checkpoints.restore_best),
}


def damage(path, how: str) -> None:
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "short of a byte":
        path.write_bytes(content[:-1])
    elif how == "another file":
        path.write_bytes(b"\xff\x00 no checkpoint" * 100)
    else:
        flipped = bytearray(content)
        flipped[len(content) // 3] ^= 0x10
        path.write_bytes(flipped)


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "short of a byte", "another file", "flipped"])
@pytest.mark.parametrize("file", [DATA, "index"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(kind, file, how, checkpoints, caplog):
    save, restore = KINDS[kind]
    before = scramble(checkpoints, 5)
    save(checkpoints)
    scramble(checkpoints, 6)
    path = save(checkpoints)
    damage(path.with_suffix(f".{file}"), how)
    scramble(checkpoints, 9)
    with caplog.at_level(logging.WARNING, "sa_vae_tf"):
        assert restore(checkpoints)
    restored = values(checkpoints)
    for name in checkpoints.training if kind == "latest" else checkpoints.weights:
        np.testing.assert_array_equal(restored[name], before[name])
    messages = [record.getMessage() for record in caplog.records]
    if (file, how) == ("index", "missing"):
        assert messages == []  # As if it had not been finished.
    else:
        [message] = messages
        assert message.startswith(f"{path} cannot be read (")
        assert message.endswith("); trying the one before")


@pytest.mark.parametrize("kind", KINDS)
def test_all_damaged(kind, checkpoints, caplog):
    save, restore = KINDS[kind]
    for step in (5, 6):
        scramble(checkpoints, step)
        damage(save(checkpoints).with_suffix(f".{DATA}"), "flipped")
    before = scramble(checkpoints, 9)
    remedy = {"latest": "begin anew in another folder", "best": "delete this folder for the latest one"}[kind]
    with pytest.raises(UserError, match=f"checkpoints/{kind}: none of its 2 checkpoints can be read; {remedy}$"):
        restore(checkpoints)
    assert ["trying" in record.getMessage() for record in caplog.records] == [True, False]
    assert_equal(values(checkpoints), before)


@pytest.mark.parametrize("file", [DATA, "index"])
def test_a_flipped_bit_anywhere_is_noticed_or_does_no_harm(file, checkpoints):
    saved = scramble(checkpoints, 5)
    path = checkpoints.save().with_suffix(f".{file}")
    content = path.read_bytes()
    noticed = 0
    # Everywhere in turn would take minutes.
    positions = random.Random(1).sample(range(len(content)), 150)
    for position in positions:
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        before = scramble(checkpoints, 9)
        try:
            module._restore(checkpoints.training, path.with_suffix(""))
        except (tf.errors.OpError, ValueError):
            noticed += 1
            assert_equal(values(checkpoints), before)
        else:
            assert_equal(values(checkpoints), saved)
    # There is unused room in an index, and none between tensors.
    assert noticed == len(positions) if file == DATA else noticed > 0.9 * len(positions)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b'model_checkpoint_path: "ckpt-99"\n'])
def test_a_list_of_checkpoints_by_tensorflow_is_not_relied_on(content, checkpoints):
    saved = scramble(checkpoints, 5)
    checkpoints.save()
    if content is not None:
        (checkpoints.latest / "checkpoint").write_bytes(content)
    scramble(checkpoints, 9)
    assert checkpoints.restore_latest()
    assert_equal(values(checkpoints), saved)
    checkpoints.save()


def test_a_checkpoint_of_another_model_changes_nothing(checkpoints, model, caplog):
    larger = build_model(dataclasses.replace(SETTINGS, units=2), steps_per_epoch=3)
    Checkpoints(RunFolder(checkpoints.latest.parents[1]), larger).save()
    before = scramble(checkpoints, 9)
    with pytest.raises(UserError, match="none of its 1 checkpoints can be read"):
        checkpoints.restore_best()
    assert "of shape" in caplog.text
    assert_equal(values(checkpoints), before)


def test_after_a_fallback_the_damaged_ones_do_not_crowd_out_new_ones(checkpoints):
    for step in (2, 5, 6):
        scramble(checkpoints, step)
        checkpoints.save()
    for step in (5, 6):
        damage(checkpoints.latest / f"ckpt-{step}.{DATA}", "flipped")
    assert checkpoints.restore_latest()
    for step in (3, 4):
        saved = scramble(checkpoints, step)
        checkpoints.save()
    assert runs.numbers(checkpoints.latest) == [2, 3, 4]
    scramble(checkpoints, 9)
    assert checkpoints.restore_latest()
    assert_equal(values(checkpoints), saved)


def in_groups(number: int) -> bytes:
    """Returns a number as it is in a footer: seven bits to a byte, the lowest first, the last byte below 128."""
    digits = [number >> shift & 0x7F for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


@pytest.mark.parametrize("size", map(in_groups, [2**32 - 1, 2**45, 2**62, 2**64 - 1]))
def test_a_block_beyond_the_end_of_an_index_is_noticed(size, checkpoints, monkeypatch):
    # Some of these sizes TensorFlow refuses itself; of 2**45 and 2**62 bytes it ends, and this process with it.
    monkeypatch.setattr(tf.raw_ops, "RestoreV2", lambda **_: pytest.fail("TensorFlow was asked"))
    scramble(checkpoints, 5)
    path = checkpoints.save().with_suffix(".index")
    content = path.read_bytes()
    for footer in (b"\0\0\0" + size, b"\0\0" + size + b"\0", b"\0" + size + b"\0\0", size + b"\0\0\0", b""):
        path.write_bytes(content[:-48] + footer.ljust(40, b"\x80") + content[-8:])
        with pytest.raises(UserError, match="none of its 1 checkpoints can be read"):
            checkpoints.restore_latest()


def test_a_checkpoint_under_the_name_of_another_is_passed_over(checkpoints):
    scramble(checkpoints, 4)
    checkpoints.save()
    saved = scramble(checkpoints, 5)
    checkpoints.save()
    for path in list(checkpoints.latest.glob("ckpt-4.*")):
        path.with_name(path.name.replace("ckpt-4", "ckpt-8")).write_bytes(path.read_bytes())
    scramble(checkpoints, 9)
    assert checkpoints.restore_latest()
    assert_equal(values(checkpoints), saved)


def test_files_of_others_are_left_alone(checkpoints):
    checkpoints.latest.mkdir(parents=True)
    names = ["ckpt-notes.index", "ckpt-.index", "ckpt-old", "notes.txt"]
    for name in names:
        (checkpoints.latest / name).write_bytes(b"something")
    assert not checkpoints.restore_latest()
    scramble(checkpoints, 5)
    checkpoints.save()
    assert checkpoints.restore_latest()
    for name in names:
        assert (checkpoints.latest / name).read_bytes() == b"something"

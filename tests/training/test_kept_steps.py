"""How many refinement steps are kept in memory."""

import dataclasses

import pytest
import tensorflow as tf

from sa_vae_tf.benchmarks.sizes import SIZES, make
from sa_vae_tf.training.config import Config

# Of 50 texts of 5 words: the gradient at the output, of 100 units, and the normaliser; hidden states and cells, and
# their cotangents; four gates, the exponentials of 1,000 scores, and the largest of each word.
WORDS = 4 * 50 * 5
SMALL, MEDIUM, LARGE = WORDS * (100 + 1), WORDS * 4 * 100, WORDS * (4 * 100 + 1000 + 1)
TEXT = Config(**SIZES["small"], svi_steps=20)


def kept(**changes) -> tuple[int, int, int]:
    model, _ = make(dataclasses.replace(TEXT, **changes))
    return model.settings.keep


def test_all_steps_where_there_is_room():
    assert kept() == (20, 20, 20)
    assert kept(svi_steps=3, svi_steps_schedule="2:7") == (7, 7, 7)
    # More than are differentiated would be of no use.
    assert kept(reverse_steps=2) == (2, 2, 2)
    assert kept(svi_steps=3, reverse_steps=5) == (3, 3, 3)


@pytest.mark.parametrize("mib", [1, 2, 5, 9, 10, 11, 20])
def test_what_is_worth_most_comes_first(mib):
    expected, room = [], 20
    left = mib * 2**20
    for size in (SMALL, MEDIUM, LARGE):
        room = min(room, left // size)
        left -= room * size
        expected.append(room)
    assert kept(kept_mib=mib) == tuple(expected)


def test_large_results_with_what_is_left():
    small, medium, everything = kept(kept_mib=11)
    assert (small, medium) == (20, 20)
    assert 0 < everything < 20


def test_by_the_part_of_a_batch_that_is_taken_at_once():
    assert kept(kept_mib=3) == (20, 2, 0)
    # Two of the texts, which have six symbols with their start and end.
    assert kept(kept_mib=3, words_at_once=14) == (20, 20, 20)


def test_a_second_model_of_a_process_whose_first_was_trained_on_any_batch():
    config = dataclasses.replace(TEXT, kernels="hybrid", jit_compile=False, svi_steps=1, kept_mib=0)
    model, batch = make(config)
    of_any = {name: tf.TensorSpec([None] * tensor.shape.rank, tensor.dtype) for name, tensor in batch.items()}
    tf.function(model.train_step, autograph=False).get_concrete_function(of_any)
    assert kept(kernels="hybrid", jit_compile=False) == (20, 20, 20)


def test_nothing():
    assert kept(kept_mib=0) == (0, 0, 0)
    # Of use to an exact product of SA-VAE alone.
    assert kept(method="vae_svi") == (0, 0, 0)
    assert kept(hvp="finite_difference") == (0, 0, 0)
    # Whether a step is taken, or differentiated, is known too late or never so.
    assert kept(svi_patience=2) == kept(reverse_steps=0) == (0, 0, 0)
    # Its likelihood marks nothing.
    model, _ = make(Config(**SIZES["synthetic"]))
    assert model.settings.keep == (0, 0, 0)

"""How many refinement steps are kept in memory."""

import dataclasses

import pytest

from sa_vae_tf.benchmarks.sizes import SIZES, make
from sa_vae_tf.training.config import Config

# Of 50 texts of 5 words: hidden states and cells, their cotangents, and the gradient at the output, each of 100 units,
# and a word's NLL and normaliser; then four gates and the scores of 1,000 words.
SMALL = 4 * 50 * 5 * (5 * 100 + 2)
LARGE = 4 * 50 * 5 * (4 * 100 + 1000)
TEXT = Config(**SIZES["small"], svi_steps=20)


def kept(**changes) -> tuple[int, int]:
    model, _ = make(dataclasses.replace(TEXT, **changes))
    return model.settings.keep_everything, model.settings.keep_small


def test_all_steps_where_there_is_room():
    assert kept() == (20, 20)
    assert kept(svi_steps=3, svi_steps_schedule="2:7") == (7, 7)


@pytest.mark.parametrize("mib", [1, 5, 9, 10, 11, 20])
def test_small_results_first(mib):
    some = min(20, mib * 2**20 // SMALL)
    everything = (mib * 2**20 - 20 * SMALL) // LARGE if some == 20 else 0
    assert kept(kept_mib=mib) == (everything, some)


def test_by_the_part_of_a_batch_that_is_taken_at_once():
    assert kept(kept_mib=3) == (0, 6)
    # Two of the texts, which have six symbols with their start and end.
    assert kept(kept_mib=3, words_at_once=14) == (20, 20)


def test_nothing():
    assert kept(kept_mib=0) == (0, 0)
    # Of use to an exact product of SA-VAE alone.
    assert kept(method="vae_svi") == (0, 0)
    assert kept(hvp="finite_difference") == (0, 0)
    # Its likelihood marks nothing.
    model, _ = make(Config(**SIZES["synthetic"]))
    assert (model.settings.keep_everything, model.settings.keep_small) == (0, 0)

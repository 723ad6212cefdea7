"""Batches of sequences: every example once an epoch, like lengths together, found again after a stop."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_vae_tf.data import records
from sa_vae_tf.data.pipeline import Share
from sa_vae_tf.data.sequences import SequenceSplit
from sa_vae_tf.data.vocabulary import END, PAD, START
from sa_vae_tf.errors import UserError


class Source:
    """Example n is START, its number among the words, END."""

    def __init__(self, lengths):
        self.lengths = lengths

    def __getitems__(self, numbers):
        assert all(type(number) is int for number in numbers)
        return [{"tokens": np.array([START, *(self.lengths[n] - 2) * [10 + n], END], np.int32)} for n in numbers]

    def damaged(self, number):
        return UserError(f"record {number} is damaged")


def split(lengths, length_multiple: int = 8) -> SequenceSplit:
    return SequenceSplit(Source(lengths), np.array(lengths, np.int32), length_multiple)


def take(data: tf.data.Dataset, batches: int) -> list[list[int]]:
    """Returns the example numbers of the first batches, after a check that examples go with their numbers."""
    found = []
    for batch in data.take(batches):
        x, index = batch["x"].numpy(), batch["index"].numpy()
        assert (x.dtype, index.dtype) == (np.int32, np.int64)
        assert len(x) == len(index)
        for row, number in zip(x, index, strict=True):
            end = row.tolist().index(END)
            assert row[0] == START
            assert all(row[1:end] == 10 + number)
            assert all(row[end + 1 :] == PAD)
        found.append(index.tolist())
    return found


LENGTHS = np.random.default_rng(1).integers(3, 100, 500).tolist()


def test_in_order_has_every_example_once():
    batches = take(split(LENGTHS).in_order(32), 99)
    assert sorted(itertools.chain(*batches)) == list(range(500))
    assert [len(batch) for batch in batches] == [32] * 15 + [20]
    # Written out: padded lengths 8, 8, 16, 16, 24; the number breaks ties.
    assert take(split([9, 3, 20, 8, 16]).in_order(2), 9) == [[1, 3], [0, 4], [2]]
    [batch] = SequenceSplit(Source([3, 9]), np.array([3, 9])).in_order(2)
    assert batch["x"].shape == [2, 16]  # Of eight, where nothing else is said.
    # Of more than NumPy sorts by insertion, which is stable.
    assert take(split([5, 9] * 20).in_order(40), 9) == [[*range(0, 40, 2), *range(1, 40, 2)]]


def test_number_of_batches_is_known():
    assert split(LENGTHS).in_order(32).cardinality() == 16
    assert split(LENGTHS).shuffled(32, 1, 0).cardinality() == tf.data.INFINITE_CARDINALITY


def test_first_examples():
    first = split(LENGTHS).take(40)
    assert first.count == 40
    assert sorted(itertools.chain(*take(first.in_order(32), 9))) == list(range(40))
    assert sorted(itertools.chain(*take(first.shuffled(32, 1, 0), 2))) == list(range(40))
    assert split(LENGTHS).take(0).count == 500
    assert split(LENGTHS).take(999).count == 500


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(7, 3, 3), (6, 3, 2), (1, 3, 1), (7, 1, 7), (7, 7, 1)])
def test_every_example_once_an_epoch_and_one_batch_at_most_is_not_full(count, batch_size, steps):
    data = split(LENGTHS[:count])
    assert data.steps(batch_size) == steps
    batches = take(data.shuffled(batch_size, seed=1, start=0), 3 * steps)
    for epoch in (batches[i : i + steps] for i in range(0, 3 * steps, steps)):
        assert sorted(itertools.chain(*epoch)) == list(range(count))
        assert sorted(len(batch) for batch in epoch)[1:] == [batch_size] * (steps - 1)


def test_batches_are_of_near_equal_length():
    data = split(LENGTHS)
    for batches in (data.in_order(32), data.shuffled(32, 1, 0).take(16)):
        shapes = [batch["x"].shape for batch in batches]
        # Sixteen batches cover lengths 3 to 99: neighbours differ by little, and by up to a multiple of 8 in padding.
        assert sum(rows * length for rows, length in shapes) < 1.2 * sum(LENGTHS)
    waste = sum(rows * max(LENGTHS) for rows, _ in shapes)
    assert waste > 1.8 * sum(LENGTHS)


@pytest.mark.parametrize(("multiple", "shapes"), [(1, 97), (8, 13), (64, 2)])
def test_number_of_shapes_is_bounded(multiple, shapes):
    data = split(LENGTHS, multiple)
    lengths = {batch["x"].shape[1] for batch in data.shuffled(4, 1, 0).take(3 * data.steps(4))}
    assert all(length % multiple == 0 for length in lengths)
    assert len(lengths) <= shapes
    assert max(lengths) == -(-max(LENGTHS) // multiple) * multiple


def order(seed: int) -> list[list[int]]:
    return take(split(LENGTHS).shuffled(32, seed, 0), 32)


def test_batches_differ_by_epoch_and_by_seed_and_are_the_seed_s():
    batches = order(1)
    first, second = batches[:16], batches[16:]
    # Not the same batches in another order.
    assert not {frozenset(batch) for batch in first} & {frozenset(batch) for batch in second}
    assert order(1) == batches
    assert not {frozenset(batch) for batch in order(2)} & {frozenset(batch) for batch in batches}
    assert order(2**32 - 1) != batches
    # Lengths do not grow through an epoch.
    longest = [max(LENGTHS[number] for number in batch) for batch in first]
    assert abs(np.corrcoef(longest, range(16))[0, 1]) < 0.7
    tf.random.set_seed(99)
    np.random.seed(99)
    assert order(1) == batches


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(3, 20), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 15))
def test_a_later_start_goes_on_exactly(lengths, batch_size, start):
    whole = take(split(lengths).shuffled(batch_size, seed=3, start=0), start + 5)
    assert take(split(lengths).shuffled(batch_size, seed=3, start=start), 5) == whole[start:]


def test_a_large_corpus_is_shuffled_within_parts_and_by_parts(monkeypatch):
    monkeypatch.setattr(records, "PART", 150)
    data = split(LENGTHS)
    # Three parts of 150 and one of 50, each with a batch that is not full.
    assert data.steps(32) == data.in_order(32).cardinality() == 3 * 5 + 2
    in_order = take(data.in_order(32), 99)
    batches = take(data.shuffled(32, 3, 0), 3 * 17)
    for epoch in (in_order, *(batches[i : i + 17] for i in range(0, 51, 17))):
        assert sorted(itertools.chain(*epoch)) == list(range(500))
        assert all(len({number // 150 for number in batch}) == 1 for batch in epoch)
        # Part by part.
        assert len(list(itertools.groupby(batch[0] // 150 for batch in epoch))) == 4
    orders = {tuple(dict.fromkeys(b[0] // 150 for b in batches[i : i + 17])) for i in range(0, 51, 17)}
    assert len(orders) > 1
    for start in (1, 5, 16, 17, 30):
        assert take(data.shuffled(32, 3, start), 51 - start) == batches[start:]


@pytest.mark.parametrize("length", [6, 8])
def test_an_example_of_another_length_than_was_written_down_is_damaged(length):
    data = SequenceSplit(Source([5, length]), np.array([5, 7], np.int32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="UserError: record 1 is damaged"):
        list(data.in_order(2))


def test_reading_ahead_changes_nothing():
    data = split(LENGTHS).shuffled(32, seed=3, start=0)
    again = [batch["index"].numpy().tolist() for batch in itertools.islice(iter(data), 3)]
    assert again == take(data, 3)


def test_workers_read_their_rows_of_the_same_batches():
    whole = split(LENGTHS).shuffled(32, 1, 3).take(20).as_numpy_iterator()
    shared = [split(LENGTHS).shuffled(32, 1, 3, Share(n, 2)).take(20).as_numpy_iterator() for n in range(2)]
    for batch, *parts in zip(whole, *shared, strict=True):
        np.testing.assert_array_equal(np.concatenate([part["x"] for part in parts]), batch["x"])
        assert [part["first"] for part in parts] == [0, len(batch["x"]) // 2]
        for part in parts:
            np.testing.assert_array_equal(part["index"], batch["index"])

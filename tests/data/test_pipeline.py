"""Batches: every example once an epoch, in an order that a stopped run finds again."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_vae_tf.data.pipeline import Share, Split


def split(count: int) -> Split:
    """Returns a split whose example n is [10 n, 10 n + 1]."""
    examples = tf.data.Dataset.range(count).map(lambda n: tf.stack([10 * n, 10 * n + 1]))
    return Split(examples, count)


def take(data: tf.data.Dataset, batches: int) -> list[list[int]]:
    """Returns the example numbers of the first batches, after a check that examples go with their numbers."""
    found = []
    for batch in data.take(batches):
        numbers = batch["index"].numpy()
        assert numbers.dtype == np.int64
        np.testing.assert_array_equal(batch["x"], np.stack([10 * numbers, 10 * numbers + 1], -1))
        found.append(numbers.tolist())
    return found


def test_in_order():
    assert take(split(7).in_order(3), 9) == [[0, 1, 2], [3, 4, 5], [6]]
    assert take(split(2).in_order(3), 9) == [[0, 1]]


def test_first_examples():
    assert take(split(7).take(4).in_order(3), 9) == [[0, 1, 2], [3]]
    assert split(7).take(4).count == 4
    assert take(split(7).take(0).in_order(7), 9) == [list(range(7))]
    assert split(7).take(9).count == 7


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(7, 3, 3), (6, 3, 2), (1, 3, 1), (7, 1, 7), (7, 7, 1)])
def test_every_example_once_an_epoch_and_the_last_batch_is_kept(count, batch_size, steps):
    assert split(count).steps(batch_size) == steps
    batches = take(split(count).shuffled(batch_size, seed=1, start=0), 3 * steps)
    for epoch in (batches[i : i + steps] for i in range(0, 3 * steps, steps)):
        assert sorted(itertools.chain(*epoch)) == list(range(count))
        assert [len(batch) for batch in epoch[:-1]] == [batch_size] * (steps - 1)


def test_the_first_batch_is_of_all_the_examples():
    [batch] = take(split(5000).shuffled(200, seed=1, start=0), 1)
    # Of each tenth, but for a chance of one in 10**8.
    assert {number // 500 for number in batch} == set(range(10))


def order(seed: int, epochs: int = 2) -> list[list[int]]:
    batches = take(split(50).shuffled(50, seed, 0), epochs)
    return batches


def test_order_differs_by_epoch_and_by_seed_and_is_the_seed_s():
    first, second = order(1)
    assert first != second
    assert first != list(range(50))
    assert order(1) == [first, second]
    assert not {tuple(epoch) for epoch in order(2)} & {tuple(first), tuple(second)}
    # Zero and large seeds too, and whatever the program's own seed is.
    assert order(0) != order(2**32 - 1) != order(1) != order(0)
    assert order(2**31 - 1) != order(2**32 - 2) != order(0)
    tf.random.set_seed(99)
    assert order(1) == [first, second]
    # The seed that is set inside does not leak out.
    tf.random.set_seed(5)
    before = float(tf.random.uniform([]))
    tf.random.set_seed(5)
    order(1)
    assert float(tf.random.uniform([])) == before


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 15))
def test_a_later_start_goes_on_exactly(count, batch_size, start):
    whole = take(split(count).shuffled(batch_size, seed=3, start=0), start + 5)
    assert take(split(count).shuffled(batch_size, seed=3, start=start), 5) == whole[start:]


def test_nothing_watches_the_batches():
    # An iterator that TensorFlow tunes may take up to a minute to be deleted.
    for batches in (split(5).in_order(2), split(5).shuffled(2, 0, 0)):
        assert batches.options().autotune.enabled is False


@given(st.integers(0, 60), st.integers(1, 8))
def test_shares_are_equal_and_each_row_is_in_as_many(batch, count):
    rows = [range(batch)[Share(number, count).rows(batch)] for number in range(count)]
    assert len({len(of_one) for of_one in rows}) == 1
    taken = [sum(row in of_one for of_one in rows) for row in range(batch)]
    assert len(set(taken)) <= 1
    assert batch % count or all(times == 1 for times in taken)


def test_workers_read_their_rows_of_the_same_batches():
    split = Split(tf.data.Dataset.range(30), 30)
    # Of eight, eight, eight and six rows; four do not divide six.
    whole = list(split.shuffled(8, 1, 2).take(6).as_numpy_iterator())
    shared = [list(split.shuffled(8, 1, 2, Share(n, 4)).take(6).as_numpy_iterator()) for n in range(4)]
    for batch, *parts in zip(whole, *shared, strict=True):
        size = len(batch["x"])
        assert [part["first"] for part in parts] == ([0, 2, 4, 6] if size == 8 else [0, 3, 0, 3])
        for part in parts:
            np.testing.assert_array_equal(part["index"], batch["index"])
            own = slice(part["first"], part["first"] + (2 if size == 8 else 3))
            np.testing.assert_array_equal(part["x"], batch["x"][own])

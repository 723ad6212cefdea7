"""Results of a refinement step that its reverse pass finds again instead of computing them anew.

A model passes what is costly through `kept`. The forward pass of `refine` keeps it for as many steps as its settings
allow; where the reverse pass traces the same bound again, `kept` returns what was kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import tensorflow as tf

OUTSIDE = (
    "what kept() returns has no derivative of its own: expected it inside a derivative written by hand, as by "
    "tf.custom_gradient"
)

# What a caller cannot do without, and what it can compute from that.
Results = tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]


class Keep(enum.IntEnum):
    """What a refinement step leaves for its reverse pass, by the seconds that a byte of it saves."""

    NOTHING = 0
    SMALL = 1
    MEDIUM = 2
    ALL = 3


class Kept(NamedTuple):
    """What a step kept: how much, and what, in order."""

    keep: Keep = Keep.NOTHING
    found: Sequence[Results] = ()


@dataclasses.dataclass
class Records:
    """What each of some steps kept.

    Attributes:
      keep: how much.
      specs: shapes and types of what a step keeps, as `keeping` gives it.
      arrays: of each part of that an array with an entry for each step.
    """

    keep: Keep
    specs: list[Results]
    arrays: list[tf.TensorArray]

    def write(self, index: int | tf.Tensor, found: list[Results]) -> Records:
        """Returns the records with what the step of this number, from 0, has kept."""
        parts = tf.nest.flatten(found)
        arrays = [array.write(index, part) for array, part in zip(self.arrays, parts, strict=True)]
        return dataclasses.replace(self, arrays=arrays)

    def read(self, index: int | tf.Tensor) -> Kept:
        """Returns what the step of this number has kept."""
        found = tf.nest.pack_sequence_as(self.specs, [array.read(index) for array in self.arrays])
        return Kept(self.keep, found)


class Step:
    """One trace of a step's bound and gradient: forward, where results are kept, or in reverse, where they are read.

    Attributes:
      found: what is kept, in order.
      needed: for each entry of `found`, the least that a step keeps of those that keep it.
    """

    def __init__(self, kept: Kept, replays: bool):
        self.keep, self.replays = kept.keep, replays
        self.found: list[Results] = list(kept.found)
        self.needed: list[Keep] = []
        self.read = 0


class _Traced(threading.local):
    """The steps that are being traced, the innermost last; devices may be traced side by side."""

    def __init__(self):
        self.steps: list[Step] = []


_traced = _Traced()


def kept(compute: Callable[[bool], Results], needed: Keep) -> Results:
    """Returns what `compute` returns, or what it returned in the forward pass.

    Results that were found again are constants to TensorFlow. So it belongs inside an operation whose derivative is
    written by hand; elsewhere a derivative would be wrong, and is an error.

    Args:
      compute: function (whether the second part is worth its memory) -> results. The second part may be empty where it
        is not.
      needed: a step must keep so much, or more, to keep the first part of this; the second is kept with all.

    Returns:
      The results. The second part is empty where it was not kept: the caller must then do without.
    """
    first, second = _kept(compute, needed)
    return _without_derivative(first), _without_derivative(second)


def _without_derivative(results: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    return [tf.raw_ops.PreventGradient(input=result, message=OUTSIDE) for result in results]


def _kept(compute: Callable[[bool], Results], needed: Keep) -> Results:
    step = _traced.steps[-1] if _traced.steps else None
    if step is None:
        return compute(True)
    if step.replays:
        if step.keep < needed or step.read == len(step.found):
            # Memory is short, or it would have been kept.
            return compute(False)
        step.read += 1
        return step.found[step.read - 1]
    first, second = compute(step.keep is Keep.ALL)
    if step.keep >= needed:
        step.found.append((list(first), list(second) if step.keep is Keep.ALL else []))
        step.needed.append(needed)
    return first, second


@contextlib.contextmanager
def keeping(keep: Keep) -> Iterator[Step]:
    """What `kept` computes in this context is kept, in order, by the step that the context gives."""
    _traced.steps.append(Step(Kept(keep), False))
    try:
        yield _traced.steps[-1]
    finally:
        _traced.steps.pop()


@contextlib.contextmanager
def replaying(what: Kept) -> Iterator[None]:
    """In this context `kept` returns, in order, what a step kept; after the last of it `kept` computes."""
    _traced.steps.append(Step(what, True))
    try:
        yield
    finally:
        _traced.steps.pop()


def records(step: Callable[[], object], keep: Keep, steps: int | tf.Tensor) -> Records:
    """Returns empty records of what so many steps keep, each of which computes as `step` does."""

    @tf.function(autograph=False)
    def trace():
        with keeping(keep) as traced:
            step()
        return traced.found

    # Of a step that keeps nothing no shapes need to be found.
    specs = [] if keep is Keep.NOTHING else trace.get_concrete_function().structured_outputs
    arrays = [
        tf.TensorArray(spec.dtype, steps, element_shape=spec.shape, clear_after_read=False)
        for spec in tf.nest.flatten(specs)
    ]
    return Records(keep, specs, arrays)

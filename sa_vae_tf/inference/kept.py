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

import tensorflow as tf

# Small results and large ones, of which the latter are worth fewer seconds a byte.
Results = tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]


class Keep(enum.Enum):
    """What a refinement step leaves for its reverse pass."""

    NOTHING = enum.auto()
    SMALL = enum.auto()
    ALL = enum.auto()


@dataclasses.dataclass
class Records:
    """What each of some steps kept.

    Attributes:
      specs: shapes and types of what a step keeps, as `keeping` gives it.
      arrays: of each part of that an array with an entry for each step.
    """

    specs: list[Results]
    arrays: list[tf.TensorArray]

    def write(self, index: int | tf.Tensor, found: list[Results]) -> Records:
        parts = tf.nest.flatten(found)
        return Records(self.specs, [array.write(index, part) for array, part in zip(self.arrays, parts, strict=True)])

    def read(self, index: int | tf.Tensor) -> list[Results]:
        return tf.nest.pack_sequence_as(self.specs, [array.read(index) for array in self.arrays])


class _Step:
    """One trace of a step's bound and gradient: forward, where `found` grows, or in reverse, where it is read."""

    def __init__(self, keep: Keep, found: Sequence[Results] | None):
        self.keep, self.replays = keep, found is not None
        self.found: list[Results] = list(found or [])
        self.read = 0


class _Traced(threading.local):
    """The steps that are being traced, the innermost last; devices may be traced side by side."""

    def __init__(self):
        self.steps: list[_Step] = []


_traced = _Traced()


def kept(compute: Callable[[bool], Results]) -> Results:
    """Returns what `compute` returns, or what it returned in the forward pass.

    Args:
      compute: function (whether the large results are asked for) -> small results, large results. The latter may be
        empty where they are not asked for.

    Returns:
      Small results and large results. The latter are empty where they were not kept: the caller must then do without.
    """
    step = _traced.steps[-1] if _traced.steps else None
    if step is None or (step.replays and step.read == len(step.found)):
        return compute(True)
    if step.replays:
        step.read += 1
        return step.found[step.read - 1]
    small, large = compute(step.keep is Keep.ALL)
    if step.keep is not Keep.NOTHING:
        step.found.append((list(small), list(large) if step.keep is Keep.ALL else []))
    return small, large


@contextlib.contextmanager
def keeping(keep: Keep) -> Iterator[list[Results]]:
    """What `kept` computes in this context is put, in order, into the list that the context gives."""
    _traced.steps.append(_Step(keep, None))
    try:
        yield _traced.steps[-1].found
    finally:
        _traced.steps.pop()


@contextlib.contextmanager
def replaying(found: Sequence[Results]) -> Iterator[None]:
    """In this context `kept` returns, in order, what was kept; after the last of it `kept` computes."""
    _traced.steps.append(_Step(Keep.NOTHING, found))
    try:
        yield
    finally:
        _traced.steps.pop()


def records(step: Callable[[], object], keep: Keep, steps: int | tf.Tensor) -> Records:
    """Returns empty records of what so many steps keep, each of which computes as `step` does."""

    @tf.function(autograph=False)
    def trace():
        with keeping(keep) as found:
            step()
        return found

    # Of a step that keeps nothing no shapes need to be found.
    specs = [] if keep is Keep.NOTHING else trace.get_concrete_function().structured_outputs
    arrays = [
        tf.TensorArray(spec.dtype, steps, element_shape=spec.shape, clear_after_read=False)
        for spec in tf.nest.flatten(specs)
    ]
    return Records(specs, arrays)

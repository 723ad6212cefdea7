"""How far a script has come, while it works."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import keras

# What is told of progress: how many are done, and of how many.
Progress = Callable[[int, int], None]
SECONDS = 20  # from one line to the next


def progress_bar(unit: str) -> Progress:
    """Returns a function (done so far, of all) that shows them: a bar on a terminal, now and then a line elsewhere.

    Args:
      unit: what is counted, in the singular.
    """
    if sys.stdout.isatty():
        bar = keras.utils.Progbar(None, unit_name=unit)

        def show(done: int, total: int) -> None:
            bar.target = total
            bar.update(done)

        return show

    told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= SECONDS:
            told = time.monotonic()
            print(f"{done:,} of {total:,} {unit}s", flush=True)

    return tell


def unseen(done: int, total: int) -> None:
    """Shows nothing."""

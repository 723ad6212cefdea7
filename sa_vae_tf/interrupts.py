"""What Ctrl-C does: it ends a program at once, or raises KeyboardInterrupt where there is something to put away first.

TensorFlow runs Python inside of calls that do not expect a KeyboardInterrupt, and one that is raised there may crash
the process. Files are written so that a process may end at any moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from sa_vae_tf.messages import program

# As shells count what SIGINT ended.
INTERRUPTED = 128 + signal.SIGINT
_ending = threading.Lock()


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process; a handler of SIGINT."""
    # Of two threads the first one tells; that it is the same one twice is no reason to wait for ever.
    if _ending.acquire(timeout=1):
        os.write(2, f"{program()}: interrupted\n".encode())
        # The signal may have come while the stream was being written to, by the thread that waits for this one.
        with contextlib.suppress(Exception):
            sys.stdout.flush()
    os._exit(INTERRUPTED)


@contextlib.contextmanager
def ends_when_busy(signals: int = 1) -> Iterator[None]:
    """While it lasts SIGINT ends a program at once even within TensorFlow, if `end_at_once` is its handler.

    Python runs a handler when what it has called returns: what computes or compiles may not for a minute.

    Args:
      signals: the first signal that does so, SIGTERM counted; from the second on whatever the handler is by then.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not end_at_once:
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_end_at, args=(signals, reading), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)


def _end_at(signals: int, reading: int) -> None:
    """Reads the numbers of signals until there are no more."""
    received = 0
    with os.fdopen(reading, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            received += number[0] in (signal.SIGINT, signal.SIGTERM)
            handled = signals > 1 or signal.getsignal(signal.SIGINT) is end_at_once
            if number[0] == signal.SIGINT and received >= signals and handled:
                end_at_once(signal.SIGINT, None)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """While it lasts SIGINT raises KeyboardInterrupt, in the main thread of a process that does not ignore it."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)

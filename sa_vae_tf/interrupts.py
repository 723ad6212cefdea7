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


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process; a handler of SIGINT."""
    with contextlib.suppress(Exception):  # The signal may have come while the stream was being written to.
        sys.stdout.flush()
    os.write(2, f"{program()}: interrupted\n".encode())
    os._exit(INTERRUPTED)


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

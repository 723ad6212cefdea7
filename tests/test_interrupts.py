"""Where Ctrl-C raises KeyboardInterrupt and where it does not; that it ends scripts is in test_cli.py."""

import signal
import threading

import pytest

from sa_vae_tf import interrupts


@pytest.fixture
def handler():
    """A handler that a program has, which counts; and what was there before, afterwards."""
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGINT, before)


def test_raised_while_it_lasts(handler):
    with pytest.raises(KeyboardInterrupt), interrupts.raised():
        signal.raise_signal(signal.SIGINT)
    assert handler == []
    signal.raise_signal(signal.SIGINT)
    assert handler == [signal.SIGINT]


def test_what_is_ignored_stays_ignored(handler):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts.raised():
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)


def test_another_thread_leaves_the_signal_alone(handler):
    def wait():
        with interrupts.raised():
            pass

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    signal.raise_signal(signal.SIGINT)
    assert handler == [signal.SIGINT]

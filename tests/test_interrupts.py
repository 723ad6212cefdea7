"""Where Ctrl-C raises KeyboardInterrupt and where it does not; that it ends scripts is in test_cli.py."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sa_vae_tf import interrupts
from tests.launcher import ROOT


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


# The program calls what takes many minutes, in which no handler of Python's runs.
BUSY = """
import hashlib, signal
from sa_vae_tf import interrupts
signal.signal(signal.SIGINT, interrupts.end_at_once)
with interrupts.ends_when_busy(SIGNALS):
    if SIGNALS > 1:
        signal.signal(signal.SIGINT, lambda *_: None)
    print("begun", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)
"""


@pytest.mark.parametrize("signals", [1, 2])
def test_a_program_that_is_busy_ends(signals):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", f"SIGNALS = {signals}{BUSY}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as busy:
        assert busy.stdout.readline() == "begun\n"
        for _ in range(signals - 1):
            busy.send_signal(signal.SIGINT)
            time.sleep(0.2)
            assert busy.poll() is None
        busy.send_signal(signal.SIGINT)
        assert busy.wait(10) == interrupts.INTERRUPTED
        assert busy.stderr.read().endswith(": interrupted\n")


# A thread that ends the program and cannot flush, as while another one writes.
STUCK = """
import hashlib, signal, sys, threading, time
from sa_vae_tf import interrupts

class Stream:
    def flush(self):
        time.sleep(0 if threading.current_thread() is threading.main_thread() else 60)

signal.signal(signal.SIGINT, interrupts.end_at_once)
with interrupts.ends_when_busy():
    print("begun", flush=True)
    sys.stdout = Stream()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 3 * 10**6)  # The handler comes after it, and after the thread.
    time.sleep(60)
"""


def test_the_message_waits_for_no_stream():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as stuck:
        assert stuck.stdout.readline() == "begun\n"
        time.sleep(0.2)
        stuck.send_signal(signal.SIGINT)
        assert stuck.wait(10) == interrupts.INTERRUPTED
        assert stuck.stderr.read().endswith(": interrupted\n")


def test_another_handler_is_left_to_act(handler):
    own, before = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGINT, interrupts.end_at_once)
    with interrupts.ends_when_busy():
        signal.signal(signal.SIGINT, own)
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.2)
    assert handler == [signal.SIGINT]
    signal.signal(signal.SIGINT, before)


def test_nothing_is_left_behind_where_none_came():
    before = signal.signal(signal.SIGINT, interrupts.end_at_once)
    files, threads = len(os.listdir("/dev/fd")), set(threading.enumerate())
    try:
        with interrupts.ends_when_busy():
            assert len(set(threading.enumerate()) - threads) == 1
        wakeup = signal.set_wakeup_fd(-1)
    finally:
        signal.signal(signal.SIGINT, before)
    limit = time.monotonic() + 10
    while set(threading.enumerate()) - threads or len(os.listdir("/dev/fd")) > files:
        assert time.monotonic() < limit
        time.sleep(0.01)
    assert wakeup == -1

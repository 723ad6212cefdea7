"""What holds of every reader, whatever it is given: it reads it, or says in one line what is wrong with which file."""

import contextlib
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings

from sa_vae_tf.errors import LONGEST, UserError
from tests.fuzz.tried import TRIED

SECONDS = 30  # generous: most examples take milliseconds
MEBIBYTES = 300
# Few examples, unless the profile with many was asked for.
examples = settings() if settings.get_current_profile_name() == "torture" else settings.get_profile("few")

# Of tests whose examples take a tenth of a second.
fewer_examples = settings(examples, max_examples=max(20, examples.max_examples // 3))


def attempt(
    kind: str, read: Callable[[], Any], *names: str | Path, refusal: type[Exception] = UserError
) -> tuple[bool, Any]:
    """Reads an input, and returns whether it was read, and what was read.

    Asserts that it is refused, if at all, by one line that has one of the names in it, in bounded time and memory.
    """
    before = _peak()
    start = time.monotonic()
    try:
        with _limited():
            result = read()
    except refusal as error:
        TRIED[kind]["refused"] += 1
        assert_one_line(str(error), *names)
        return False, None
    else:
        TRIED[kind]["read"] += 1
        return True, result
    finally:
        TRIED[kind].seconds += time.monotonic() - start
        assert _peak() < before + MEBIBYTES


def assert_one_line(message: str, *names: str | Path) -> None:
    assert message.isprintable(), repr(message)
    assert 0 < len(message) < 2 * LONGEST
    assert any(str(name) in message for name in names), (message, names)


def assert_refused_by(ended, *names: str | Path) -> None:
    """Asserts that a script ended with one line about one of the names, after those of what it did."""
    assert ended.status == 2, ended.stderr
    assert ended.stderr.endswith("\n")
    *before, line = ended.stderr[:-1].split("\n")
    assert all(": INFO: " in said for said in before), ended.stderr
    assert ": error: " in line
    assert_one_line(line, *names)


# What a run folder has before its data is read: its settings, which the next command may change, and its lock.
BEGUN = (".lock", "flags.txt")


def contents(folder: Path) -> dict[Path, bytes]:
    """Returns what is in each file of a folder, but for those of a run that has only begun."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path.name not in BEGUN}


@contextlib.contextmanager
def _limited():
    def late(number, frame):
        raise AssertionError(f"no end after {SECONDS} seconds")

    handler = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)


def _peak() -> int:
    """Returns the most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

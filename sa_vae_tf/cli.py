"""How scripts start and how they fail: flags parsed, one line for the user's errors, an exit status for each kind."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

from absl import app, flags

from sa_vae_tf import environment, flag_files
from sa_vae_tf.errors import DISK_FULL, Interrupted, TrainingDiverged, UserError, WorkerLost, one_line
from sa_vae_tf.interrupts import INTERRUPTED, end_at_once, ends_when_busy
from sa_vae_tf.messages import program, set_up_logging

WRONG_FLAGS = 2
FAILED = 1
DIVERGED = 3
# By sysexits.h: to try again may help.
LOST = 75
# As shells count what SIGPIPE ended.
UNREAD = 128 + signal.SIGPIPE
# Of open files. Where it finds too few, TensorFlow may abort the program.
LEAST_FILES = 64

# A stream that is closed (>&-) would be the next file that is opened, whatever that is.
while (_nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:
    pass
os.close(_nowhere)
sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")  # noqa: SIM115

_STANDARD_ERROR = os.dup(2)


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(_STANDARD_ERROR, 2)


def _interrupted_at_start(number, frame) -> NoReturn:
    os.dup2(_STANDARD_ERROR, 2)
    end_at_once(number, frame)


# The imports that follow take seconds, and libraries may catch a KeyboardInterrupt that is raised in them. A process
# that has been told to ignore the signal goes on ignoring it.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _interrupted_at_start)

environment.set_up()
try:
    tempfile.gettempdir()  # Which the libraries ask for.
except OSError as error:
    sys.exit(f"{program()}: error: {error.strerror}; free some space, or set TMPDIR to a folder that can be written")
with _without_standard_error():
    import tensorflow as tf


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls `main`, and ends the program.

    Exit status: 0 done, 2 wrong flags or input, 3 training diverged, 75 another worker lost, 130 interrupted, 141
    nobody reads its output any more, 143 terminated, 1 anything else. Errors that are the user's to mend are one line
    on standard error; nothing written before is lost.
    """

    def guarded(argv: Sequence[str]) -> None:
        set_up_logging()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # Whatever it can show, what is done is done.
        try:
            if signal.getsignal(signal.SIGINT) in (_interrupted_at_start, signal.default_int_handler):
                signal.signal(signal.SIGINT, end_at_once)
            _make_room_for_files()
            with _released(), ends_when_busy():
                main()
        except (UserError, TrainingDiverged) as error:
            _fail(str(error), DIVERGED if isinstance(error, TrainingDiverged) else WRONG_FLAGS)
        except WorkerLost as error:
            _fail(str(error), LOST)
        except Interrupted as error:
            _end(str(error), error.status)
        except KeyboardInterrupt:
            _end("interrupted", INTERRUPTED)
        except Exception as error:
            if message := _of_user_in(error):
                _fail(message, WRONG_FLAGS)
            if _is_disk_full(error):
                message = "the disk is full; what was written before is whole: free some space, give the same command"
                _fail(message, FAILED)
            if isinstance(error, OSError) and error.filename is not None:
                _fail(f"{error.filename}: {error.strerror}", FAILED)
            raise

    with _quiet_if_unread():
        app.run(guarded, flags_parser=_parse)


@contextlib.contextmanager
def _quiet_if_unread() -> Iterator[None]:
    """Ends the program without a word where what it prints is read no further, as by `head`, or finds no room."""
    try:
        try:
            yield
        finally:
            print(end="", flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and error.errno not in DISK_FULL:
            raise
        # What the stream still holds is flushed at the end, and then goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A program that was about to end otherwise does so.
        if code := getattr(error.__context__, "code", None):
            sys.exit(code)
        if isinstance(error, BrokenPipeError):
            sys.exit(UNREAD)
        _fail(f"standard output: {error.strerror}", FAILED)


@contextlib.contextmanager
def _released() -> Iterator[None]:
    """Lets go of what an error's frames hold: the threads of a data pipeline in them could keep Python from ending."""
    try:
        yield
    except BaseException as error:
        chain: BaseException | None = error
        while chain is not None:
            traceback.clear_frames(chain.__traceback__)
            chain = chain.__cause__ or chain.__context__
        gc.collect()
        raise


def _make_room_for_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < LEAST_FILES:
        _fail(f"at most {hard} open files are allowed (ulimit -n); expected {LEAST_FILES}", FAILED)
    if soft != resource.RLIM_INFINITY and soft < LEAST_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LEAST_FILES, hard))


def _parse(argv: Sequence[str]) -> list[str]:
    files: dict[str, list[str]] = {}
    try:
        expanded, files = flag_files.expand(argv)
        rest = flags.FLAGS(expanded)
    except SystemExit:
        sys.exit(0)  # absl shows the help and ends with 1.
    except flags.UnrecognizedFlagError as error:
        _fail(_origin(error.flagname, files) + str(error), WRONG_FLAGS)
    except flags.IllegalFlagValueError as error:
        given = str(error).removeprefix("flag --").removesuffix(f": {error.__context__}")
        _fail(f"{_origin(given, files)}--{_expected(given, missing=error.__context__ is None)}", WRONG_FLAGS)
    except (flags.Error, ValueError) as error:  # A plain ValueError says that --noflag takes no value.
        _fail(str(error), WRONG_FLAGS)
    if len(rest) > 1:
        _fail(f"{_origin(rest[1], files)}unexpected argument {rest[1]!r}: flags are written --name=value", WRONG_FLAGS)
    return rest


def _origin(given: str, files: Mapping[str, list[str]]) -> str:
    """Returns what to put before a message about a flag, 'name' or 'name=value': the flag file that it is in."""
    for name, lines in files.items():
        if any(re.match(f"-*{re.escape(given)}(=|$)", line) for line in lines):
            return f"--flagfile={name}: "
    return ""


def _expected(given: str, missing: bool) -> str:
    """Returns what a flag 'name=value' that was refused, or is missing, should have been."""
    name = given.split("=")[0]
    if missing:
        return f"{name}: expected a value"
    parser = flags.FLAGS[name].parser
    if isinstance(parser, flags.EnumParser):
        return f"{given}: expected one of {', '.join(filter(None, parser.enum_values))}"
    return f"{given}: expected {parser.syntactic_help or 'true or false'}"


def _of_user_in(error: Exception) -> str:
    """Returns the message of a `UserError` that a data set's generator raised and TensorFlow wrapped, or ''."""
    raised = re.search(rf"^{UserError.__module__}\.UserError: (.*)$", str(error), re.MULTILINE)
    return raised[1] if raised and isinstance(error, tf.errors.OpError) else ""


def _is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that there is no room for what was to be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return True
        if isinstance(error, tf.errors.OpError) and any(os.strerror(code) in str(error) for code in DISK_FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _fail(message: str, status: int) -> NoReturn:
    _end(f"error: {message}", status)


def _end(message: str, status: int) -> NoReturn:
    print(f"{program()}: {one_line(message)}", file=sys.stderr)
    sys.exit(status)

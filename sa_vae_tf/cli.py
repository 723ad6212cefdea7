"""How scripts start and how they fail: flags parsed, one line for the user's errors, an exit status for each kind."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import absl.logging
from absl import app, flags

from sa_vae_tf.errors import DISK_FULL, TrainingDiverged, UserError


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# Every command would start with notes on TensorFlow's build, some of them written before it reads any setting.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with _without_standard_error():
    import tensorflow as tf

WRONG_FLAGS = 2
FAILED = 1
DIVERGED = 3
INTERRUPTED = 130


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls `main`, and ends the program.

    Exit status: 0 done, 2 wrong flags or input, 3 training diverged, 130 interrupted, 1 anything else. Errors that are
    the user's to mend are one line on standard error; nothing written before is lost.
    """

    def guarded(argv: Sequence[str]) -> None:
        set_up_logging()
        try:
            if len(argv) > 1:
                raise UserError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
            main()
        except (UserError, TrainingDiverged) as error:
            _fail(str(error), DIVERGED if isinstance(error, TrainingDiverged) else WRONG_FLAGS)
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)
        except Exception as error:
            if _is_disk_full(error):
                message = "the disk is full; what was written before is whole: free some space, give the same command"
                _fail(message, FAILED)
            if isinstance(error, OSError) and error.filename is not None:
                _fail(f"{error.filename}: {error.strerror}", FAILED)
            raise

    app.run(guarded, flags_parser=_parse)


def set_up_logging() -> None:
    """Shows this package's messages, with the name of the program, and only the errors of the libraries."""
    absl.logging.set_verbosity(absl.logging.ERROR)  # the libraries'; ours is below
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(f"{_program()}: %(levelname)s: %(message)s"))
    logger = logging.getLogger("sa_vae_tf")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(argv))
    except flags.CantOpenFlagFileError as error:
        cause = error.__context__
        assert isinstance(cause, OSError)
        _fail(f"--flagfile={cause.filename}: {cause.strerror}; expected a file with a flag on each line", WRONG_FLAGS)
    except UnicodeDecodeError as error:
        _fail(f"--flagfile: expected a text file with a flag on each line ({error})", WRONG_FLAGS)
    except flags.Error as error:
        _fail(str(error), WRONG_FLAGS)


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
    print(f"{_program()}: error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


def _program() -> str:
    return Path(sys.argv[0]).name

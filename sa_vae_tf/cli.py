"""How scripts start and how they fail: flags parsed, one line for the user's errors, an exit status for each kind."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

# TensorFlow reads this when it is imported: without it every command starts with notes on its build.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import absl.logging
import tensorflow as tf
from absl import app, flags

from sa_vae_tf.errors import TrainingDiverged, UserError

WRONG_FLAGS = 2
FAILED = 1
DIVERGED = 3


def run(main: Callable[[], None]) -> None:
    """Parses the flags, calls `main`, and ends the program.

    Exit status: 0 done, 2 wrong flags or input, 3 training diverged, 1 anything else. Errors that are the user's to
    mend are one line on standard error; nothing written before is lost.
    """

    def guarded(argv: Sequence[str]) -> None:
        absl.logging.set_verbosity(absl.logging.ERROR)  # the libraries'; ours is below
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"{_program()}: %(levelname)s: %(message)s"))
        logger = logging.getLogger("sa_vae_tf")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            if len(argv) > 1:
                raise UserError(f"unexpected argument {argv[1]!r}: flags are written --name=value")
            main()
        except (UserError, TrainingDiverged) as error:
            _fail(str(error), DIVERGED if isinstance(error, TrainingDiverged) else WRONG_FLAGS)
        except (OSError, tf.errors.ResourceExhaustedError) as error:
            full = isinstance(error, tf.errors.OpError) or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            if not full:
                raise
            _fail(
                "the disk is full; what was written before is whole: free some space and give the same command", FAILED
            )

    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(list(argv))
    except flags.Error as error:
        _fail(" ".join(str(error).split()), WRONG_FLAGS)
    except OSError as error:
        _fail(f"--flagfile={error.filename}: {error.strerror}", WRONG_FLAGS)


def _fail(message: str, status: int) -> NoReturn:
    print(f"{_program()}: error: {message}", file=sys.stderr)
    sys.exit(status)


def _program() -> str:
    return Path(sys.argv[0]).name

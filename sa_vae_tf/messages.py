"""What scripts say while they work."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import absl.logging

from sa_vae_tf.errors import one_line


def program() -> str:
    """Returns the name of the program, with which its messages begin."""
    return Path(sys.argv[0]).name


class _OneLine(logging.Formatter):
    def formatMessage(self, record):
        return one_line(super().formatMessage(record))


def set_up_logging() -> None:
    """Shows this package's messages, with the name of the program, and only the errors of the libraries."""
    absl.logging.set_verbosity(absl.logging.ERROR)  # the libraries'; ours is below
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(f"{program()}: %(levelname)s: %(message)s"))
    logger = logging.getLogger("sa_vae_tf")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

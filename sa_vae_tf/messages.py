"""What scripts say while they work."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import absl.logging

from sa_vae_tf.errors import one_line


def finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record with None for what is infinite or no number, for which JSON has no word."""
    return {name: None if value != value or value in (math.inf, -math.inf) else value for name, value in record.items()}


def json_line(record: Mapping[str, Any]) -> str:
    """Returns a record as a line of JSON: what a terminal would not show as it is escaped, what is no number null."""
    text = json.dumps(finite(record), ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"


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

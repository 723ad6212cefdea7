"""Errors that are the user's to mend: each message is one line that names the flag or file, its value, the remedy."""

import errno
import re

# What the operating system calls a full disk: no space, the user's quota, the largest file allowed.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Characters of a message, at most.
LONGEST = 2000


def one_line(text: str) -> str:
    """Returns text as one line of at most LONGEST characters, cut in its middle, that any terminal shows as it is.

    What a message quotes came from a file or a command line: control characters are written as Python's escapes.
    """
    line = re.sub(r"\s*\n\s*", " ", text.strip())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 4 :]}"


class UserError(ValueError):
    """Wrong input; scripts print its message alone."""

    def __init__(self, message: str):
        super().__init__(one_line(message))


class TrainingDiverged(RuntimeError):
    """Training ended because too many steps were not finite."""


class WorkerLost(RuntimeError):
    """Training ended because another worker has gone."""


class Interrupted(KeyboardInterrupt):
    """A signal has ended what a script was doing.

    Args:
      number: of the signal.
      state: what is there of the work, for the message.
    """

    def __init__(self, number: int, state: str):
        super().__init__(f"interrupted; {state}")
        # As shells count what ended by a signal.
        self.status = 128 + number

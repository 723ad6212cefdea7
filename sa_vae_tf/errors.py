"""Errors that are the user's to mend: each message is one line that names the flag or file, its value, the remedy."""

import errno

# What the operating system calls a full disk: no space, the user's quota, the largest file allowed.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(ValueError):
    """Wrong input; scripts print its message alone."""


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

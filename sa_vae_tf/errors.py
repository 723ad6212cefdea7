"""Errors that are the user's to mend: each message is one line that names the flag or file, its value, the remedy."""


class UserError(ValueError):
    """Wrong input; scripts print its message alone."""


class TrainingDiverged(RuntimeError):
    """Training ended because too many steps were not finite."""

"""The settings of a run as command-line flags and as a flag file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

from absl import flags

from sa_vae_tf.errors import UserError
from sa_vae_tf.flag_files import read_flag_file
from sa_vae_tf.training.config import Config


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one flag for each setting."""
    define: dict[type, Callable[..., Any]] = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(Config):
        help, default = field.metadata["help"], cast(Any, field.default)
        if field.metadata["choices"]:
            flags.DEFINE_enum(field.name, default, field.metadata["choices"], help, flag_values=flag_values)
        else:
            define[type(default)](field.name, default, help, flag_values=flag_values)


def from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Config:
    """Reads the settings from parsed flags, with the default run folder filled in."""
    values: dict[str, Any] = {field.name: flag_values[field.name].value for field in dataclasses.fields(Config)}
    config = Config(**values)
    return config if config.run_dir else dataclasses.replace(config, run_dir=config.default_run_dir)


def to_flagfile(config: Config) -> str:
    """Returns the settings as the text of a flag file."""
    return "".join(f"--{field.name}={getattr(config, field.name)}\n" for field in dataclasses.fields(config))


def settings_in(path: str) -> dict[str, Any] | None:
    """Returns every setting as a flag file leaves it, which need not be a whole run's; None if it holds other flags."""
    values = flags.FlagValues()
    define_flags(values)
    others = values(["", *read_flag_file(path)], known_only=True)[1:]
    return None if others else {field.name: values[field.name].value for field in dataclasses.fields(Config)}


def from_flagfile(path: str) -> Config:
    """Reads settings that `to_flagfile` wrote.

    Raises:
      UserError: if the file cannot be read, or holds an unknown flag or a value out of range.
    """
    values = flags.FlagValues()
    define_flags(values)
    try:
        rest = values(["", *read_flag_file(path)])[1:]
        if rest:
            raise UserError(f"unexpected line {rest[0]!r}: flags are written --name=value")
        return from_flags(values)
    except (flags.Error, ValueError) as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'--flagfile={path}: ')}") from None

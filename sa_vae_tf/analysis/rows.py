"""What Tables 2 and 3 have in common: rows that are runs, what they change of a flag file, and their folders."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config


class Row(NamedTuple):
    """A row of a table.

    Attributes:
      name: as printed and as chosen; with the number of refinement steps and, but for the exact, the value of --hvp.
      settings: what it changes of `PLAIN`; `encoder_init` names a row.
    """

    name: str
    settings: dict[str, Any]


class PaperFigures(NamedTuple):
    """What the paper has for a row: bound in nats, KL in nats, perplexity of the bound."""

    bound: float
    kl: float | None
    perplexity: float | None = None


# What every row has that does not say otherwise, whatever the flag file.
PLAIN = {"decoder": "lstm", "word_dropout": 0.0, "encoder_init": "", "svi_steps_schedule": ""}


def refining_rows(steps: int, multiples: Sequence[int]) -> list[Row]:
    """Returns the rows of the methods that refine, with half of and as many as `steps`, and of SVI with more.

    With 20 steps these are the paper's 10, 20, 40 and 80, with fewer a table that a laptop can make.

    Args:
      steps: of the flag file.
      multiples: of `steps`, that SVI takes besides.

    Raises:
      UserError: if there is no half of the number of steps.
    """
    if steps < 2:
        raise UserError(f"--svi_steps={steps}: the table has rows with half as many; expected at least 2")
    few = (steps // 2, steps)
    many = (*few, *(steps * multiple for multiple in multiples))
    refined = (
        ("SVI", {"method": "svi"}, many),
        ("VAE+SVI", {"method": "vae_svi"}, few),
        ("VAE+SVI+KL", {"method": "vae_svi_kl"}, few),
        ("SA-VAE", {"method": "sa_vae", "hvp": "exact"}, few),
    )
    return [Row(f"{name} {k}", {**settings, "svi_steps": k}) for name, settings, numbers in refined for k in numbers]


def chosen_rows(known: Mapping[str, Row], names: Sequence[str] = ()) -> list[Row]:
    """Returns the rows of these names in the order of the table, with the rows they start from; all for no name.

    Raises:
      UserError: if there is no row of a name.
    """
    for name in names:
        if name not in known:
            raise UserError(f"--rows={name}: expected names among {', '.join(known)}")
    chosen = set(names or known)
    chosen |= {known[name].settings.get("encoder_init", name) for name in chosen}
    return [row for name, row in known.items() if name in chosen]


def row_config(base: Config, row: Row, seed: int, runs: Path) -> Config:
    """Returns the settings of a row's run, in a folder named after the row.

    Raises:
      UserError: if the row does not go with the other settings.
    """

    def folder(name: str) -> str:
        return str(runs / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}-{seed}")

    changes = {**PLAIN, **row.settings, "seed": seed, "run_dir": folder(row.name)}
    if changes["encoder_init"]:
        changes["encoder_init"] = folder(changes["encoder_init"])
    try:
        return dataclasses.replace(base, **changes)
    except UserError as error:
        raise UserError(f"row {row.name!r} ({error}); --rows may leave it out") from None

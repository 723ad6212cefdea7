"""The rows of Table 2, which Figure 2 draws some of: settings of their runs, and the paper's figures."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config


class Row(NamedTuple):
    """A row of the table.

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
    perplexity: float


# What every row has that does not say otherwise, whatever the flag file.
PLAIN = {"decoder": "lstm", "word_dropout": 0.0, "encoder_init": "", "svi_steps_schedule": ""}
# What --hvp=authors needs to be the authors' arithmetic.
AUTHORS = {"svi_clip_norm": 5.0, "bound_weights": "final"}
# The CNN rows are those of Yang et al. (2017), which the paper quotes.
PAPER = {
    "LM": PaperFigures(329.1, None, 61.6),
    "CNN-LM": PaperFigures(335.4, None, 66.6),
    "VAE": PaperFigures(330.2, 0.01, 62.5),
    "VAE+INIT": PaperFigures(330.5, 0.37, 62.7),
    "VAE+WORD-DROP 25%": PaperFigures(334.2, 1.44, 65.6),
    "VAE+WORD-DROP 50%": PaperFigures(345.0, 5.29, 75.2),
    "CNN-VAE": PaperFigures(333.9, 6.7, 65.4),
    "CNN-VAE+INIT": PaperFigures(332.1, 10.0, 63.9),
    "SVI 10": PaperFigures(331.4, 0.16, 63.4),
    "SVI 20": PaperFigures(330.8, 0.41, 62.9),
    "SVI 40": PaperFigures(329.8, 1.01, 62.2),
    "VAE+SVI 10": PaperFigures(331.2, 7.85, 63.3),
    "VAE+SVI 20": PaperFigures(330.5, 7.80, 62.7),
    "VAE+SVI+KL 10": PaperFigures(330.3, 7.95, 62.5),
    "VAE+SVI+KL 20": PaperFigures(330.1, 7.81, 62.3),
    "SA-VAE 10": PaperFigures(327.6, 5.13, 60.5),
    "SA-VAE 20": PaperFigures(327.5, 7.19, 60.4),
    # The arithmetic that the paper's figures were made with.
    "SA-VAE 20 authors": PaperFigures(327.5, 7.19, 60.4),
}


def rows(base: Config) -> dict[str, Row]:
    """Returns all rows by name.

    Those that refine take half of, as many as and twice `base.svi_steps`: with 20 steps the paper's 10, 20 and 40, with
    fewer a table that a laptop can make.

    Raises:
      UserError: if the settings are not of text, or there is no half of their number of steps.
    """
    if base.data != "text":
        raise UserError(f"--data={base.data}: Table 2 and Figure 2 are of text; expected --data=text")
    if base.svi_steps < 2:
        raise UserError(f"--svi_steps={base.svi_steps}: Table 2 has rows with half as many; expected at least 2")
    half, steps, twice = base.svi_steps // 2, base.svi_steps, 2 * base.svi_steps
    refined = (
        ("SVI", {"method": "svi"}, (half, steps, twice)),
        ("VAE+SVI", {"method": "vae_svi"}, (half, steps)),
        ("VAE+SVI+KL", {"method": "vae_svi_kl"}, (half, steps)),
        ("SA-VAE", {"method": "sa_vae", "hvp": "exact"}, (half, steps)),
    )
    found = [
        Row("LM", {"method": "lm"}),
        Row("CNN-LM", {"method": "lm", "decoder": "cnn"}),
        Row("VAE", {"method": "vae"}),
        Row("VAE+INIT", {"method": "vae", "encoder_init": "LM"}),
        Row("VAE+WORD-DROP 25%", {"method": "vae", "word_dropout": 0.25}),
        Row("VAE+WORD-DROP 50%", {"method": "vae", "word_dropout": 0.5}),
        Row("CNN-VAE", {"method": "vae", "decoder": "cnn"}),
        Row("CNN-VAE+INIT", {"method": "vae", "decoder": "cnn", "encoder_init": "LM"}),
        *(Row(f"{name} {k}", {**settings, "svi_steps": k}) for name, settings, numbers in refined for k in numbers),
        Row(f"SA-VAE {steps} finite_difference", {"method": "sa_vae", "hvp": "finite_difference"}),
        Row(f"SA-VAE {steps} authors", {"method": "sa_vae", "hvp": "authors", **AUTHORS}),
    ]
    return {row.name: row for row in found}


def chosen_rows(base: Config, names: Sequence[str] = ()) -> list[Row]:
    """Returns the rows of these names in the order of the table, with the rows they start from; all for no name.

    Raises:
      UserError: if there is no row of a name.
    """
    known = rows(base)
    for name in names:
        if name not in known:
            raise UserError(f"--rows={name}: expected names among {', '.join(known)}")
    chosen = set(names or known)
    chosen |= {known[name].settings.get("encoder_init", name) for name in chosen}
    return [row for name, row in known.items() if name in chosen]


def row_config(base: Config, row: Row, seed: int, runs: Path) -> Config:
    """Returns the settings of a row's run, in a folder named after the row."""

    def folder(name: str) -> str:
        return str(runs / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}-{seed}")

    changes = {**PLAIN, **row.settings, "seed": seed, "run_dir": folder(row.name)}
    if changes["encoder_init"]:
        changes["encoder_init"] = folder(changes["encoder_init"])
    return dataclasses.replace(base, **changes)


def split_of(config: Config) -> str:
    """Returns the split that is evaluated: test where there is one."""
    return "test" if config.test_file or not config.train_file else "validation"

"""Tables 2 and 3: models of text and of images by every method, with what their latent variable carries."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sa_vae_tf.analysis import image_rows, text_rows
from sa_vae_tf.analysis.experiments import check_runs, evaluated, spread, write_text
from sa_vae_tf.analysis.rows import PaperFigures, Row, chosen_rows, row_config
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.callbacks import COLLAPSED_KL
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import from_flagfile
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks import evaluated_split


class Table(NamedTuple):
    """A table of the paper whose rows are runs.

    Attributes:
      rows: function (settings) -> its rows by name.
      paper: the paper's figures by row.
      source: what the paper's figures are of.
      iw_samples: the paper's number of samples of the importance-weighted NLL.
      perplexity: whether it has one.
    """

    rows: Callable[[Config], dict[str, Row]]
    paper: Mapping[str, PaperFigures]
    source: str
    iw_samples: int
    perplexity: bool


TABLES = {
    2: Table(
        text_rows.rows,
        text_rows.PAPER,
        "the Yahoo corpus; those of the CNN rows are of Yang et al. (2017)",
        500,
        perplexity=True,
    ),
    3: Table(image_rows.rows, image_rows.PAPER, "OMNIGLOT as prepared by Burda et al. (2015)", 5000, perplexity=False),
}


def train_command(config: Config, flagfile: str) -> str:
    """Returns the command that trains a run of these settings: the flag file and what differs from it.

    Args:
      config: settings.
      flagfile: path, or empty for none.
    """
    given = from_flagfile(flagfile) if flagfile else Config()
    names = [field.name for field in dataclasses.fields(Config)]
    changes = [f"--{name}={getattr(config, name)}" for name in names if getattr(config, name) != getattr(given, name)]
    return shlex.join(["python", "bin/train.py", *([f"--flagfile={flagfile}"] if flagfile else []), *changes])


def training_minutes(metrics: Sequence[Mapping[str, Any]]) -> float:
    """Returns the time of all training steps of a run, in minutes.

    It is what the run would have taken had it never been stopped. Validation, what is compiled in the first step of an
    epoch, and epochs of one step are left out.

    Args:
      metrics: the lines of its metrics.jsonl.
    """
    steps = np.diff([0, *(line["step"] for line in metrics)])
    return float(sum(steps * [line.get("step_seconds", 0.0) for line in metrics])) / 60


def run_table(
    number: int,
    base: Config,
    flagfile: str,
    seeds: int,
    runs: Path,
    names: Sequence[str] = (),
    iw_samples: int | None = None,
) -> dict[str, Any]:
    """Trains and evaluates the rows of a table with every seed.

    Args:
      number: of the table.
      base: settings common to all rows.
      flagfile: path of the flag file they are from, for the rows' commands; empty for none.
      seeds: number of seeds, from 1 on.
      runs: folder under which the run folders are kept; finished runs are used again.
      names: of the rows; empty for all. Rows that they start from come along.
      iw_samples: samples of the importance-weighted NLL; None for the paper's number, 0 leaves it out.

    Returns:
      `rows`: by name the results of each seed, with minutes of training; `commands`: by name that of the first seed;
      and `table`, `seeds`, `corpus`, `split` and `iw_samples`.

    Raises:
      UserError: if a name or a setting is at fault, or a folder under `runs` holds a run with other settings; before
        anything is trained.
    """
    configs = {
        row.name: [row_config(base, row, seed, runs) for seed in range(1, seeds + 1)]
        for row in chosen_rows(TABLES[number].rows(base), names)
    }
    check_runs(config for of_row in configs.values() for config in of_row)
    split = evaluated_split(base)
    iw_samples = TABLES[number].iw_samples if iw_samples is None else iw_samples
    table: dict[str, Any] = {
        "table": number,
        "seeds": seeds,
        "corpus": base.train_file or base.data_file or base.corpus,
        "split": split,
        "iw_samples": iw_samples,
        "commands": {name: train_command(of_row[0], flagfile) for name, of_row in configs.items()},
        "rows": {name: [] for name in configs},
    }
    for seed in range(seeds):
        for name, of_row in configs.items():
            run = RunFolder(of_row[seed].run_dir)
            # The file's name tells what it was asked for; the gap is no part of the table.
            file = f"table{number}-{split}-{iw_samples}.json"
            results = evaluated(of_row[seed], file, split=split, iw_samples=iw_samples, gap_steps=0)
            table["rows"][name].append({**results, "minutes": training_minutes(run.read_metrics())})
    return table


def _kl(results: Sequence[Mapping[str, Any]]) -> str:
    collapsed = sum(r["kl"] < COLLAPSED_KL for r in results)
    if not collapsed:
        note = ""
    elif collapsed == len(results):
        note = ", collapsed"
    else:
        note = f", collapsed in {collapsed} of {len(results)}"
    return spread([r["kl"] for r in results]) + note


def _line(table: Table, name: str, results: Sequence[Mapping[str, Any]]) -> str:
    def column(key: str) -> str:
        values = [r[key] for r in results]
        return "" if None in values else spread(values)

    paper = table.paper.get(name, (None, None, None))
    digits = (1, 2, 1) if table.perplexity else (2, 2, 2)
    bound, kl, perplexity = (
        "" if figure is None else f"{figure:.{digit}f}" for figure, digit in zip(paper, digits, strict=True)
    )
    latent = ["", "", kl, column("nll_iw"), "", ""]
    if METHODS[results[0]["method"]].latent:
        of_latent = [column(key) for key in ("nll_iw", "mutual_information", "active_units")]
        latent = [column("reconstruction"), _kl(results), kl, *of_latent]
    of_words = [column("perplexity_bound"), perplexity] if table.perplexity else []
    return f"| {' | '.join([name, column('nll_bound'), bound, *latent, *of_words, column('minutes')])} |"


def to_markdown(table: dict[str, Any], command: str) -> str:
    """Returns the table as Markdown: figures beside the paper's, then the command of each row."""
    kind, split, samples = TABLES[table["table"]], table["split"], table["iw_samples"]
    seeds = f"mean and standard deviation over {table['seeds']} seeds" if table["seeds"] > 1 else "of one seed"
    lines = [
        f"The {split} split of {table['corpus']}: averages over examples in nats, {seeds}.",
        f"Made by `{command}`.",
        "",
        f"- Paper: its figures for {kind.source}.",
        "- Bound: reconstruction plus KL, an upper bound on the NLL; without latent variable the NLL itself.",
        f"- Collapsed: a KL below {COLLAPSED_KL} nats; the decoder ignores the latent variable.",
        f"- IW NLL: the importance-weighted estimate from {samples} samples.",
        *(["- Perplexity: of the bound, with the end of each text counted as a token."] if kind.perplexity else []),
        "- Minutes: all training steps, without validation.",
        "- The number after a name: refinement steps, K.",
        "",
    ]
    titles = ["", "bound", "paper", "reconstruction", "KL", "paper", "IW NLL", "mutual information", "active units"]
    titles += [*(["perplexity", "paper"] if kind.perplexity else []), "minutes"]
    lines += [f"| {' | '.join(titles)} |".replace("|  |", "| |"), "|---" * len(titles) + "|"]
    lines += [_line(kind, name, results) for name, results in table["rows"].items()]
    lines += [
        "",
        "The command of each row for seed 1; another seed is another `--seed` and `--run_dir`. Each run is then",
        f"evaluated by `python bin/evaluate.py --run_dir=... --split={split} --iw_samples={samples}`.",
        "",
        "```sh",
    ]
    for name, row_command in table["commands"].items():
        lines += [f"# {name}", row_command]
    return "\n".join([*lines, "```"]) + "\n"


def write(table: dict[str, Any], output: Path, command: str) -> list[Path]:
    """Writes the table as table2.md and table2.json, or table3, into a folder and returns their paths."""
    name = f"table{table['table']}"
    text = write_text(output / f"{name}.md", to_markdown(table, command))
    return [text, write_text(output / f"{name}.json", json.dumps(table, indent=1) + "\n")]

"""Tables 2 and 3: models of text and of images by every method, with what their latent variable carries."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sa_vae_tf.analysis import image_rows, text_rows
from sa_vae_tf.analysis.experiments import check_runs, evaluated, spread
from sa_vae_tf.analysis.rows import PaperFigures, Row, chosen_rows, row_config
from sa_vae_tf.files import write_atomically
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.callbacks import COLLAPSED_KL
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import settings_in
from sa_vae_tf.training.tasks import evaluated_split


class Table(NamedTuple):
    """A table of the paper whose rows are runs.

    Attributes:
      rows: function (settings) -> its rows by name.
      paper: the paper's figures by row.
      corpus: what they are of, by --corpus; beside any other they are not shown.
      source: what they are of, in words.
      iw_samples: usual number of samples of the importance-weighted NLL.
      perplexity: whether it has one.
    """

    rows: Callable[[Config], dict[str, Row]]
    paper: Mapping[str, PaperFigures]
    corpus: str
    source: str
    iw_samples: int
    perplexity: bool


TABLES = {
    2: Table(
        text_rows.rows,
        text_rows.PAPER,
        "yahoo_answers_yang",
        "the Yahoo corpus; those of the CNN rows are of Yang et al. (2017)",
        500,
        perplexity=True,
    ),
    3: Table(
        image_rows.rows,
        image_rows.PAPER,
        "omniglot_burda",
        "OMNIGLOT as prepared by Burda et al. (2015)",
        5000,
        perplexity=False,
    ),
}


class Column(NamedTuple):
    """A column of the table.

    Attributes:
      title: as printed.
      figure: of an evaluation.
      latent: whether only a model with a latent variable has it.
      paper: what of `PaperFigures` stands beside it.
    """

    title: str
    figure: str
    latent: bool = False
    paper: str = ""


COLUMNS = (
    Column("bound", "nll_bound", paper="bound"),
    Column("reconstruction", "reconstruction", latent=True),
    Column("KL", "kl", latent=True, paper="kl"),
    Column("IW NLL", "nll_iw"),
    Column("mutual information", "mutual_information", latent=True),
    Column("active units", "active_units", latent=True),
    Column("perplexity", "perplexity_bound", paper="perplexity"),
)


def train_command(config: Config, flagfile: str) -> str:
    """Returns the command that trains a run of these settings: the flag file and what differs from it.

    Args:
      config: settings.
      flagfile: path, or empty for none; one that holds other flags too, which bin/train.py would refuse, is left out.
    """
    given = settings_in(flagfile) if flagfile else None
    start = [] if given is None else [f"--flagfile={flagfile}"]
    known = given or {field.name: field.default for field in dataclasses.fields(Config)}
    changes = [f"--{name}={getattr(config, name)}" for name in known if getattr(config, name) != known[name]]
    return shlex.join(["python", "bin/train.py", *start, *changes])


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
      iw_samples: samples of the importance-weighted NLL; None for the usual number, 0 leaves it out.

    Returns:
      `rows`: by name the results of each seed; `commands`: by name that of the first seed; `evaluated`: the file, or
      published corpus, whose `split` they are of; and `table`, `seeds`, `corpus` and `iw_samples`.

    Raises:
      UserError: if a name or a setting is at fault, or a folder under `runs` holds a run with other settings; before
        anything is trained.
    """
    configs = {
        row.name: [row_config(base, row, seed, runs) for seed in range(1, seeds + 1)]
        for row in chosen_rows(TABLES[number].rows(base), names)
    }
    check_runs([config for of_row in configs.values() for config in of_row], base)
    split = evaluated_split(base)
    iw_samples = TABLES[number].iw_samples if iw_samples is None else iw_samples
    table: dict[str, Any] = {
        "table": number,
        "seeds": seeds,
        "corpus": base.corpus,
        "evaluated": (base.test_file if split == "test" else base.val_file) or base.data_file or base.corpus,
        "split": split,
        "iw_samples": iw_samples,
        "commands": {name: train_command(of_row[0], flagfile) for name, of_row in configs.items()},
        "rows": {name: [] for name in configs},
    }
    for seed in range(seeds):
        for name, of_row in configs.items():
            # The file's name tells what it was asked for; the gap is no part of the table.
            file = f"table{number}-{split}-{iw_samples}.json"
            results = evaluated(of_row[seed], file, split=split, iw_samples=iw_samples, gap_steps=0)
            table["rows"][name].append(results)
    return table


def _column(column: Column, results: Sequence[Mapping[str, Any]]) -> str:
    values = [r[column.figure] for r in results]
    if None in values or (column.latent and not METHODS[results[0]["method"]].latent):
        return ""
    collapsed = sum(value < COLLAPSED_KL for value in values) if column.figure == "kl" else 0
    which = "" if collapsed == len(values) else f" in {collapsed} of {len(values)}"
    return spread(values) + (f", collapsed{which}" if collapsed else "")


def to_markdown(table: dict[str, Any], command: str) -> str:
    """Returns the table as Markdown: figures, beside the paper's if of its corpus, then the command of each row."""
    kind, split, samples = TABLES[table["table"]], table["split"], table["iw_samples"]
    absent = {*([] if kind.perplexity else ["perplexity_bound"]), *([] if samples else ["nll_iw"])}
    columns = [column for column in COLUMNS if column.figure not in absent]
    beside = table["corpus"] == kind.corpus
    of = table["evaluated"]
    elsewhere = "" if of == table["corpus"] else f" They are of the corpus as published, not of {of}."
    seeds = f"mean and standard deviation over {table['seeds']} seeds" if table["seeds"] > 1 else "of one seed"

    def cells(name: str, results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        yield name
        for column in columns:
            yield _column(column, results)
            if beside and column.paper:
                paper = getattr(kind.paper.get(name), column.paper, None)
                yield "" if paper is None else f"{paper:.{1 if kind.perplexity and column.paper != 'kl' else 2}f}"

    titles = [""] + [title for c in columns for title in ([c.title, "paper"] if beside and c.paper else [c.title])]
    lines = [
        f"The {split} split, {of}: averages over examples in nats, {seeds}.",
        f"Made by `{command}`.",
        "",
        *([f"- Paper: its figures for {kind.source}.{elsewhere}"] if beside else []),
        "- Bound: reconstruction plus KL, an upper bound on the NLL; without latent variable the NLL itself.",
        f"- Collapsed: a KL below {COLLAPSED_KL} nats; the posterior carries nothing of the example.",
        *([f"- IW NLL: the importance-weighted estimate from {samples} samples."] if samples else []),
        *(["- Perplexity: of the bound, with the end of each text counted as a token."] if kind.perplexity else []),
        "- The number after a name: refinement steps, K.",
        "",
        f"| {' | '.join(titles)} |".replace("|  |", "| |"),
        "|---" * len(titles) + "|",
        *(f"| {' | '.join(cells(name, results))} |" for name, results in table["rows"].items()),
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
    text = write_atomically(output / f"{name}.md", to_markdown(table, command))
    return [text, write_atomically(output / f"{name}.json", json.dumps(table, indent=1) + "\n")]

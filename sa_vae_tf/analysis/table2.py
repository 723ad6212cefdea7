"""Table 2: language models and latent-variable models of text, with what their latent variable carries."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sa_vae_tf.analysis.experiments import check_runs, evaluated, spread, write_text
from sa_vae_tf.analysis.text_rows import PAPER, chosen_rows, row_config, split_of
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.callbacks import COLLAPSED_KL
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import from_flagfile
from sa_vae_tf.training.run_folder import RunFolder


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

    It is what the run would have taken had it never been stopped. Validation, and what is compiled in the first step
    of an epoch, are left out.

    Args:
      metrics: the lines of its metrics.jsonl.
    """
    steps = np.diff([0, *(line["step"] for line in metrics)])
    return float(sum(steps * [line["step_seconds"] for line in metrics])) / 60


def run_table(
    base: Config, flagfile: str, seeds: int, runs: Path, names: Sequence[str] = (), iw_samples: int = 500
) -> dict[str, Any]:
    """Trains and evaluates the rows with every seed.

    Args:
      base: settings common to all rows.
      flagfile: path of the flag file they are from, for the rows' commands; empty for none.
      seeds: number of seeds, from 1 on.
      runs: folder under which the run folders are kept; finished runs are used again.
      names: of the rows; empty for all. Rows that they start from come along.
      iw_samples: samples of the importance-weighted NLL, the paper's number by default; 0 leaves it out.

    Returns:
      `rows`: by name the results of each seed, with minutes of training; `commands`: by name that of the first seed;
      and `seeds`, `corpus`, `split` and `iw_samples`.

    Raises:
      UserError: if a name or a setting is at fault, or a folder under `runs` holds a run with other settings; before
        anything is trained.
    """
    configs = {
        row.name: [row_config(base, row, seed, runs) for seed in range(1, seeds + 1)]
        for row in chosen_rows(base, names)
    }
    check_runs(config for of_row in configs.values() for config in of_row)
    split = split_of(base)
    table: dict[str, Any] = {
        "seeds": seeds,
        "corpus": base.train_file or base.corpus,
        "split": split,
        "iw_samples": iw_samples,
        "commands": {name: train_command(of_row[0], flagfile) for name, of_row in configs.items()},
        "rows": {name: [] for name in configs},
    }
    for seed in range(seeds):
        for name, of_row in configs.items():
            run = RunFolder(of_row[seed].run_dir)
            # The file's name tells what it was asked for; the gap is no part of the table.
            file = f"table2-{split}-{iw_samples}.json"
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


def _line(name: str, results: Sequence[Mapping[str, Any]]) -> str:
    def column(key: str) -> str:
        values = [r[key] for r in results]
        return "" if None in values else spread(values)

    paper = PAPER.get(name, (None, None, None))
    bound, kl, perplexity = (
        "" if figure is None else f"{figure:.{digits}f}" for figure, digits in zip(paper, (1, 2, 1), strict=True)
    )
    latent = ["", "", kl, column("nll_iw"), "", ""]
    if METHODS[results[0]["method"]].latent:
        of_latent = [column(key) for key in ("nll_iw", "mutual_information", "active_units")]
        latent = [column("reconstruction"), _kl(results), kl, *of_latent]
    cells = [name, column("nll_bound"), bound, *latent, column("perplexity_bound"), perplexity, column("minutes")]
    return f"| {' | '.join(cells)} |"


def to_markdown(table: dict[str, Any], command: str) -> str:
    """Returns the table as Markdown: figures beside the paper's, then the command of each row."""
    split, samples = table["split"], table["iw_samples"]
    seeds = f"mean and standard deviation over {table['seeds']} seeds" if table["seeds"] > 1 else "of one seed"
    lines = [
        f"The {split} split of {table['corpus']}: averages over examples in nats, {seeds}.",
        f"Made by `{command}`.",
        "",
        "- Paper: its figures for the Yahoo corpus; those of the CNN rows are of Yang et al. (2017).",
        "- Bound: reconstruction plus KL, an upper bound on the NLL; of a language model the NLL itself.",
        f"- Collapsed: a KL below {COLLAPSED_KL} nats; the decoder ignores the latent variable.",
        f"- IW NLL: the importance-weighted estimate from {samples} samples.",
        "- Perplexity: of the bound, with the end of each text counted as a token.",
        "- Minutes: all training steps, without validation.",
        "- The number after a name: refinement steps, K.",
        "",
        "| | bound | paper | reconstruction | KL | paper | IW NLL | mutual information | active units | perplexity "
        "| paper | minutes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(name, results) for name, results in table["rows"].items()]
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
    """Writes table2.md and table2.json into a folder and returns their paths."""
    text = write_text(output / "table2.md", to_markdown(table, command))
    return [text, write_text(output / "table2.json", json.dumps(table, indent=1) + "\n")]

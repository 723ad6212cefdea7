"""Table 1: bounds on the synthetic task, for a fixed and for a learned generator, beside the paper's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from sa_vae_tf.analysis.experiments import check_runs, evaluated, spread
from sa_vae_tf.analysis.figures import INK, colours_of, draw_grid, new_panels, save
from sa_vae_tf.data import synthetic
from sa_vae_tf.errors import UserError
from sa_vae_tf.evaluation.true_likelihood import nll_by_prior_samples, nll_by_quadrature
from sa_vae_tf.files import write_atomically
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.tasks import data_seed

GENERATORS = ("oracle", "learned")
# Samples of the prior for the true NLL: the paper's number, and many more.
PRIOR_SAMPLES = (1000, 100_000)


class Row(NamedTuple):
    """A row of the table.

    Attributes:
      name: as printed.
      settings: what it changes of the flag file's settings.
      paper: the paper's bounds with the oracle and the learned generator; None for rows the paper has not.
    """

    name: str
    settings: dict[str, Any]
    paper: tuple[float, float] | None = None


# The paper's rate, one for the mean bound over a batch of 50. SA-VAE's best is half of it.
PAPER_RATE = {"svi_rate_mean": 0.02, "svi_rate_log_variance": 0.02}
FINAL = {"method": "sa_vae", "bound_weights": "final", "hvp": "exact"}
ROWS = (
    Row("VAE", {"method": "vae"}, (21.77, 27.06)),
    Row("SVI, paper's rate", {"method": "svi", **PAPER_RATE}, (22.33, 25.82)),
    Row("VAE+SVI", {"method": "vae_svi"}),
    Row("SA-VAE, weighted bound", {**FINAL, "bound_weights": "ends"}),
    Row("SA-VAE", FINAL, (20.13, 25.21)),
    Row("SA-VAE, finite differences", {**FINAL, "hvp": "finite_difference"}),
    Row("SA-VAE, authors' arithmetic", {**FINAL, "hvp": "authors", "svi_clip_norm": 5.0}),
    Row("SA-VAE, paper's rate", {**FINAL, **PAPER_RATE}),
)
PAPER_TRUE_NLL = 19.63


def row_config(base: Config, row: Row, generator: str, seed: int, runs: Path) -> Config:
    """Returns the settings of a row's run, in a folder named after them.

    Raises:
      UserError: if the settings are not of the synthetic task, or the row does not go with them.
    """
    if base.data != "synthetic":
        raise UserError(
            f"--data={base.data}: Table 1 and Figure 1 are of the synthetic task; expected --data=synthetic"
        )
    name = "-".join([generator, *(str(value) for value in row.settings.values()), str(seed)])
    changes = {"generator": generator, "seed": seed, "data_seed": 0, "run_dir": str(runs / name), **row.settings}
    try:
        return dataclasses.replace(base, **changes)
    except UserError as error:
        raise UserError(f"row {row.name!r} ({error})") from None


def run_table(base: Config, seeds: int, runs: Path) -> dict[str, Any]:
    """Trains and evaluates every row with every generator and seed.

    A seed draws the oracle, the data, the initial weights and the noise anew.

    Args:
      base: settings common to all rows.
      seeds: number of seeds, from 1 on.
      runs: folder under which the run folders are kept; finished runs are used again.

    Returns:
      `true_nll` by estimate and `rows` by generator and name: results by seed.

    Raises:
      UserError: if the settings are not of the synthetic task, or a folder under `runs` holds a run with other
        settings.
    """
    configs = {
        (generator, row.name, seed): row_config(base, row, generator, seed, runs)
        for seed in range(1, seeds + 1)
        for generator in GENERATORS
        for row in ROWS
    }
    check_runs(list(configs.values()), base)
    table: dict[str, Any] = {"seeds": seeds, "true_nll": {}, "rows": {g: {} for g in GENERATORS}}
    for seed in range(1, seeds + 1):
        for name, value in true_nll(dataclasses.replace(base, seed=seed, data_seed=0)).items():
            table["true_nll"].setdefault(name, []).append(value)
    for (generator, name, _), config in configs.items():
        # The importance-weighted NLL and the gap are no part of the table.
        results = evaluated(config, "table1.json", iw_samples=0, gap_steps=0)
        table["rows"][generator].setdefault(name, []).append(results)
    return table


def true_nll(config: Config) -> dict[str, float]:
    """Estimates the negative log-likelihood of the test set under the generator that drew it, in nats."""
    seed = data_seed(config)
    builder = synthetic.builder(seed, config.num_examples, config.data_dir or None)
    tokens = synthetic.tokens(builder, "test")
    oracle = synthetic.oracle(seed)
    estimates = {
        f"{samples:,} prior samples": float(nll_by_prior_samples(oracle, tokens, samples, [seed, 0]).mean())
        for samples in PRIOR_SAMPLES
    }
    return {**estimates, "quadrature": float(nll_by_quadrature(oracle, tokens).mean())}


def to_markdown(table: dict[str, Any], command: str) -> str:
    """Returns the table as Markdown: bounds beside the paper's, then what lies behind them."""
    if table["seeds"] > 1:
        seeds = f"mean and standard deviation over {table['seeds']} seeds, each with an oracle of its own"
    else:
        seeds = "of one seed"
    lines = [
        f"Bound on the NLL of the test set in nats, {seeds}.",
        f"Made by `{command}`.",
        "",
        "| | oracle generator | paper | learned generator | paper |",
        "|---|---|---|---|---|",
    ]
    for row in ROWS:
        paper = [f"{value:.2f}" for value in row.paper] if row.paper else ["", ""]
        here = [spread([r["nll_bound"] for r in table["rows"][g][row.name]]) for g in GENERATORS]
        lines.append(f"| {row.name} | {here[0]} | {paper[0]} | {here[1]} | {paper[1]} |")
    for name, values in table["true_nll"].items():
        paper_value = f"{PAPER_TRUE_NLL:.2f}" if name.startswith("1,000 ") else ""
        lines.append(f"| true NLL, {name} | {spread(values)} | {paper_value} | | |")
    lines += [
        "",
        "What the bounds are made of. Initial: bound of the posterior before refinement. Above: refined bound less the",
        "true NLL by quadrature; each seed on its own.",
        "",
        "| generator | | initial bound | refined bound | KL | above the true NLL, by seed |",
        "|---|---|---|---|---|---|",
    ]
    for generator in GENERATORS:
        for row in ROWS:
            results = table["rows"][generator][row.name]
            above = np.array([r["nll_bound"] for r in results], float) - table["true_nll"]["quadrature"]
            columns = [spread([r[key] for r in results]) for key in ("initial_bound", "nll_bound", "kl")]
            seeds_text = ", ".join(f"{value:.2f}" for value in above)
            lines.append(f"| {generator} | {row.name} | {' | '.join(columns)} | {seeds_text} |")
    return "\n".join(lines) + "\n"


def draw(table: dict[str, Any], path: Path) -> None:
    """Draws each seed's initial and refined bound, in nats above the true NLL, and writes PNG and JSON."""
    figure, panels = new_panels(9.0, 4.2, len(GENERATORS))
    truth = np.array(table["true_nll"]["quadrature"])
    colours = colours_of(row.settings["method"] for row in ROWS)
    for axes, generator in zip(panels, GENERATORS, strict=True):
        for position, row in enumerate(reversed(ROWS)):
            results = table["rows"][generator][row.name]
            colour = colours[row.settings["method"]]
            for key, face in (("initial_bound", "white"), ("nll_bound", colour)):
                above = np.array([r[key] for r in results], float) - truth
                heights = np.full(len(above), position)
                axes.plot(above, heights, "o", color=colour, markerfacecolor=face, markersize=6)
        scale = "log" if generator == "oracle" else "linear"
        if scale == "log":
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(range(len(ROWS)), [row.name for row in reversed(ROWS)] if axes is panels[0] else [])
        draw_grid(axes, "x")
        axes.set_xlabel(f"nats above the true NLL ({scale} scale)")
        axes.set_title(f"{generator} generator", fontsize=10, color=INK, loc="left")
    figure.supxlabel("open: initial posterior, filled: refined; one point a seed", fontsize=9, color=INK)
    save(figure, path, table)


def write(table: dict[str, Any], output: Path, command: str) -> list[Path]:
    """Writes table1.md, table1.json and table1.png into a folder and returns their paths."""
    draw(table, output / "table1.png")
    text = write_atomically(output / "table1.md", to_markdown(table, command))
    return [text, output / "table1.png", output / "table1.json"]

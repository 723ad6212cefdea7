"""Table 1: its text and its plot from given results, the settings of its runs, the true NLL."""

import dataclasses
import json
from pathlib import Path

import pytest

from sa_vae_tf.analysis import table1
from sa_vae_tf.analysis.table1 import (
    GENERATORS,
    PAPER_TRUE_NLL,
    PRIOR_SAMPLES,
    ROWS,
    row_config,
    run_table,
    to_markdown,
    true_nll,
    write,
)
from sa_vae_tf.data import synthetic
from sa_vae_tf.evaluation import nll_by_prior_samples, nll_by_quadrature
from sa_vae_tf.training.flags import from_flagfile
from tests import runs

FLAGS = str(Path(__file__).parents[2] / "synthetic.flags")


@pytest.fixture
def table():
    """Two seeds; row number r has bound 20 + r and 22 + r, and an initial bound three nats above."""
    rows = {
        generator: {
            row.name: [{"nll_bound": b + r, "initial_bound": b + r + 3, "kl": 1.5, "seed": b} for b in (20.0, 22.0)]
            for r, row in enumerate(ROWS)
        }
        for generator in GENERATORS
    }
    names = [f"{samples:,} prior samples" for samples in PRIOR_SAMPLES] + ["quadrature"]
    return {"seeds": 2, "true_nll": {name: [19.0, 21.5] for name in names}, "rows": rows}


def test_text_has_means_spreads_and_the_papers_figures(table):
    text = to_markdown(table, "the command")
    # Mean of 20 and 22, and the unbiased standard deviation of two values 2 apart: sqrt(2).
    assert "| VAE | 21.00 ± 1.41 | 21.77 | 21.00 ± 1.41 | 27.06 |" in text
    assert "| true NLL, 1,000 prior samples | 20.25 ± 1.77 | 19.63 | | |" in text
    # Above the true NLL of its own seed, initial beside refined.
    assert "| oracle | VAE | 24.00 ± 1.41 | 21.00 ± 1.41 | 1.50 ± 0.00 | 1.00, 0.50 |" in text
    assert "`the command`" in text
    assert "nats, mean and standard deviation over 2 seeds, each with an oracle of its own.\n" in text


def test_a_figure_that_was_not_finite_is_no_number(table, tmp_path):
    for figures in table["rows"]["oracle"]["VAE"]:
        figures.update(nll_bound=None, kl=None)  # As an evaluation that is kept has them.
    text = to_markdown(table, "the command")
    assert "| oracle | VAE | 24.00 ± 1.41 | nan ± nan | nan ± nan | nan, nan |" in text
    assert all(path.exists() for path in write(table, tmp_path, "the command"))


def test_one_seed_has_no_spread(table):
    one = {
        "seeds": 1,
        "true_nll": {name: values[:1] for name, values in table["true_nll"].items()},
        "rows": {g: {name: rows[:1] for name, rows in by_name.items()} for g, by_name in table["rows"].items()},
    }
    text = to_markdown(one, "the command")
    assert "in nats, of one seed.\n" in text
    assert "deviation" not in text
    assert "| VAE | 20.00 | 21.77 | 20.00 | 27.06 |" in text


def test_files(table, tmp_path):
    paths = write(table, tmp_path / "new", "the command")
    assert [path.name for path in paths] == ["table1.md", "table1.png", "table1.json"]
    assert all(path.stat().st_size > 0 for path in paths)
    assert json.loads(paths[2].read_text())["rows"].keys() == set(GENERATORS)


def test_the_figure_says_what_its_scales_are(table, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(table1, "save", lambda figure, *rest: figures.append(figure))
    table1.draw(table, tmp_path / "table1.png")
    for axes in figures[0].axes:
        assert axes.get_xlabel() == f"nats above the true NLL ({axes.get_xscale()} scale)"


def test_runs_have_folders_of_their_own_and_differ_as_named(tmp_path):
    base = from_flagfile(FLAGS)
    configs = {
        (generator, row.name, seed): row_config(base, row, generator, seed, tmp_path)
        for generator in GENERATORS
        for row in ROWS
        for seed in (1, 2)
    }
    assert len({config.run_dir for config in configs.values()}) == len(configs)
    for (generator, name, seed), config in configs.items():
        assert (config.generator, config.seed, config.data_seed) == (generator, seed, 0)
        assert (config.svi_steps, config.num_epochs, config.num_examples) == (20, 20, 5000)
        assert config.hvp == {
            "SA-VAE, finite differences": "finite_difference",
            "SA-VAE, authors' arithmetic": "authors",
        }.get(name, "exact")
        # The paper's rate is one, for the mean bound over a batch of 50.
        rate = 1 / 50 if name.endswith("paper's rate") else 0.01
        assert (config.svi_rate_mean, config.svi_rate_log_variance) == (rate, rate)
        assert config.svi_clip_norm == (5 if name == "SA-VAE, authors' arithmetic" else 0)
        if config.method == "sa_vae":
            assert config.bound_weights == ("ends" if name == "SA-VAE, weighted bound" else "final")


def test_the_papers_figures():
    assert {row.name: row.paper for row in ROWS if row.paper} == {
        "VAE": (21.77, 27.06),
        "SVI, paper's rate": (22.33, 25.82),
        "SA-VAE": (20.13, 25.21),
    }
    assert (PAPER_TRUE_NLL, PRIOR_SAMPLES[0]) == (19.63, 1000)


def test_each_seed_has_a_true_nll_and_runs_of_its_own(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(table1, "check_runs", lambda configs, base: checked.extend(configs))
    monkeypatch.setattr(table1, "true_nll", lambda config: {"quadrature": (config.seed, config.data_seed)})
    monkeypatch.setattr(table1, "evaluated", lambda config, name, **options: config)
    base = dataclasses.replace(from_flagfile(FLAGS), seed=7, data_seed=9)
    table = run_table(base, 2, tmp_path)
    assert table["true_nll"] == {"quadrature": [(1, 0), (2, 0)]}
    assert table["rows"] == {
        generator: {row.name: [row_config(base, row, generator, seed, tmp_path) for seed in (1, 2)] for row in ROWS}
        for generator in GENERATORS
    }
    assert len(checked) == 2 * len(GENERATORS) * len(ROWS)


def test_the_true_nll_is_of_the_test_set_under_the_generator_that_drew_it(data_dir, monkeypatch):
    monkeypatch.setattr(table1, "PRIOR_SAMPLES", (10,))
    oracle, tokens = synthetic.oracle(1), synthetic.tokens(synthetic.builder(1, 50, data_dir), "test")
    expected = {
        "10 prior samples": nll_by_prior_samples(oracle, tokens, 10, [1, 0]).mean(),
        "quadrature": nll_by_quadrature(oracle, tokens).mean(),
    }
    for seeds in ({"seed": 1}, {"seed": 5, "data_seed": 1}):
        # The same operations; the order of a sum may be another.
        assert true_nll(runs.tiny("", data_dir, **seeds)) == pytest.approx(expected, rel=1e-6)

"""Table 2: the settings and commands of its rows, its text from given results, and two rows trained."""

import dataclasses
import json
import math
import shlex
from pathlib import Path

import pytest
from absl import flags

from sa_vae_tf.analysis import table2
from sa_vae_tf.analysis.text_rows import PAPER, chosen_rows, row_config, rows, split_of
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import define_flags, from_flags, to_flagfile
from sa_vae_tf.training.run_folder import RunFolder
from tests import corpora

BASE = Config(data="text", train_file="train.txt", val_file="val.txt")
METHODS = {"LM": "lm", "SVI": "svi", "VAE+SVI": "vae_svi", "VAE+SVI+KL": "vae_svi_kl", "SA-VAE": "sa_vae"}


def test_twenty_steps_give_the_papers_rows():
    names = list(rows(BASE))
    assert set(PAPER) < set(names)
    assert [name for name in names if name not in PAPER] == ["SA-VAE 20 finite_difference"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_perplexity_is_that_of_its_bound(name):
    # exp(bound / tokens in a document), of which the Yahoo test set has 79.87; both are rounded to 0.05.
    assert PAPER[name].bound / math.log(PAPER[name].perplexity) == pytest.approx(79.87, abs=0.04)


def test_rows_scale_with_the_flag_files_steps():
    names = set(rows(dataclasses.replace(BASE, svi_steps=5)))
    assert {"SVI 2", "SVI 5", "SVI 10", "VAE+SVI 2", "VAE+SVI+KL 5", "SA-VAE 2", "SA-VAE 5 authors"} <= names
    # The paper's figures stand beside the one row that has as many steps.
    assert {name for name in names if name in PAPER and name[-1].isdigit()} == {"SVI 10"}


def test_a_row_has_its_own_settings_whatever_the_flag_file(tmp_path):
    base = dataclasses.replace(
        BASE, decoder="cnn", word_dropout=0.3, encoder_init="some", svi_steps_schedule="5:10", hvp="authors", seed=7
    )
    configs = {(row.name, seed): row_config(base, row, seed, tmp_path) for row in chosen_rows(base) for seed in (1, 2)}
    assert len({config.run_dir for config in configs.values()}) == len(configs)
    assert len({to_flagfile(dataclasses.replace(config, run_dir="")) for config in configs.values()}) == len(configs)
    for (name, seed), config in configs.items():
        assert config.seed == seed
        assert Path(config.run_dir).parent == tmp_path
        assert config.decoder == ("cnn" if "CNN" in name else "lstm")
        assert config.word_dropout == (float(name[-3:-1]) / 100 if "DROP" in name else 0)
        assert config.encoder_init == (configs["LM", seed].run_dir if "INIT" in name else "")
        assert config.steps_by_epoch().keys() == {0}
        kind, *numbers = name.removeprefix("CNN-").split(" ")
        assert config.method == METHODS.get(kind, "vae")
        if kind in METHODS and kind != "LM":
            assert config.steps_at(0) == int(numbers[0])
        if kind == "SA-VAE":
            assert config.hvp == (numbers[1] if len(numbers) > 1 else "exact")
    assert configs["SA-VAE 20 authors", 1].svi_clip_norm == 5


def test_chosen_rows_bring_what_they_start_from():
    assert [row.name for row in chosen_rows(BASE, ["SVI 40", "CNN-VAE+INIT"])] == ["LM", "CNN-VAE+INIT", "SVI 40"]
    assert [row.name for row in chosen_rows(BASE)] == list(rows(BASE))


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({}, ["VAE", "SVI 30"], "--rows=SVI 30: expected names among LM, CNN-LM, VAE, .*SVI 40"),
        ({"svi_steps": 1}, [], "--svi_steps=1: .*expected at least 2"),
        ({"data": "synthetic", "train_file": "", "val_file": ""}, [], "--data=synthetic: .*expected --data=text"),
    ],
)
def test_wrong_choices_end_before_anything_is_trained(changes, names, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        table2.run_table(dataclasses.replace(BASE, **changes), "", 1, tmp_path / "runs", names)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_the_test_split_where_there_is_one():
    assert split_of(BASE) == "validation"
    assert split_of(dataclasses.replace(BASE, test_file="test.txt")) == "test"
    assert split_of(Config(data="text", corpus="ptb_mikolov")) == "test"


@pytest.mark.parametrize("name", ["", "some file.flags"])
def test_commands_give_the_settings_of_their_rows(name, tmp_path):
    file = tmp_path / name if name else ""
    if file:
        file.write_text("# Small.\n--data=text\n--train_file=train.txt\n--val_file=val.txt\n--units=8\n--svi_steps=4\n")
    # --units is not that of the file: it was overridden on the command line.
    base = dataclasses.replace(BASE, units=9, svi_steps=4, jit_compile=False)
    for row in chosen_rows(base):
        config = row_config(base, row, 2, tmp_path / "with space")
        command = table2.train_command(config, str(file))
        python, script, *arguments = shlex.split(command)
        assert (python, script) == ("python", "bin/train.py")
        values = flags.FlagValues()
        define_flags(values)
        assert values([script, *arguments]) == [script]
        assert from_flags(values) == config
        if file:
            assert "--train_file" not in command


def test_minutes_are_those_of_all_steps():
    lines = [{"step": 100, "step_seconds": 0.6}, {"step": 200, "step_seconds": 1.2}, {"step": 250, "step_seconds": 6.0}]
    assert table2.training_minutes(lines) == pytest.approx(1 + 2 + 5)


def made_up(method, bound, kl):
    """Results of a seed; NaN would show a figure that is not of a language model."""
    latent = method != "lm"
    return {
        "method": method,
        "nll_bound": bound,
        "reconstruction": bound - kl,
        "kl": kl,
        "nll_iw": bound - 1 if latent else bound,
        "mutual_information": kl / 2 if latent else float("nan"),
        "active_units": 3 if latent else float("nan"),
        "perplexity_bound": 60.0,
        "minutes": 1.5,
    }


def test_text_and_files(tmp_path):
    table = {
        "seeds": 2,
        "corpus": "corpus.txt",
        "split": "validation",
        "iw_samples": 7,
        "commands": {"LM": "python lm", "VAE": "python vae", "SVI 3": "python svi", "SA-VAE 20": "python sa"},
        "rows": {
            "LM": [made_up("lm", 330.0, 0.0), made_up("lm", 332.0, 0.0)],
            "VAE": [made_up("vae", 330.0, 0.01), made_up("vae", 332.0, 0.01)],
            "SVI 3": [made_up("svi", 330.0, 0.09), made_up("svi", 330.0, 0.11)],
            "SA-VAE 20": [made_up("sa_vae", 328.0, 6.0), made_up("sa_vae", 328.0, 8.0)],
        },
    }
    table["rows"]["SVI 3"][1]["nll_iw"] = None  # With --iw_samples=0 there is none.
    paths = table2.write(table, tmp_path / "new", "the command")
    assert [path.name for path in paths] == ["table2.md", "table2.json"]
    assert json.loads(paths[1].read_text())["rows"]["SA-VAE 20"][1]["kl"] == 8.0
    text = paths[0].read_text()
    # Mean of 330 and 332, and the unbiased standard deviation of two values 2 apart: sqrt(2).
    assert "| LM | 331.00 ± 1.41 | 329.1 |  |  |  | 331.00 ± 1.41 |  |  | 60.00 ± 0.00 | 61.6 | 1.50 ± 0.00 |" in text
    assert (
        "| VAE | 331.00 ± 1.41 | 330.2 | 330.99 ± 1.41 | 0.01 ± 0.00, collapsed | 0.01 | 330.00 ± 1.41 | 0.01 ± 0.00 "
        "| 3.00 ± 0.00 | 60.00 ± 0.00 | 62.5 | 1.50 ± 0.00 |"
    ) in text
    assert "| 0.10 ± 0.01, collapsed in 1 of 2 |  |  |" in text
    assert "| 7.00 ± 1.41 | 7.19 |" in text
    assert "The validation split of corpus.txt" in text
    assert "`the command`" in text
    assert "# SVI 3\npython svi\n# SA-VAE 20\npython sa\n" in text
    width = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert width == {13}


def test_rows_are_trained_in_order_and_once(tmp_path, data_dir):
    base = corpora.tiny("", data_dir, corpora.write(tmp_path), length_multiple=16)

    def run():
        return table2.run_table(base, "", 1, tmp_path / "runs", ["VAE+INIT"], iw_samples=2)

    table = run()
    assert list(table["rows"]) == list(table["commands"]) == ["LM", "VAE+INIT"]
    assert table["split"] == "test"
    [lm], [vae] = table["rows"].values()
    assert (lm["method"], vae["method"]) == ("lm", "vae")
    assert lm["nll_iw"] == lm["nll_bound"]
    assert vae["reconstruction"] + vae["kl"] == pytest.approx(vae["nll_bound"])
    assert vae["examples"] == 20
    assert vae["minutes"] > 0
    init = RunFolder(tmp_path / "runs" / "vae-init-1").read_config()
    assert init.encoder_init == str(tmp_path / "runs" / "lm-1")

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    assert run() == table
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before

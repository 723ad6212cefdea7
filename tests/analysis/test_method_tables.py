"""Tables 2 and 3: settings and commands of their rows, their text from given results, and rows trained."""

import dataclasses
import json
import math
import shlex
from pathlib import Path

import pytest
from absl import flags

from sa_vae_tf.analysis import image_rows, method_tables
from sa_vae_tf.analysis.rows import chosen_rows, row_config
from sa_vae_tf.analysis.text_rows import PAPER, rows
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import define_flags, from_flags, to_flagfile
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks import evaluated_split
from tests import corpora, images

BASE = Config(data="text", train_file="train.txt", val_file="val.txt")
IMAGES = Config(data="image", data_file="images.npz")
METHODS = {
    "LM": "lm",
    "Gated": "lm",
    "SVI": "svi",
    "VAE+SVI": "vae_svi",
    "VAE+SVI+KL": "vae_svi_kl",
    "SA-VAE": "sa_vae",
}


def test_twenty_steps_give_the_papers_rows():
    names = list(rows(BASE))
    assert set(PAPER) < set(names)
    assert [name for name in names if name not in PAPER] == ["SA-VAE 20 finite_difference"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_perplexity_is_that_of_its_bound(name):
    # exp(bound / tokens in a document), of which the Yahoo test set has 79.87; both are rounded to 0.05.
    assert PAPER[name].bound / math.log(PAPER[name].perplexity) == pytest.approx(79.87, abs=0.04)


def test_the_papers_kl():
    # A second copy, against a slip of the keyboard; the perplexities are one of the bounds.
    assert {name: figures.kl for name, figures in PAPER.items()} == {
        "LM": None, "CNN-LM": None, "VAE": 0.01, "VAE+INIT": 0.37, "VAE+WORD-DROP 25%": 1.44,
        "VAE+WORD-DROP 50%": 5.29, "CNN-VAE": 6.7, "CNN-VAE+INIT": 10.0, "SVI 10": 0.16, "SVI 20": 0.41,
        "SVI 40": 1.01, "VAE+SVI 10": 7.85, "VAE+SVI 20": 7.8, "VAE+SVI+KL 10": 7.95, "VAE+SVI+KL 20": 7.81,
        "SA-VAE 10": 5.13, "SA-VAE 20": 7.19, "SA-VAE 20 authors": 7.19,
    }  # fmt: skip


def test_the_papers_figures_of_images():
    assert {name: figures[:2] for name, figures in image_rows.PAPER.items()} == {
        "Gated PixelCNN": (90.59, None), "VAE": (90.43, 0.98), "SVI 10": (90.65, 0.02), "SVI 20": (90.51, 0.06),
        "SVI 40": (90.44, 0.27), "SVI 80": (90.27, 1.65), "VAE+SVI 10": (90.26, 1.69), "VAE+SVI 20": (90.19, 2.4),
        "VAE+SVI+KL 10": (90.24, 2.42), "VAE+SVI+KL 20": (90.21, 2.83), "SA-VAE 10": (90.2, 1.83),
        "SA-VAE 20": (90.05, 2.78),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "base", "samples"), [(2, BASE, 500), (3, Config(data="image", corpus="omniglot_burda"), 5000)]
)
def test_a_row_has_the_results_of_each_seed_in_turn(number, base, samples, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(method_tables, "check_runs", lambda configs, base: None)
    monkeypatch.setattr(method_tables, "evaluated", lambda config, name, **options: asked.append(options) or config)
    table = method_tables.run_table(number, base, "", 2, tmp_path)
    known = method_tables.TABLES[number].rows(base)
    assert table["rows"] == {
        name: [row_config(base, row, seed, tmp_path) for seed in (1, 2)] for name, row in known.items()
    }
    assert table["iw_samples"] == samples
    assert all(options == {"split": table["split"], "iw_samples": samples, "gap_steps": 0} for options in asked)


def test_twenty_steps_give_the_papers_rows_of_images():
    assert list(image_rows.rows(IMAGES)) == list(image_rows.PAPER)
    base = dataclasses.replace(IMAGES, svi_steps_schedule="5:10", hvp="authors", method="svi", seed=7)
    for row in chosen_rows(image_rows.rows(base)):
        config = row_config(base, row, 3, Path("runs"))
        kind, *numbers = row.name.split(" ")
        assert (config.seed, config.method) == (3, METHODS.get(kind, "vae"))
        assert config.steps_by_epoch() == {0: int(numbers[0]) if "SV" in kind or kind == "SA-VAE" else 0}
        assert config.hvp == ("exact" if kind == "SA-VAE" else "authors")
    assert row_config(base, image_rows.rows(base)["Gated PixelCNN"], 3, Path("a")).run_dir == "a/gated-pixelcnn-3"


def test_rows_scale_with_the_flag_files_steps():
    names = set(rows(dataclasses.replace(BASE, svi_steps=5)))
    assert {"SVI 2", "SVI 5", "SVI 10", "VAE+SVI 2", "VAE+SVI+KL 5", "SA-VAE 2", "SA-VAE 5 authors"} <= names
    # The paper's figures stand beside the one row that has as many steps.
    assert {name for name in names if name in PAPER and name[-1].isdigit()} == {"SVI 10"}


def test_a_row_has_its_own_settings_whatever_the_flag_file(tmp_path):
    base = dataclasses.replace(
        BASE, decoder="cnn", word_dropout=0.3, encoder_init="some", svi_steps_schedule="5:10", hvp="authors", seed=7
    )
    configs = {
        (row.name, seed): row_config(base, row, seed, tmp_path) for row in chosen_rows(rows(base)) for seed in (1, 2)
    }
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
    assert [row.name for row in chosen_rows(rows(BASE), ["SVI 40", "CNN-VAE+INIT"])] == ["LM", "CNN-VAE+INIT", "SVI 40"]
    assert [row.name for row in chosen_rows(rows(BASE))] == list(rows(BASE))


@pytest.mark.parametrize(
    ("changes", "names", "message"),
    [
        ({}, ["VAE", "SVI 30"], "--rows=SVI 30: expected names among LM, CNN-LM, VAE, .*SVI 40"),
        ({"svi_steps": 1}, [], "--svi_steps=1: .*expected at least 2"),
        (
            {"strategy": "mirrored"},
            [],
            r"^row 'SA-VAE 20 authors' \(--strategy=mirrored: --hvp=authors .*\); --rows may leave it out$",
        ),
        ({"data": "synthetic", "train_file": "", "val_file": ""}, [], "--data=synthetic: .*expected --data=text"),
    ],
)
def test_wrong_choices_end_before_anything_is_trained(changes, names, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        method_tables.run_table(2, dataclasses.replace(BASE, **changes), "", 1, tmp_path / "runs", names)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_the_test_split_where_there_is_one():
    assert evaluated_split(BASE) == "validation"
    assert evaluated_split(dataclasses.replace(BASE, test_file="test.txt")) == "test"
    assert evaluated_split(Config(data="text", corpus="ptb_mikolov")) == "test"
    assert evaluated_split(Config(data="image", corpus="omniglot_burda")) == "test"
    assert evaluated_split(dataclasses.replace(IMAGES, test_file="test.npy")) == "test"


@pytest.mark.parametrize(
    ("content", "start"),
    [
        ("--data=text\n--units=8\n", ["--flagfile={file}", "--train_file=train.txt"]),  # No whole run's settings.
        ("--data=text\n--units=8\n--table=2\n", ["--data=text"]),  # bin/train.py knows no table.
    ],
)
def test_commands_of_a_flag_file_that_bin_train_could_not_take_alone(content, start, tmp_path):
    file = tmp_path / "mine.flags"
    file.write_text(content)
    config = row_config(dataclasses.replace(BASE, units=8), rows(BASE)["LM"], 1, tmp_path)
    _, _, *arguments = shlex.split(method_tables.train_command(config, str(file)))
    expected = [argument.format(file=file) for argument in start]
    assert [argument for argument in arguments if argument in expected] == expected
    values = flags.FlagValues()
    define_flags(values)
    assert from_flags(values(["bin/train.py", *arguments]) and values) == config


@pytest.mark.parametrize("name", ["", "some file.flags"])
def test_commands_give_the_settings_of_their_rows(name, tmp_path):
    file = tmp_path / name if name else ""
    if file:
        file.write_text("# Small.\n--data=text\n--train_file=train.txt\n--val_file=val.txt\n--units=8\n--svi_steps=4\n")
    # --units is not that of the file: it was overridden on the command line.
    base = dataclasses.replace(BASE, units=9, svi_steps=4, jit_compile=False)
    for row in chosen_rows(rows(base)):
        config = row_config(base, row, 2, tmp_path / "with space")
        command = method_tables.train_command(config, str(file))
        python, script, *arguments = shlex.split(command)
        assert (python, script) == ("python", "bin/train.py")
        values = flags.FlagValues()
        define_flags(values)
        assert values([script, *arguments]) == [script]
        assert from_flags(values) == config
        if file:
            assert "--train_file" not in command


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
    }


def test_text_and_files(tmp_path):
    table = {
        "table": 2,
        "seeds": 2,
        "corpus": "yahoo_answers_yang",
        "evaluated": "val.txt",
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
    paths = method_tables.write(table, tmp_path / "new", "the command")
    assert [path.name for path in paths] == ["table2.md", "table2.json"]
    assert json.loads(paths[1].read_text())["rows"]["SA-VAE 20"][1]["kl"] == 8.0
    text = paths[0].read_text()
    # Mean of 330 and 332, and the unbiased standard deviation of two values 2 apart: sqrt(2).
    assert "| LM | 331.00 ± 1.41 | 329.1 |  |  |  | 331.00 ± 1.41 |  |  | 60.00 ± 0.00 | 61.6 |" in text
    assert (
        "| VAE | 331.00 ± 1.41 | 330.2 | 330.99 ± 1.41 | 0.01 ± 0.00, collapsed | 0.01 | 330.00 ± 1.41 | 0.01 ± 0.00 "
        "| 3.00 ± 0.00 | 60.00 ± 0.00 | 62.5 |"
    ) in text
    assert "| 0.10 ± 0.01, collapsed in 1 of 2 |  |  |" in text
    assert "| 7.00 ± 1.41 | 7.19 |" in text
    assert "The validation split, val.txt: " in text
    assert "Yang et al. (2017). They are of the corpus as published, not of val.txt.\n" in text
    assert "`the command`" in text
    assert "# SVI 3\npython svi\n# SA-VAE 20\npython sa\n" in text
    width = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert width == {12}
    # The paper's figures are not of any other corpus.
    text = method_tables.to_markdown({**table, "corpus": ""}, "the command")
    assert "| LM | 331.00 ± 1.41 |  |  | 331.00 ± 1.41 |  |  | 60.00 ± 0.00 |" in text
    assert "aper" not in text.partition("```")[0]


def test_text_of_images():
    results = {"VAE": [made_up("vae", 90.0, 1.0)], "SVI 80": [made_up("svi", 90.5, 0.01)]}
    results["Gated PixelCNN"] = [made_up("lm", 91.0, 0.0)]
    for of_row in results.values():
        del of_row[0]["perplexity_bound"]  # There is none of images.
    table = {
        "table": 3,
        "seeds": 1,
        "corpus": "omniglot_burda",
        "evaluated": "omniglot_burda",
        "split": "test",
        "iw_samples": 7,
        "commands": {},
        "rows": results,
    }
    text = method_tables.to_markdown(table, "the command")
    assert "| Gated PixelCNN | 91.00 | 90.59 |  |  |  | 91.00 |  |  |" in text
    assert "| VAE | 90.00 | 90.43 | 89.00 | 1.00 | 0.98 | 89.00 | 0.50 | 3.00 |" in text
    assert "| SVI 80 | 90.50 | 90.27 | 90.49 | 0.01, collapsed | 1.65 |" in text
    assert "erplexity" not in text
    assert "as published" not in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {10}
    for of_row in results.values():
        of_row[0]["nll_iw"] = None
    without = method_tables.to_markdown({**table, "iw_samples": 0}, "the command").replace("--iw_samples", "")
    assert "| VAE | 90.00 | 90.43 | 89.00 | 1.00 | 0.98 | 0.50 | 3.00 |" in without
    assert "IW" not in without


@pytest.mark.slow
def test_rows_of_images_are_trained(tmp_path, data_dir):
    base = images.tiny("", data_dir, images.write(tmp_path))
    table = method_tables.run_table(3, base, "", 1, tmp_path / "runs", ["Gated PixelCNN", "SA-VAE 2"], iw_samples=2)
    assert (table["split"], table["evaluated"]) == ("test", base.data_file)
    [pixelcnn], [sa_vae] = table["rows"].values()
    assert pixelcnn["nll_iw"] == pixelcnn["nll_bound"]
    assert sa_vae["reconstruction"] + sa_vae["kl"] == pytest.approx(sa_vae["nll_bound"])
    assert (sa_vae["examples"], sa_vae["svi_steps"]) == (10, 2)
    with pytest.raises(UserError, match="--data=image: Table 2 and Figure 2 are of text"):
        method_tables.run_table(2, base, "", 1, tmp_path / "none")
    with pytest.raises(UserError, match="--data=text: Table 3 is of images; expected --data=image"):
        method_tables.run_table(3, BASE, "", 1, tmp_path / "none")


def test_rows_are_trained_in_order_and_once(tmp_path, data_dir):
    base = corpora.tiny("", data_dir, corpora.write(tmp_path), length_multiple=16)

    def run():
        return method_tables.run_table(2, base, "", 1, tmp_path / "runs", ["VAE+INIT"], iw_samples=2)

    table = run()
    assert list(table["rows"]) == list(table["commands"]) == ["LM", "VAE+INIT"]
    assert (table["split"], table["evaluated"]) == ("test", base.test_file)
    [lm], [vae] = table["rows"].values()
    assert (lm["method"], vae["method"]) == ("lm", "vae")
    assert lm["nll_iw"] == lm["nll_bound"]
    assert vae["reconstruction"] + vae["kl"] == pytest.approx(vae["nll_bound"])
    assert vae["examples"] == 20
    init = RunFolder(tmp_path / "runs" / "vae-init-1").read_config()
    assert init.encoder_init == str(tmp_path / "runs" / "lm-1")

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")}
    assert run() == table
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*")} == before

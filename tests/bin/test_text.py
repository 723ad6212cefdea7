"""Text from files to figures: training, stopping and going on, evaluation, and what is wrong with a file."""

import dataclasses
import itertools
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data.published import PtbMikolov, PublishedFile
from sa_vae_tf.data.vocabulary import END, PAD, START, Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.evaluation import evaluate as evaluation
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training import load
from sa_vae_tf.training import train as train_module
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.tasks import TASKS
from sa_vae_tf.training.train import train
from tests import corpora, runs
from tests.bin.test_errors import assert_one_line
from tests.bin.test_train import wait_for


@pytest.fixture(scope="module")
def language_model(files, data_dir, tmp_path_factory):
    return train(corpora.tiny(tmp_path_factory.mktemp("lm"), data_dir, files, method="lm"), verbose=0)


# How the methods differ is shown in tests/inference.
DEFAULT = {("sa_vae", "lstm"), ("lm", "lstm"), ("lm", "cnn")}
ROWS = [
    pytest.param(method, decoder, marks=() if (method, decoder) in DEFAULT else pytest.mark.slow)
    for method in METHODS
    for decoder in ("lstm", "cnn")
]


@pytest.mark.parametrize(("method", "decoder"), ROWS)
def test_every_method_trains_and_is_evaluated(method, decoder, files, data_dir, tmp_path):
    run = train(corpora.tiny(tmp_path / "run", data_dir, files, method=method, decoder=decoder), verbose=0)
    results = evaluate(run, iw_samples=2, gap_steps=2)
    # Untrained, a model of 16 symbols gives each word about the same probability.
    assert results["nll_bound"] == pytest.approx(results["tokens"] / 20 * math.log(16), rel=0.2)
    assert results["perplexity_bound"] == pytest.approx(math.exp(results["nll_bound"] * 20 / results["tokens"]))
    assert results["perplexity_iw"] == pytest.approx(math.exp(results["nll_iw"] * 20 / results["tokens"]))
    lines = Path(files["test_file"]).read_text().splitlines()
    assert results["tokens"] == sum(len(line.split()) + 1 for line in lines)
    assert results["examples"] == 20


def test_a_language_model_has_no_posterior(language_model):
    results = evaluate(language_model, iw_samples=3)
    for name in ("kl", "reconstruction", "mutual_information", "active_units", "iw_samples", "svi_init"):
        assert results[name] is None
    assert results["nll_iw"] == results["nll_bound"]
    with pytest.raises(UserError, match="--svi_steps=0: --method=lm has no latent variable whose posterior to refine"):
        evaluate(language_model, svi_steps=0)


def test_options_of_training(files, data_dir, language_model, tmp_path):
    config = corpora.tiny(
        tmp_path / "run", data_dir, files, method="vae", word_dropout=0.5, dropout=0.5, free_bits=0.1,
        kl_warmup_epochs=1, kl_cycle_epochs=1, encoder_init=str(language_model.path), num_epochs=2,
        words_at_once=40,
    )  # fmt: skip
    figures = runs.figures(train(config, verbose=0).path)
    # Of the last of five steps; with the next one the warm-up begins anew.
    assert [line["kl_weight"] for line in figures] == [pytest.approx(0.1 + 0.9 * 4 / 5)] * 2


def test_encoder_starts_from_the_language_model(files, data_dir, language_model, tmp_path, monkeypatch):
    # What the language model was trained on, and how exactly, is not for the whole process.
    monkeypatch.setattr(load, "set_up_tensorflow", lambda config: pytest.fail("they are"))
    settings = {"method": "vae", "encoder_init": str(language_model.path), "num_epochs": 0}
    config = corpora.tiny(tmp_path / "run", data_dir, files, **settings)
    run = train(config, verbose=0)
    # A run that goes on has an encoder of its own.
    monkeypatch.setattr(train_module, "start_encoder", lambda *_: pytest.fail("the encoder was started anew"))
    train(config, verbose=0)
    monkeypatch.undo()
    encoder, decoder = load_best(run).model.encoder, load_best(language_model).model.decoder
    np.testing.assert_array_equal(encoder.lstm[0].recurrent_kernel, decoder.lstm[0].recurrent_kernel)
    np.testing.assert_array_equal(encoder.embedding, decoder.embedding)
    for name, kept in (("empty", ("flags.txt", "vocabulary.txt")), ("wordless", ("flags.txt",))):
        (tmp_path / name).mkdir()
        for file in kept:
            (tmp_path / name / file).symlink_to(language_model.path / file)
    for changes, message in (
        ({"units": 5}, "the language model has --units=4, expected 5"),
        ({"layers": 2}, "the language model has --layers=1, expected 2"),
        ({"min_count": 3, "vocab_size": 5}, "another vocabulary"),
        ({"encoder_init": str(run.path)}, "expected the run folder of --method=lm"),
        ({"encoder_init": f"{tmp_path}/none"}, f"^--encoder_init={tmp_path}/none: no run there"),
        ({"encoder_init": f"{tmp_path}/empty"}, f"^--encoder_init={tmp_path}/empty: no checkpoint yet"),
        ({"encoder_init": f"{tmp_path}/wordless"}, f"^--encoder_init={tmp_path}/wordless: no vocabulary.txt there"),
    ):
        config = corpora.tiny(tmp_path / f"run-{len(message)}", data_dir, files, **(settings | changes))
        with pytest.raises(UserError, match=message):
            train(config, verbose=0)


# The rounding of five steps in float32; that of factors to eight bits.
@pytest.mark.parametrize(
    ("kernels", "tolerance"), [("hybrid", 1e-4), pytest.param("bfloat16", 1e-2, marks=pytest.mark.slow)]
)
def test_other_kernels_make_the_same_run(kernels, tolerance, files, data_dir, tmp_path):
    # Of one length, since XLA compiles each.
    [expected], [found] = (
        runs.figures(train(corpora.tiny(tmp_path / name, data_dir, files, kernels=name, length_multiple=24), 0).path)
        for name in ("fused", kernels)
    )
    assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kernels"), [("vae", "fused"), ("sa_vae", "hybrid"), ("sa_vae", "bfloat16")])
def test_killed_within_an_epoch_and_gone_on(method, kernels, launcher, files, data_dir, tmp_path):
    config = corpora.tiny(
        tmp_path / "whole", data_dir, files, num_epochs=3, checkpoint_steps=1, dropout=0.3, method=method,
        kernels=kernels,
    )  # fmt: skip
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    killed = dataclasses.replace(config, run_dir=str(tmp_path / "killed"))
    process = launcher.start("bin/train.py", *runs.arguments(killed))
    wait_for(launcher, process, killed, 7)
    os.kill(process, signal.SIGKILL)
    assert launcher.wait(process).status == -signal.SIGKILL
    assert launcher.run("bin/train.py", *runs.arguments(killed)).status == 0
    runs.assert_same_end(killed.run_dir, config.run_dir)


def test_results_do_not_depend_on_the_batch(language_model, files, data_dir, tmp_path):
    run = train(corpora.tiny(tmp_path / "run", data_dir, files), verbose=0)
    results = {}
    for size, multiple in ((20, 20), (7, 8)):
        config = dataclasses.replace(run.read_config(), eval_batch_size=size, length_multiple=multiple)
        other = RunFolder(tmp_path / f"{size}")
        (tmp_path / f"{size}").mkdir()
        for path in run.path.iterdir():
            (other.path / path.name).symlink_to(path) if path.name != "flags.txt" else None
        (other.path / "flags.txt").write_text("".join(f"{line}\n" for line in runs.arguments(config)))
        results[size] = evaluate(other, iw_samples=3, gap_steps=2)
    for name in ("nll_bound", "kl", "nll_iw", "amortization_gap", "mutual_information"):
        # Sums of a few tens of float32 in another order.
        assert results[7][name] == pytest.approx(results[20][name], rel=1e-5, abs=1e-5), name


class BigramDecoder(tf.Module):
    """A language model whose probabilities are a table: those of the next word, by the last."""

    def __init__(self, table: np.ndarray):
        self.log_probabilities = tf.constant(np.log(table), tf.float32)

    def prepare(self, tokens, training=False, seed=None):
        return tokens

    def negative_log_likelihood(self, z, tokens, training=False, seed=None):
        pairs = tf.gather_nd(self.log_probabilities, tf.stack([tokens[:, :-1], tokens[:, 1:]], -1))
        return -tf.reduce_sum(tf.where(tokens[:, 1:] == PAD, 0.0, pairs), 1)


def test_perplexity_of_a_bigram_model_is_its_closed_form(language_model, files, monkeypatch):
    loaded = load_best(language_model)
    rng = np.random.default_rng(0)
    table = rng.dirichlet(np.ones(len(loaded.vocabulary)), len(loaded.vocabulary))
    loaded.model.decoder = BigramDecoder(table)
    monkeypatch.setattr(evaluation, "load_best", lambda run, device: loaded)
    ids = {word: number for number, word in enumerate(loaded.vocabulary.words)}
    total, words = 0.0, 0
    for line in Path(files["test_file"]).read_text().splitlines():
        symbols = [START, *(ids[word] for word in line.split()), END]
        total += sum(math.log(table[a, b]) for a, b in itertools.pairwise(symbols))
        words += len(symbols) - 1  # <s> is not predicted
    results = evaluate(language_model)
    assert results["tokens"] == words
    assert results["perplexity_bound"] == pytest.approx(math.exp(-total / words), rel=1e-5)


def test_a_run_whose_files_were_moved(launcher, data_dir, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    config = corpora.tiny(tmp_path / "run", data_dir, corpora.write(old), method="lm", test_file="")
    run = train(config, verbose=0)
    bound = evaluate(run)["nll_bound"]
    old.rename(new)
    place = f"; if it was moved, write its new place into {run.flags_file}"
    with pytest.raises(UserError, match=f"--val_file={old}/val.txt: cannot be read .No such file.*{place}$"):
        evaluate(run)
    files = {"train_file": str(new / "train.txt"), "val_file": str(new / "val.txt")}
    train(dataclasses.replace(config, num_epochs=2, **files), verbose=0)
    assert [line["epoch"] for line in runs.figures(run.path)] == [1, 2]
    (new / "train.txt").write_text("the cat\n")
    with pytest.raises(UserError, match="holds something else than when the run"):
        train(dataclasses.replace(config, num_epochs=3, **files), verbose=0)
    with pytest.raises(UserError, match=f"--val_file is {new}/val.txt there and {new}/train.txt here"):
        train(dataclasses.replace(config, num_epochs=3, train_file=files["train_file"], val_file=files["train_file"]))
    ended = launcher.run("bin/evaluate.py", f"--run_dir={run.path}")
    assert ended.status == 0, ended.stderr
    assert evaluate(run)["nll_bound"] != bound  # Of another epoch.


def test_another_text_is_evaluated(launcher, language_model, tmp_path):
    text = tmp_path / "other.txt"
    text.write_text("the cat sees unheard things\nthe dog\n")
    flags = [f"--run_dir={language_model.path}", f"--test_file={text}", "--output=other.json"]
    ended = launcher.run("bin/evaluate.py", *flags)
    assert ended.status == 0, ended.stderr
    assert json.loads((language_model.path / "other.json").read_text())["tokens"] == 9
    text.write_text("nothing known\n")
    ended = launcher.run("bin/evaluate.py", *flags)
    assert ended.status == 2
    assert f"{text}: the vocabulary knows none of its words" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def published(files, data_dir, tmp_path, monkeypatch):
    """Settings of a published corpus, whose files are those of the tiny one."""
    own = {"train": files["train_file"], "validation": files["val_file"], "test": files["test_file"]}
    lines = {split: len(Path(path).read_text().splitlines()) for split, path in own.items()}
    monkeypatch.setattr(PtbMikolov, "FILES", {s: PublishedFile(Path(own[s]).name, lines[s]) for s in own})
    (tmp_path / "ptb_mikolov").symlink_to(Path(files["train_file"]).parent)
    return corpora.tiny(tmp_path / "run", data_dir, {}, corpus="ptb_mikolov", manual_dir=str(tmp_path))


def test_a_vocabulary_of_a_published_corpus_is_as_large_as_was_asked(published):
    def words(**changes):
        data = TASKS["text"].data(dataclasses.replace(published, **changes), ("train", "validation"), None)
        return set(data.vocabulary.words[4:])

    assert words() == set(corpora.WORDS)
    assert len(words(vocab_size=5)) == 5
    assert 0 < len(words(min_count=35)) < len(corpora.WORDS)


def test_another_text_is_no_source_of_a_run_on_a_published_corpus(published, tmp_path):
    assert set(TASKS["text"].data(published, ("train", "validation"), None).sources) == {"train", "validation", "test"}
    other = dataclasses.replace(published, test_file=str(tmp_path / "other.txt"))
    Path(other.test_file).write_text("the cat\n")
    vocabulary = tmp_path / "vocabulary.txt"
    TASKS["text"].data(published, ("train",), None).vocabulary.write(vocabulary)
    data = TASKS["text"].data(other, ("test",), vocabulary)
    assert (data.splits["test"].count, dict(data.sources)) == (1, {})


def test_a_run_of_another_vocabulary(launcher, files, data_dir, tmp_path):
    config = corpora.tiny(tmp_path / "run", data_dir, files, method="lm", num_epochs=0)
    assert launcher.run("bin/train.py", *runs.arguments(config)).status == 0
    changed = tmp_path / "train.txt"
    changed.write_text(Path(files["train_file"]).read_text().replace("dog", "wolf"))
    config = dataclasses.replace(config, train_file=str(changed), run_dir=config.run_dir)
    (tmp_path / "run" / "flags.txt").write_text("".join(f"{line}\n" for line in runs.arguments(config)))
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert ended.status == 2
    assert f"{changed}: holds something else than when the run in --run_dir={tmp_path / 'run'} began" in ended.stderr
    with pytest.raises(UserError, match=f"^{changed}: holds something else than when the run in"):
        evaluate(RunFolder(config.run_dir), split="train", iw_samples=0)
    # As in a folder of a version that did not keep it.
    (tmp_path / "run" / "sources.json").unlink()
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert ended.status == 2
    assert f"--run_dir={tmp_path / 'run'} holds a run with another vocabulary" in ended.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "empty"),
        (b"fine\n" + b"a" * 1_000_000 + b"\n", "line 2"),
        (b"fine\nnot \xff utf-8\n", "line 2"),
        (b"one two three four\n" * 3, "every line has more than --max_length=3 words"),
    ],
)
def test_wrong_text(launcher, content, message, files, data_dir, tmp_path):
    path = tmp_path / "train.txt"
    if content is not None:
        path.write_bytes(content)
    config = corpora.tiny(tmp_path / "run", data_dir, files | {"train_file": str(path)}, max_length=3)
    ended = launcher.run("bin/train.py", *runs.arguments(config))
    assert ended.status == 2
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert str(path) in last
    assert message in last


@pytest.mark.parametrize(
    ("content", "message"),
    [("the 4\nthe 5\n", "second time"), ("the 5\n", "no word has id 4"), ("the\n", "expected a word, a space and")],
)
def test_wrong_vocabulary(launcher, content, message, files, data_dir, tmp_path):
    path = tmp_path / "words.dict"
    path.write_text("<pad> 0\n<unk> 1\n<s> 2\n</s> 3\n" + content)
    config = corpora.tiny(tmp_path / "run", data_dir, files, vocab_file=str(path))
    assert_one_line(launcher.run("bin/train.py", *runs.arguments(config)), 2, str(path), message)


def test_a_missing_split(launcher, language_model, files, data_dir, tmp_path):
    without = {name: path for name, path in files.items() if name != "test_file"}
    run = train(corpora.tiny(tmp_path / "run", data_dir, without, method="lm"), verbose=0)
    command = ["bin/evaluate.py", f"--run_dir={run.path}", "--iw_samples=0"]
    ended = launcher.run(*command, "--split=test")
    assert_one_line(ended, 2, "--test_file: expected a text file, since there is no test split without it; or --spl")
    assert "validation" in launcher.run(*command).stdout


def test_the_run_folder_has_the_vocabulary(language_model):
    assert set(Vocabulary.read(language_model.path / "vocabulary.txt").words[4:]) == set(corpora.WORDS)

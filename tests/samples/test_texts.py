"""Text from trained runs: where it is written from, and what is wrong to ask."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data.vocabulary import END, PAD, START
from sa_vae_tf.errors import UserError
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.generation import SamplingSettings, Symbols, beam_search, draw_from_prior, sample
from sa_vae_tf.samples import texts as of_texts
from sa_vae_tf.samples.request import Request
from sa_vae_tf.samples.texts import samples
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.train import train
from tests import corpora, runs

# With weights of this size the latent variable matters from the start: training takes time and adds nothing here.
UNTRAINED = {"num_epochs": 0, "initial_range": 1.0, "svi_rate_mean": 0.1, "max_length": 14}
SYMBOLS = Symbols(PAD, START, END, forbidden=(PAD, START))


@pytest.fixture(scope="module")
def run(files, data_dir, tmp_path_factory):
    settings = {**UNTRAINED, "layers": 2}
    return train(corpora.tiny(tmp_path_factory.mktemp("sa_vae"), data_dir, files, **settings), verbose=0)


@pytest.fixture(scope="module")
def language_model(files, data_dir, tmp_path_factory):
    return train(corpora.tiny(tmp_path_factory.mktemp("lm"), data_dir, files, method="lm", **UNTRAINED), verbose=0)


@pytest.fixture
def ask(run):
    return lambda **what: list(samples(run, Request(**what)))


def log_probability(run, text: str, z, max_length: int) -> float:
    """log p(text | z), the text's end included where there was room for it."""
    _, model, vocabulary, _ = load_best(run)
    x = tf.constant([vocabulary.encode(text.split())[: max_length + 1]])
    return -float(model.decoder.negative_log_likelihood(z, model.decoder.prepare(x))[0])


def posterior_mean(run, line: str, index: int, **changes):
    """The refined posterior mean of a line on its own, [1, latent]."""
    _, model, vocabulary, _ = load_best(run)
    batch = {"x": tf.constant([vocabulary.encode(line.split())]), "index": tf.constant([index], tf.int64)}
    return model.infer(batch, **changes).refined.mean


def alike(some, others) -> bool:
    """Whether samples are the same but for the rounding of float32."""
    return len(some) == len(others) and all(
        value == (pytest.approx(other[name], rel=1e-5) if isinstance(value, float) else other[name])
        for one, other in zip(some, others, strict=True)
        for name, value in one.items()
    )


def test_samples_from_the_prior(run, ask):
    lines = ask(mode="prior", num_samples=30, max_length=20, seed=6)
    assert all(list(line) == ["mode", "text", "log_probability"] for line in lines)
    assert len({line["text"] for line in lines}) > 20
    z = draw_from_prior(np.arange(30), 3, tf.constant([6, 1]))
    _, model, vocabulary, _ = load_best(run)
    drawn = sample(model.decoder, z, np.arange(30), SYMBOLS, SamplingSettings(20), tf.constant([6, 2])).tokens.numpy()
    assert [line["text"] for line in lines] == [vocabulary.decode(tokens) for tokens in drawn]
    for line, own in list(zip(lines, z, strict=True))[:5]:
        expected = log_probability(run, line["text"], own[None], 20)
        assert line["log_probability"] == pytest.approx(expected, rel=1e-4)
    told = []
    assert len(list(samples(run, Request("prior", batch_size=4), lambda *done: told.append(done)))) == 10
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_the_seed_alone_decides(ask):
    lines = ask(mode="prior", seed=3)
    assert alike(ask(mode="prior", seed=3, batch_size=3), lines)
    assert alike(ask(mode="prior", seed=3, num_samples=4), lines[:4])
    assert not alike(ask(mode="prior", seed=4), lines)


def test_reconstructions(run, ask, files):
    given = Path(files["test_file"]).read_text().splitlines()
    lines = ask(mode="reconstruct", input=files["test_file"], seed=3)
    assert [line["input"] for line in lines] == given
    assert {tuple(line) for line in lines} == {("mode", "input", "nll_bound", "text", "log_probability")}
    # Line by line the examples, and so the noise, of bin/evaluate.py.
    bound = evaluate(run, "test", iw_samples=0, gap_steps=0, seed=3)["nll_bound"]
    assert np.mean([line["nll_bound"] for line in lines]) == pytest.approx(bound, rel=1e-5)
    for index, line in enumerate(lines[:2]):
        # By default as many words as the run's texts have at most, 14, and their end.
        expected = log_probability(run, line["text"], posterior_mean(run, line["input"], index, seed=3), 15)
        assert line["log_probability"] == pytest.approx(expected, rel=1e-4)
    assert alike(ask(mode="reconstruct", input=files["test_file"], batch_size=7, seed=3), lines)


def test_several_samples_of_each_line(ask, files):
    lines = ask(mode="reconstruct", input=files["test_file"], num_samples=3, temperature=1.0, batch_size=8)
    given = Path(files["test_file"]).read_text().splitlines()
    assert [line["input"] for line in lines] == [line for line in given for _ in range(3)]
    assert len({line["text"] for line in lines}) > 40


def test_other_steps_and_another_start(run, ask, files):
    what = {"svi_steps": 0, "svi_init": "zero", "beam": 3, "max_length": 9}
    line = ask(mode="reconstruct", input=files["test_file"], **what)[0]
    assert not np.any(posterior_mean(run, line["input"], 0, steps=0, svi_init="zero"))
    expected = log_probability(run, line["text"], tf.zeros([1, 3]), 9)
    assert line["log_probability"] == pytest.approx(expected, rel=1e-4)


def test_beam_search(run, ask):
    texts = [line["text"] for line in ask(mode="prior", num_samples=10, beam=5, max_length=9)]
    _, model, vocabulary, _ = load_best(run)
    z = draw_from_prior(np.arange(10), 3, tf.constant([0, 1]))
    narrow, wide = (beam_search(model.decoder, z, 10, SYMBOLS, width, 9).tokens.numpy() for width in (1, 5))
    assert texts == [vocabulary.decode(tokens) for tokens in wide]
    assert np.any(narrow != wide)


def test_interpolation(ask, files):
    whole = ask(mode="reconstruct", input=files["test_file"])
    lines = ask(mode="interpolate", input=files["test_file"], points=3)
    for (one, other), of_pair in zip(itertools.pairwise(whole), np.array(lines).reshape(-1, 3), strict=True):
        assert [line["position"] for line in of_pair] == [0, 0.5, 1]
        assert {(line["from"], line["to"]) for line in of_pair} == {(one["input"], other["input"])}
        for end, line in ((one, of_pair[0]), (other, of_pair[2])):
            assert line["text"] == end["text"]
            assert line["log_probability"] == pytest.approx(end["log_probability"], rel=1e-4)
    assert len(ask(mode="interpolate", input=files["test_file"])) == 19 * 5


def test_a_word_that_the_run_does_not_know_is_the_unknown_one(ask, tmp_path):
    path = tmp_path / "lines.txt"
    bounds = []
    for word in ("unheard", "<unk>"):
        path.write_text(f"the {word} sees  a dog\n")
        [line] = ask(mode="reconstruct", input=str(path))
        assert line["input"] == f"the {word} sees a dog"
        bounds.append(line["nll_bound"])
    assert bounds[0] == bounds[1]


def test_the_device_that_is_asked_for(run, monkeypatch):
    asked = []
    monkeypatch.setattr(of_texts, "load_best", lambda run, device: asked.append(device) or load_best(run))
    list(samples(run, Request("prior", num_samples=1, device="cpu")))
    assert asked == ["cpu"]


def test_no_unknown_word(ask):
    assert any("<unk>" in line["text"] for line in ask(mode="prior", num_samples=50))
    assert not any("<unk>" in line["text"] for line in ask(mode="prior", num_samples=50, no_unk=True))


def test_a_language_model(language_model, files):
    lines = list(samples(language_model, Request("prior", num_samples=20)))
    assert len({line["text"] for line in lines}) > 10
    for line in lines[:3]:
        expected = log_probability(language_model, line["text"], None, 15)
        assert line["log_probability"] == pytest.approx(expected, rel=1e-4)
    assert len(list(samples(language_model, Request("prior", beam=4)))) == 1  # All would be alike.
    for request, message in (
        (Request("interpolate", files["test_file"]), "--mode=interpolate: --method=lm has no latent variable"),
        (Request("prior", num_samples=2, temperature=0.0), "--num_samples=2: they would be all alike"),
    ):
        with pytest.raises(UserError, match=message):
            next(samples(language_model, request))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Request("prior"), SamplingSettings(9, 1.0, 0, 1.0)),
        (Request("prior", top_k=1), SamplingSettings(9, 1.0, 1, 1.0)),
        (Request("prior", top_p=0.25), SamplingSettings(9, 1.0, 0, 0.25)),
        (Request("prior", temperature=0.5, max_length=3), SamplingSettings(3, 0.5, 0, 1.0)),
        (Request("reconstruct", "x.txt"), SamplingSettings(9, 0.0, 0, 1.0)),
    ],
)
def test_settings_of_the_draws_are_as_given(asked, expected):
    assert asked.sampling_settings(9) == expected


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"mode": "prior", "input": "x.txt"}, "--input=x.txt: .* for --mode=reconstruct and interpolate alone, not"),
        ({"mode": "reconstruct", "input": "x.txt", "points": 3}, "--points=3: .* --mode=interpolate alone, not"),
        (
            {"mode": "prior", "svi_steps": 0},
            "--svi_steps=0: has a meaning for --mode=reconstruct and interpolate alone",
        ),
        ({"mode": "prior", "svi_init": "zero"}, "--svi_init=zero: has a meaning"),
        ({"mode": "prior", "beam": 3, "temperature": 0.0}, "--temperature=0.0: --beam=3 takes the place of draws"),
        ({"mode": "prior", "beam": 3, "top_k": 4}, "--top_k=4: --beam=3 takes the place of draws; expected one of"),
        ({"mode": "prior", "beam": 3, "top_p": 0.5}, "--top_p=0.5: --beam=3 takes the place of draws"),
        ({"mode": "prior", "temperature": 0.0, "top_k": 4}, "--top_k=4: .* expected a --temperature above 0 besides"),
        ({"mode": "reconstruct", "input": "x.txt", "top_p": 0.9}, "--top_p=0.9: .* a --temperature above 0 besides"),
        ({"mode": "prior", "temperature": float("nan")}, "--temperature=nan: expected a finite number"),
        ({"mode": "prior", "temperature": -1.0}, "--temperature=-1.0: expected a finite number that is not negative"),
        ({"mode": "prior", "top_k": -1}, "--top_k=-1: expected a number that is not negative"),
        ({"mode": "prior", "top_p": 0.0}, "--top_p=0.0: expected a number in"),
    ],
)
def test_what_makes_no_sense(what, message):
    with pytest.raises(UserError, match=f"^{message}"):
        Request(**what).check_draws()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the cat\n\nthe dog\n", "line 2 is blank; expected an example a line"),
        ("the cat\n" + "dog " * 15, "line 2 has 15 words; expected at most 14, the run's --max_length"),
        ("the cat\n", "lines in it: 1; expected at least 2 for --mode=interpolate"),
        ("nothing known\nhere\n", "the run's vocabulary knows none of its words"),
    ],
)
def test_wrong_input(text, message, ask, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=f"^--input={path}: {message}$"):
        ask(mode="interpolate", input=str(path))


def test_runs_that_cannot(ask, files, data_dir, tmp_path):
    with pytest.raises(UserError, match="^--input: expected a text file, an example a line, for --mode=reconstruct$"):
        ask(mode="reconstruct")
    with pytest.raises(UserError, match="--num_samples=3: they would be all alike; expected a --temperature above 0"):
        ask(mode="reconstruct", input=files["test_file"], num_samples=3)
    synthetic = train(runs.tiny(tmp_path / "synthetic", data_dir, num_epochs=0), verbose=0)
    with pytest.raises(UserError, match="synthetic: a run of --data=synthetic has no words; expected one of --data=te"):
        next(samples(synthetic, Request("prior")))
    svi = train(corpora.tiny(tmp_path / "svi", data_dir, files, method="svi", num_epochs=0), verbose=0)
    with pytest.raises(UserError, match="--svi_init=encoder: --method=svi has no encoder; expected zero or random"):
        next(samples(svi, Request("reconstruct", files["test_file"], svi_init="encoder")))
    for path in (svi.path / "checkpoints" / "latest").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="svi: no checkpoint yet; train the run first"):
        next(samples(svi, Request("prior")))

"""Text that shows how far a run has come."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugin_util import markdown_to_safe_html

from sa_vae_tf.data.vocabulary import END, PAD, START
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.tasks import TASKS
from sa_vae_tf.training.text_samples import TextSamples, as_markdown
from sa_vae_tf.training.train import train
from tests import corpora, runs


def texts_of(path) -> dict[str, list[tuple[int, str]]]:
    """Returns step and text of each text in a folder of events by name."""
    found: dict[str, list[tuple[int, str]]] = {}
    for file in sorted(path.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "text":
                    text = tf.make_ndarray(value.tensor).item().decode()
                    found.setdefault(value.tag, []).append((event.step, text))
    return found


def test_training_does_not_depend_on_what_is_shown(files, data_dir, tmp_path, monkeypatch):
    changes = {"method": "vae", "num_epochs": 2, "dropout": 0.2}
    train(corpora.tiny(tmp_path / "shown", data_dir, files, **changes), verbose=0)
    with monkeypatch.context() as patch:
        patch.setitem(TASKS, "text", TASKS["text"]._replace(samples=None))
        train(corpora.tiny(tmp_path / "not", data_dir, files, **changes), verbose=0)
    runs.assert_same_end(tmp_path / "shown", tmp_path / "not")
    assert texts_of(tmp_path / "not" / "validation") == {}
    found = texts_of(tmp_path / "shown" / "validation")
    steps = {name: [step for step, _ in texts] for name, texts in found.items()}
    assert steps == {"samples": [5, 10], "reconstructions": [5, 10]}


def test_examples_and_their_reconstructions(files, data_dir, tmp_path):
    run = train(corpora.tiny(tmp_path, data_dir, files, initial_range=1.0, num_epochs=0), verbose=0)
    config, model, vocabulary, file = load_best(run)
    validation = TASKS["text"].data(config, ("validation",), file).splits["validation"]
    samples = TextSamples(model, vocabulary, validation)
    texts = samples()
    assert texts == samples()
    examples = [line.split() for line in Path(files["val_file"]).read_text().splitlines()[:4]]
    lines = [line.split() for line in texts["reconstructions"].splitlines()]
    assert sorted(line[1:] for line in lines[::3]) == sorted(examples)
    for example, reconstruction in zip(lines[::3], lines[1::3], strict=True):
        assert (example[0], reconstruction[0]) == ("example:", "reconstruction:")
        assert reconstruction[1:] == greedy(model, vocabulary, example[1:], examples.index(example[1:]))
    assert len(texts["samples"].splitlines()) == 4


def greedy(model, vocabulary, words, index):
    """Writes the most probable word each time, from the refined posterior mean."""
    x = tf.constant([vocabulary.encode(words)])
    z = model.infer({"x": x, "index": tf.constant([index], tf.int64)}).refined.mean
    written = []
    state, word = model.decoder.start(z, 1), START
    while len(written) < 40:
        logits, state = model.decoder.step(tf.constant([word]), state)
        scores = logits.numpy()[0]
        scores[[PAD, START]] = -np.inf
        word = int(scores.argmax())
        if word == END:
            break
        written.append(vocabulary.words[word])
    return written


def test_a_language_model_has_samples_alone(files, data_dir, tmp_path):
    train(corpora.tiny(tmp_path, data_dir, files, method="lm"), verbose=0)
    found = texts_of(tmp_path / "validation")
    assert list(found) == ["samples"]
    [(step, text)] = found["samples"]
    assert step == 5
    known = {*corpora.WORDS, "<unk>"}
    assert set(text.split()) <= known
    assert len(text.split()) > 10


def test_tensorboard_shows_every_character_as_it_is():
    lines = ["<unk> _a_ *b* `c` | 1. # &amp; <script> [x](y) ~~z~~", "", "  indented", "- last"]
    html = markdown_to_safe_html(as_markdown(lines))
    inside = html.strip().removeprefix("<pre><code>").removesuffix("</code></pre>").rstrip("\n")
    shown = inside.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert shown.splitlines() == lines
    assert "<" not in inside


@pytest.mark.parametrize("word", ["<script>alert(1)</script>", "[a](javascript:b)", "`", "|a|", "#", "*", "&lt;"])
def test_tensorboard_shows_words_as_they_are(word):
    shown = markdown_to_safe_html(as_markdown([f"{word} the {word}", "", f"cat {word}"]))
    assert re.findall("<(/?[a-z]+)", shown) == ["pre", "code", "/code", "/pre"]
    assert html.unescape(re.sub("</?(pre|code)>", "", shown)).split() == [word, "the", word, "cat", word]

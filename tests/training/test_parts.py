"""A batch in parts gives what it gives as a whole."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_vae_tf.data.vocabulary import SPECIAL, Vocabulary
from sa_vae_tf.inference import METHODS
from sa_vae_tf.models import SyntheticGenerator
from sa_vae_tf.training.build import build_model
from sa_vae_tf.training.parts import images_at_once, largest_part, mean_over_parts, number_of_parts, words_at_once
from sa_vae_tf.training.replicas import Replicas
from tests import corpora, images
from tests.training.test_model import batch, make

EIGHT = {name: tf.concat([t, t[:2]], 0) for name, t in batch(6).items()}  # 8 examples of 5 words.


@settings(deadline=None)  # The first example is TensorFlow's first operation.
@given(batch=st.integers(1, 60), length=st.integers(1, 250), limit=st.integers(1, 3000))
def test_as_few_equal_parts_as_fit(batch, length, limit):
    number = int(number_of_parts(tf.zeros([batch, length]), limit))
    fitting = [n for n in range(1, batch + 1) if batch % n == 0 and batch // n * length <= limit]
    assert number == min(fitting, default=batch)
    assert batch // number == largest_part(batch, length, limit)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_the_mean_over_parts(parts):
    inputs = {"a": tf.random.stateless_normal([6, 4], [1, 2]), "b": tf.range(6.0)}
    seen = []

    def function(part, number):
        assert part["a"].shape[1:] == [4]
        seen.append((int(number), len(part["b"])))
        return [tf.reduce_mean(part["a"] * part["b"][:, None], 0), tf.reduce_mean(part["b"])]

    weighted, mean = mean_over_parts(function, inputs, tf.constant(parts), [tf.zeros([4]), tf.zeros([])])
    assert seen == [(number, 6 // parts) for number in range(parts)]
    # Sums of six float32 in another order.
    np.testing.assert_allclose(weighted, tf.reduce_mean(inputs["a"] * inputs["b"][:, None], 0), rtol=1e-5)
    np.testing.assert_allclose(mean, 2.5)


def test_on_a_cpu_words_by_the_size_of_their_scores():
    assert words_at_once(20_000) == 3000
    assert words_at_once(2**26) == 1


def test_on_a_cpu_images_by_the_size_of_their_gates():
    assert images_at_once(pixels=784, layers=12, channels=32) == 27  # 25 of the paper's 50
    assert images_at_once(pixels=2**22, layers=2, channels=1) == 1


def step(entries_at_once: int, compiled: bool | None = None, **options):
    """Returns figures and weights after a step of gradient descent."""
    model = make(entries_at_once=entries_at_once, kl_weight=lambda step: tf.constant(0.5), **options)
    model.compile(optimizer="sgd")
    signature = [{"x": tf.TensorSpec([None, 5], tf.int32), "index": tf.TensorSpec([None], tf.int64)}]
    train_step = model.train_step
    if compiled is not None:
        train_step = tf.function(train_step, signature, autograph=False, jit_compile=compiled)
    figures = {name: float(value) for name, value in train_step(EIGHT).items()}
    return figures, [variable.numpy() for variable in model.trainable_variables]


def assert_alike(actual, expected):
    figures, weights = expected
    assert actual[0] == {name: pytest.approx(value, rel=1e-5) for name, value in figures.items()}
    for a, e in zip(actual[1], weights, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-6)  # Of weights up to 0.5, in float32.


@pytest.mark.parametrize("method", METHODS)
def test_a_step_in_parts_is_a_step(method):
    whole = step(0, method=method)
    for words in (20, 5):
        assert_alike(step(words, method=method), whole)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_in_parts_in_a_graph(compiled):
    weights = {"path_weights": lambda steps: (0.2, 0.3, 0.5), "free_bits": 0.1}
    assert_alike(step(10, compiled, **weights), step(0, compiled, **weights))


def watched(seeds: list[tuple[int, int]]) -> SyntheticGenerator:
    """Returns a decoder that adds each seed of its dropout to the list."""

    class Watched(SyntheticGenerator):
        def prepare(self, x, training=False, seed=None):
            seeds.append(tuple(seed.numpy()))
            return super().prepare(x, training, seed)

    return Watched(9, 3, 4, 2)


def test_parts_have_their_own_dropout():
    seeds = []
    make(decoder=watched(seeds), entries_at_once=10).train_step(EIGHT)
    assert len(seeds) == len(set(seeds)) == 4


def test_devices_have_their_own_dropout(monkeypatch):
    seeds = []
    replicas = Replicas(tf.distribute.MirroredStrategy(["CPU:0"]), make("vae", decoder=watched(seeds)), make, False)
    # TensorFlow has begun with one device in this process, which is each of two workers' two in turn.
    replicas.models *= 2
    replicas.trace_anew()
    for first, number in itertools.product((0, 4), (0, 1)):
        monkeypatch.setattr(replicas, "_here", lambda: (tf.distribute.get_replica_context(), number))
        replicas.figures_and_gradients({**EIGHT, "x": EIGHT["x"][first : first + 4], "first": tf.constant(first)})
    assert len(seeds) == len(set(seeds)) == 4


@pytest.mark.parametrize(
    ("method", "compiled"),
    [
        pytest.param("vae", True, marks=pytest.mark.slow),
        pytest.param("sa_vae", True, marks=pytest.mark.slow),
        pytest.param("sa_vae", False, marks=pytest.mark.slow),
    ],
)
def test_text_of_any_length(method, compiled):
    """With the models of text, whose lengths a graph does not know."""
    vocabulary = Vocabulary(SPECIAL + tuple(corpora.WORDS))
    files = {"train_file": "a", "val_file": "b"}
    signature = [{"x": tf.TensorSpec([None, None], tf.int32), "index": tf.TensorSpec([None], tf.int64)}]
    tokens = np.random.default_rng(3).integers(4, len(vocabulary), [8, 13])
    tokens[:, 0], tokens[:4, -2:] = 2, 0
    tokens = tf.constant(tokens, tf.int32)
    results = []
    for words in (1000, 30):
        config = corpora.tiny("", "", files, method=method, words_at_once=words, svi_clip_norm=5.0, initial_range=0.5)
        model = build_model(config, vocabulary)
        train_step = tf.function(model.train_step, signature, autograph=False, jit_compile=compiled)
        train_step({"x": tokens, "index": tf.range(8, dtype=tf.int64)})
        results.append([variable.numpy() for variable in model.trainable_variables])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-6)  # Of weights up to 0.5, in float32.


@pytest.mark.parametrize(
    ("method", "compiled"),
    [("sa_vae", False), *(pytest.param(m, True, marks=pytest.mark.slow) for m in ("lm", "vae_svi", "sa_vae"))],
)
def test_images(method, compiled):
    """Batch normalisation takes its moments over the whole batch."""
    results = []
    for at_once in (12, 5):
        config = images.tiny("", "", "random", method=method, images_at_once=at_once, batch_size=12, optimizer="sgd")
        model = build_model(config)
        x = tf.constant(images.bars(12) > 0.5, tf.uint8)
        train_step = tf.function(model.train_step, autograph=False, jit_compile=compiled)
        train_step({"x": x, "index": tf.range(12, dtype=tf.int64)})
        results.append([variable.numpy() for variable in model.weights])
    for actual, expected in zip(*results, strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-6)  # Of weights up to 1, in float32.

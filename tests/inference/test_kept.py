"""What a refinement step keeps for its reverse pass."""

import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf import inference
from sa_vae_tf.inference import Posterior, RefinementSettings, draw, negative_elbo, refine
from sa_vae_tf.inference.kept import Keep, Kept, keeping, kept, replaying
from sa_vae_tf.kernels import softmax
from sa_vae_tf.kernels.lstm import hidden_states
from sa_vae_tf.models import LSTMDecoder

K = 5
KEPT = {
    "nothing": {},
    "small": {"keep": (K, 0, 0)},
    "medium": {"keep": (K, K, 0)},
    "everything": {"keep": (K, K, K)},
    "more than there is": {"keep": (2 * K, 2 * K, 2 * K)},
    "four kinds": {"keep": (4, 3, 1)},
}


def test_found_again_in_order(monkeypatch):
    monkeypatch.setattr(inference.kept, "_without_derivative", list)  # What is kept here are no tensors.
    calls = []

    def ask(name, needed=Keep.SMALL):
        def compute(large):
            calls.append((name, large))
            return [f"{name} first"], [f"{name} second"] if large else []

        return kept(compute, needed)

    with keeping(Keep.ALL) as everything:
        ask("a"), ask("b", Keep.MEDIUM)
    with keeping(Keep.SMALL) as small:
        ask("a", Keep.MEDIUM), ask("b")
    with keeping(Keep.NOTHING) as nothing:
        ask("a")
    assert calls == [("a", True), ("b", True), ("a", False), ("b", False), ("a", False)]
    assert not nothing.found
    assert everything.needed == [Keep.SMALL, Keep.MEDIUM]
    assert small.needed == [Keep.SMALL]
    calls.clear()
    with replaying(Kept(Keep.ALL, everything.found)):
        assert ask("a") == (["a first"], ["a second"])
        assert ask("b", Keep.MEDIUM) == (["b first"], ["b second"])
        assert not calls
        # Who asks for more than was kept computes it.
        assert ask("c") == (["c first"], [])
    with replaying(Kept(Keep.SMALL, small.found)):
        assert ask("a", Keep.MEDIUM) == (["a first"], [])
        assert ask("b") == (["b first"], [])
    assert calls == [("c", False), ("a", False)]
    assert ask("d") == (["d first"], ["d second"])


@pytest.mark.parametrize("keep", [Keep.NOTHING, Keep.ALL])
def test_outside_a_derivative_written_by_hand_it_has_none(keep):
    x = tf.constant([1.0, 2.0])
    with keeping(keep), tf.GradientTape() as tape:
        tape.watch(x)
        (found,), _ = kept(lambda large: ([tf.tanh(x)], []), Keep.SMALL)
    np.testing.assert_array_equal(found, tf.tanh(x))
    with pytest.raises(LookupError, match="expected it inside a derivative written by hand"):
        tape.gradient(found, x)


def derivatives(compiled: bool, decoder: LSTMDecoder, **options) -> list[np.ndarray]:
    """Returns a loss over a path of K steps, and its derivative to the initial posterior and to all weights."""
    tokens = tf.random.stateless_uniform([4, 14], [1, 2], 1, 30, tf.int32)
    mean, log_variance = tf.unstack(tf.random.stateless_normal([2, 4, 3], [1, 1], dtype=tf.float64))
    step_draws, final_draw = draw(Posterior(mean, log_variance), K, tf.constant([3, 4]))
    settings = RefinementSettings(0.3, 0.3, clip_norm=5.0, **options)
    bound = negative_elbo(lambda z, c, seed: decoder.negative_log_likelihood(z, c, training=True, seed=seed), 0.7)

    @tf.function(jit_compile=compiled, autograph=False)
    def run(*initial):
        with tf.GradientTape() as tape:
            tape.watch(initial)
            context = decoder.prepare(tokens, True, tf.constant([5, 6]))
            refined = refine(bound, Posterior(*initial), context, step_draws, settings)
            loss = tf.reduce_sum(bound(refined.posterior, context, final_draw)) + 0.3 * tf.reduce_sum(refined.bounds)
        return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, [*initial, *decoder.trainable_variables]))]

    return [part.numpy() for part in run(mean, log_variance)]


def make_decoder(kernels: str) -> LSTMDecoder:
    decoder = LSTMDecoder(30, 8, 7, 3, layers=2, dropout_rate=0.3, padding=0, kernels=kernels, dtype="float64")
    for variable in decoder.variables:
        variable.assign(8 * variable)
    return decoder


@pytest.fixture(scope="module")
def plain() -> list[np.ndarray]:
    return derivatives(False, make_decoder("plain"))


# Every kind of step is among these few.
DEFAULT = {("fused", False, *case) for case in (("everything", 2048), ("nothing", 7), ("four kinds", 7))}
CASES = [
    pytest.param(*case, marks=() if case in DEFAULT else pytest.mark.slow)
    for case in itertools.product(["fused", "hybrid"], [False, True], KEPT, [2048, 7])
]


@pytest.mark.parametrize(("kernels", "compiled", "name", "columns"), CASES)
def test_derivatives_are_those_of_plain_kernels(kernels, compiled, name, columns, plain, monkeypatch):
    monkeypatch.setattr(softmax, "COLUMNS", columns)  # In one block, or in five.
    found = derivatives(compiled, make_decoder(kernels), **KEPT[name])
    for own, other in zip(found, plain, strict=True):
        # Two orders of summation in float64, through five steps.
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-12 * np.max(np.abs(other)))


def test_what_is_kept_of_rounded_factors(monkeypatch):
    monkeypatch.setattr(softmax, "COLUMNS", 16)  # Two blocks of thirty words.
    whole, nothing = (derivatives(False, make_decoder("bfloat16"), keep=keep) for keep in ((K, K, K), (0, 0, 0)))
    for kept_all, computed in zip(whole, nothing, strict=True):
        # Exponentials are rounded to eight bits, or the probabilities that are computed again.
        np.testing.assert_allclose(kept_all, computed, rtol=0, atol=0.02 * np.max(np.abs(computed)))


def test_a_recurrence_whose_first_cell_is_refined():
    """The decoder's own starts from zeros."""
    projected, shift, kernel = (
        tf.random.stateless_normal(shape, [1, len(shape)], dtype=tf.float64) for shape in ([5, 4, 12], [4, 12], [3, 12])
    )
    mean, log_variance = tf.unstack(tf.random.stateless_normal([2, 4, 3], [1, 1], dtype=tf.float64))
    step_draws, _ = draw(Posterior(mean, log_variance), K, tf.constant([3, 4]))

    def of_kernel(keep):
        def likelihood(z, kernel, seed):
            return tf.reduce_sum(hidden_states(projected, shift, kernel, tf.tanh(z), z) ** 2, [0, 2])

        with tf.GradientTape() as tape:
            tape.watch(kernel)
            settings = RefinementSettings(0.1, 0.1, keep=keep)
            refined = refine(negative_elbo(likelihood), Posterior(mean, log_variance), kernel, step_draws, settings)
            loss = tf.reduce_sum(refined.posterior.mean)
        return tape.gradient(loss, kernel)

    # Two orders of summation in float64, through five steps.
    np.testing.assert_allclose(of_kernel((K, K, K)), of_kernel((0, 0, 0)), rtol=1e-9, atol=1e-12)


def test_with_everything_kept_the_scores_are_not_computed_again(monkeypatch):
    products = []
    whole = softmax.product
    monkeypatch.setattr(softmax, "product", lambda *a, **k: products.append(1) or whole(*a, **k))

    def traced(**options):
        products.clear()
        derivatives(False, make_decoder("fused"), **options)
        return len(products)

    # The scores are computed again where the exponentials were not kept.
    assert traced(keep=(K, K, 0)) > traced(keep=(K, K, K))


def test_segments():
    settings = RefinementSettings(keep=(6, 4, 2))
    assert settings.segments(9) == [(0, 3, Keep.NOTHING), (3, 5, Keep.SMALL), (5, 7, Keep.MEDIUM), (7, 9, Keep.ALL)]
    assert settings.segments(2) == [(0, 2, Keep.ALL)]
    # Who keeps more keeps what is smaller too.
    assert RefinementSettings(keep=(0, 0, 3)).segments(4) == [(0, 1, Keep.NOTHING), (1, 4, Keep.ALL)]
    for other in ({"product": "finite_difference"}, {"patience": 3}):
        assert dataclasses.replace(settings, **other).segments(9) == [(0, 9, Keep.NOTHING)]
    # Only what is differentiated.
    assert dataclasses.replace(settings, reverse_steps=3).segments(9) == [
        (0, 6, Keep.NOTHING),
        (6, 7, Keep.MEDIUM),
        (7, 9, Keep.ALL),
    ]
    assert dataclasses.replace(settings, reverse_steps=0).segments(9) == [(0, 9, Keep.NOTHING)]
    steps = tf.constant(9)
    assert settings.segments(steps) == [(0, steps, Keep.NOTHING)]

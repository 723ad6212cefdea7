"""What the refinement computes, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sa_vae_tf.inference import Draw, Posterior, RefinementSettings, draw, negative_elbo, refine
from sa_vae_tf.models.dropout import dropout
from tests.inference import toy
from tests.inference.toy import CLIPS, RATES, weighted_loss


def test_no_steps_give_the_initial_posterior():
    problem = toy.make(0)
    refined = refine(problem.bound, problem.initial, problem.decoder.prepare(problem.tokens), problem.step_draws)
    for refined_part, path_part, part in zip(refined.posterior, refined.path, problem.initial, strict=True):
        np.testing.assert_array_equal(refined_part, part)
        np.testing.assert_array_equal(path_part, part[None])
    assert refined.bounds.shape == [0, 6]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # Products of other shapes sum in another order: some rounding errors of 1e-16 and of 6e-8.
    [(tf.float64, 1e-12), (tf.float32, 1e-5)],
)
@pytest.mark.parametrize("clip", ["none", "example"])
def test_an_example_is_refined_alike_in_every_batch(clip, dtype, tolerance):
    problem = toy.make(8, batch=50, dtype=dtype)
    refinement = RefinementSettings(**RATES, **CLIPS[clip])

    def refined(rows):
        context = problem.decoder.prepare(tf.gather(problem.tokens, rows))
        initial = Posterior(*(tf.gather(part, rows) for part in problem.initial))
        draws = problem.step_draws._replace(noise=tf.gather(problem.step_draws.noise, rows, axis=1))
        return refine(problem.bound, initial, context, draws, refinement).posterior

    alone, in_seven, in_fifty = refined([11]), refined([2, 3, 5, 7, 11, 13, 17]), refined(list(range(50)))
    for batch, row in ((in_seven, 4), (in_fifty, 11)):
        same = Posterior(*(part[row : row + 1] for part in batch))
        assert toy.relative_error(alone, same) < tolerance
    assert toy.relative_error(alone, Posterior(*(part[:1] for part in in_fifty))) > 0.1


def test_derivative_of_an_example_is_alike_in_every_batch():
    # product_clip_norm is of an example too: each is clipped on the scale of its own bound.
    problem = toy.make(4, batch=6)
    refinement = RefinementSettings(**RATES, clip_norm=1.0, product_clip_norm=0.7)

    def to_initial(rows):
        part = toy.Problem(
            problem.decoder,
            problem.bound,
            Posterior(*(tf.gather(p, rows) for p in problem.initial)),
            tf.gather(problem.tokens, rows),
            problem.step_draws._replace(noise=tf.gather(problem.step_draws.noise, rows, axis=1)),
            problem.final_draw._replace(noise=tf.gather(problem.final_draw.noise, rows)),
        )
        return [len(rows) * gradient for gradient in toy.derivative(refine, part, refinement)[1:3]]

    for alone, together in zip(to_initial([2]), to_initial([0, 1, 2, 3, 4, 5]), strict=True):
        assert toy.relative_error(alone, together[2:3]) < 1e-12


def test_clipping_over_the_batch_couples_examples():
    problem = toy.make(8, batch=50)
    refinement = RefinementSettings(**RATES, clip_norm=0.2, clip_scope="batch")
    context = problem.decoder.prepare(problem.tokens)
    half = problem.step_draws._replace(noise=problem.step_draws.noise[:, :25])
    whole = refine(problem.bound, problem.initial, context, problem.step_draws, refinement).posterior
    first = Posterior(*(part[:25] for part in problem.initial))
    part = refine(problem.bound, first, toy.Context(*(c[:25] for c in context)), half, refinement).posterior
    assert toy.relative_error(part, Posterior(*(p[:25] for p in whole))) > 1e-3


@pytest.mark.parametrize("compiled", [None, False, True])
@pytest.mark.parametrize("product", ["exact", "finite_difference"])
def test_dropout_drops_the_same_units_in_both_passes(product, compiled):
    # One step down <dropout(weights), mean> from zero with rate one goes to minus the masked and scaled weights of one,
    # as found in the forward pass; the derivative of its sum by the weights is the same, as found in the reverse pass.
    # Compiled code draws another mask than code that is not.
    weights = tf.Variable(tf.ones([4, 50], tf.float64))

    def bound(posterior, context, draw):
        masked = dropout(weights * 1.0, 0.5, True, draw["seed"])
        return tf.reduce_sum(masked * posterior.mean + 0.0 * posterior.log_variance, -1)

    def step(seeds):
        initial = Posterior(tf.zeros([4, 50], tf.float64), tf.zeros([4, 50], tf.float64))
        with tf.GradientTape() as tape:
            refined = refine(bound, initial, None, {"seed": seeds}, RefinementSettings(1.0, 1.0, product=product))
            value = tf.reduce_sum(refined.posterior.mean)
        return refined.posterior.mean, tape.gradient(value, weights)

    run = step if compiled is None else tf.function(step, jit_compile=compiled)
    mean, gradient = run(tf.constant([[5, 6]]))
    np.testing.assert_allclose(gradient, mean, atol=1e-9)  # Rounding over the step of a central difference.
    assert set(np.unique(mean)) == {-2.0, 0.0}
    assert 50 < np.sum(mean == 0) < 150


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    steps=st.integers(0, 8),
    momentum=st.floats(0, 0.9),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 100),
)
def test_a_quadratic_bound_is_descended_as_in_numpy(steps, momentum, rates, seed):
    rng = np.random.default_rng(seed)
    curvature, centre = rng.uniform(0.1, 1.5, [2, 4, 3]), rng.normal(size=[2, 4, 3])
    initial = rng.normal(size=[2, 4, 3])

    def bound(posterior, context, draw):
        difference = tf.stack(posterior) - centre
        return 0.5 * tf.reduce_sum(curvature * difference**2, [0, 2])

    refinement = RefinementSettings(rates[0], rates[1], momentum=momentum)
    refined = refine(bound, Posterior(*tf.constant(initial)), None, tf.zeros([steps]), refinement)
    current, velocity = initial.copy(), np.zeros_like(initial)
    for k in range(steps):
        np.testing.assert_allclose(tf.stack(refined.path)[:, k], current, rtol=1e-10, atol=1e-10)
        expected_bound = 0.5 * np.sum(curvature * (current - centre) ** 2, axis=(0, 2))
        np.testing.assert_allclose(refined.bounds[k], expected_bound, rtol=1e-10, atol=1e-10)
        velocity = momentum * velocity - curvature * (current - centre)
        current = current + np.array(rates)[:, None, None] * velocity
    # Rounding of float64 over eight steps of numbers of order one.
    np.testing.assert_allclose(tf.stack(refined.posterior), current, rtol=1e-10, atol=1e-10)


def test_refinement_lowers_the_bound():
    problem = toy.make(30, parts=20)
    # One draw for all steps makes the bound a fixed function.
    draws = Draw(*(tf.repeat(part[None], 30, 0) for part in problem.final_draw))
    context = problem.decoder.prepare(problem.tokens)
    refined = refine(problem.bound, problem.initial, context, draws, RefinementSettings(0.02, 0.02, momentum=0.0))
    bounds = np.concatenate([refined.bounds, problem.bound(refined.posterior, context, problem.final_draw)[None]])
    assert np.all(np.diff(bounds, axis=0) < 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_log_variance_stays_finite_at_a_limit_and_comes_back(sign):
    # Pushed out by 30 for two steps, then back: without momentum it leaves the limit at once.
    slopes = sign * tf.constant([-30.0, -30.0, 5.0])

    def bound(posterior, context, slope):
        return tf.reduce_sum(slope * posterior.log_variance + tf.square(posterior.mean), -1)

    initial = Posterior(tf.zeros([1, 1]), tf.zeros([1, 1]))
    with tf.GradientTape() as tape:
        tape.watch(initial)
        refined = refine(bound, initial, None, slopes, RefinementSettings(1.0, 1.0, momentum=0.0))
        value = tf.reduce_sum(tf.exp(refined.posterior.log_variance))
    np.testing.assert_allclose(np.squeeze(refined.path.log_variance), sign * np.array([0.0, 20.0, 20.0, 15.0]))
    np.testing.assert_array_equal(refined.bounds, np.array([[0.0], [-600.0], [100.0]]))
    gradient = tape.gradient(value, initial)
    assert np.all(np.isfinite(gradient.log_variance))
    # The loss wants less log variance, which from the upper limit leads back in and from the lower limit out.
    expected = np.exp(15.0) if sign > 0 else 0.0
    np.testing.assert_allclose(gradient.log_variance, [[expected]], rtol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_cotangent_stops_at_the_limit_that_a_step_ended_at(sign):
    # The only step goes from the middle to a limit. A loss that wants to go further has no derivative there.
    def derivative(loss):
        initial = Posterior(tf.zeros([1, 1]), tf.zeros([1, 1]))
        with tf.GradientTape() as tape:
            tape.watch(initial)
            bound = lambda posterior, context, draw: -30 * sign * posterior.log_variance[:, 0]  # noqa: E731
            value = loss(refine(bound, initial, None, tf.zeros([1]), RefinementSettings(1.0, 1.0)).posterior)
        return tape.gradient(value, initial.log_variance).numpy().item()

    assert derivative(lambda posterior: sign * posterior.log_variance) == sign
    assert derivative(lambda posterior: -sign * posterior.log_variance) == 0.0


@pytest.mark.parametrize("product", ["exact", "finite_difference"])
def test_exploding_bounds_give_finite_posteriors_and_derivatives(product):
    # The rate is a thousand times too large for this decoder; only the log variance's limits and the clip hold it.
    problem = toy.make(20, dtype=tf.float32)
    refinement = RefinementSettings(100.0, 100.0, clip_norm=1.0, product_clip_norm=1.0, product=product)
    for value in toy.derivative(refine, problem, refinement):
        assert np.all(np.isfinite(value))


def test_product_clip_norm():
    problem = toy.make(5)
    free = toy.derivative(refine, problem, RefinementSettings(**RATES))
    loose = toy.derivative(refine, problem, RefinementSettings(**RATES, product_clip_norm=1e6))
    assert toy.relative_error(loose, free) < 1e-12
    for scope in ("example", "batch"):
        limited = RefinementSettings(**RATES, product_clip_norm=0.05, clip_scope=scope)
        to_initial = np.concatenate(toy.derivative(refine, problem, limited)[1:3], -1)
        if scope == "example":
            lengths = 6 * np.linalg.norm(to_initial, axis=-1)  # On the scale of an example's bound; there are 6.
        else:
            lengths = np.linalg.norm(to_initial)
        assert np.all(lengths <= 0.05)
        assert np.any(lengths > 0.04)


@pytest.mark.parametrize("scope", ["example", "batch"])
def test_product_clip_norm_around_one_product(scope):
    # One step written out: clip the cotangent, take the product, clip its parts for all that the bound reads jointly,
    # and clip the cotangent that leaves.
    problem, limit, rates = toy.make(1), 0.05, (0.15, 0.1)
    decoder, batch = problem.decoder, problem.tokens.shape[0]
    weights = [decoder.latent_kernel, decoder.output_kernel, decoder.output_bias]
    context = decoder.prepare(problem.tokens)
    sources = [context.features, *weights]
    fired = []

    def clip(parts, axis=None, scale=1):
        length = np.sqrt(sum(np.sum(np.square(scale * part), axis, keepdims=axis is not None) for part in parts))
        fired.append(np.mean(length > limit))
        return [part * np.minimum(1, limit / (length + 1e-6)) for part in parts]

    def clip_cotangent(parts):
        return clip(parts, 1, batch) if scope == "example" else clip(parts)

    start, draw = problem.initial, tf.nest.map_structure(lambda part: part[0], problem.step_draws)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([start, context.features])
        with tf.GradientTape() as inner:
            inner.watch(start)
            value = tf.reduce_sum(problem.bound(start, context, draw))
        gradient = inner.gradient(value, start)
        end = Posterior(*(p - rate * g for p, rate, g in zip(start, rates, gradient, strict=True)))
    with tf.GradientTape() as tape:
        tape.watch([end, context.features])
        loss = tf.reduce_mean(problem.bound(end, context, problem.final_draw))
    mean, log_variance, *direct = (g.numpy() for g in tape.gradient(loss, [*end, *sources]))
    cotangent = clip_cotangent([mean, log_variance])
    vector = [tf.constant(-rate * c) for rate, c in zip(rates, cotangent, strict=True)]
    mean, log_variance, *parts = outer.gradient(list(gradient), [*start, *sources], output_gradients=vector)
    expected = clip_cotangent([cotangent[0] + mean, cotangent[1] + log_variance])
    expected += [d + p for d, p in zip(direct, clip([p.numpy() for p in parts]), strict=True)]
    assert all(share > 0 for share in fired)
    assert len(fired) == 3

    refinement = RefinementSettings(**RATES, product_clip_norm=limit, clip_scope=scope)
    with tf.GradientTape() as tape:
        tape.watch([start, context.features])
        refined = refine(problem.bound, start, context, problem.step_draws, refinement)
        loss = tf.reduce_mean(problem.bound(refined.posterior, context, problem.final_draw))
    assert toy.relative_error(tape.gradient(loss, [*start, *sources]), expected) < 1e-11


@pytest.mark.parametrize(
    "settings", [{"product": "authors", "clip_scope": "batch"}, {"reverse_steps": 2}, {"patience": 1}], ids=str
)
def test_bounds_along_the_path_of_which_nothing_is_learned(settings):
    problem = toy.make(3)
    refinement = RefinementSettings(**RATES, **settings)
    final, weighted = (
        toy.derivative(refine, problem, refinement, loss)[1:] for loss in (toy.final_loss, weighted_loss)
    )
    assert toy.relative_error(weighted, final) < 1e-12


def test_authors_product_has_no_clip_but_that_of_the_steps():
    problem = toy.make(2)
    free, limited = (
        toy.derivative(refine, problem, RefinementSettings(**RATES, product="authors", clip_scope="batch", **limit))
        for limit in ({}, {"product_clip_norm": 1e-3})
    )
    np.testing.assert_array_equal(np.concatenate(free[1:3]), np.concatenate(limited[1:3]))


def test_an_equal_bound_is_no_lower_and_none_is_computed_once_nobody_goes_on():
    computed = []

    def bound(posterior, context, draw):
        computed.append(draw)
        return tf.reduce_sum(0.0 * posterior.mean, -1) + 3.0

    initial = Posterior(tf.zeros([2, 3]), tf.zeros([2, 3]))
    refined = refine(bound, initial, None, tf.zeros([6]), RefinementSettings(patience=2))
    # The first finds a bound, the second and the third none that is lower, so that the third is not taken.
    np.testing.assert_array_equal(refined.steps, [2, 2])
    np.testing.assert_array_equal(refined.bounds, [[3.0, 3.0]] * 2 + [[0.0, 0.0]] * 4)
    assert len(computed) == 3


@pytest.mark.parametrize("product", ["exact", "finite_difference", "authors"])
def test_a_bound_without_variables(product):
    def bound(posterior, context, draw):
        return tf.reduce_sum(tf.square(posterior.mean - draw) + tf.square(posterior.log_variance), -1)

    initial = Posterior(tf.ones([2, 3], tf.float64), tf.ones([2, 3], tf.float64))
    with tf.GradientTape() as tape:
        tape.watch(initial)
        refinement = RefinementSettings(0.1, 0.2, momentum=0.0, product=product, clip_scope="batch")
        refined = refine(bound, initial, None, tf.zeros([3, 1, 1], tf.float64), refinement)
        value = tf.reduce_sum(tf.stack(refined.posterior))
    gradient = tape.gradient(value, initial)
    np.testing.assert_allclose(gradient.mean, np.full([2, 3], 0.8**3), rtol=1e-8)
    np.testing.assert_allclose(gradient.log_variance, np.full([2, 3], 0.6**3), rtol=1e-8)


def test_integers_and_nests_pass_through_context_and_draws():
    tokens = tf.constant([[0, 1], [2, 3]])
    seen = []

    def bound(posterior, context, draw):
        seen.append((context["tokens"].dtype, context["scale"][0].dtype, context["rate"], draw["a"][0].shape))
        gathered = tf.gather(context["scale"][0], context["tokens"])
        return tf.reduce_sum(gathered * posterior.mean + posterior.log_variance, -1) * draw["a"][0]

    initial = Posterior(tf.zeros([2, 2]), tf.zeros([2, 2]))
    scale = tf.constant([1.0, 2.0, 3.0, 4.0])
    context = {"tokens": tokens, "scale": (scale,), "rate": 3}
    with tf.GradientTape() as tape:
        tape.watch(scale)
        draws = {"a": (tf.ones([1]), tf.zeros([1, 5]))}
        refined = refine(bound, initial, context, draws, RefinementSettings(0.5, 0.5))
        value = tf.reduce_sum(refined.posterior.mean)
    np.testing.assert_allclose(refined.posterior.mean, [[-0.5, -1.0], [-1.5, -2.0]])
    np.testing.assert_allclose(tape.gradient(value, scale), np.full(4, -0.5))
    assert set(seen) == {(tf.int32, tf.float32, 3, tf.TensorShape([]))}


@pytest.mark.parametrize("kind", [tf.Variable, keras.Variable])
def test_variables_pass_through_context(kind):
    initial = Posterior(tf.zeros([1, 2]), tf.zeros([1, 2]))
    scale = kind([1.0, 2.0])
    with tf.GradientTape() as tape:
        refined = refine(
            lambda posterior, context, draw: tf.reduce_sum(context * posterior.mean, -1),
            initial,
            scale,
            tf.zeros([1]),
            RefinementSettings(0.5, 0.5),
        )
        value = tf.reduce_sum(refined.posterior.mean)
    # That the bound reads the mean alone leaves the log variance where it was.
    np.testing.assert_allclose(refined.posterior, [[[-0.5, -1.0]], [[0.0, 0.0]]])
    variable = scale.value if isinstance(scale, keras.Variable) else scale
    np.testing.assert_allclose(tape.gradient(value, variable), [-0.5, -0.5])


def test_defaults():
    # Down a slope of one: a fiftieth, and then as much again and half of the step before.
    initial = Posterior(tf.zeros([1, 1], tf.float64), tf.zeros([1, 1], tf.float64))
    bound = lambda posterior, context, draw: posterior.mean[:, 0] + posterior.log_variance[:, 0]  # noqa: E731
    path = refine(bound, initial, None, tf.zeros([3])).path
    for part in path:
        np.testing.assert_allclose(np.squeeze(part), [0.0, -0.02, -0.05, -0.085], rtol=1e-12)
    assert RefinementSettings() == RefinementSettings(
        0.02, 0.02, 0.5, clip_norm=None, product_clip_norm=None, clip_scope="example", product="exact",
        finite_difference_step=None, patience=None, reverse_steps=None, keep=(0, 0, 0)
    )  # fmt: skip


def test_default_rates_lower_the_bound_of_many_pixels():
    # With rates of one the bounds of these 784 pixels end above where they began.
    rng = np.random.default_rng(0)
    kernel = tf.constant(rng.normal(scale=0.3, size=[8, 784]), tf.float32)
    pixels = tf.constant(rng.integers(0, 2, [32, 784]), tf.float32)

    def likelihood(z, context, seed):
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=context, logits=z @ kernel), -1)

    initial = Posterior(tf.zeros([32, 8]), tf.zeros([32, 8]))
    step_draws, _ = draw(initial, 20, tf.constant([1, 2]))
    refined = refine(negative_elbo(likelihood), initial, pixels, step_draws)
    assert tf.reduce_all(refined.bounds[-1] < refined.bounds[0])


# --- What it refuses.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step_size_mean": float("nan")}, "step_size_mean=nan: expected a finite number that is not negative"),
        ({"step_size_mean": -0.1}, "step_size_mean=-0.1: expected a finite number that is not negative"),
        ({"step_size_log_variance": float("inf")}, "step_size_log_variance=inf: expected a finite number"),
        ({"momentum": tf.constant(0.5)}, "momentum=.*: expected a number of Python or NumPy"),
        ({"step_size_mean": tf.Variable(0.1)}, "step_size_mean=.*: expected a number of Python or NumPy"),
        ({"momentum": 1.5}, r"momentum=1\.5: expected a number in \[0, 1\)"),
        ({"momentum": 1.0}, r"momentum=1\.0: expected a number in \[0, 1\)"),
        ({"momentum": -0.5}, r"momentum=-0\.5: expected a number in \[0, 1\)"),
        ({"momentum": float("nan")}, r"momentum=nan: expected a number in \[0, 1\)"),
        ({"clip_norm": 0.0}, r"clip_norm=0\.0: expected a finite positive number, or None"),
        ({"clip_norm": float("nan")}, "clip_norm=nan: expected a finite positive number, or None"),
        ({"product_clip_norm": -1.0}, r"product_clip_norm=-1\.0: expected a finite positive number, or None"),
        ({"clip_norm": float("inf")}, "clip_norm=inf: expected a finite positive number, or None"),
        ({"finite_difference_step": 0}, "finite_difference_step=0: expected a finite positive number, or None"),
        ({"patience": 0}, "patience=0: expected a whole number of at least 1, or None"),
        ({"patience": 1.5}, r"patience=1\.5: expected a whole number of at least 1, or None"),
        ({"reverse_steps": -1}, "reverse_steps=-1: expected a whole number of at least 0, or None"),
        ({"clip_norm": "1"}, "clip_norm='1': expected a finite positive number, or None"),
        ({"step_size_mean": "0.1"}, "step_size_mean='0.1': expected a number of Python or NumPy"),
        ({"keep": 5}, "keep=5: expected a tuple of three numbers of steps"),
        ({"keep": (1.0, 0, 0)}, r"keep=\(1\.0, 0, 0\): expected a tuple of three numbers of steps"),
        ({"product": "authors", "clip_scope": "batch", "patience": 2}, "product='authors' goes through every step"),
        ({"clip_norm": 1.0, "clip_scope": "batch", "patience": 2}, "patience=2: expected None with clip_scope='batch'"),
        ({"product": "magic"}, "product='magic': expected one of exact, finite_difference, authors"),
        ({"clip_scope": "word"}, "clip_scope='word': expected one of example, batch"),
        ({"product": "authors"}, "product='authors' .* needs clip_scope='batch'"),
    ],
)
def test_settings_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        RefinementSettings(**arguments)


@pytest.mark.parametrize("settings", [0.1, {"momentum": 0.1}, RefinementSettings], ids=str)
def test_settings_of_another_kind_refused(settings):
    problem = toy.make(1)
    with pytest.raises(TypeError, match=r"^settings: expected RefinementSettings, got (float|dict|type)"):
        refine(problem.bound, problem.initial, None, problem.step_draws, settings)


@pytest.mark.parametrize("draws", [(), None])
def test_no_draws_refused(draws):
    problem = toy.make(1)
    with pytest.raises(ValueError, match="expected tensors whose leading axis is the number of steps"):
        refine(problem.bound, problem.initial, problem.decoder.prepare(problem.tokens), draws)


def test_draws_without_axes_refused():
    problem = toy.make(1)
    with pytest.raises(ValueError, match=r"draws of shapes \(\), \(\): expected the number of steps first"):
        refine(problem.bound, problem.initial, problem.decoder.prepare(problem.tokens), tf.constant(1.0))


def test_draws_of_two_lengths_refused():
    problem = toy.make(3)
    draws = problem.step_draws._replace(seed=problem.step_draws.seed[:1])
    with pytest.raises(ValueError, match=r"draws of shapes \(3, 6, 3\), \(1, 2\): expected the number of steps"):
        refine(problem.bound, problem.initial, problem.decoder.prepare(problem.tokens), draws)


@pytest.mark.parametrize("types", [(tf.float16, tf.float16), (tf.float32, tf.float64), (tf.int32, tf.int32)])
def test_other_types_refused(types):
    initial = Posterior(*(tf.zeros([2, 3], dtype) for dtype in types))
    names = ", ".join(dtype.name for dtype in types)
    with pytest.raises(ValueError, match=f"initial of types {names}: expected float32 or float64, the same for both"):
        refine(lambda posterior, context, draw: posterior.kl(), initial, None, tf.zeros([1]))


def test_authors_product_refuses_computed_contexts():
    problem = toy.make(1)
    refinement = RefinementSettings(product="authors", clip_scope="batch")
    with pytest.raises(ValueError, match="product='authors' needs a context without float tensors"):
        refine(problem.bound, problem.initial, problem.decoder.prepare(problem.tokens), problem.step_draws, refinement)

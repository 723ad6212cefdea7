"""How the refinement is run: eagerly, in graphs, compiled, on replicas, in constant memory."""

import json
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from sa_vae_tf.inference import Draw, Posterior, RefinementSettings, refine
from tests.inference import toy
from tests.inference.toy import EXACT, RATES, path_and_bounds_loss

SCRIPTS = {
    "two_replicas": "test_same_on_two_replicas",
    "peak_memory": "test_memory_does_not_grow_with_the_number_of_steps",
}


@pytest.fixture(scope="module", autouse=True)
def printed(request):
    """Starts the scripts that need a process of their own beside the other tests; the value reads what one prints."""
    selected = {item.name for item in request.session.items}
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-m", f"tests.inference.{name}"],
            cwd=pathlib.Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, test in SCRIPTS.items()
        if test in selected
    }

    def read(name: str) -> dict:
        output, errors = processes[name].communicate(timeout=300)
        assert processes[name].returncode == 0, errors[-3000:]
        return json.loads(output.splitlines()[-1])

    yield read
    for process in processes.values():
        process.kill()
        process.communicate()


def with_draws(problem: toy.Problem, noise, seed, initial=None) -> toy.Problem:
    return toy.Problem(
        problem.decoder,
        problem.bound,
        problem.initial if initial is None else initial,
        problem.tokens,
        Draw(noise, seed),
        problem.final_draw,
    )


@pytest.mark.parametrize("product", ["exact", "finite_difference", "authors"])
def test_same_in_a_graph(product):
    problem = toy.make(4, dropout_rate=0.3)
    refinement = RefinementSettings(**RATES, product=product, clip_norm=0.4, clip_scope="batch")
    in_graph = tf.function(lambda: toy.derivative(refine, problem, refinement))
    # The authors' difference, of rounding of 1e-16 over 1e-5, sees another order of summation.
    tolerance = 1e-8 if product == "authors" else 1e-9 if product == "finite_difference" else 1e-12
    assert toy.relative_error(in_graph(), toy.derivative(refine, problem, refinement)) < tolerance


def test_same_compiled():
    # In float32, as in training; `test_number_of_steps_unknown_when_traced` compiles the exact product in float64.
    problem = toy.make(3, dtype=tf.float32)
    refinement = RefinementSettings(**RATES, clip_norm=1.0, product="finite_difference")
    compiled = tf.function(lambda: toy.derivative(refine, problem, refinement), jit_compile=True)
    expected = toy.derivative(toy.unrolled, toy.make(3), refinement)
    # Rounding of float32 in a central difference with step 1e-3.
    assert toy.relative_error(compiled(), expected) < 1e-3


@pytest.mark.parametrize("compiled", [False, True])
def test_number_of_steps_unknown_when_traced(compiled):
    problem = toy.make(4)
    refinement = RefinementSettings(**RATES)
    signature = [tf.TensorSpec([None, 6, 3], tf.float64), tf.TensorSpec([None, 2], tf.int32)]

    @tf.function(input_signature=signature, jit_compile=compiled)
    def traced(noise, seed):
        assert noise.shape[0] is None
        return toy.derivative(refine, with_draws(problem, noise, seed), refinement, path_and_bounds_loss)

    # XLA compiles the loop's body even where there are no steps, and refuses to slice nothing.
    for steps in (3,) if compiled else (0, 1, 4):
        draws = Draw(*(part[:steps] for part in problem.step_draws))
        expected = toy.derivative(toy.unrolled, with_draws(problem, *draws), refinement, path_and_bounds_loss)
        assert toy.relative_error(traced(*draws), expected) < EXACT
    assert traced.experimental_get_tracing_count() == 1


def test_batch_and_steps_unknown_when_traced():
    problem = toy.make(4)
    refinement = RefinementSettings(**RATES)
    posterior = tf.TensorSpec([None, 3], tf.float64)
    signature = [tf.TensorSpec([None, None, 3], tf.float64), tf.TensorSpec([None, 2], tf.int32), posterior, posterior]

    @tf.function(input_signature=signature)
    def traced(noise, seed, mean, log_variance):
        drawn = with_draws(problem, noise, seed, Posterior(mean, log_variance))
        return toy.derivative(refine, drawn, refinement, path_and_bounds_loss)

    for steps in (0, 4):
        draws = Draw(*(part[:steps] for part in problem.step_draws))
        expected = toy.derivative(toy.unrolled, with_draws(problem, *draws), refinement, path_and_bounds_loss)
        assert toy.relative_error(traced(*draws, *problem.initial), expected) < EXACT


def test_same_on_two_replicas(printed):
    errors = printed("two_replicas")
    assert set(errors) == {"exact", "finite_difference"}
    # Rounding of float64, which the difference quotient divides by 1e-5.
    assert errors["exact"] < 1e-12
    assert errors["finite_difference"] < 1e-8


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="the peak of memory is read from /proc")
def test_memory_does_not_grow_with_the_number_of_steps(printed):
    peak = printed("peak_memory")
    layer, more = peak["layer"], peak["many_steps"] - peak["few_steps"]
    # Far less than one hidden layer a step, of which an unrolled loop keeps several.
    assert peak["refine_many"] - peak["refine_few"] < 0.35 * more * layer
    assert peak["unrolled"] - peak["refine_many"] > peak["few_steps"] * layer

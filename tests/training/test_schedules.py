"""The KL weight, and the rule by which the learning rate decays."""

import math
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from sa_vae_tf.training.schedules import LearningRateRule, kl_weight

STEPS_PER_EPOCH = 4


def test_kl_weight_grows_linearly_to_one_and_stays():
    weights = [float(kl_weight(tf.constant(step, tf.int64), 0.1, 10)) for step in range(0, 21, 5)]
    np.testing.assert_allclose(weights, [0.1, 0.55, 1, 1, 1], rtol=1e-6)  # Rounding of float32.
    assert float(kl_weight(tf.constant(0), 0.1, 0)) == 1


@given(st.floats(0, 1), st.integers(1, 10**6), st.integers(0, 100))
def test_kl_weight_is_exactly_one_after_the_warm_up(start, warmup_steps, later):
    # The warning of a collapsed posterior waits for it.
    assert float(kl_weight(tf.constant(warmup_steps + later, tf.int64), start, warmup_steps)) == 1


def run_rule(bounds, start_epoch: int, always: bool = False, factor: float = 0.5, minimum: float = 0.0):
    """Returns what the rule makes of validation bounds: rates and whether each epoch improved, until training ends."""
    optimizer = SimpleNamespace(learning_rate=tf.Variable(1.0))
    model = SimpleNamespace(step=0, optimizer=optimizer, stop_training=False)
    rule = LearningRateRule(start_epoch, always, factor, minimum, STEPS_PER_EPOCH)
    rule.set_model(model)
    rates, improved = [], []
    for epoch, bound in enumerate(bounds):
        model.step += STEPS_PER_EPOCH
        rule.on_epoch_end(epoch, {"val_nll_bound": bound})
        rates.append(float(optimizer.learning_rate))
        improved.append(rule.improved)
        assert model.stop_training == rule.ended()
        if model.stop_training:
            break
    return rule, rates, improved


def test_the_rate_decays_in_every_epoch_after_the_first_without_improvement():
    _, rates, improved = run_rule([5, 6, 4, 4, 3, 2], start_epoch=1)
    assert rates == [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]
    assert improved == [True, False, True, False, True, True]


def test_the_rule_waits_for_its_first_epoch():
    assert run_rule([5, 6, 7, 4, 5, 6], start_epoch=5)[1] == [1, 1, 1, 1, 0.5, 0.25]
    assert run_rule([5, 6, 7, 4, 3, 6], start_epoch=5)[1] == [1, 1, 1, 1, 1, 0.5]
    assert run_rule([5, 6, 7], start_epoch=0)[1] == [1, 1, 1]


def test_the_rate_decays_whatever_the_bound_does():
    assert run_rule([5, 4, 3, 6, 2], start_epoch=2, always=True)[1] == [1, 0.5, 0.25, 0.125, 0.0625]
    assert run_rule([5, 6], start_epoch=0, always=True)[1] == [1, 1]


def test_training_ends_when_the_rate_falls_below_the_minimum():
    assert run_rule([5, 6, 6, 6, 6], start_epoch=1, minimum=0.25)[1] == [1, 0.5, 0.25, 0.125]
    assert len(run_rule([5, 6, 6, 6, 6], start_epoch=0, minimum=2.0)[1]) == 5  # It did not fall.


def test_a_bound_that_is_not_a_number_is_no_improvement():
    rule, rates, improved = run_rule([math.nan, 5, math.nan], start_epoch=1)
    assert improved == [False, True, False]
    assert float(rule.best) == 5
    assert rates == [0.5, 0.25, 0.125]


def test_an_epoch_that_was_not_finished_does_not_count():
    rule, _, _ = run_rule([5, 6], start_epoch=1)
    rule.model.step += 1
    rule.on_epoch_end(2, {"val_nll_bound": 1})
    assert (float(rule.best), rule.improved, float(rule.model.optimizer.learning_rate)) == (5, False, 0.5)


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 6), st.integers(0, 12))
def test_the_state_is_all_in_variables(bounds, start_epoch, stop):
    whole, rates, _ = run_rule(bounds, start_epoch)
    first, begun, _ = run_rule(bounds[:stop], start_epoch)
    second, _, _ = run_rule([], start_epoch)
    second.best.assign(first.best)
    second.decaying.assign(first.decaying)
    second.model.optimizer.learning_rate.assign(first.model.optimizer.learning_rate)
    for epoch, bound in enumerate(bounds[stop:], len(begun)):
        second.model.step += STEPS_PER_EPOCH
        second.on_epoch_end(epoch, {"val_nll_bound": bound})
        begun.append(float(second.model.optimizer.learning_rate))
    assert begun == rates
    assert float(second.best) == float(whole.best)

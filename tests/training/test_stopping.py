"""What a signal does while a model is trained, with a model that only counts."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from sa_vae_tf.errors import Interrupted
from sa_vae_tf.training.stopping import StopAtSignals

STEPS_PER_EPOCH = 4
LAST = 11


@pytest.fixture
def stop():
    """The callback, beside a list of the steps that were saved."""
    model = SimpleNamespace(step=0, replicas=None)
    saved: list[int] = []
    callback = StopAtSignals(SimpleNamespace(save=lambda: saved.append(model.step)), STEPS_PER_EPOCH, LAST)
    callback.set_model(model)
    callback.saved = saved
    return callback


@pytest.fixture(autouse=True)
def handlers():
    """Handlers as a program starts with them, whatever this process was told; they must be there after the test."""
    numbers = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    yield
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert after == numbers


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_step_in_progress_ends_and_is_saved(stop, number, status):
    with stop:
        stop.model.step = 5
        stop.on_train_batch_end(0)
        os.kill(os.getpid(), number)
        stop.model.step = 6
        with pytest.raises(Interrupted, match="interrupted; step 6 is saved: the same command goes on") as raised:
            stop.on_train_batch_end(1)
        stop.received = None
    assert raised.value.status == status
    assert stop.saved == [6]


@pytest.mark.parametrize("step", [2 * STEPS_PER_EPOCH, LAST])
@pytest.mark.parametrize("moment", ["on_train_batch_end", "on_test_batch_end", "on_epoch_end"])
def test_a_step_that_is_not_validated_is_not_saved(stop, moment, step):
    stop.model.step = step
    with stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="the last checkpoint stands"):
            getattr(stop, moment)(0)
        stop.received = None
    assert stop.saved == []


def test_nothing_happens_without_a_signal(stop):
    with stop:
        stop.on_train_batch_end(0)
        stop.on_test_batch_end(0)
        stop.on_epoch_end(0)
    assert stop.saved == []


def test_a_second_interrupt_does_not_wait(stop):
    with stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as raised:
            os.kill(os.getpid(), signal.SIGINT)
        stop.received = None
    assert raised.type is KeyboardInterrupt


def test_a_signal_after_the_last_step_is_not_lost(stop):
    with pytest.raises(Interrupted, match="training had ended"), stop:
        os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored(stop):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop:
            os.kill(os.getpid(), signal.SIGINT)
            stop.on_train_batch_end(0)
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_the_signals_alone(stop):
    seen = []

    def train():
        with stop:
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]

"""Stopping where a signal asks for it: after the step in progress, with its state saved."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import keras

from sa_vae_tf.errors import Interrupted
from sa_vae_tf.messages import program
from sa_vae_tf.training.checkpoints import Checkpoints


class StopAtSignals(keras.callbacks.Callback):
    """Saves a checkpoint and ends training once SIGINT or SIGTERM has come; used as a context around `fit`.

    An exception raised wherever the signal happens to arrive may be lost, because Python ignores what is raised while
    an object is deleted, and may fall between two halves of a step. A second SIGINT does what it did before.

    Args:
      checkpoints: where the state is saved.
      steps_per_epoch: batches in an epoch. What follows an epoch's last step, its validation, is not saved half done:
        stopped there, training goes on from the last checkpoint before. Several replicas stop after a step alone, in
        validation the first one that follows.
      last: step at which training ends, perhaps within an epoch; a validation follows it, too.
    """

    def __init__(self, checkpoints: Checkpoints, steps_per_epoch: int, last: int):
        super().__init__()
        self.checkpoints, self.steps_per_epoch, self.last = checkpoints, steps_per_epoch, last
        self.received: int | None = None

    def __enter__(self) -> StopAtSignals:
        numbers = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        # A process that has been told to ignore a signal goes on ignoring it.
        self.before = {number: handler for number in numbers if (handler := signal.getsignal(number)) != signal.SIG_IGN}
        for number in self.before:
            signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        if kind is None and self.received:
            raise Interrupted(self.received, "training had ended")

    def on_train_batch_begin(self, batch, logs=None):
        if self.received and self.model.replicas:
            self.model.replicas.stop.assign(1.0)

    def on_train_batch_end(self, batch, logs=None):
        if self.model.replicas:
            # A signal to one worker ends them all after the same step: one that went on would wait for the others.
            if not float(self.model.replicas.stopping):
                return
            self.received = self.received or signal.SIGTERM
        if not self.received:
            return
        step = int(self.model.step)
        if step % self.steps_per_epoch and step != self.last:
            self.checkpoints.save()
            self._stop(f"step {step} is saved")
        self._stop()

    def on_test_batch_end(self, batch, logs=None):
        self._stop_between_steps()

    def on_epoch_end(self, epoch, logs=None):
        self._stop_between_steps()

    def _stop_between_steps(self) -> None:
        if not self.model.replicas:
            self._stop()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            signal.signal(number, self.before[signal.SIGINT])
            signal.raise_signal(number)
        if not self.received:
            # Not by way of a stream, which may be in the middle of a line.
            again = "; Ctrl-C stops at once" if number == signal.SIGINT else ""
            os.write(2, f"\n{program()}: stopping after this step{again}\n".encode())
        self.received = number

    def _stop(self, saved: str = "the last checkpoint stands") -> None:
        if self.received:
            raise Interrupted(self.received, f"{saved}: the same command goes on")

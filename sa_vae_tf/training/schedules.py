"""Quantities that change as training goes on: the KL weight and the learning rate."""

from __future__ import annotations

import keras
import tensorflow as tf


def kl_weight(step: tf.Tensor, start: float, warmup_steps: float, cycle_steps: float = 0.0) -> tf.Tensor:
    """Returns the weight of the KL term at a step.

    It grows linearly from `start` to one over `warmup_steps` (section 4.2), and where `cycle_steps` is not zero begins
    anew after each so many steps (Fu et al. 2019, Cyclical annealing schedule).
    """
    if warmup_steps == 0:
        return tf.constant(1.0)
    step = tf.cast(step, tf.float32)
    done = (tf.math.floormod(step, cycle_steps) if cycle_steps else step) / warmup_steps
    return tf.where(done < 1.0, start + (1.0 - start) * done, 1.0)


class LearningRateRule(keras.callbacks.Callback):
    """Decays the rate every epoch once an epoch has brought no better validation bound, and keeps the best bound.

    Its state is in variables, so that a checkpoint holds it.

    Args:
      start_epoch: the rule waits until this many epochs are done; 0 never decays.
      always: it does not wait for an epoch without a better bound.
      factor: of the decay.
      minimum: training ends when the rate falls below it.
      steps_per_epoch: batches in an epoch, so that one which was not finished does not count.
    """

    def __init__(self, start_epoch: int, always: bool, factor: float, minimum: float, steps_per_epoch: int):
        super().__init__()
        self.start_epoch, self.always, self.factor, self.minimum = start_epoch, always, factor, minimum
        self.steps_per_epoch = steps_per_epoch
        self.best = tf.Variable(float("inf"), trainable=False, name="best_bound")
        self.improved = False
        self.decaying = tf.Variable(False, trainable=False, name="decaying")

    def on_epoch_end(self, epoch, logs=None):
        if int(self.model.step) % self.steps_per_epoch:
            return
        self.improved = logs["val_nll_bound"] < float(self.best)
        if self.improved:
            self.best.assign(logs["val_nll_bound"])
        if (self.always or not self.improved) and 0 < self.start_epoch <= epoch + 1:
            self.decaying.assign(True)
        if bool(self.decaying):
            rate = self.model.optimizer.learning_rate
            rate.assign(rate * self.factor)
            self.model.stop_training = self.ended()

    def ended(self) -> bool:
        """Whether the rate has fallen below its minimum, which ends training."""
        return bool(self.decaying) and float(self.model.optimizer.learning_rate) < self.minimum

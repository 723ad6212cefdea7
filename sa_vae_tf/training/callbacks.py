"""What happens beside the training steps: schedules, figures, checkpoints, and the end of a run gone wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sa_vae_tf.errors import TrainingDiverged
from sa_vae_tf.training.checkpoints import Checkpoints, writing
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.schedules import LearningRateRule

logger = logging.getLogger(__name__)

# Seconds of training, at most, that a stop in an epoch's validation loses beside the epoch's last step.
SHORT = 5.0
# Below this KL, in nats, the posterior carries nothing: the paper's collapsed models have 0.00 to 0.02.
COLLAPSED_KL = 0.1


class RefinementSchedule(keras.callbacks.Callback):
    """Sets the number of refinement steps by epoch (section 5.2).

    Args:
      steps_at: function (epoch) -> number of steps, epochs counted from 0.
    """

    def __init__(self, steps_at: Callable[[int], int]):
        super().__init__()
        self.steps_at = steps_at

    def on_epoch_begin(self, epoch, logs=None):
        steps = self.steps_at(epoch)
        if steps != self.model.steps:
            self.model.set_steps(steps)


class EpochCount(keras.callbacks.Callback):
    """Lets the progress bar count the epochs of the run, not those of one of its calls of `fit`."""

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def set_params(self, params):
        params["epochs"] = self.epochs  # The bar, which is told after this callback, is given the same dict.
        super().set_params(params)


class SkippedSteps(keras.callbacks.Callback):
    """Ends training after too many steps whose gradient was not finite or was huge.

    Args:
      limit: skipped steps that are allowed.
      checkpoints: where the last good weights are kept before the end.
      run: folder, where the batch of the last skipped step is kept to be looked at.
      batch_of: function of a step, counted from 0, to its batch.
    """

    def __init__(
        self,
        limit: int,
        checkpoints: Checkpoints,
        run: RunFolder,
        batch_of: Callable[[int], Mapping[str, tf.Tensor]],
    ):
        super().__init__()
        self.limit, self.checkpoints, self.run, self.batch_of = limit, checkpoints, run, batch_of

    def on_train_batch_end(self, batch, logs=None):
        self.check()

    def check(self) -> None:
        """Raises TrainingDiverged if there were too many."""
        skipped = int(self.model.skipped)
        if skipped > self.limit:
            path, step = self.checkpoints.save(), int(self.model.step)
            self.run.write_batch(self.batch_of(step - 1))
            raise TrainingDiverged(
                f"by step {step}, {skipped} steps were skipped for a gradient that was not finite or huge, more than "
                f"--max_skipped_steps={self.limit}; the last good weights are in {path}, the batch in "
                f"{self.run.batch_file}; try a lower --learning_rate or a lower --svi_rate_mean and "
                "--svi_rate_log_variance, in a new --run_dir"
            )


class EpochFigures(keras.callbacks.Callback):
    """Adds time and schedule to an epoch's figures, writes them to metrics.jsonl, and warns of collapse.

    Must come before the rule that changes the rate for the next epoch. An epoch of one step has no time.

    Args:
      run: folder of the run.
      steps_per_epoch: batches in an epoch.
      examples_per_step: examples in a batch, on average: the last one of an epoch may be smaller.
    """

    def __init__(self, run: RunFolder, steps_per_epoch: int, examples_per_step: float):
        super().__init__()
        self.run, self.steps_per_epoch, self.examples_per_step = run, steps_per_epoch, examples_per_step
        self.warned = False

    def on_epoch_begin(self, epoch, logs=None):
        self.seconds, self.batches = 0.0, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        # The first step of an epoch may include compilation.
        if self.batches:
            self.seconds += time.perf_counter() - self.began
        self.batches += 1

    def on_epoch_end(self, epoch, logs=None):
        logs["kl_weight"] = float(self.model.kl_weight(self.model.step - 1))  # of the last step that was taken
        logs["svi_steps"] = self.model.steps
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.seconds:
            timed = self.batches - 1
            logs["step_seconds"] = self.seconds / timed
            logs["steps_per_second"] = timed / self.seconds
            logs["examples_per_second"] = logs["steps_per_second"] * self.examples_per_step
        self.run.append_metrics({"epoch": epoch + 1, "step": int(self.model.step), **logs})
        collapsed = self.model.method.latent and logs["val_kl"] < COLLAPSED_KL and logs["kl_weight"] >= 1
        if collapsed and not self.warned:
            self.warned = True
            logger.warning(
                "epoch %d: the posterior has collapsed, KL %.3f nats; it tells nothing of x",
                epoch + 1,
                logs["val_kl"],
            )


class TensorBoard(keras.callbacks.Callback):
    """Writes figures to TensorBoard against the training step.

    `step/...` are means over the epoch so far, `epoch/...` all figures at an epoch's end, `kl_per_dimension/...` the KL
    of each latent dimension on the validation set. Keras's own callback writes the figures of an epoch only where its
    last batch happens to be one that is written, and counts steps anew when a run goes on.

    Args:
      run: folder of the run.
      every_steps: steps between points within an epoch.
      samples: function that returns text in Markdown or images, [count, height, width, 1], by name, written at an
        epoch's end.
    """

    def __init__(self, run: RunFolder, every_steps: int, samples: Callable[[], Mapping[str, Any]] = dict):
        super().__init__()
        self.run, self.every_steps, self.samples = run, every_steps, samples
        self.writers: dict[str, tf.summary.SummaryWriter] = {}

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.step) % self.every_steps == 0:
            self._write("train", {f"step/{name}": value for name, value in logs.items()})

    def on_epoch_end(self, epoch, logs=None):
        validation = {name for name in logs if name.startswith("val_")}
        self._write("train", {f"epoch/{name}": logs[name] for name in logs if name not in validation})
        figures = {f"epoch/{name.removeprefix('val_')}": logs[name] for name in validation}
        if self.model.method.latent:
            kl = self.model.kl_per_dimension.result().numpy()
            figures |= {f"kl_per_dimension/{dimension}": value for dimension, value in enumerate(kl)}
        self._write("validation", figures)
        for name, sample in self.samples().items():
            self._write("validation", {name: sample}, tf.summary.text if isinstance(sample, str) else tf.summary.image)
        for part, writer in self.writers.items():
            with writing(self.run.path / part):
                writer.flush()

    def _write(self, part: str, entries: Mapping[str, Any], kind: Callable = tf.summary.scalar) -> None:
        if part not in self.writers:
            self.writers[part] = tf.summary.create_file_writer(str(self.run.path / part))
        with writing(self.run.path / part), self.writers[part].as_default(step=int(self.model.step)):
            for name, value in entries.items():
                kind(name, value)


class SaveCheckpoints(keras.callbacks.Callback):
    """Saves a checkpoint after each epoch, and within an epoch by steps or minutes; keeps the best.

    The run's last step, perhaps within an epoch, is saved after its validation as an epoch's last is. Where it saves by
    minutes it saves before such a step too: a stop in the validation after that step goes on from there. Must come
    after every callback with a state, so that the state saved after an epoch is complete.

    Args:
      checkpoints: where to save.
      rule: knows whether the epoch brought the best validation bound.
      every_steps: steps between checkpoints within an epoch; 0 for none.
      every_minutes: minutes between them; 0 for none.
      steps_per_epoch: batches in an epoch.
      last: step at which training ends, perhaps within an epoch.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        rule: LearningRateRule,
        every_steps: int,
        every_minutes: float,
        steps_per_epoch: int,
        last: int,
    ):
        super().__init__()
        self.checkpoints, self.rule, self.steps_per_epoch, self.last = checkpoints, rule, steps_per_epoch, last
        self.every_steps, self.every_minutes = every_steps, every_minutes
        self.saved_at = time.monotonic()
        # Epoch means begun before a run was stopped go on where they were.
        self.unfinished = self._means()

    def on_epoch_begin(self, epoch, logs=None):
        if int(self.model.step) % self.steps_per_epoch:
            self._go_on_with_means()

    def on_train_batch_end(self, batch, logs=None):
        step = int(self.model.step)
        if self._is_validated(step):
            self.unfinished = self._means()
            return  # The epoch's end, with validation and the rate rule, is still to come.
        by_steps = self.every_steps and step % self.every_steps == 0
        seconds = SHORT if self._is_validated(step + 1) else 60 * self.every_minutes
        by_minutes = self.every_minutes and time.monotonic() - self.saved_at > seconds
        if by_steps or by_minutes:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        if int(self.model.step) % self.steps_per_epoch:
            # The epoch may be gone on with: its means are those from before the validation.
            self._go_on_with_means()
        elif self.rule.improved:
            self.checkpoints.save_best()
        self._save()

    def _is_validated(self, step: int) -> bool:
        return step % self.steps_per_epoch == 0 or step == self.last

    def _means(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self.checkpoints.metrics.values()]

    def _go_on_with_means(self) -> None:
        for variable, value in zip(self.checkpoints.metrics.values(), self.unfinished, strict=True):
            variable.assign(value)

    def _save(self) -> None:
        self.checkpoints.save()
        self.saved_at = time.monotonic()

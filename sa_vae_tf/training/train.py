"""A training run from settings to a finished run folder, resumed wherever it was stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import sys
import tempfile

import tensorflow as tf

from sa_vae_tf.data.pipeline import Share
from sa_vae_tf.data.text import VOCABULARY_FILE
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.errors import UserError, WorkerLost
from sa_vae_tf.interrupts import ends_when_busy
from sa_vae_tf.training.agreement import check_agreement
from sa_vae_tf.training.build import build_model, set_up_tensorflow
from sa_vae_tf.training.callbacks import (
    EpochCount,
    EpochFigures,
    RefinementSchedule,
    SaveCheckpoints,
    SkippedSteps,
    TensorBoard,
)
from sa_vae_tf.training.checkpoints import Checkpoints
from sa_vae_tf.training.compilation import kernels, multiplies_bfloat16, on_gpu
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.load import start_encoder
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.parts import largest_part
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.schedules import LearningRateRule
from sa_vae_tf.training.sources import check_sources, check_test_file, write_sources
from sa_vae_tf.training.stopping import StopAtSignals
from sa_vae_tf.training.strategies import make_strategy, worker
from sa_vae_tf.training.tasks import TASKS

logger = logging.getLogger(__name__)

# What TensorFlow says when another worker does not answer.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


def train(config: Config, verbose: int | None = None) -> RunFolder:
    """Trains a model, or goes on with the run in the folder, and returns the folder.

    Stopped at any point and called again, it ends with the weights of a run that was never stopped.

    Args:
      config: settings; `run_dir` names the folder, or if empty `default_run_dir`.
      verbose: as for `keras.Model.fit`; None shows a progress bar on a terminal and a line an epoch elsewhere.

    Raises:
      UserError: if a setting or the folder is at fault.
      TrainingDiverged: if too many steps were not finite.
      Interrupted: if SIGINT or SIGTERM came.
      WorkerLost: if another worker has gone.
    """
    set_up_tensorflow(config)
    strategy = make_strategy(config)
    with contextlib.ExitStack() as stack:
        # Worker 0 writes. All others do as it does, into a folder that nobody reads.
        share = worker() if config.strategy == "multi_worker" else None
        writes = not (share and share.number)
        path = config.run_dir or config.default_run_dir
        run = RunFolder(path if writes else stack.enter_context(tempfile.TemporaryDirectory()))
        config = dataclasses.replace(_from_anywhere(config), kernels=_kernels(run, config))
        try:
            run.open_for_training(config)
            _train(run, config, strategy, verbose, share)
        except LOST as error:
            if not share:
                raise
            raise WorkerLost(
                f"a worker was lost ({type(error).__name__}); the same command on every worker goes on from the last "
                "checkpoint"
            ) from error
        finally:
            run.close()
    return RunFolder(path)


def _train(
    run: RunFolder,
    config: Config,
    strategy: tf.distribute.Strategy | None,
    verbose: int | None,
    share: Share | None,
) -> None:
    task, writes = TASKS[config.data], not (share and share.number)
    data = task.data(config, ("train", "validation"), None)
    sources, test_file = check_sources(run, data.sources), check_test_file(run, config.test_file)
    _keep_vocabulary(run, data.vocabulary)
    training, validation = data.splits["train"], data.splits["validation"].take(config.max_eval_examples)
    steps_per_epoch = training.steps(config.batch_size)
    model = build_model(config, data.vocabulary, steps_per_epoch, strategy)
    rule = LearningRateRule(
        config.lr_decay_start_epoch,
        config.lr_decay_always,
        config.lr_decay_factor,
        config.min_learning_rate,
        steps_per_epoch,
    )
    checkpoints = Checkpoints(run, model, {"best_bound": rule.best, "decaying": rule.decaying})
    resumed = checkpoints.restore_latest()
    if not resumed and config.encoder_init and writes:
        start_encoder(model, config, data.vocabulary)
    _warn_of_settings(config, model.entries_at_once, strategy.num_replicas_in_sync if strategy else 1)
    if model.replicas:
        check_agreement(model.replicas, config, sources, data.vocabulary)
        model.replicas.begin_alike(list(checkpoints.training.values()))

    def batches_from(step: int, share: Share | None = None) -> tf.data.Dataset:
        return training.shuffled(config.batch_size, config.seed, step, share)

    skipped_steps = SkippedSteps(
        config.max_skipped_steps, checkpoints, run, lambda step: next(iter(batches_from(step)))
    )
    skipped_steps.set_model(model)
    skipped_steps.check()  # A run that ended so does not go on.
    # All that the settings name has been read by now: a mistaken command changes nothing of a run that is there.
    if run.write_settings(config):
        write_sources(run, {**sources, **test_file})
    rule.set_model(model)
    last = _last_step(config, model, rule, steps_per_epoch)
    if not model.trainable_variables:
        logger.info("Nothing to train: the decoder is fixed and --method=%s has no encoder", config.method)
    elif resumed and int(model.step) < last:
        logger.info("Going on with %s at step %d", run.path, int(model.step))
    elif resumed and not rule.ended():
        logger.info("%s is at step %d already: nothing left to train", run.path, int(model.step))
    elif not last:
        logger.warning("--num_epochs=%d: nothing is trained", config.num_epochs)
    if not resumed and writes:
        checkpoints.save()
    if int(model.step) < last:
        run.forget_metrics_after(int(model.step), steps_per_epoch)
    samples = task.samples(model, data.vocabulary, validation) if task.samples else dict
    callbacks = [
        EpochCount(-(-last // steps_per_epoch)),
        RefinementSchedule(config.steps_at),
        skipped_steps,
        EpochFigures(run, steps_per_epoch, training.count / steps_per_epoch),
        rule,
    ]
    if writes:
        steps, minutes = config.checkpoint_steps, config.checkpoint_minutes
        callbacks.append(SaveCheckpoints(checkpoints, rule, steps, minutes, steps_per_epoch, last))
        callbacks.append(TensorBoard(run, config.log_steps, samples))  # What fails to sample has been saved.
    if verbose is None:
        verbose = 1 if sys.stdout.isatty() else 2
    verbose = verbose if writes else 0
    with ends_when_busy(signals=2), StopAtSignals(checkpoints, steps_per_epoch, last) as stop_at_signals:
        for first_epoch, epochs, steps in _fits(int(model.step), last, steps_per_epoch):
            model.fit(
                batches_from(int(model.step), share),
                initial_epoch=first_epoch,
                epochs=epochs,
                steps_per_epoch=steps,
                validation_data=validation.in_order(config.eval_batch_size),
                callbacks=[*callbacks, stop_at_signals],
                shuffle=False,
                verbose=verbose,
            )
            if model.stop_training:
                break
        if rule.ended():
            logger.info(
                "Ended after step %d: the learning rate, %.3g, has fallen below --min_learning_rate=%g",
                int(model.step),
                float(model.optimizer.learning_rate),
                config.min_learning_rate,
            )


def _last_step(config: Config, model: LatentVariableModel, rule: LearningRateRule, steps_per_epoch: int) -> int:
    """Returns the step at which training ends, 0 where there is nothing to train."""
    if not model.trainable_variables:
        return 0
    if rule.ended():
        return int(model.step)
    last = config.num_epochs * steps_per_epoch
    return min(last, config.max_steps) if config.max_steps else last


def _warn_of_settings(config: Config, entries_at_once: int, devices: int) -> None:
    """Warns of settings by which examples are computed twice, derivatives are rough, or parts of a batch are small."""
    if config.batch_size % devices:
        logger.warning(
            "--batch_size=%d is no multiple of the %d devices: some compute the same examples",
            config.batch_size,
            devices,
        )
    if config.takes_differences and config.data == "text" and config.decoder == "cnn":
        logger.warning(
            "--hvp=%s: takes differences of gradients, which jump at the kinks of the relus of --decoder=cnn; the "
            "derivative may be several times too long; expected exact",
            config.hvp,
        )
    _warn_of_small_parts(config, entries_at_once, devices)


def _warn_of_small_parts(config: Config, entries_at_once: int, devices: int) -> None:
    """Warns where the batch size has so few divisors that its equal parts are far smaller than they might be."""
    batch = config.batch_size // math.gcd(config.batch_size, devices)
    entries = TASKS[config.data].example(config).shape.num_elements()
    fit = min(batch, max(1, entries_at_once // entries))
    taken = largest_part(batch, entries, entries_at_once)
    if entries_at_once and taken <= fit // 2:
        logger.warning(
            "--batch_size=%d: of the largest examples %d are computed at a time where %d might be, since a batch is "
            "taken in equal parts; expected a number with more divisors",
            config.batch_size,
            taken,
            fit,
        )


def _from_anywhere(config: Config) -> Config:
    """Returns settings whose folders of data are found from whatever folder the run is evaluated in."""
    folders = {name: getattr(config, name) for name in ("data_dir", "manual_dir")}
    absolute = {name: os.path.abspath(os.path.expanduser(path)) for name, path in folders.items() if path}
    return dataclasses.replace(config, **absolute)


def _kernels(run: RunFolder, config: Config) -> str:
    """Returns the name of the kernels to train with, which flags.txt is to hold: those of a run in the folder, if any.

    So a run goes on, and is evaluated, with the same kernels on whatever device.
    """
    if config.kernels == "bfloat16" and not multiplies_bfloat16():
        logger.warning(
            "--kernels=bfloat16: this processor has no products of that type; expected auto, whose steps are quicker"
        )
    if config.kernels != "auto" or run.differing(config):  # What differs is told when the folder is opened.
        return config.kernels
    if run.is_resumable():
        config = dataclasses.replace(config, kernels=run.read_config().kernels)
    config = dataclasses.replace(config, kernels=kernels(config))
    if config.kernels == "hybrid" and not on_gpu():
        logger.info("Kernels: hybrid; XLA does not compile steps as a whole")
    return config.kernels


def _keep_vocabulary(run: RunFolder, vocabulary: Vocabulary | None) -> None:
    """Writes the vocabulary into the folder, where whatever comes later finds it, or checks that it is the same."""
    if vocabulary is None:
        return
    path = run.path / VOCABULARY_FILE
    if not (path.exists() and run.is_begun()):
        vocabulary.write(path)
    elif Vocabulary.read(path) != vocabulary:
        raise UserError(f"--run_dir={run.path} holds a run with another vocabulary: choose another --run_dir")


def _fits(step: int, last: int, steps_per_epoch: int) -> list[tuple[int, int, int]]:
    """Splits the steps still to do into calls of `fit`, whose epochs all have one length.

    Returns:
      (initial_epoch, epochs, steps_per_epoch) of each call: the rest of an epoch that was begun, the whole epochs,
      and the part of an epoch before the last step.
    """
    fits = []
    while step < last:
        epoch, within = divmod(step, steps_per_epoch)
        whole = (last - step) // steps_per_epoch
        if within or not whole:
            steps = min(steps_per_epoch - within, last - step)
            fits.append((epoch, epoch + 1, steps))
        else:
            steps = whole * steps_per_epoch
            fits.append((epoch, epoch + whole, steps_per_epoch))
        step += steps
    return fits

"""Runs that an analysis needs: trained and evaluated once, found again afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from sa_vae_tf import interrupts
from sa_vae_tf.checksums import sha256
from sa_vae_tf.data.preparation import fingerprint
from sa_vae_tf.errors import Interrupted, TrainingDiverged, UserError, WorkerLost
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.messages import set_up_logging
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.sources import check_kept_sources
from sa_vae_tf.training.train import train

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# Of an evaluation that is kept, by which name it tells what was asked for.
ASKED = "asked"


def check_runs(configs: Sequence[Config], base: Config) -> None:
    """Checks, before anything is trained, that no run folder under --runs is in the way.

    One whose data files have changed since it began is. Settings that no run takes from `base` are told.

    Args:
      configs: settings of the runs; `run_dir` names the folder.
      base: the settings that they were made from.

    Raises:
      UserError: if a folder holds a run with other settings, more epochs or steps, or of other data.
    """
    for config in configs:
        run = RunFolder(config.run_dir, "runs")
        check_kept_sources(run)
        differing = run.differing(config)
        if run.epochs() > config.num_epochs:
            differing.append(f"--num_epochs is {run.epochs()} there and {config.num_epochs} here")
        steps = max((line["step"] for line in run.read_metrics()), default=0)
        if 0 < config.max_steps < steps:
            differing.append(f"it has {steps} steps and --max_steps is {config.max_steps} here")
        if differing:
            raise UserError(
                f"--runs: {run.path} holds a run with other settings ({'; '.join(differing)}): "
                "choose another --runs, or give the same settings"
            )
    if unused := _unused(configs, base):
        logger.info("Not used, since the rows set it themselves: %s", ", ".join(unused))


def _unused(configs: Sequence[Config], base: Config) -> list[str]:
    """Returns the settings of `base`, but for defaults, that none of these runs has."""
    given = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    defaults = {**{field.name: field.default for field in dataclasses.fields(base)}, "run_dir": base.default_run_dir}
    return [
        f"--{name}={value}"
        for name, value in given.items()
        if value not in ("", defaults[name]) and all(getattr(config, name) != value for config in configs)
    ]


def evaluated(config: Config, name: str, **options: Any) -> dict[str, Any]:
    """Returns the evaluation of the run of these settings, which is trained first if it is not there.

    Args:
      config: settings; `run_dir` names the folder.
      name: of the JSON file in the folder that keeps the evaluation, and for which length of training it was made.
      **options: of `evaluate`.

    Raises:
      WorkerLost: if the process that trains and evaluates is ended.
    """
    run = RunFolder(config.run_dir)
    path = run.path / name
    if path.exists() and not run.differing(config):
        found = read_results(path)
        if found.pop(ASKED, None) == _asked(config):
            return found
    logger.info("Run %s", run.path)
    # TensorFlow keeps what it has compiled until its process ends: dozens of runs in one would fill the memory.
    return in_process(_train_and_evaluate, config, name, options)


def trained(config: Config) -> RunFolder:
    """Returns the run of these settings, trained in a process of its own, if it is not there whole.

    Raises:
      WorkerLost: if that process is ended.
    """
    return in_process(_train, config)


def _asked(config: Config) -> dict[str, Any]:
    """Returns what may change without making it another run, and changes its evaluation."""
    asked = {name: getattr(config, name) for name in ("num_epochs", "max_steps", "test_file")}
    if config.test_file:
        asked["test_sha256"] = sha256(*(file.path for file in fingerprint(config.test_file)))
    return asked


def read_results(path: Path) -> dict[str, Any]:
    """Returns what `evaluate` found, from its JSON file.

    Raises:
      UserError: if it is damaged.
    """
    try:
        results = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        results = None
    if not isinstance(results, dict):
        raise UserError(f"{path}: damaged; expected the results of an evaluation (delete it to evaluate the run anew)")
    return results


def in_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Returns what a function returns in a process of its own, which leaves Ctrl-C to this one and ends with it.

    Raises:
      WorkerLost: if that process is ended.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sending, function, arguments))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    sending.close()
    with interrupts.raised():
        try:
            result, error, where = receiving.recv()
        except EOFError:
            raise WorkerLost(
                "the process that trains and evaluates was ended, perhaps since memory was short: the same command "
                "goes on"
            ) from None
        finally:
            # A training ends after its step; who does not want to wait for it interrupts again.
            process.terminate()
            process.join()
    if error:
        raise error from RuntimeError(where)
    return result


def _send_result(sending: Connection, function: Callable, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sending.send((function(*arguments), None, ""))
    except BaseException as error:
        with contextlib.suppress(BrokenPipeError):  # Who has interrupted waits for the end, and for no result.
            sending.send((None, error, traceback.format_exc()))  # Pickled, it has no traceback of its own.


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _train(config: Config) -> RunFolder:
    set_up_logging()
    try:
        return train(config)
    except Interrupted as interrupted:
        logger.info("%s", interrupted)
        sys.exit(interrupted.status)
    except (UserError, TrainingDiverged) as error:  # Which folder, --runs says here.
        raise type(error)(str(error).replace("--run_dir=", "--runs: ").replace("--run_dir", "--runs")) from error


def _train_and_evaluate(config: Config, name: str, options: dict[str, Any]) -> dict[str, Any]:
    run = _train(config)
    results = evaluate(run, **options)
    run.write_results(name, {**results, ASKED: _asked(config)})
    return results


def spread(values: npt.ArrayLike) -> str:
    """Returns mean and standard deviation over seeds, or of one seed its value; of None, what is no number."""
    values = np.array(values, float)
    mean = f"{round(float(np.mean(values)), 2) + 0.0:.2f}"  # No "-0.00".
    return f"{mean} ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else mean

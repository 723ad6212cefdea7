"""The devices of --strategy, and what the environment has to say about other workers."""

from __future__ import annotations

import functools
import json
import logging
import os
import re

import tensorflow as tf

from sa_vae_tf.data.pipeline import Share
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import Config

logger = logging.getLogger(__name__)

CLUSTER = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'


def make_strategy(config: Config) -> tf.distribute.Strategy | None:
    """Returns the strategy of these settings, None for --strategy=none; to be called before anything is computed.

    Raises:
      UserError: if there are fewer devices than asked for, or TF_CONFIG does not describe the workers.
    """
    if config.strategy == "multi_worker":
        worker()
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.OpError as error:
            raise UserError(f"--strategy=multi_worker: the workers do not find each other ({error.message})") from None
    if config.strategy == "mirrored":
        return _mirrored(tuple(_local_devices(config.replicas)))
    return None


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """Returns the one strategy of these devices: to TensorFlow the messages of a second would be those of the first."""
    return tf.distribute.MirroredStrategy(devices)


def worker() -> Share:
    """Returns which of the workers of TF_CONFIG this one is.

    Raises:
      UserError: if TF_CONFIG does not describe them.
    """
    value = os.environ.get("TF_CONFIG", "")
    wrong = UserError(f"--strategy=multi_worker: TF_CONFIG={value}: expected {CLUSTER}")
    try:
        described = json.loads(value)
        [workers] = described["cluster"].values()
        kind, index = described["task"]["type"], described["task"]["index"]
        kinds = {*described["cluster"], kind}
        right = kinds == {"worker"} and all(re.fullmatch(r"\S+:\d+", address) for address in workers)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wrong from None
    if not right or type(index) is not int or index not in range(len(workers)):
        raise wrong
    return Share(index, len(workers))


def _local_devices(replicas: int) -> list[str]:
    gpus = tf.config.get_visible_devices("GPU")
    if gpus and replicas > len(gpus):
        raise UserError(f"--replicas={replicas}: TensorFlow sees {len(gpus)} GPUs; expected at most as many")
    if gpus:
        return [f"GPU:{number}" for number in range(replicas or len(gpus))]
    [cpu, *_] = tf.config.list_physical_devices("CPU")
    cores = len(os.sched_getaffinity(0))
    if replicas > cores:
        logger.warning("--replicas=%d: more devices than cores, %d, take longer", replicas, cores)
    wanted = [tf.config.LogicalDeviceConfiguration()] * (replicas or 1)
    try:
        tf.config.set_logical_device_configuration(cpu, wanted)
        # Each has threads of its own, which wait for no other: TensorFlow reads this when it makes its devices.
        os.environ["TF_OVERRIDE_GLOBAL_THREADPOOL"] = "1"
        tf.config.threading.set_intra_op_parallelism_threads(max(1, cores // len(wanted)))
    except RuntimeError:  # TensorFlow has begun: what there is must do.
        if len(tf.config.list_logical_devices("CPU")) < len(wanted):
            raise UserError(f"--replicas={replicas}: TensorFlow has begun with fewer logical CPUs") from None
    return [f"CPU:{number}" for number in range(len(wanted))]

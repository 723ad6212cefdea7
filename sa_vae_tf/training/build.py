"""From settings to a compiled model."""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
from pathlib import Path

import keras
import tensorflow as tf

from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.compilation import compiles, on_gpu
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.kept_steps import keep_in_memory
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.replicas import Replicas
from sa_vae_tf.training.schedules import kl_weight
from sa_vae_tf.training.tasks import TASKS

logger = logging.getLogger(__name__)

DRIVER = Path("/proc/driver/nvidia/version")


def set_up_tensorflow(config: Config) -> None:
    """Makes TensorFlow use the device and the precision of the settings, and repeat itself where they ask for that.

    To be called before anything is computed.

    Raises:
      UserError: if a GPU is asked for and there is none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if config.device == "gpu" and not gpus:
        raise UserError("--device=gpu: TensorFlow sees no GPU; expected one, or --device=auto or cpu")
    if config.device == "auto" and not gpus and DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") is None:
        logger.warning(
            "TensorFlow sees no GPU, though there is a driver of NVIDIA: expected its libraries, by pip install -e "
            "'.[gpu]', or --device=cpu; TF_CPP_MIN_LOG_LEVEL=0 before the command tells more"
        )
    # TensorFlow would take memory of every GPU that it sees.
    used = {"none": 1, "mirrored": config.replicas or None}.get(config.strategy)
    with contextlib.suppress(RuntimeError):  # It has begun with the devices of another run.
        tf.config.set_visible_devices([] if config.device == "cpu" else gpus[:used], "GPU")
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(config.tensor_float_32 and not config.takes_differences)
    if config.data == "image" or not compiles(config):
        # Where TensorFlow runs the loops of a refinement it makes sums of a large PixelCNN fail:
        # github.com/tensorflow/tensorflow/issues/23780
        tf.config.optimizer.set_experimental_options({"arithmetic_optimization": False})


def build_model(
    config: Config,
    vocabulary: Vocabulary | None = None,
    steps_per_epoch: int = 1,
    strategy: tf.distribute.Strategy | None = None,
) -> LatentVariableModel:
    """Returns the compiled model of these settings with its initial weights.

    Args:
      config: settings.
      vocabulary: of text.
      steps_per_epoch: batches in an epoch, for the schedules of training that are given in epochs.
      strategy: that spreads each batch over several devices; None for one.
    """

    make = functools.partial(_model, config, vocabulary, steps_per_epoch)
    model = make()
    if steps := _steps_worth_keeping(config):
        part = _largest_part(config, vocabulary, strategy.num_replicas_in_sync if strategy else 1)
        model.settings = keep_in_memory(model, part, steps, config.kept_mib * 2**20)
    kinds = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    optimizer = kinds[config.optimizer](config.learning_rate, global_clipnorm=config.clip_norm or None)
    # What is spread is compiled device by device.
    model.compile(optimizer=optimizer, jit_compile=compiles(config) and strategy is None)
    optimizer.build(model.trainable_variables)
    if strategy:
        model.replicas = Replicas(strategy, model, make, compiles(config), TASKS[config.data].normalises_batches)
    return model


def _model(config: Config, vocabulary: Vocabulary | None, steps_per_epoch: int) -> LatentVariableModel:
    task, method = TASKS[config.data], METHODS[config.method]
    return LatentVariableModel(
        encoder=task.encoder(config, vocabulary) if method.encoder else None,
        decoder=task.decoder(config, vocabulary),
        method=config.method,
        latent_dim=config.latent_dim,
        settings=config.refinement_settings(),
        steps=config.steps_at(0),
        svi_init=config.svi_init,
        path_weights=config.path_weights,
        kl_weight=functools.partial(
            kl_weight,
            start=config.kl_start,
            warmup_steps=config.kl_warmup_epochs * steps_per_epoch,
            cycle_steps=config.kl_cycle_epochs * steps_per_epoch,
        ),
        free_bits=config.free_bits,
        skip_norm=config.skip_norm or math.inf,
        entries_at_once=_entries_at_once(config, vocabulary),
        seed=config.seed,
    )


def _steps_worth_keeping(config: Config) -> int:
    """Returns of how many refinement steps, at most, the reverse pass may find something kept."""
    if not METHODS[config.method].differentiates or not config.kept_mib:
        return 0
    return config.refinement_settings().steps_that_may_keep(max(config.steps_by_epoch().values()))


def _entries_at_once(config: Config, vocabulary: Vocabulary | None) -> int:
    # A clip over the batch needs all of it.
    return 0 if config.clips_batches else TASKS[config.data].entries_at_once(config, vocabulary)


def _largest_part(config: Config, vocabulary: Vocabulary | None, devices: int) -> tf.TensorSpec:
    """Returns what the decoders of a training step are given at once at most, `x` of a part of a batch.

    That is the parts of all devices that share a memory.
    """
    example = TASKS[config.data].example(config)
    size = example.shape.num_elements()
    entries = _entries_at_once(config, vocabulary) or config.batch_size * size
    rows = config.batch_size // math.gcd(config.batch_size, devices)  # of a device, see `replicas`
    sharing = devices if config.strategy == "mirrored" and not on_gpu() else 1
    examples = sharing * min(rows, max(1, entries // size))
    return tf.TensorSpec([examples, *example.shape], example.dtype)

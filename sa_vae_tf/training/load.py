"""A trained model from its run folder, and the data that it was trained on."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, NamedTuple

from sa_vae_tf.data.images import ImageSplit
from sa_vae_tf.data.pipeline import Split
from sa_vae_tf.data.sequences import SequenceSplit
from sa_vae_tf.data.text import VOCABULARY_FILE
from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.models import LSTMDecoder
from sa_vae_tf.training.build import build_model, set_up_tensorflow
from sa_vae_tf.training.checkpoints import Checkpoints
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.run_folder import RunFolder
from sa_vae_tf.training.sources import check_sources, explaining_moved_files, from_anywhere
from sa_vae_tf.training.tasks import TASKS, evaluated_split

logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A run's settings, its model with the weights that were best on the validation bound, and the words it knows."""

    config: Config
    model: LatentVariableModel
    vocabulary: Vocabulary | None
    vocabulary_file: Path | None


def load_best(run: RunFolder, device: str = "", kernels: str = "") -> Loaded:
    """Loads the model of a run, and makes TensorFlow use the run's device and precision.

    Args:
      run: its folder.
      device, kernels: to use in place of the run's own settings of these names; empty for those.

    Raises:
      UserError: if there is no run or no checkpoint that can be read.
    """
    other: dict[str, Any] = {name: value for name, value in (("device", device), ("kernels", kernels)) if value}
    config = from_anywhere(run, dataclasses.replace(run.read_config(), **other))
    set_up_tensorflow(dataclasses.replace(config, strategy="none", replicas=0))  # One device is enough from here on.
    return _restored(run, config)


def _restored(run: RunFolder, config: Config) -> Loaded:
    file = run.path / VOCABULARY_FILE
    vocabulary_file = file if file.exists() else None
    if config.data == "text" and not vocabulary_file:
        raise UserError(f"--{run.flag}={run.path}: no {VOCABULARY_FILE} there; train the run first")
    vocabulary = Vocabulary.read(file) if vocabulary_file else None
    # Nothing is differentiated, and so nothing kept.
    model = build_model(dataclasses.replace(config, kept_mib=0), vocabulary)
    if not Checkpoints(run, model).restore_best():
        raise UserError(f"--{run.flag}={run.path}: no checkpoint yet; train the run first")
    if model.trainable_variables and not int(model.step):
        message = "--%s=%s: no step has been taken yet; its weights are those that it began with"
        logger.warning(message, run.flag, run.path)
    # As many refinement steps as in the epoch that the checkpoint is from.
    model.steps = config.steps_at(run.epoch_of(int(model.step)))
    return Loaded(config, model, vocabulary, vocabulary_file)


def read_split(
    run: RunFolder, config: Config, vocabulary_file: Path | None, split: str = ""
) -> tuple[str, Split | SequenceSplit | ImageSplit]:
    """Returns a split of a run's data, and its name, from files that hold what they held when the run began.

    Args:
      run: its folder.
      config, vocabulary_file: as `load_best` returned them; another `test_file` may be in the settings.
      split: train, validation or test; empty for test where there is one, else validation.

    Raises:
      UserError: if one of the files cannot be read or has changed.
    """
    with explaining_moved_files(run):
        split = split or evaluated_split(config)
        data = TASKS[config.data].data(config, (split,), vocabulary_file)
    check_sources(run, data.sources)
    return split, data.splits[split]


def start_encoder(model: LatentVariableModel, config: Config, vocabulary: Vocabulary | None) -> None:
    """Takes the encoder's embedding and LSTM from a trained language model (+ INIT of Table 2).

    Raises:
      UserError: if --encoder_init does not name the run of a language model that fits.
    """
    flag = f"--encoder_init={config.encoder_init}"
    run = RunFolder(config.encoder_init, flag="encoder_init")
    loaded = _restored(run, run.read_config())
    decoder = loaded.model.decoder
    if loaded.config.method != "lm" or not isinstance(decoder, LSTMDecoder):
        raise UserError(f"{flag}: expected the run folder of --method=lm --decoder=lstm")
    if loaded.vocabulary != vocabulary:
        raise UserError(f"{flag}: the language model has another vocabulary")
    for name in ("embedding_dim", "units", "layers"):
        theirs, ours = getattr(loaded.config, name), getattr(config, name)
        if theirs != ours:
            raise UserError(f"{flag}: the language model has --{name}={theirs}, expected {ours}")
    assert model.encoder is not None
    model.encoder.start_from(decoder)

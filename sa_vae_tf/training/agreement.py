"""What all workers of a training must share: each reads its data and its flags by itself."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sa_vae_tf.data.vocabulary import Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.config import FREE_TO_CHANGE, Config
from sa_vae_tf.training.replicas import Replicas

# Settings that a worker may have for itself: files may lie elsewhere, worker 0 starts the encoder, and kernels are
# those of worker 0's run folder.
OWN = {*FREE_TO_CHANGE, "train_file", "val_file", "data_file", "vocab_file", "encoder_init", "kernels"}


def check_agreement(
    replicas: Replicas, config: Config, sources: Mapping[str, Mapping[str, Any]], vocabulary: Vocabulary | None
) -> None:
    """Checks that all workers have the same settings, words and data.

    Args:
      replicas: of the model.
      config: settings of this worker.
      sources: what its data was read from, as `sources.check_sources` returns it.
      vocabulary: of its data.

    Raises:
      UserError: in every worker, if one differs.
    """
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in OWN}
    content = {split: state["sha256"] for split, state in sources.items()}
    shared = json.dumps([settings, content, vocabulary.words if vocabulary else None], sort_keys=True)
    if not replicas.agree(int(hashlib.sha256(shared.encode()).hexdigest()[:10], 16)):
        raise UserError(
            "--strategy=multi_worker: the workers differ in settings, words or data; expected on each the same flags, "
            "and files with the same content"
        )

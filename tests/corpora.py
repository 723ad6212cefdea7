"""A tiny corpus of text that tests write themselves."""

import random
from pathlib import Path
from typing import Any

from sa_vae_tf.training.config import Config

WORDS = ["the", "a", "cat", "dog", "bird", "sees", "likes", "finds", "big", "small", "red", "and"]


def write(folder: Path, seed: int = 0, lines: int = 50) -> dict[str, str]:
    """Writes train.txt, val.txt and test.txt of 3 to 14 words a line; returns the flags that name them."""
    rng = random.Random(seed)
    flags = {}
    for name, count in (("train", lines), ("val", 20), ("test", 20)):
        path = folder / f"{name}.txt"
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 14))) for _ in range(count)]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        flags[f"{name}_file"] = str(path)
    return flags


def tiny(run_dir: str | Path, data_dir: str, files: dict[str, str], **changes: Any) -> Config:
    """Returns settings of a run on such a corpus that takes a second: five steps an epoch, three shapes of batches."""
    settings: dict[str, Any] = {
        "run_dir": str(run_dir),
        "data": "text",
        "data_dir": data_dir,
        **files,
        "length_multiple": 6,
        "embedding_dim": 4,
        "units": 4,
        "latent_dim": 3,
        "cnn_size": "small",
        "cnn_channels": 4,
        "cnn_internal_channels": 4,
        "svi_steps": 2,
        "batch_size": 10,
        "eval_batch_size": 10,
        "num_epochs": 1,
        "learning_rate": 0.1,
        "jit_compile": False,
    }
    return Config(**(settings | changes))

"""The README's code runs as it stands."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def names():
    """What is defined after the training step and the check of its derivative."""
    step, check = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[:2]
    names: dict = {}
    exec(step, names)
    exec(check, names)
    return names


def test_the_training_step_of_the_readme_learns(names):
    keras.utils.set_random_seed(1)
    encoder = keras.Sequential([keras.Input((12,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(4)])
    decoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(12)])
    model = names["MyVAE"](encoder, decoder)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    # Each example is one of two patterns, which a latent variable can tell apart.
    x = np.repeat(np.random.default_rng(1).integers(0, 2, [200, 1]), 12, 1).astype("float32")
    before = [w.numpy() for w in model.trainable_weights]
    history = model.fit(x, batch_size=50, epochs=10, verbose=0).history["bound"]
    assert all(np.any(w.numpy() != b) for w, b in zip(model.trainable_weights, before, strict=True))
    # Without latent variable the best bound is 12 log 2 = 8.3 nats.
    assert history[-1] < 6 < 8 < history[0]

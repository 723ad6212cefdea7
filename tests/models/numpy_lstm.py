"""An LSTM and a softmax in NumPy, written from their equations, and other helpers of the models' tests."""

import itertools

import keras
import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm(inputs: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, bias: np.ndarray, *, hidden: np.ndarray):
    """Returns the hidden states, [batch, time, units], from inputs [batch, time, size] and the first hidden state."""
    units = hidden.shape[-1]
    gate = [slice(k * units, (k + 1) * units) for k in range(4)]  # Input, forget, cell, output.
    cell, states = np.zeros_like(hidden), []
    for t in range(inputs.shape[1]):
        total = inputs[:, t] @ kernel + hidden @ recurrent + bias
        cell = sigmoid(total[:, gate[1]]) * cell + sigmoid(total[:, gate[0]]) * np.tanh(total[:, gate[2]])
        hidden = sigmoid(total[:, gate[3]]) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states, 1)


def negative_log_likelihood(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns -log p of the targets, [batch], from scores [batch, time, vocabulary]."""
    log_probs = logits - np.log(np.sum(np.exp(logits), -1, keepdims=True))
    return -np.sum(np.take_along_axis(log_probs, targets[..., None], -1)[..., 0], -1)


def all_sequences(vocabulary: int, length: int) -> np.ndarray:
    """Returns every sequence of that length, [vocabulary ** length, length]."""
    return np.array(list(itertools.product(range(vocabulary), repeat=length)), np.int32).reshape(-1, length)


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns a model's weights by name, those of a layer as layer/name."""
    prefixes = ("decoder/", "encoder/")
    names = [v.path.removeprefix(prefixes[0]).removeprefix(prefixes[1]) for v in model.trainable_variables]
    return {name: v.numpy() for name, v in zip(names, model.trainable_variables, strict=True)}

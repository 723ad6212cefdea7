"""Text from a trained run: samples, reconstructions, and what lies between two texts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sa_vae_tf.data.sequences import BATCH
from sa_vae_tf.data.text_files import read_lines
from sa_vae_tf.data.vocabulary import PAD, SPECIAL, Vocabulary
from sa_vae_tf.errors import UserError
from sa_vae_tf.generation import interpolate
from sa_vae_tf.generation.text import TextGenerator
from sa_vae_tf.progress import Progress, unseen
from sa_vae_tf.samples.request import FROM_INPUT, Request, check_latent
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.run_folder import RunFolder

BATCH_SIZE = 50


class Origins(NamedTuple):
    """Where texts are written from.

    Attributes:
      z: [count, latent]; None without latent variable.
      described: what is told of each, by name.
    """

    z: tf.Tensor | None
    described: list[dict[str, Any]]


def samples(run: RunFolder, request: Request, progress: Progress = unseen) -> Iterator[dict[str, Any]]:
    """Writes text with the best checkpoint of a run.

    Args:
      run: folder of the run, of --data=text.
      request: what to write.
      progress: told of the texts that are written, batch by batch.

    Yields:
      For each text: its `mode`; for 'reconstruct' the `input` and the bound on its NLL in nats, `nll_bound`, for
      'interpolate' the two inputs, `from` and `to`, and the `position` between them in [0, 1]; the `text`, and its
      `log_probability` log p(text | z) in nats, without --no_unk, temperature and the like.

    Raises:
      UserError: if the run cannot be read or cannot do it, or the input is not such text.
    """
    config = run.read_config()
    alike = request.deterministic and (request.mode in FROM_INPUT or config.method == "lm")
    _check(run, config, request, alike)
    lines = _read(request, config.max_length) if request.input else []
    _, model, vocabulary, _ = load_best(run, request.device)
    assert vocabulary is not None
    if request.mode == "prior":
        copies = 1
        origins = _from_prior(request, model, request.num_samples or (1 if alike else 10))
    else:
        copies = request.num_samples or 1
        origins = _from_lines(request, model, vocabulary, lines)
    generator = TextGenerator(
        model.decoder, vocabulary, request.sampling_settings(config.max_length + 1), request.beam or 0, request.no_unk
    )
    total, size = copies * len(origins.described), request.batch_size or BATCH_SIZE
    for first in range(0, total, size):
        index = np.arange(first, min(first + size, total))
        origin = index // copies
        texts = generator(None if origins.z is None else tf.gather(origins.z, origin), index, (request.seed, 2))
        for number, text in zip(origin, texts, strict=True):
            yield {"mode": request.mode, **origins.described[number], **text._asdict()}
        progress(first + len(index), total)


def _check(run: RunFolder, config: Config, request: Request, alike: bool) -> None:
    if config.data != "text":
        raise UserError(
            f"--run_dir={run.path}: a run of --data={config.data} has no words; expected one of --data=text"
        )
    request.check_draws()
    if request.mode in FROM_INPUT and not request.input:
        raise UserError(f"--input: expected a text file, an example a line, for --mode={request.mode}")
    check_latent(config, request)
    if alike and (request.num_samples or 1) > 1:
        raise UserError(
            f"--num_samples={request.num_samples}: they would be all alike; expected a --temperature above 0 besides"
        )


def _read(request: Request, max_length: int) -> list[list[str]]:
    """Returns the words of each line of the input."""
    try:
        lines = list(read_lines(request.input))
    except UserError as error:  # It names the file.
        raise UserError(f"--input={error}") from None
    for number, words in enumerate(lines, 1):
        where = f"--input={request.input}: line {number}"
        if not words:
            raise UserError(f"{where} is blank; expected an example a line")
        if len(words) > max_length:
            raise UserError(f"{where} has {len(words):,} words; expected at most {max_length}, the run's --max_length")
    least = 2 if request.mode == "interpolate" else 1
    if len(lines) < least:
        raise UserError(
            f"--input={request.input}: lines in it: {len(lines)}; expected at least {least} for --mode={request.mode}"
        )
    return lines


def _from_prior(request: Request, model: LatentVariableModel, count: int) -> Origins:
    seed = tf.constant([request.seed, 1])
    return Origins(model.draw_from_prior(np.arange(count), seed), [{}] * count)


def _from_lines(
    request: Request, model: LatentVariableModel, vocabulary: Vocabulary, lines: list[list[str]]
) -> Origins:
    known = set(vocabulary.words[len(SPECIAL) :])
    if not any(known.intersection(words) for words in lines):
        raise UserError(f"--input={request.input}: the run's vocabulary knows none of its words")
    means, bounds = _posteriors(request, model, [vocabulary.encode(words) for words in lines])
    texts = [" ".join(words) for words in lines]
    if request.mode == "reconstruct":
        described = [{"input": text, "nll_bound": bound} for text, bound in zip(texts, bounds.tolist(), strict=True)]
        return Origins(means, described)
    points = request.points or 5
    z = interpolate(means[:-1], means[1:], points)
    described = [
        {"from": one, "to": other, "position": point / (points - 1)}
        for one, other in itertools.pairwise(texts)
        for point in range(points)
    ]
    return Origins(tf.reshape(z, [-1, model.latent_dim]), described)


def _posteriors(
    request: Request, model: LatentVariableModel, examples: list[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the refined posterior mean, [count, latent], and the bound in nats, [count], of each example."""

    @tf.function(autograph=False, input_signature=[BATCH])
    def posterior(batch: dict[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
        inferred = model.infer(batch, request.svi_steps, request.svi_init, request.seed)
        return inferred.posterior.mean, inferred.bound_at(inferred.posterior)

    batches = []
    size = request.batch_size or BATCH_SIZE
    for first in range(0, len(examples), size):
        some = examples[first : first + size]
        x = keras.utils.pad_sequences(some, padding="post", value=PAD)
        batches.append(posterior({"x": x, "index": first + np.arange(len(some))}))
    means, bounds = zip(*batches, strict=True)
    return np.concatenate(means), np.concatenate(bounds)

"""Text from a trained run: samples, reconstructions, and what lies between two texts."""

from __future__ import annotations

import dataclasses
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
from sa_vae_tf.generation import SamplingSettings, draw_from_prior, interpolate
from sa_vae_tf.generation.text import TextGenerator
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.model import LatentVariableModel
from sa_vae_tf.training.run_folder import RunFolder

FROM_INPUT = ("reconstruct", "interpolate")
MODES = ("prior", *FROM_INPUT)
# What is asked of runs of text alone.
OF_TEXT = ("temperature", "top_k", "top_p", "beam", "no_unk", "max_length")
BATCH_SIZE = 50


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a run, each a flag of the same name of bin/sample.py; None for its default.

    Attributes:
      mode: 'prior' draws z from N(0, I), 'reconstruct' takes the posterior mean of each input, 'interpolate' points on
        the way from the posterior mean of each input to that of the next.
      input: for all modes but 'prior' a text file, an example a line; or images, of which those for testing are taken
        where there are some, by default the run's validation images.
      num_samples: number of texts, for 'reconstruct' and 'interpolate' from each z; 10 for 'prior', else 1. Of images
        those drawn, 64, or started from, 32 for 'reconstruct' and 9 for 'interpolate'.
      points: number of points from one input to the next, both ends included; 5.
      temperature, top_k, top_p: of draws of words; see `SamplingSettings`. The temperature is 1 for 'prior', else 0.
      beam: number of beginnings kept by beam search, in place of draws.
      no_unk: never write the unknown word.
      max_length: largest number of words, the end included; that of the longest text the run may have been trained on.
      batch_size: texts written or images drawn at once.
      seed: of all noise; a text depends on it and on its place among the texts alone.
      svi_steps: refinement steps of the posterior; as in training.
      svi_init: start of the refinement, 'encoder', 'zero' or 'random'; as in training.
      device: to use, as --device of training; as in training.
    """

    mode: str
    input: str = ""
    num_samples: int | None = None
    points: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    beam: int | None = None
    no_unk: bool = False
    max_length: int | None = None
    batch_size: int | None = None
    seed: int = 0
    svi_steps: int | None = None
    svi_init: str | None = None
    device: str = ""

    def __post_init__(self):
        self._only_for("input", FROM_INPUT)
        self._only_for("points", ("interpolate",))
        self._only_for("svi_steps", FROM_INPUT)
        self._only_for("svi_init", FROM_INPUT)
        self.sampling_settings(1)

    def check_draws(self) -> None:
        """Checks what is asked of the draws of words.

        Raises:
          UserError: if there are none that it has a meaning for.
        """
        if self.beam is not None:
            for name in ("temperature", "top_k", "top_p"):
                self._refuse(name, f"--beam={self.beam} takes the place of draws; expected one of the two")
        elif self.deterministic:
            for name in ("top_k", "top_p"):
                self._refuse(name, "has a meaning for draws alone; expected a --temperature above 0 besides")

    def _only_for(self, name: str, modes: tuple[str, ...]) -> None:
        if self.mode not in modes:
            self._refuse(name, f"has a meaning for --mode={' and '.join(modes)} alone, not --mode={self.mode}")

    def _refuse(self, name: str, why: str) -> None:
        if (value := getattr(self, name)) not in (None, ""):
            raise UserError(f"--{name}={value}: {why}")

    @property
    def deterministic(self) -> bool:
        """Whether z leaves nothing to chance."""
        return self.beam is not None or self._temperature == 0

    @property
    def _temperature(self) -> float:
        if self.temperature is None:
            return 1.0 if self.mode == "prior" else 0.0
        return self.temperature

    def sampling_settings(self, max_length: int) -> SamplingSettings:
        """Returns the settings of the draws."""
        top_p = 1.0 if self.top_p is None else self.top_p
        try:
            return SamplingSettings(self.max_length or max_length, self._temperature, self.top_k or 0, top_p)
        except ValueError as error:
            raise UserError(f"--{error}") from None


class Origins(NamedTuple):
    """Where texts are written from.

    Attributes:
      z: [count, latent]; None without latent variable.
      described: what is told of each, by name.
    """

    z: tf.Tensor | None
    described: list[dict[str, Any]]


def samples(run: RunFolder, request: Request) -> Iterator[dict[str, Any]]:
    """Writes text with the best checkpoint of a run.

    Args:
      run: folder of the run, of --data=text.
      request: what to write.

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


def check_latent(config: Config, request: Request) -> None:
    """Checks that the run has the latent variable, and the encoder, that is asked for.

    Raises:
      UserError: if it has not.
    """
    if request.mode in FROM_INPUT and not METHODS[config.method].latent:
        raise UserError(
            f"--mode={request.mode}: --method={config.method} has no latent variable; expected --mode=prior"
        )
    if request.svi_init == "encoder" and not METHODS[config.method].encoder:
        raise UserError(f"--svi_init=encoder: --method={config.method} has no encoder; expected zero or random")


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
    z = draw_from_prior(np.arange(count), model.latent_dim, seed) if model.method.latent else None
    return Origins(z, [{}] * count)


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
        assert inferred.refined is not None
        return inferred.refined.mean, inferred.bound_at(inferred.refined)

    batches = []
    size = request.batch_size or BATCH_SIZE
    for first in range(0, len(examples), size):
        some = examples[first : first + size]
        x = keras.utils.pad_sequences(some, padding="post", value=PAD)
        batches.append(posterior({"x": x, "index": first + np.arange(len(some))}))
    means, bounds = zip(*batches, strict=True)
    return np.concatenate(means), np.concatenate(bounds)

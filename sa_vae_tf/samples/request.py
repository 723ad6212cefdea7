"""What text or images are asked of a trained run."""

from __future__ import annotations

import dataclasses

from sa_vae_tf.errors import UserError
from sa_vae_tf.generation import SamplingSettings
from sa_vae_tf.inference import METHODS
from sa_vae_tf.training.checks import check_start
from sa_vae_tf.training.config import Config

FROM_INPUT = ("reconstruct", "interpolate")
MODES = ("prior", *FROM_INPUT)
# What is asked of runs of text alone.
OF_TEXT = ("temperature", "top_k", "top_p", "beam", "no_unk", "max_length")


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked of a run, each a flag of the same name of bin/sample.py; None for its default.

    Attributes:
      mode: 'prior' draws z from N(0, I), 'reconstruct' takes the posterior mean of each input, 'interpolate' points on
        the way from the posterior mean of each input to that of the next.
      input: for all modes but 'prior' a text file, an example a line; or images, of which those for testing are taken
        where there are some, by default the run's validation images.
      num_samples: number of texts, for 'reconstruct' and 'interpolate' from each z; 10 for 'prior', unless all would be
        alike, else 1. Of images those drawn, 64, or started from, 32 for 'reconstruct' and 9 for 'interpolate'.
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


def check_latent(config: Config, request: Request) -> None:
    """Checks that the run has the latent variable, and the encoder, that is asked for.

    Raises:
      UserError: if it has not.
    """
    if request.mode in FROM_INPUT and not METHODS[config.method].latent:
        raise UserError(
            f"--mode={request.mode}: --method={config.method} has no latent variable; expected --mode=prior"
        )
    check_start(config, request.svi_init)

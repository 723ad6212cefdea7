"""What settings may be: each on its own, and together."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import METHODS

if TYPE_CHECKING:
    from sa_vae_tf.training.config import Config

# Published corpora by kind of data.
CORPORA = {"text": ("yahoo_answers_yang", "ptb_mikolov"), "image": ("omniglot_burda", "mnist")}


def check(config: Config) -> None:
    """Checks settings.

    Raises:
      UserError: if one is out of its range, has no meaning for the kind of data, or does not go with another.
    """
    _check_fields(config)
    _check_ranges(config)
    _check_meanings(config)
    _check_shortened(config)
    _check_differences(config)
    _check_strategy(config)
    _check_batch_clips(config)
    of_data = {"synthetic": _check_synthetic, "text": _check_text, "image": _check_image}
    if config.data in of_data:
        of_data[config.data](config)
    for steps in config.steps_by_epoch().values():
        config.path_weights(steps)


def check_start(config: Config, svi_init: str | None) -> None:
    """Checks that the run has the encoder that a refinement is to start from.

    Raises:
      UserError: if it has not.
    """
    if svi_init == "encoder" and not METHODS[config.method].encoder:
        raise UserError(f"--svi_init=encoder: --method={config.method} has no encoder; expected zero or random")


def _check_fields(config: Config) -> None:
    for field in dataclasses.fields(config):
        value, low = getattr(config, field.name), field.metadata["low"]
        if isinstance(value, str) and (value != value.strip() or not value.isprintable()):
            raise UserError(f"--{field.name}={value!r}: expected one line without spaces at its ends")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{field.name}={value}: expected a finite number")
        if isinstance(value, int) and abs(value) >= 2**63:  # Python refuses to write very long ones in decimals.
            raise UserError(f"--{field.name}={value:#x}: expected at most {field.metadata['high']}")
        if low is not None and value < low:
            raise UserError(f"--{field.name}={value}: expected at least {low}")
        if isinstance(value, int) and value > field.metadata["high"]:
            raise UserError(f"--{field.name}={value}: expected at most {field.metadata['high']}")
        choices = field.metadata["choices"]
        if choices and value not in choices:
            raise UserError(f"--{field.name}={value}: expected one of {', '.join(choices)}")


def _check_ranges(config: Config) -> None:
    for name in ("dropout", "svi_momentum"):
        if getattr(config, name) >= 1:
            raise UserError(f"--{name}={getattr(config, name)}: expected a number in [0, 1)")
    if config.word_dropout > 1:
        raise UserError(f"--word_dropout={config.word_dropout}: expected a number in [0, 1]")
    if config.kl_cycle_epochs and not config.kl_warmup_epochs:
        raise UserError(
            f"--kl_cycle_epochs={config.kl_cycle_epochs}: expected --kl_warmup_epochs besides, to begin anew"
        )
    if config.lr_decay_always and not config.lr_decay_start_epoch:
        raise UserError("--lr_decay_always: expected --lr_decay_start_epoch of 1 or more besides")
    if config.kl_cycle_epochs and config.kl_cycle_epochs < config.kl_warmup_epochs:
        raise UserError(
            f"--kl_cycle_epochs={config.kl_cycle_epochs}: expected 0, or at least "
            f"--kl_warmup_epochs={config.kl_warmup_epochs}"
        )


def _check_meanings(config: Config) -> None:
    for field in dataclasses.fields(config):
        value, kinds = getattr(config, field.name), field.metadata["data"]
        if kinds and config.data not in kinds and value != field.default:
            raise UserError(
                f"--{field.name}={value}: has a meaning for --data={' and '.join(kinds)} alone, not "
                f"--data={config.data}"
            )


def _check_shortened(config: Config) -> None:
    """Checks what does not go with a refinement of which not every step, or not truly, is differentiated."""
    all_steps = {"svi_patience": 0, "reverse_steps": -1}
    shorter = [
        f"--{name}={getattr(config, name)}" for name, value in all_steps.items() if getattr(config, name) != value
    ]
    authors = ["--hvp=authors"] if config.hvp == "authors" else []
    if authors and shorter:
        raise UserError(f"{shorter[0]}: --hvp=authors goes through every step")
    if config.svi_patience and config.svi_clip_norm and config.clips_batches:
        raise UserError(f"--svi_patience={config.svi_patience}: --svi_clip_scope=batch makes examples depend on others")
    weighted = any(config.path_weights(steps) is not None for steps in config.steps_by_epoch().values())
    for other in authors + shorter:
        if weighted and METHODS[config.method].differentiates:
            raise UserError(f"--bound_weights={config.bound_weights}: {other} knows only --bound_weights=final")


def _check_differences(config: Config) -> None:
    if config.takes_differences and config.kernels == "bfloat16":
        raise UserError(
            f"--kernels=bfloat16: --hvp={config.hvp} takes differences of gradients, which such rounding hides; "
            "expected --hvp=exact, or other kernels"
        )


def _check_strategy(config: Config) -> None:
    if config.replicas and config.strategy != "mirrored":
        raise UserError(f"--replicas={config.replicas}: has a meaning for --strategy=mirrored alone")


def _check_batch_clips(config: Config) -> None:
    for name, whole in (("strategy", "none"), ("words_at_once", 0), ("images_at_once", 0)):
        if config.clips_batches and getattr(config, name) != whole:
            raise UserError(
                f"--{name}={getattr(config, name)}: --hvp=authors and --svi_clip_scope=batch clip over whole batches; "
                f"expected {whole}"
            )


def _check_synthetic(config: Config) -> None:
    if config.kernels not in ("auto", "fused"):
        raise UserError(f"--kernels={config.kernels}: --data=synthetic has one kind; expected auto or fused")
    if config.generator == "oracle" and config.latent_dim != 2:
        raise UserError(f"--latent_dim={config.latent_dim}: the oracle has 2; expected 2, or --generator=learned")
    if config.method == "lm" and config.generator == "oracle":
        raise UserError("--method=lm has no latent variable: it needs --generator=learned")


def _check_corpus(config: Config) -> None:
    known = CORPORA[config.data]
    if config.corpus and config.corpus not in known:
        raise UserError(f"--corpus={config.corpus}: expected one of {', '.join(known)} for --data={config.data}")


def _check_image(config: Config) -> None:
    _check_corpus(config)
    if not (config.corpus or config.data_file):
        raise UserError("--data=image: expected --data_file, or --corpus for a published one")
    size = config.image_height, config.image_width
    if not config.data_file and size != (28, 28):
        raise UserError(
            f"--corpus={config.corpus}: has images of 28 x 28; expected no --image_height={size[0]} "
            f"--image_width={size[1]}"
        )
    sizes = config.sizes("encoder_channels")
    if not sizes or min(sizes) < 1:
        raise UserError(f"--encoder_channels={config.encoder_channels}: expected positive numbers, as 64,64,64")
    if METHODS[config.method].encoder and min(size) < 2 ** len(sizes):
        raise UserError(
            f"--encoder_channels={config.encoder_channels}: {len(sizes)} blocks halve images of {size[0]} x {size[1]} "
            "to nothing; expected fewer numbers"
        )
    sizes = config.sizes("pixelcnn_kernels")
    if not sizes or any(size % 2 == 0 for size in sizes):
        raise UserError(f"--pixelcnn_kernels={config.pixelcnn_kernels}: expected odd numbers, as 9,7,5,3")


def _check_text(config: Config) -> None:
    _check_corpus(config)
    if not (config.corpus or config.train_file):
        raise UserError("--data=text: expected --train_file, or --corpus for a published one")
    if bool(config.train_file) != bool(config.val_file):
        given, missing = ("train", "val") if config.train_file else ("val", "train")
        raise UserError(f"--{given}_file={getattr(config, given + '_file')}: expected --{missing}_file besides")
    if config.encoder_init and not METHODS[config.method].encoder:
        raise UserError(f"--encoder_init={config.encoder_init}: --method={config.method} has no encoder")

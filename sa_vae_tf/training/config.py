"""The settings of a run: one dataclass, with a flag of the same name for every field (see `flags`)."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from sa_vae_tf.errors import UserError
from sa_vae_tf.inference import METHODS, PRODUCTS, SCOPES, RefinementSettings
from sa_vae_tf.kernels import KERNELS
from sa_vae_tf.models import DILATIONS
from sa_vae_tf.training.checks import CORPORA, check

# Settings that may differ between a run folder and the command that goes on with it: they do not change what a
# step computes, or no more than its rounding, its dropout and, where XLA compiled it on a GPU alone, its noise.
FREE_TO_CHANGE = (
    "run_dir", "data_dir", "manual_dir", "test_file", "num_epochs", "max_steps", "checkpoint_minutes",
    "checkpoint_steps", "log_steps", "device", "strategy", "replicas", "kept_mib",
)  # fmt: skip

# Kernels that --kernels=auto may come to, and itself.
CHOSEN = {"auto", "fused", "hybrid"}
# Refinement steps, whose path is kept.
MOST_STEPS = 100_000
# Kinds of data with symbols in an order.
SEQUENCES = ("synthetic", "text")


def _option(
    default: Any,
    help: str,
    choices: tuple[str, ...] | None = None,
    low: float | None = None,
    high: int = 2**31 - 1,
    data: str | tuple[str, ...] = (),
) -> Any:
    """Describes a setting; `data` names the kinds of data that it has a meaning for, if not for all."""
    data = (data,) if isinstance(data, str) else data
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "low": low, "high": high, "data": data}
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """Every setting of a training run, each a flag of the same name."""

    # The run.
    run_dir: str = _option("", "Folder of the run; empty: runs/<data>-<model>-<method>-<seed>.")
    seed: int = _option(1, "Seed of weights, order of examples and noise.", low=0, high=2**32 - 1)
    num_epochs: int = _option(20, "Passes over the training data.", low=0)
    max_steps: int = _option(
        0, "Stop after this many steps, or after num_epochs, whichever comes first; 0: after num_epochs.", low=0
    )
    batch_size: int = _option(50, "Examples in a training step.", low=1)
    words_at_once: int = _option(
        0, "Words of text, padding included, that a step gives the decoder at once; a longer batch is taken in equal "
        "parts, whose gradients are added, each clipped by itself where --hvp_clip_norm is set. 0: as many as make 60 "
        "million scores of the vocabulary, on a GPU all.",
        low=0, data="text",
    )  # fmt: skip
    images_at_once: int = _option(
        0, "Images, at most, that a step gives the decoder at once; a larger batch is taken in as few equal parts as "
        "can be, whose gradients are added, each clipped by itself where --hvp_clip_norm is set. 0: by the decoder's "
        "size (25 of 50 at the paper's), on a GPU all.",
        low=0, data="image",
    )  # fmt: skip
    kept_mib: int = _option(
        1024, "MiB of results of refinement steps, at most, that stay in memory for the reverse pass of --hvp=exact, "
        "on all parts of a CPU together or on each GPU; what does not fit is computed again.", low=0,
    )  # fmt: skip
    eval_batch_size: int = _option(
        250, "Examples evaluated at once; the results do not depend on it, unless refinement clips over a batch, which "
        "these then are (--hvp=authors, --svi_clip_scope=batch).", low=1,
    )  # fmt: skip
    max_eval_examples: int = _option(0, "Validation examples used after each epoch; 0: all.", low=0)
    checkpoint_minutes: float = _option(5.0, "Minutes between checkpoints within an epoch; 0: none.", low=0)
    checkpoint_steps: int = _option(0, "Steps between checkpoints within an epoch; 0: by minutes alone.", low=0)
    log_steps: int = _option(20, "Steps between TensorBoard points within an epoch.", low=1)
    device: str = _option("auto", "auto uses a GPU where there is one.", choices=("auto", "cpu", "gpu"))
    strategy: str = _option(
        "none", "Spread each batch over the GPUs of this machine (mirrored) or over the workers of TF_CONFIG.",
        choices=("none", "mirrored", "multi_worker"),
    )  # fmt: skip
    replicas: int = _option(
        0,
        "Devices of --strategy=mirrored: GPUs, 0 for all; without one, parts of the CPU, 0 for a single one, among "
        "which its cores are shared out: a device a core is mostly quicker than one of all cores, in more memory.",
        low=0,
    )
    jit_compile: bool = _option(
        True, "Let XLA compile training and evaluation steps as a whole, which draws other numbers; on a CPU it does "
        "so with fused or plain --kernels alone, and compiles pieces of a step with the others in any case.",
    )  # fmt: skip
    deterministic: bool = _option(
        False,
        "Ask for kernels that give the same bits in every run; no step is then compiled as a whole. On CPU, XLA's "
        "do so already.",
    )
    tensor_float_32: bool = _option(
        True, "Let a GPU round the factors of its products to eleven bits (TF32), as TensorFlow does by itself; off, "
        "and for --method=sa_vae with another --hvp than exact: products in full float32.",
    )  # fmt: skip

    # Data.
    data: str = _option("synthetic", "Kind of data.", choices=("synthetic", "text", "image"))
    data_dir: str = _option("", "Where prepared data is kept; empty: the default of TFDS.")
    manual_dir: str = _option(
        "", "Folder with one folder for each published corpus that was downloaded by hand; empty: downloads/manual in "
        "--data_dir.", data=("text", "image"),
    )  # fmt: skip
    data_seed: int = _option(
        0, "Seed of the oracle and its draws, or of the choice of validation images and the binary images that are "
        "drawn once; 0: the run's seed.", low=0, high=2**32 - 1, data=("synthetic", "image"),
    )  # fmt: skip
    num_examples: int = _option(5000, "Examples in each split of the synthetic data.", low=1, data="synthetic")
    corpus: str = _option(
        "", "Published corpus, used where no --train_file or --data_file is given.",
        choices=("", *CORPORA["text"], *CORPORA["image"]), data=("text", "image"),
    )  # fmt: skip
    train_file: str = _option(
        "", "Text to train on: an example a line, words separated by spaces; .gz too.", data="text"
    )
    val_file: str = _option("", "Text for validation.", data="text")
    test_file: str = _option(
        "", "Text, or images as of --data_file, for bin/evaluate.py --split=test.", data=("text", "image")
    )
    vocab_file: str = _option("", "Vocabulary, a word and its id a line; empty: made from the training text.",
                              data="text")  # fmt: skip
    vocab_size: int = _option(20000, "Words in a vocabulary that is made, at most; 0: all.", low=0, data="text")
    min_count: int = _option(1, "Times a word occurs in the training text to be in a vocabulary that is made.",
                            low=1, data="text")  # fmt: skip
    max_length: int = _option(200, "Lines of more words are dropped.", low=1, data="text")
    length_multiple: int = _option(
        8, "Sequences are padded to a multiple of this; each length is compiled once.", low=1, data="text"
    )
    data_file: str = _option(
        "", "Images: a chardata.mat of OMNIGLOT, an array of NumPy (.npy, .npz), or a folder of PNGs; grey, "
        "in [0, 1] or bytes. A part of them is held out for validation.", data="image",
    )  # fmt: skip
    image_height: int = _option(28, "Height of the images.", low=1, data="image")
    image_width: int = _option(28, "Width of the images.", low=1, data="image")

    # Models.
    generator: str = _option(
        "oracle", "oracle: the decoder is the one that drew the data, fixed; learned: it is learned.",
        choices=("oracle", "learned"), data="synthetic",
    )  # fmt: skip
    decoder: str = _option("lstm", "Decoder of text.", choices=("lstm", "cnn"), data="text")
    cnn_size: str = _option(
        "medium", "Dilations of --decoder=cnn: as the paper's small, medium or large model.",
        choices=tuple(DILATIONS), data="text",
    )  # fmt: skip
    cnn_channels: int = _option(1024, "Channels between the blocks of --decoder=cnn.", low=1, data="text")
    cnn_internal_channels: int = _option(512, "Channels within them.", low=1, data="text")
    embedding_dim: int = _option(
        100, "Size of the embedded symbols of the encoder and of a learned decoder.", low=1, data=SEQUENCES
    )
    units: int = _option(100, "Units of the LSTMs of the encoder and of a learned decoder.", low=1, data=SEQUENCES)
    layers: int = _option(
        1, "Layers of the LSTMs of the encoder and of the decoder, each with as many units.", low=1, data="text"
    )
    encoder_channels: str = _option(
        "64,64,64", "Channels of each of the encoder's residual blocks; each halves the image.", data="image"
    )
    pixelcnn_kernels: str = _option(
        "9,9,9,7,7,7,5,5,5,3,3,3", "Size of the kernels of each layer of the PixelCNN, odd.", data="image"
    )
    pixelcnn_channels: int = _option(32, "Channels of its layers.", low=1, data="image")
    pixelcnn_latent_maps: int = _option(
        4,
        "Images that the latent variable is mapped to, beside the image that the PixelCNN reads.",
        low=1,
        data="image",
    )
    pixelcnn_shift_every_layer: bool = _option(
        False, "Move its vertical stack down by a row in every layer, as the authors' code, not in the first alone.",
        data="image",
    )  # fmt: skip
    latent_dim: int = _option(2, "Dimensions of the latent variable.", low=1)
    dropout: float = _option(0.0, "Dropout of a learned decoder, in [0, 1).", low=0, data=SEQUENCES)
    word_dropout: float = _option(
        0.0, "Share of the words the decoder reads that are replaced by the unknown one, in [0, 1].", low=0, data="text"
    )
    encoder_init: str = _option(
        "", "Run folder of a language model (--method=lm --decoder=lstm) whose weights the encoder starts from.",
        data="text",
    )  # fmt: skip
    initial_range: float = _option(0.1, "Weights start uniformly within plus or minus this.", low=0, data=SEQUENCES)
    latent_range: float = _option(
        0.1, "But a learned synthetic decoder's weights that read the latent variable within plus or minus this.",
        low=0, data="synthetic",
    )  # fmt: skip
    kernels: str = _option(
        "auto",
        "auto: hybrid for images and for texts with a decoder of more than 256 LSTM units on a CPU, and for images "
        "and LSTMs on a GPU with --nojit_compile or --deterministic; else fused; fused: hand-written derivatives; "
        "hybrid: XLA compiles the recurrences, the gates of images, and what is between products of the softmax, of a "
        "step that it does not compile as a whole, and wide convolutions are taken by frequencies; bfloat16: as "
        "hybrid, but no convolution by frequencies, and factors of large products, convolutions and recurrences "
        "rounded to this type; plain: TensorFlow's own derivatives, for reference, which XLA makes slow: give "
        "--nojit_compile.",
        choices=("auto", *KERNELS),
    )  # fmt: skip

    # Method.
    method: str = _option("sa_vae", "Training objective.", choices=tuple(METHODS))
    svi_steps: int = _option(20, "Refinement steps, K.", low=0, high=MOST_STEPS)
    svi_steps_schedule: str = _option(
        "", "Later numbers of refinement steps, epoch:steps,...: '10:10,15:5' takes 10 after 10 epochs, 5 after 15."
    )
    svi_patience: int = _option(
        0, "Refine an example no further once so many steps in a row found no lower bound; 0: take all steps.", low=0
    )
    svi_init: str = _option("zero", "Start of the refinement for --method=svi.", choices=("zero", "random"))
    svi_rate_mean: float = _option(
        0.02, "Refinement rate of the mean, for one example's bound: the paper's divided by its batch size.", low=0
    )
    svi_rate_log_variance: float = _option(0.02, "Refinement rate of the log variance, likewise.", low=0)
    svi_momentum: float = _option(0.5, "Momentum of the refinement, in [0, 1).", low=0)
    svi_clip_norm: float = _option(0.0, "Largest norm of a refinement step's gradient; 0: no clip.", low=0)
    svi_clip_scope: str = _option(
        "example", "Clip each example alone, or as the authors over the batch (always so with --hvp=authors).",
        choices=SCOPES,
    )  # fmt: skip
    hvp: str = _option("exact", "Hessian-vector products of the reverse pass.", choices=PRODUCTS)
    reverse_steps: int = _option(
        -1, "Steps, counted back from the last, that are differentiated; the gradients of those before count as "
        "constants. 0: straight through; -1: all.", low=-1,
    )  # fmt: skip
    hvp_clip_norm: float = _option(
        0.0,
        "Largest norm before and after each product; 0: no clip. --hvp=authors clips at --svi_clip_norm instead.",
        low=0,
    )
    hvp_step: float = _option(0.0, "Relative step of --hvp=finite_difference; 0: by the float type.", low=0)
    bound_weights: str = _option(
        "final",
        "Weights of the bounds along the refinement for --method=sa_vae: final, ends (first and last), uniform, or "
        "K + 1 numbers w0,...,wK.",
    )
    kl_start: float = _option(0.1, "KL weight at the start of the warm-up.", low=0)
    kl_warmup_epochs: float = _option(0.0, "Epochs over which the KL weight grows linearly to one; 0: none.", low=0)
    kl_cycle_epochs: float = _option(
        0.0, "The warm-up begins anew after so many epochs (Fu et al. 2019); 0: never.", low=0
    )
    free_bits: float = _option(
        0.0, "Nats of KL of each latent dimension that cost nothing in training (Kingma et al. 2016).", low=0
    )

    # Optimiser.
    optimizer: str = _option("sgd", "Optimiser of the weights.", choices=("sgd", "adam"))
    learning_rate: float = _option(1.0, "Its learning rate.", low=0)
    clip_norm: float = _option(5.0, "Largest norm of the gradient of all weights; 0: no clip.", low=0)
    lr_decay_start_epoch: int = _option(
        5, "From this epoch on, the first without improvement starts decaying the rate, every epoch; 0: never.", low=0
    )
    lr_decay_always: bool = _option(False, "The rate decays every epoch from there on, whatever the bound does.")
    lr_decay_factor: float = _option(0.5, "Factor of that decay.", low=0)
    min_learning_rate: float = _option(0.0, "Training ends when the rate falls below this.", low=0)
    skip_norm: float = _option(
        1e4, "A step whose gradient is larger than this, or not finite, is skipped; 0: what is not finite alone.", low=0
    )
    max_skipped_steps: int = _option(20, "Skipped steps that are allowed; one more ends training with an error.", low=0)

    def __post_init__(self):
        check(self)

    def sizes(self, name: str) -> tuple[int, ...]:
        """Returns the numbers that a setting lists; none if it holds anything else."""
        items = getattr(self, name).split(",")
        return tuple(map(int, items)) if all(item.isdecimal() and len(item) <= 9 for item in items) else ()

    @property
    def default_run_dir(self) -> str:
        """The folder of a run that was given none."""
        model = {"synthetic": self.generator, "text": self.decoder, "image": "pixelcnn"}.get(self.data, "")
        return f"runs/{self.data}-{model}-{self.method}-{self.seed}"

    def steps_by_epoch(self) -> dict[int, int]:
        """Returns the number of refinement steps from each listed epoch on; epoch 0 is always listed."""
        steps = {0: self.svi_steps}
        for item in filter(None, self.svi_steps_schedule.split(",")):
            epoch, colon, number = item.partition(":")
            numbers = [int(part) for part in (epoch, number) if part.strip().isdecimal() and len(part) <= 9]
            if not colon or len(numbers) < 2 or numbers[1] > MOST_STEPS:
                raise UserError(
                    f"--svi_steps_schedule={self.svi_steps_schedule}: expected epoch:steps,...: '10:10,15:5', at most "
                    f"{MOST_STEPS} steps"
                )
            if not numbers[0]:
                raise UserError(
                    f"--svi_steps_schedule={self.svi_steps_schedule}: expected epochs from 1 on; before them it is "
                    f"--svi_steps={self.svi_steps}"
                )
            steps[numbers[0]] = numbers[1]
        return steps if METHODS[self.method].refines else {0: 0}

    def steps_at(self, epoch: int) -> int:
        """Returns the number of refinement steps in an epoch, counted from 0."""
        steps = self.steps_by_epoch()
        return steps[max(start for start in steps if start <= epoch)]

    def path_weights(self, steps: int) -> tuple[float, ...] | None:
        """Returns the K + 1 weights of the bounds along the refinement, or None for the last alone."""
        if self.bound_weights == "final" or steps == 0:
            return None
        if self.bound_weights == "ends":
            return (1.0, *[0.0] * (steps - 1), 1.0)
        if self.bound_weights == "uniform":
            return tuple([1.0 / (steps + 1)] * (steps + 1))
        try:
            weights = tuple(float(number) for number in self.bound_weights.split(","))
        except ValueError:
            weights = ()
        if len(weights) != steps + 1 or not all(math.isfinite(w) and w >= 0 for w in weights):
            raise UserError(
                f"--bound_weights={self.bound_weights}: expected final, ends, uniform or {steps + 1} weights"
            )
        return weights

    @property
    def learns(self) -> bool:
        """Whether there is anything to train: the oracle is fixed, and some methods have no encoder."""
        return self.data != "synthetic" or self.generator != "oracle" or METHODS[self.method].encoder

    @property
    def takes_differences(self) -> bool:
        """Whether the reverse pass takes differences of gradients, in which rounded products would be seen."""
        return METHODS[self.method].differentiates and self.hvp != "exact"

    @property
    def clips_batches(self) -> bool:
        """Whether clips of the refinement are over whole batches, each of which is then needed whole."""
        return self.hvp == "authors" or self.svi_clip_scope == "batch"

    def refinement_settings(self) -> RefinementSettings:
        """Returns the settings of the refinement."""
        return RefinementSettings(
            step_size_mean=self.svi_rate_mean,
            step_size_log_variance=self.svi_rate_log_variance,
            momentum=self.svi_momentum,
            clip_norm=self.svi_clip_norm or None,
            product_clip_norm=self.hvp_clip_norm or None,
            clip_scope="batch" if self.clips_batches else "example",
            product=self.hvp,
            finite_difference_step=self.hvp_step or None,
            patience=self.svi_patience or None,
            reverse_steps=None if self.reverse_steps < 0 else self.reverse_steps,
        )

    def differing(self, other: Config) -> list[str]:
        """Returns a description of each setting that keeps `other` from going on with a run of this one."""

        def shown(config: Config, name: str) -> Any:
            return "''" if getattr(config, name) == "" else getattr(config, name)

        def same(name: str) -> bool:
            values = {getattr(self, name), getattr(other, name)}
            if name == "kernels":  # Those that are to be chosen are those that were.
                return len(values) == 1 or ("auto" in values and values <= CHOSEN)
            if name == "encoder_init":  # A run that was moved has its name still.
                values = {path and Path(path).absolute().name for path in values}
            return len(values) == 1

        return [
            f"--{field.name} is {shown(self, field.name)} there and {shown(other, field.name)} here"
            for field in dataclasses.fields(self)
            if field.name not in FREE_TO_CHANGE and not same(field.name)
        ]

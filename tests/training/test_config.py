"""Settings: flags, dataclass and flag file say the same, and what is wrong is said in one line."""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sa_vae_tf.data.image_corpora import PUBLISHED_IMAGES
from sa_vae_tf.data.published import PUBLISHED
from sa_vae_tf.errors import UserError
from sa_vae_tf.training.checks import CORPORA
from sa_vae_tf.training.config import Config
from sa_vae_tf.training.flags import define_flags, from_flagfile, from_flags, to_flagfile

FIELDS = {field.name: field for field in dataclasses.fields(Config)}
# Settings whose text or number must have more than its type.
PARTICULAR = {
    "seed": st.integers(0, 2**32 - 1),
    "data_seed": st.integers(0, 2**32 - 1),
    "dropout": st.floats(0, 1, exclude_max=True),
    "svi_momentum": st.floats(0, 1, exclude_max=True),
    "svi_steps": st.integers(0, 1000),  # As many weights are made of a word.
    "svi_steps_schedule": st.sampled_from(["", "10:10,15:5", "3:0", " 1:2 , 2:1"]).map(str.strip),
    "bound_weights": st.sampled_from(["final", "ends", "uniform"]),
    "word_dropout": st.floats(0, 1),
    "kl_warmup_epochs": st.just(0.0),
    "encoder_channels": st.sampled_from(["64,64,64", "3"]),
    "pixelcnn_kernels": st.sampled_from(["9,7,5,3", "1"]),
}
KINDS: dict[str, dict[str, str]] = {
    "synthetic": {},
    "text": {"data": "text", "train_file": "train.txt", "val_file": "val.txt"},
    "image": {"data": "image", "data_file": "images.npy"},
}
TEXT, IMAGE = KINDS["text"], KINDS["image"]


def values_of(field: dataclasses.Field) -> st.SearchStrategy:
    if field.name in PARTICULAR:
        return PARTICULAR[field.name]
    if field.metadata["choices"]:
        return st.sampled_from(field.metadata["choices"])
    if isinstance(field.default, bool):
        return st.booleans()
    if isinstance(field.default, int):
        return st.integers(field.metadata["low"], field.metadata["high"])
    if isinstance(field.default, float):
        return st.floats(field.metadata["low"], allow_infinity=False)
    printable = st.characters(codec="utf-8", exclude_categories=["C", "Z"], include_characters=" ")
    return st.text(printable).map(str.strip).filter(lambda text: not text.startswith("~"))  # the home folder


@st.composite
def configs(draw) -> Config:
    """Settings that go together: each is drawn in turn, and kept where those before it allow it."""
    data = draw(st.sampled_from(list(KINDS)))
    config = Config(**KINDS[data])
    for name in draw(st.permutations([name for name in FIELDS if name != "data"])):
        field = FIELDS[name]
        if data in (field.metadata["data"] or data):
            with contextlib.suppress(UserError):
                config = dataclasses.replace(config, **{name: draw(values_of(field))})
    return config


def parse(*arguments: str) -> Config:
    values = flags.FlagValues()
    define_flags(values)
    assert values(["program", *arguments]) == ["program"]
    return from_flags(values)


def with_folder(config: Config) -> Config:
    return dataclasses.replace(config, run_dir=config.run_dir or config.default_run_dir)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(configs())
def test_flag_file_and_flags_give_the_settings_back(tmp_path, config):
    path = tmp_path / "flags.txt"
    path.write_text(to_flagfile(config), encoding="utf-8")
    assert from_flagfile(str(path)) == with_folder(config)
    assert parse(f"--flagfile={path}") == with_folder(config)
    assert parse(*to_flagfile(config).splitlines()) == with_folder(config)


OTHER = {
    "data": "synthetic",
    "latent_dim": 2,
    "svi_steps_schedule": "2:3",
    "bound_weights": "ends",
    "dropout": 0.5,
    "word_dropout": 0.5,
    "svi_momentum": 0.25,
    **dict.fromkeys(
        (
            "run_dir",
            "data_dir",
            "manual_dir",
            "train_file",
            "val_file",
            "test_file",
            "vocab_file",
            "encoder_init",
            "data_file",
        ),
        "elsewhere",
    ),  # fmt: skip
    "corpus": "ptb_mikolov",
    "encoder_channels": "3,4",
    "pixelcnn_kernels": "5,3",
}


def another(name: str):
    """Returns a valid value of a setting that is not its default, where there is one."""
    field = FIELDS[name]
    if name in OTHER:
        return OTHER[name]
    if field.metadata["choices"]:
        return [choice for choice in field.metadata["choices"] if choice not in (field.default, "lm")][-1]
    return not field.default if isinstance(field.default, bool) else field.default + 1


# What some settings have no meaning without.
NEEDED: dict[str, dict[str, Any]] = {"replicas": {"strategy": "mirrored"}, "kl_cycle_epochs": {"kl_warmup_epochs": 1.0}}


def base_of(name: str) -> dict[str, Any]:
    """Returns settings with which this one has a meaning."""
    kind = KINDS["text" if name == "kernels" else (FIELDS[name].metadata["data"] or ("synthetic",))[0]]
    return {**kind, **NEEDED.get(name, {})}


@pytest.mark.parametrize("name", FIELDS)
def test_a_flag_after_the_flag_file_overrides_it(name, tmp_path):
    path = tmp_path / "some.flags"
    first = base_of(name).get(name, FIELDS[name].default)
    settings = {**base_of(name), name: first} if name != "seed" else {"seed": 9}
    path.write_text("".join(f"--{key}={value}\n" for key, value in settings.items()))
    value = another(name)
    assert getattr(parse(f"--flagfile={path}", f"--{name}={value}"), name) == value
    assert getattr(parse(f"--{name}={value}", f"--flagfile={path}"), name) != value or value == first


# Where a run's data and files are, how far it goes, what it writes down besides, and what it computes with.
FREE = {
    "run_dir", "data_dir", "manual_dir", "test_file", "num_epochs", "max_steps", "checkpoint_minutes",
    "checkpoint_steps", "log_steps", "device", "strategy", "replicas", "kept_mib",
}  # fmt: skip


def test_a_run_goes_on_with_other_settings_that_change_no_step():
    for name in FIELDS:
        base = Config(**base_of(name))
        differing = base.differing(dataclasses.replace(base, **{name: another(name)}))
        if name in FREE or another(name) == getattr(base, name):
            assert differing == []
        else:
            [there, here] = ("''" if value == "" else value for value in (getattr(base, name), another(name)))
            assert differing == [f"--{name} is {there} there and {here} here"]


def test_a_run_goes_on_with_its_kernels():
    base = Config(**TEXT, kernels="hybrid")
    assert base.differing(Config(**TEXT)) == []
    for other in ("plain", "fused"):
        assert base.differing(Config(**TEXT, kernels=other)) == [f"--kernels is hybrid there and {other} here"]
    # What is never chosen has to be named again.
    rounded = Config(**TEXT, kernels="bfloat16")
    assert rounded.differing(Config(**TEXT)) == ["--kernels is bfloat16 there and auto here"]


def test_a_language_model_that_was_moved_is_the_same_to_a_run_that_goes_on():
    begun = Config(**TEXT, encoder_init="runs/lm-1")
    assert begun.differing(Config(**TEXT, encoder_init="/elsewhere/lm-1/")) == []
    for other in ("runs/lm-2", ""):
        [difference] = begun.differing(Config(**TEXT, encoder_init=other))
        assert difference == f"--encoder_init is runs/lm-1 there and {other or repr('')} here"


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("*.flags")), ids=lambda path: path.name)
def test_flag_files_of_the_repository(path):
    config = from_flagfile(str(path))
    assert config.data == {"synthetic": "synthetic", "omniglot": "image"}.get(path.stem.split("-")[0], "text")


def test_default_folder():
    assert parse("--method=vae", "--seed=3").run_dir == "runs/synthetic-oracle-vae-3"
    assert parse("--run_dir=a").run_dir == "a"
    assert all(f"<{part}>" in FIELDS["run_dir"].metadata["help"] for part in ("data", "model", "method", "seed"))
    assert Config(**TEXT, method="svi").default_run_dir == "runs/text-lstm-svi-1"
    assert Config(**IMAGE).default_run_dir == "runs/image-pixelcnn-sa_vae-1"


def test_lists_of_sizes():
    config = Config(**IMAGE, encoder_channels="8,16", pixelcnn_kernels="9,3,1")
    assert config.sizes("encoder_channels") == (8, 16)
    assert config.sizes("pixelcnn_kernels") == (9, 3, 1)
    # What is not made need not fit the images.
    Config(**IMAGE, method="svi", image_height=4, image_width=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *[
            (
                {**base_of(name), name: field.metadata["low"] - 1},
                rf"^--{name}=-?\d.*: expected at least {field.metadata['low']}$",
            )
            for name, field in FIELDS.items()
            if field.metadata["low"] is not None
        ],
        *[
            ({**base_of(name), name: value}, f"^--{name}={value}: expected a finite number$")
            for name, field in FIELDS.items()
            if isinstance(field.default, float)
            for value in (math.nan, math.inf, -math.inf)
        ],
        *[
            ({**base_of(name), name: "other"}, f"^--{name}=other: expected one of .*{field.default}")
            for name, field in FIELDS.items()
            if field.metadata["choices"]
        ],
        *[({name: 1.0}, rf"^--{name}=1.0: expected a number in \[0, 1\)$") for name in ("dropout", "svi_momentum")],
        *[({name: 2**32}, f"^--{name}=4294967296: expected at most 4294967295$") for name in ("seed", "data_seed")],
        *[({"run_dir": text}, "^--run_dir=.*: expected one line") for text in ("a\n--seed=2", " a", "a ", "\udc80")],
        ({"units": 2**31}, "^--units=2147483648: expected at most 2147483647$"),
        ({"svi_steps": 100_001, "bound_weights": "uniform"}, "^--svi_steps=100001: expected at most 100000$"),
        ({"svi_steps": 16**5000}, "^--svi_steps=0x1000.*000: expected at most 100000$"),
        ({"svi_steps_schedule": "1:100001"}, "^--svi_steps_schedule=1:100001: expected epoch:steps"),
        ({"svi_steps_schedule": "1" * 5000 + ":1"}, "^--svi_steps_schedule=1111.*: expected epoch:steps"),
        ({"latent_dim": 3}, r"^--latent_dim=3: the oracle has 2; expected 2, or --generator=learned$"),
        ({"method": "lm"}, "^--method=lm has no latent variable: it needs --generator=learned$"),
        *[
            ({"svi_steps_schedule": text}, f"^--svi_steps_schedule={text}: expected epoch:steps")
            for text in ("5", "5:", ":5", "a:5", "5:-1", "5:1:2", "5:1;6:2", "\u00b2:1")
        ],
        (
            {"svi_steps_schedule": "9:1,0:3"},
            "^--svi_steps_schedule=9:1,0:3: expected epochs from 1 on; .*--svi_steps=20",
        ),
        ({"svi_steps_schedule": "x", "method": "vae"}, "^--svi_steps_schedule=x: expected epoch:steps"),
        *[
            ({"bound_weights": text, "svi_steps": 2}, f"^--bound_weights={text}: expected final, ends, uniform or 3")
            for text in ("last", "1,1", "1,1,1,1", "1,1,-1", "1,1,nan", "1,1,inf", "")
        ],
        ({"bound_weights": "1,1,1", "svi_steps": 2, "svi_steps_schedule": "3:1"}, "^--bound_weights=1,1,1: .* or 2 w"),
        ({**TEXT, "word_dropout": 1.5}, r"^--word_dropout=1.5: expected a number in \[0, 1\]$"),
        ({"kl_cycle_epochs": 2}, "^--kl_cycle_epochs=2: expected --kl_warmup_epochs besides"),
        (
            {"lr_decay_always": True, "lr_decay_start_epoch": 0},
            "^--lr_decay_always: expected --lr_decay_start_epoch of 1",
        ),
        ({"kl_cycle_epochs": 2, "kl_warmup_epochs": 3}, "^--kl_cycle_epochs=2: expected 0, or at least --kl_warmup_ep"),
        ({"decoder": "cnn"}, "^--decoder=cnn: has a meaning for --data=text alone, not --data=synthetic$"),
        ({**TEXT, "num_examples": 7}, "^--num_examples=7: has a meaning for --data=synthetic alone, not --data=text$"),
        ({"data": "text"}, "^--data=text: expected --train_file, or --corpus"),
        ({"data": "text", "train_file": "a"}, "^--train_file=a: expected --val_file besides$"),
        ({"data": "text", "val_file": "a"}, "^--data=text: expected --train_file"),
        ({**TEXT, "encoder_init": "a", "method": "svi"}, "^--encoder_init=a: --method=svi has no encoder$"),
        *[
            ({**TEXT, "words_at_once": 9, name: value}, "^--words_at_once=9: .* clip over whole batches; expected 0$")
            for name, value in (("hvp", "authors"), ("svi_clip_scope", "batch"))
        ],
        ({**IMAGE, "images_at_once": 9, "hvp": "authors"}, "^--images_at_once=9: .* clip over whole batches; expected"),
        ({"images_at_once": 9}, "^--images_at_once=9: has a meaning for --data=image alone, not --data=synthetic$"),
        *[
            ({**TEXT, "kernels": "bfloat16", "hvp": hvp}, f"^--kernels=bfloat16: --hvp={hvp} takes differences of grad")
            for hvp in ("finite_difference", "authors")
        ],
        ({"bound_weights": "ends", "hvp": "authors"}, "^--bound_weights=ends: --hvp=authors knows only"),
        ({"bound_weights": "ends", "svi_patience": 2}, "^--bound_weights=ends: --svi_patience=2 knows only"),
        ({"kernels": "hybrid"}, "^--kernels=hybrid: --data=synthetic has one kind; expected auto or fused$"),
        ({"replicas": 2}, "^--replicas=2: has a meaning for --strategy=mirrored alone"),
        ({"strategy": "mirrored", "hvp": "authors"}, "^--strategy=mirrored: --hvp=authors and --svi_clip_scope=batch"),
        ({"svi_patience": 1, "svi_clip_norm": 1.0, "svi_clip_scope": "batch"}, "^--svi_patience=1: --svi_clip_scope="),
        ({"hvp": "authors", "reverse_steps": 0}, "^--reverse_steps=0: --hvp=authors goes through every step"),
        ({"data": "image"}, "^--data=image: expected --data_file, or --corpus for a published one$"),
        ({**IMAGE, "units": 7}, "^--units=7: has a meaning for --data=synthetic and text alone, not --data=image$"),
        ({**IMAGE, "corpus": "ptb_mikolov"}, "^--corpus=ptb_mikolov: expected one of omniglot_burda, mnist for --dat"),
        ({"data": "text", "corpus": "mnist"}, "^--corpus=mnist: expected one of yahoo.*, ptb.* for --data=text$"),
        ({"data": "image", "corpus": "mnist", "image_width": 5}, "^--corpus=mnist: has images of 28 x 28; expected no"),
        *[
            ({**IMAGE, name: text}, f"^--{name}={text}: expected .* numbers")
            for name in ("encoder_channels", "pixelcnn_kernels")
            for text in ("", "0", "3,", "3,a", "-3", "3;5", "3.0")
        ],
        ({**IMAGE, "encoder_channels": "64,0"}, "^--encoder_channels=64,0: expected positive numbers"),
        *[
            ({**IMAGE, "encoder_channels": "3,3", name: 3}, "^--encoder_channels=3,3: 2 blocks halve images of .* to n")
            for name in ("image_height", "image_width")
        ],
        ({"data": "image", "corpus": "mnist", "image_height": 5}, "^--corpus=mnist: has images of 28 x 28; expected n"),
        ({"bound_weights": "ends", "reverse_steps": 0}, "^--bound_weights=ends: --reverse_steps=0 knows only"),
        ({"bound_weights": "ends", "svi_steps": 0, "svi_patience": 2, "svi_steps_schedule": "3:1"}, "^--bound_weights"),
        ({"hvp": "authors", "svi_patience": 2}, "^--svi_patience=2: --hvp=authors goes through every step"),
        (
            {"strategy": "multi_worker", "svi_clip_scope": "batch"},
            "^--strategy=multi_worker: --hvp=authors and --svi_c",
        ),
        ({"strategy": "multi_worker", "replicas": 2}, "^--replicas=2: has a meaning for --strategy=mirrored alone"),
        ({**IMAGE, "pixelcnn_kernels": "3,4"}, "^--pixelcnn_kernels=3,4: expected odd numbers, as 9,7,5,3$"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(UserError, match=message) as error:
        Config(**settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {**TEXT, "word_dropout": 1.0},
        {"kl_cycle_epochs": 3.0, "kl_warmup_epochs": 3.0},
        {"svi_steps": 100_000, "seed": 2**32 - 1},
        # Clips over the batch that do not clip, or of what has no patience.
        {"svi_patience": 1, "svi_clip_scope": "batch"},
        {"svi_clip_norm": 1.0, "svi_clip_scope": "batch"},
        {"strategy": "mirrored", "replicas": 2, "svi_clip_norm": 1.0},
        # Ways to differentiate a refinement, of methods that do not.
        *[
            {"bound_weights": "ends", "method": "vae_svi", **other}
            for other in ({"svi_patience": 2}, {"reverse_steps": 0}, {"hvp": "authors"})
        ],
        {**TEXT, "kernels": "bfloat16", "hvp": "finite_difference", "method": "svi"},
        {"bound_weights": "ends", "svi_steps": 0, "svi_patience": 2},
        # Two blocks halve four rows to one.
        {**IMAGE, "encoder_channels": "3,3", "image_height": 4, "image_width": 5},
        {**IMAGE, "encoder_channels": "3,3", "image_height": 5, "image_width": 4},
        {"data": "image", "corpus": "mnist"},
        {**IMAGE, "corpus": "mnist", "image_width": 50},  # Of the file, which comes first.
        {**TEXT, "encoder_init": "a", "method": "vae"},
        {"latent_dim": 3, "generator": "learned"},
        {"method": "lm", "generator": "learned"},
    ],
)
def test_settings_that_go_together(settings):
    assert dataclasses.asdict(Config(**settings)).items() >= settings.items()


def test_weights_along_the_path():
    assert Config().path_weights(3) is None
    assert Config(bound_weights="ends").path_weights(3) == (1, 0, 0, 1)
    assert Config(bound_weights="ends").path_weights(1) == (1, 1)
    assert Config(bound_weights="uniform").path_weights(3) == (0.25,) * 4
    assert Config(bound_weights="0.5, 0,2", svi_steps=2).path_weights(2) == (0.5, 0, 2)
    # Without steps there is one bound.
    for weights in ("final", "ends", "uniform", "1,1,1"):
        assert Config(bound_weights=weights, svi_steps=0).path_weights(0) is None


def test_number_of_steps_by_epoch():
    config = Config(svi_steps=20, svi_steps_schedule="15:5,10:10")
    assert config.steps_by_epoch() == {0: 20, 10: 10, 15: 5}
    assert [config.steps_at(epoch) for epoch in (0, 9, 10, 14, 15, 99)] == [20, 20, 10, 10, 5, 5]
    # What does not refine has no steps, and takes no notice of their weights.
    config = Config(method="vae", svi_steps=2, svi_steps_schedule="1:5", bound_weights="1,2,3")
    assert config.steps_by_epoch() == {0: 0}
    assert config.path_weights(config.steps_at(7)) is None


def test_settings_of_the_refinement():
    config = Config(svi_rate_mean=0.3, svi_rate_log_variance=0.2, svi_momentum=0.1, svi_clip_norm=4, hvp_clip_norm=5)
    refinement = config.refinement_settings()
    assert (refinement.step_size_mean, refinement.step_size_log_variance, refinement.momentum) == (0.3, 0.2, 0.1)
    assert (refinement.clip_norm, refinement.product_clip_norm, refinement.clip_scope) == (4, 5, "example")
    # No clip is None there and 0 here; the authors clip over the batch.
    assert Config().refinement_settings().clip_norm is None
    assert Config().refinement_settings().finite_difference_step is None
    assert Config(hvp_step=1e-3).refinement_settings().finite_difference_step == 1e-3
    assert Config(hvp="authors").refinement_settings().clip_scope == "batch"
    assert Config(svi_clip_scope="batch").refinement_settings().clip_scope == "batch"


@pytest.mark.parametrize(
    "content", [b"--no_such_flag=1\n", b"--seed=x\n", b"--seed=-1\n", b"--seed=1\nseed 2\n", b"\xff\xfe\x00\n", None]
)
def test_a_flag_file_that_cannot_be_read_is_named(content, tmp_path):
    path = tmp_path / "flags.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: ") as error:
        from_flagfile(str(path))
    assert "\n" not in str(error.value)


def test_corpora_that_may_be_named_are_those_that_there_are():
    assert {data: set(names) for data, names in CORPORA.items()} == {
        "text": set(PUBLISHED),
        "image": set(PUBLISHED_IMAGES),
    }

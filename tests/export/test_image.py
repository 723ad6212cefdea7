"""The functions of an exported run on images, against evaluation and sampling."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data.images import binary
from sa_vae_tf.evaluation.evaluate import evaluate
from sa_vae_tf.export.export import export
from sa_vae_tf.export.image import _binary, _fingerprint
from sa_vae_tf.export.warmup import WARMUP_FILE
from sa_vae_tf.generation import draw_from_prior
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.tasks import TASKS
from sa_vae_tf.training.train import train
from tests import images
from tests.export.test_text import CLOSE, assert_same, places
from tests.export.test_warmup import message, requests_in  # noqa: F401

FIGURES = ("nll_bound", "reconstruction", "kl", "nll_iw", "effective_samples")


@pytest.fixture(scope="module")
def run(data_file, data_dir, tmp_path_factory):
    # Rates of refinement at which steps matter.
    settings = {"num_epochs": 4, "svi_rate_mean": 0.5, "svi_rate_log_variance": 0.2, "data_seed": 7}
    path = tmp_path_factory.mktemp("runs") / "sa_vae"
    return train(images.tiny(path, data_dir, data_file, svi_steps=3, **settings), verbose=0)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    return export(run, str(tmp_path_factory.mktemp("exports") / "mine"))


@pytest.fixture(scope="module")
def model(folder):
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def about(folder):
    return json.loads((folder / "assets/signatures.json").read_text())


@pytest.fixture(scope="module")
def pixels(run):
    """The test images as evaluation draws them."""
    [batch] = TASKS["image"].data(run.read_config(), ("test",), None).splits["test"].in_order(10)
    return batch["x"].numpy().astype(np.float32)


@pytest.fixture(scope="module")
def grey():
    return images.bars(10, seed=1)


def assert_evaluated(scores, results):
    for name in scores:
        mean = np.mean(scores[name], dtype=np.float64)
        # KL is a difference of numbers near one, in each dimension: its rounding is absolute.
        assert mean == pytest.approx(results[name], rel=CLOSE, abs=1e-6 if name == "kl" else 0), name


@pytest.mark.parametrize(("steps", "seed", "samples"), [(None, 0, 4), (0, 0, 1), (7, 5, 4)])
def test_scores_are_those_of_evaluation(steps, seed, samples, model, run, pixels):
    results = evaluate(run, svi_steps=steps, seed=seed, iw_samples=samples, gap_steps=0)
    given = {} if steps is None else {"svi_steps": steps}
    scores = model.score(pixels, iw_samples=samples, seed=seed, index=places(10), **given)
    assert set(scores) == set(FIGURES)
    assert_evaluated(scores, results)


def test_steps_matter(model, pixels):
    # Otherwise the test above would prove little.
    bounds = [float(np.mean(model.score(pixels, svi_steps=steps)["nll_bound"])) for steps in (0, 3, 12)]
    assert np.min(np.abs(np.diff(bounds))) > 100 * CLOSE * bounds[0], bounds


@pytest.mark.parametrize(
    "changes",
    [{"method": "lm"}, pytest.param({"method": "svi", "svi_init": "random"}, marks=pytest.mark.slow)],
    ids=lambda changes: changes["method"],
)
def test_every_kind_of_run(changes, data_file, data_dir, tmp_path):
    run = train(images.tiny(tmp_path / "run", data_dir, data_file, num_epochs=0, **changes), verbose=0)
    model = tf.saved_model.load(str(export(run, str(tmp_path / "export"))))
    [batch] = TASKS["image"].data(run.read_config(), ("test",), None).splits["test"].in_order(10)
    scores = model.score(np.float32(batch["x"]), index=batch["index"])
    assert set(scores) == ({"nll_bound"} if changes["method"] == "lm" else set(FIGURES))
    results = evaluate(run, iw_samples=0, gap_steps=0)
    assert_evaluated({name: scores[name] for name in scores if name in ("nll_bound", "kl")}, results)
    assert model.generate(num_samples=2)["images"].shape == (2, 8, 6, 1)
    assert hasattr(model, "encode") == hasattr(model, "reconstruct") == (changes["method"] != "lm")


def test_evaluation_draws_grey_pixels_as_the_description_says(about, pixels, grey):
    assert about["draw_seed"] == [7, 2, 0]
    drawn = [
        np.random.default_rng([*about["draw_seed"], i]).random(grey[i].shape, np.float32) < grey[i] for i in range(10)
    ]
    np.testing.assert_array_equal(drawn, pixels)
    np.testing.assert_array_equal([binary(grey[i], [7, 2, 0, i]) for i in range(10)], pixels)


def test_the_number_that_is_made_of_an_image_is_its_own_and_not_negative():
    numbers = _fingerprint(tf.constant(np.random.default_rng(0).random([30, 8, 6, 1], np.float32))).numpy()
    assert len({*numbers}) == 30
    assert np.all(numbers >= 0)


def test_grey_pixels_are_drawn_with_their_probability():
    count, index = 4000, places(4000)
    intensities = np.tile(np.float32([[0.0, 1.0, 0.5], [0.1, 0.999, 1e-30]])[..., None], [count, 1, 1, 1])
    draw = tf.function(_binary)
    drawn = draw(tf.constant(intensities), index, tf.constant(1)).numpy()
    p = intensities[0].astype(np.float64)
    # Five standard errors; none where the pixel is zero or one.
    assert np.all(np.abs(drawn.mean(0, dtype=np.float64) - p) <= 5 * np.sqrt(p * (1 - p) / count))
    other = draw(tf.constant(intensities), index, tf.constant(2)).numpy()
    assert np.any(drawn != other)


@pytest.mark.parametrize("which", ["pixels", "grey"])
def test_a_batch_is_scored_as_its_images_one_by_one(which, model, request):
    given = request.getfixturevalue(which)
    for function in (model.score, model.encode, model.reconstruct):
        options = {"iw_samples": 3} if function is model.score else {}
        whole = function(given, seed=2, **options)
        for i in range(4):
            alone = function(given[i : i + 1], seed=2, **options)
            assert_same(alone, {name: values[i : i + 1] for name, values in whole.items()})


def test_the_same_seed_gives_the_same_answer_and_another_another(model, pixels):
    first, again, other = (model.score(pixels, iw_samples=2, seed=seed) for seed in (1, 1, 2))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert np.all(first["nll_bound"] != other["nll_bound"])
    # Equal images have equal answers, unless they are told apart.
    twice = model.score(pixels[[0, 0]])["nll_bound"]
    assert twice[0] == twice[1]
    apart = model.score(pixels[[0, 0]], index=[0, 1])["nll_bound"]
    assert apart[0] != apart[1]


def test_threads_get_the_answers_of_one(model, pixels):
    requests = [(pixels[i : i + n], seed) for seed in (0, 1) for n in (1, 4) for i in range(0, 8, n)]
    one = [model.score(some, seed=seed) for some, seed in requests]
    with ThreadPoolExecutor(8) as pool:
        many = list(pool.map(lambda request: model.score(request[0], seed=request[1]), requests))
    for actual, expected in zip(many, one, strict=True):
        assert_same(actual, expected)


def test_images_are_those_of_sampling(model, run, pixels):
    of_run, index = load_best(run).model, places(10)
    mean = of_run.infer({"x": pixels, "index": index}, seed=4).refined.mean
    for drawn, z in (
        (model.reconstruct(pixels, seed=4, index=index), mean),
        (model.generate(num_samples=10, seed=4), draw_from_prior(index, 3, tf.constant([4, 1]))),
    ):
        expected = sample_images(of_run.decoder, z, index, tf.constant([4, 2]))
        np.testing.assert_array_equal(drawn["images"], expected.images)
        np.testing.assert_allclose(drawn["log_probability"], expected.log_probability, rtol=CLOSE)
    np.testing.assert_array_equal(model.generate(num_samples=2, seed=4)["images"], drawn["images"][:2])
    assert_same(model.encode(pixels, seed=4, index=index), model.encode(pixels, seed=4, index=index) | {"mean": mean})


ONE = np.zeros([1, 8, 6, 1], np.float32)


def with_pixel(value: float) -> np.ndarray:
    three = np.repeat(ONE, 3, 0)
    three[1, 2, 3] = value
    return three


@pytest.mark.parametrize(
    ("function", "inputs", "told"),
    [
        ("score", {"pixels": np.zeros([2, 8, 7, 1], "f")}, "pixels: shape [2 8 7 1]; expected [batch, 8, 6, 1]"),
        ("encode", {"pixels": np.zeros([2, 8, 6, 3], "f")}, "pixels: shape [2 8 6 3]; expected [batch, 8, 6, 1]"),
        ("score", {"pixels": ONE[:0]}, "pixels: there are no images; expected at least one"),
        ("score", {"pixels": with_pixel(math.nan)}, "pixels: image 1, counted from 0, has a pixel of nan; expected 0"),
        ("encode", {"pixels": with_pixel(1.5)}, "pixels: image 1, counted from 0, has a pixel of 1.5; expected 0 to 1"),
        ("reconstruct", {"pixels": with_pixel(-0.5)}, "pixels: image 1, counted from 0, has a pixel of -0.5; expected"),
        ("score", {"pixels": with_pixel(math.inf)}, "pixels: image 1, counted from 0, has a pixel of inf; expected 0"),
        ("score", {"pixels": ONE, "svi_steps": -1}, "svi_steps=-1: expected at least 0"),
        ("score", {"pixels": ONE, "iw_samples": -2}, "iw_samples=-2: expected at least 0"),
        ("score", {"pixels": ONE, "index": [0, 1]}, "index: 2 numbers; expected none, or one for each of 1 exam"),
        ("generate", {"num_samples": 0}, "num_samples=0: expected at least 1"),
    ],
)  # fmt: skip
def test_wrong_inputs(function, inputs, told, model):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        getattr(model, function)(**inputs)
    assert told in str(error.value)


def test_description(about, model):
    assert (about["data"], about["height"], about["width"]) == ("image", 8, 6)
    assert about["signatures"].keys() == model.signatures.keys() - {"serving_default"}
    for name, described in about["signatures"].items():
        signature = model.signatures[name]
        given = {spec.name: (spec.dtype.name, spec.shape) for spec in signature.structured_input_signature[1].values()}
        assert given == {one: (of["dtype"], tf.TensorShape(of["shape"])) for one, of in described["inputs"].items()}
        assert signature.structured_outputs.keys() == described["outputs"].keys()
        assert all(of["description"] for of in [*described["inputs"].values(), *described["outputs"].values()])
    assert about["signatures"]["score"]["inputs"]["svi_steps"]["default"] == 3
    assert about["signatures"]["reconstruct"]["outputs"]["images"]["shape"] == [None, 8, 6, 1]


def test_first_requests_are_answered(message, folder, model):  # noqa: F811
    found = requests_in(folder / WARMUP_FILE, message)
    assert found.keys() == model.signatures.keys()
    for name, inputs in found.items():
        answers = model.signatures[name](**{given: tf.constant(value) for given, value in inputs.items()})
        assert all(len(values) == 1 for values in answers.values())

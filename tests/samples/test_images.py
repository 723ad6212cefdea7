"""Grids of images from trained runs: what is in their cells, and what is wrong to ask."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.data.images import binary
from sa_vae_tf.errors import UserError
from sa_vae_tf.generation import draw_from_prior
from sa_vae_tf.models.pixelcnn_sampling import GeneratedImages, sample_images
from sa_vae_tf.samples import images as of_images
from sa_vae_tf.samples.images import draw_grid
from sa_vae_tf.samples.request import Request
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.tasks import TASKS
from sa_vae_tf.training.train import train
from tests import images

HEIGHT, WIDTH = 8, 6
GAP = 2  # Between images; and at the edge.


@pytest.fixture(scope="module")
def run(data_file, data_dir, tmp_path_factory):
    return train(images.tiny(tmp_path_factory.mktemp("run"), data_dir, data_file, num_epochs=0), verbose=0)


@pytest.fixture
def ask(run):
    return lambda mode, **what: draw_grid(run, Request(mode, **what), lambda *of: None)


def cells(grid: np.ndarray, columns: int, width: int = WIDTH) -> np.ndarray:
    """Returns the images of a grid, [count, height, width], from 0 to 1."""
    rows = (len(grid) - GAP) // (HEIGHT + GAP)
    found = [
        grid[GAP + r * (HEIGHT + GAP) :, GAP + c * (width + GAP) :][:HEIGHT, :width, 0]
        for r in range(rows)
        for c in range(columns)
    ]
    return np.stack(found) / 255


def posterior_means(run, x, **options) -> tf.Tensor:
    model = load_best(run).model
    return model.infer({"x": x, "index": np.arange(len(x))}, **options).refined.mean


def test_samples_from_the_prior(run, ask):
    told = []
    grid = draw_grid(run, Request("prior", num_samples=5, batch_size=2, seed=4), lambda *of: told.append(of))
    assert told == [(2, 5), (4, 5), (5, 5)]
    decoder, index = load_best(run).model.decoder, np.arange(5)
    z = draw_from_prior(index, 3, tf.constant([4, 1]))
    expected = sample_images(decoder, z, index, tf.constant([4, 2])).images
    np.testing.assert_array_equal(cells(grid, 3)[:5], expected[..., 0])
    assert set(np.unique(cells(grid, 3)[5])) == {128 / 255}  # No sixth image.
    np.testing.assert_array_equal(ask("prior", num_samples=5, seed=4), grid)
    assert np.any(ask("prior", num_samples=5, seed=5) != grid)
    assert ask("prior").shape == (8 * (HEIGHT + GAP) + GAP, 8 * (WIDTH + GAP) + GAP, 1)


def test_reconstructions_beside_validation_images(run, ask):
    validation = TASKS["image"].data(run.read_config(), ("validation",), None).splits["validation"]
    [batch] = validation.in_order(10)
    x = batch["x"].numpy()
    pairs = cells(ask("reconstruct", batch_size=3), 4, 2 * WIDTH + 1)
    assert len(pairs) == len(x) == 4
    np.testing.assert_array_equal(pairs[..., :WIDTH], x[..., 0])
    z = posterior_means(run, x)
    drawn = sample_images(load_best(run).model.decoder, z, np.arange(4), tf.constant([0, 2])).images
    np.testing.assert_array_equal(pairs[..., WIDTH + 1 :], drawn[..., 0])
    few = ask("reconstruct", num_samples=2, svi_steps=0, svi_init="zero")
    # From z of zero, whatever the image.
    drawn = sample_images(load_best(run).model.decoder, tf.zeros([2, 3]), np.arange(2), tf.constant([0, 2])).images
    np.testing.assert_array_equal(cells(few, 2, 2 * WIDTH + 1)[..., WIDTH + 1 :], drawn[..., 0])


def test_interpolations_between_images_of_a_file(run, ask, tmp_path):
    grey = np.random.default_rng(0).random([3, HEIGHT, WIDTH, 1], np.float32)
    np.savez(tmp_path / "mine.npz", train=1 - grey, test=grey)
    start = {"seed": 4, "svi_init": "random"}  # By which means are far apart from those of another seed.
    grid = ask("interpolate", input=str(tmp_path / "mine.npz"), points=3, **start)
    rows = cells(grid, 5).reshape(2, 5, HEIGHT, WIDTH)
    # Those for testing, drawn once as those of a run's test split are, here by the seed that was asked for.
    x = np.stack([binary(image, [4, 2, 0, i]) for i, image in enumerate(grey)])
    means = posterior_means(run, x, **start).numpy()
    for row, (left, right) in enumerate(((0, 1), (1, 2))):
        np.testing.assert_array_equal(rows[row, 0], x[left, ..., 0])
        np.testing.assert_array_equal(rows[row, -1], x[right, ..., 0])
        z = np.stack([means[left], (means[left] + means[right]) / 2, means[right]])
        # The noise is the same all along a row.
        drawn = sample_images(load_best(run).model.decoder, z, np.full(3, row), tf.constant([4, 2])).images
        np.testing.assert_array_equal(rows[row, 1:-1], drawn[..., 0])


def test_how_many_where_nothing_is_said(ask, tmp_path, monkeypatch):
    sizes, path = [], str(tmp_path / "many.npy")

    def black(decoder, z, index, seed):
        sizes.append(len(index))
        return GeneratedImages(np.zeros([len(index), HEIGHT, WIDTH, 1]), None)

    monkeypatch.setattr(of_images, "sample_images", black)
    np.save(path, images.bars(40))
    pairs = cells(ask("reconstruct", input=path), 4, 2 * WIDTH + 1)
    assert sum(np.any(pair != pair[0, 0]) for pair in pairs) == 32
    # From each of nine images to the next one five points, beside the two.
    assert ask("interpolate", input=path).shape == (8 * (HEIGHT + GAP) + GAP, 7 * (WIDTH + GAP) + GAP, 1)
    assert sizes == [16, 16, 16, 16, 8]


def test_more_images_than_there_are(ask):
    assert len(cells(ask("reconstruct", num_samples=4), 4, 2 * WIDTH + 1)) == 4
    with pytest.raises(UserError, match="the run's validation images: 4 images; expected at least --num_samples=5"):
        ask("reconstruct", num_samples=5)


def test_the_device_that_is_asked_for(run, monkeypatch):
    asked = []
    monkeypatch.setattr(of_images, "load_best", lambda run, device: asked.append(device) or load_best(run))
    draw_grid(run, Request("prior", num_samples=1, device="cpu"), lambda *of: None)
    assert asked == ["cpu"]


def test_one_validation_image_is_too_few(data_dir, tmp_path):
    np.save(tmp_path / "few.npy", images.bars(9))
    run = train(images.tiny(tmp_path / "run", data_dir, str(tmp_path / "few.npy"), num_epochs=0), verbose=0)
    with pytest.raises(UserError, match="^--input: the run's validation images: one image; expected at least 2 for"):
        draw_grid(run, Request("interpolate"), lambda *of: None)
    np.save(tmp_path / "few.npy", images.bars(8))
    with pytest.raises(UserError, match="few.npy: holds something else than when the run"):
        draw_grid(run, Request("reconstruct"), lambda *of: None)


def test_without_latent_variable(data_file, data_dir, tmp_path):
    run = train(images.tiny(tmp_path, data_dir, data_file, method="lm", num_epochs=0), verbose=0)
    grid = draw_grid(run, Request("prior", num_samples=4), lambda *of: None)
    assert set(np.unique(cells(grid, 2))) == {0, 1}
    with pytest.raises(UserError, match="^--mode=reconstruct: --method=lm has no latent variable; expected --mode=pri"):
        draw_grid(run, Request("reconstruct"), lambda *of: None)


@pytest.mark.parametrize(
    ("mode", "what", "message"),
    [
        (
            "prior",
            {"temperature": 0.5},
            "--temperature=0.5: has a meaning for runs of --data=text alone, not --data=im",
        ),
        ("prior", {"temperature": 0.0}, "--temperature=0.0: has a meaning for runs of --data=text alone"),
        ("reconstruct", {"top_k": 5}, "--top_k=5: has a meaning for runs of --data=text alone"),
        ("prior", {"no_unk": True}, "--no_unk=True: has a meaning for runs of --data=text alone"),
        ("prior", {"beam": 3}, "--beam=3: has a meaning for runs of --data=text alone"),
        ("interpolate", {"num_samples": 1}, "--num_samples=1: expected at least 2 images for --mode=interpolate"),
        ("interpolate", {"input": "{tmp}/one.npy"}, "--input={tmp}/one.npy: one image; expected at least 2"),
        ("reconstruct", {"input": "{tmp}/none.npy"}, "--input={tmp}/none.npy: cannot be read"),
        ("prior", {"input": "{tmp}/one.npy"}, "--input={tmp}/one.npy: has a meaning for --mode=reconstruct and interp"),
    ],
)
def test_wrong_requests(mode, what, message, ask, tmp_path):
    np.save(tmp_path / "one.npy", images.bars(1))
    fill = {n: v.replace("{tmp}", str(tmp_path)) if isinstance(v, str) else v for n, v in what.items()}
    with pytest.raises(UserError, match=f"^{message.replace('{tmp}', str(tmp_path))}"):
        ask(mode, **fill)

"""Images that show how far a run has come."""

import numpy as np
import pytest
import tensorflow as tf

from sa_vae_tf.generation.image_grid import image_grid, side_by_side
from sa_vae_tf.models.pixelcnn_sampling import sample_images
from sa_vae_tf.training.image_samples import EXAMPLES, ImageSamples
from sa_vae_tf.training.load import load_best
from sa_vae_tf.training.tasks import TASKS
from sa_vae_tf.training.train import train
from tests import images, runs


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    np.save(folder / "images.npy", images.bars(200))
    return str(folder / "images.npy")


def images_of(path) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Returns step and pixels of each image in a folder of events by name."""
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    for file in sorted(path.glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    _, _, *pngs = tf.make_ndarray(value.tensor)
                    [image] = [tf.io.decode_png(png).numpy() for png in pngs]
                    found.setdefault(value.tag, []).append((event.step, image))
    return found


@pytest.mark.slow
def test_training_does_not_depend_on_what_is_shown(data_file, data_dir, tmp_path, monkeypatch):
    changes = {"method": "vae", "num_epochs": 2, "batch_size": 60}
    train(images.tiny(tmp_path / "shown", data_dir, data_file, **changes), verbose=0)
    with monkeypatch.context() as patch:
        patch.setitem(TASKS, "image", TASKS["image"]._replace(samples=None))
        train(images.tiny(tmp_path / "not", data_dir, data_file, **changes), verbose=0)
    runs.assert_same_end(tmp_path / "shown", tmp_path / "not")
    assert images_of(tmp_path / "not" / "validation") == {}
    found = images_of(tmp_path / "shown" / "validation")
    assert {name: [step for step, _ in shown] for name, shown in found.items()} == {
        "samples": [3, 6], "reconstructions": [3, 6],
    }  # fmt: skip


def test_examples_with_their_reconstructions(data_file, data_dir, tmp_path):
    run = train(images.tiny(tmp_path, data_dir, data_file, num_epochs=0), verbose=0)
    config, model, *_ = load_best(run)
    validation = TASKS["image"].data(config, ("validation",), None).splits["validation"]
    samples = ImageSamples(model, validation)
    grids = samples()
    for name, grid in samples().items():
        np.testing.assert_array_equal(grid, grids[name])
    # Two rows of eight; four rows of four pairs. A pixel between images, two between cells, two at the edge.
    assert grids["samples"].shape == (1, 2 * 10 + 2, 8 * 8 + 2, 1)
    assert grids["reconstructions"].shape == (1, 4 * 10 + 2, 4 * (2 * 6 + 3) + 2, 1)
    [batch] = validation.take(EXAMPLES).in_order(EXAMPLES)
    mean = model.infer(batch).refined.mean
    drawn = sample_images(model.decoder, mean, batch["index"], tf.constant([0, 2])).images.numpy()
    for number in range(EXAMPLES):
        row, column = divmod(number, 4)
        cell = grids["reconstructions"][0, 2 + 10 * row :, 2 + 15 * column :]
        np.testing.assert_array_equal(cell[:8, :6], 255 * batch["x"][number].numpy())
        np.testing.assert_array_equal(cell[:8, 7:13], 255 * drawn[number])


def test_without_latent_variable_there_are_samples_alone(data_file, data_dir, tmp_path):
    train(images.tiny(tmp_path, data_dir, data_file, method="lm"), verbose=0)
    found = images_of(tmp_path / "validation")
    assert list(found) == ["samples"]
    [(_, image)] = found["samples"]
    assert set(np.unique(image)) == {0, 128, 255}


def test_a_grid():
    shades = np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 1, 2, 1)
    grid = image_grid(shades, columns=2)[..., 0]
    g = 128
    assert grid.tolist() == [
        [g] * 10,
        [g] * 10,
        [g, g, 0, 51, g, g, 102, 153, g, g],
        [g] * 10,
        [g] * 10,
        [g, g, 204, 255, g, g, g, g, g, g],
        [g] * 10,
        [g] * 10,
    ]
    # No empty columns of more than there are.
    pair = image_grid(side_by_side(shades[:1], np.ones([1, 1, 2, 1], np.uint8)), columns=4)[..., 0]
    assert pair[2].tolist() == [g, g, 0, 51, g, 255, 255, g, g]

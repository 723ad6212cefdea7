"""Learning curves."""

import json

import numpy as np
import pytest

from sa_vae_tf.analysis import curves
from sa_vae_tf.analysis.figures import COLOURS, OTHER_COLOURS, colours_of


def epochs(bounds, initial=None):
    rows = [{"epoch": number + 1, "val_nll_bound": bound} for number, bound in enumerate(bounds)]
    return rows if initial is None else [{**r, "val_initial_bound": i} for r, i in zip(rows, initial, strict=True)]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, in order."""
    figures = []
    save = curves.save

    def keep(figure, *rest):
        figures.append(figure)
        save(figure, *rest)

    monkeypatch.setattr(curves, "save", keep)
    return figures


def test_one_line_for_each_bound_and_its_numbers(tmp_path, drawn):
    runs = {"VAE": epochs([23.0, 22.0, None])[::-1], "SA-VAE": epochs([22.0, np.nan, 21.0], [24.0, 23.0, 22.5])}
    numbers = curves.draw_learning_curves(runs, tmp_path / "curves.png")
    np.testing.assert_array_equal(numbers["VAE"]["epoch"], [1, 2, 3])
    np.testing.assert_array_equal(numbers["VAE"]["val_nll_bound"], [23, 22, np.nan])
    assert "val_initial_bound" not in numbers["VAE"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((tmp_path / "curves.json").read_text())
    assert written["SA-VAE"] == {
        "epoch": [1, 2, 3],
        "val_nll_bound": [22.0, None, 21.0],
        "val_initial_bound": [24.0, 23.0, 22.5],
    }
    axes = drawn[0].axes[0]
    assert [(line.get_label(), line.get_linestyle()) for line in axes.lines] == [
        ("VAE", "-"),
        ("SA-VAE", "-"),
        ("SA-VAE, initial", "--"),
    ]
    assert axes.lines[1].get_color() == axes.lines[2].get_color() != axes.lines[0].get_color()
    assert "nats" in axes.get_ylabel()


def test_what_is_far_above_where_the_runs_end_does_not_set_the_scale(tmp_path, drawn):
    runs = {"VAE": epochs([45.0, 21.0]), "SA-VAE": epochs([21.5, 20.9], [40.0, 32.4])}
    curves.draw_learning_curves(runs, tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[0] < 20.9
    assert 21.0 < axes.get_ylim()[1] < 23.0
    assert axes.lines[2].get_label() == "SA-VAE, initial (off scale, ends at 32.40)"


def test_one_epoch_of_one_run(tmp_path):
    curves.draw_learning_curves({"run": epochs([3.0])}, tmp_path / "curves.png", "A title")


def test_colours_are_those_of_the_methods():
    colours = colours_of(["SA-VAE", "mine", "VAE+SVI+KL", "vae_svi", "yours"])
    assert list(colours.values()) == [
        COLOURS["sa_vae"],
        OTHER_COLOURS[0],
        COLOURS["vae_svi_kl"],
        COLOURS["vae_svi"],
        OTHER_COLOURS[1],
    ]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="runs is empty"):
        curves.draw_learning_curves({}, tmp_path / "curves.png")
    with pytest.raises(ValueError, match="run 'VAE': expected at least one epoch with val_nll_bound"):
        curves.draw_learning_curves({"VAE": [{"epoch": 1}]}, tmp_path / "curves.png")

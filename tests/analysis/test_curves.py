"""Learning curves."""

import json

import numpy as np
import pytest

from sa_vae_tf.analysis import curves
from sa_vae_tf.analysis.figures import COLOURS, OTHER_COLOURS, colours_of


def epochs(bounds, initial=None):
    rows = [{"epoch": n, "step": 5 * n, "val_nll_bound": bound} for n, bound in enumerate(bounds, 1)]
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
        "step": [5, 10, 15],
        "val_nll_bound": [22.0, None, 21.0],
        "val_initial_bound": [24.0, 23.0, 22.5],
    }
    axes = drawn[0].axes[0]
    lines = [line for line in axes.lines if line.get_marker() != "^"]
    assert [(line.get_label(), line.get_linestyle()) for line in lines] == [
        ("VAE", "-"),
        ("SA-VAE", "-"),
        ("SA-VAE, initial", "--"),
    ]
    assert lines[1].get_color() == lines[2].get_color() != lines[0].get_color()
    assert "nats" in axes.get_ylabel()


def test_what_is_far_above_where_the_runs_end_does_not_set_the_scale(tmp_path, drawn):
    runs = {"VAE": epochs([45.0, 21.0]), "SA-VAE": epochs([21.5, 20.9], [40.0, 32.4])}
    curves.draw_learning_curves(runs, tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[0] < 20.9
    assert 21.0 < axes.get_ylim()[1] < 23.0
    lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["VAE", "SA-VAE", "SA-VAE, initial (off scale, ends at 32.40)"]
    # What is above has a triangle at the edge.
    marks = [line for line in axes.lines if line.get_marker() == "^"]
    assert [line.get_xdata().tolist() for line in marks] == [[1.0], [1.0], [1.0, 2.0]]
    heights = [axes.transLimits.transform(line.get_xydata())[:, 1] for line in marks]
    assert 1 < heights[0][0] < heights[1][0] < heights[2][0] == heights[2][1] < 1.1
    assert "triangles over the upper edge: above the scale" in drawn[0].legends[0].get_title().get_text()


def test_where_a_run_ends_is_on_the_scale_though_it_was_better_before(tmp_path, drawn):
    runs = {"VAE": epochs([22.0, 20.0, 23.0]), "SA-VAE": epochs([21.0, 20.5, 20.2])}
    curves.draw_learning_curves(runs, tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[0] < 20 < 23 < axes.get_ylim()[1]
    assert not [line for line in axes.lines if line.get_marker() == "^"]


def test_the_scale_ends_where_nothing_is_above(tmp_path, drawn):
    curves.draw_learning_curves({"text": epochs([26.0, 25.0]), "images": epochs([89.0])}, tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[0] < 25 < 89 < axes.get_ylim()[1] < 93
    assert not [line for line in axes.lines if line.get_marker() == "^"]


def test_one_epoch_shows_both_bounds(tmp_path, drawn):
    curves.draw_learning_curves({"SA-VAE": epochs([25.4], [26.2])}, tmp_path / "curves.png")
    axes = drawn[0].axes[0]
    refined, initial = axes.lines
    assert (refined.get_marker(), initial.get_marker(), initial.get_label()) == ("o", "o", "SA-VAE, initial")
    assert axes.get_ylim()[0] < 25.4 < 26.2 < axes.get_ylim()[1]


def test_the_first_and_the_last_epoch_have_a_tick(tmp_path, drawn):
    for last in (1, 2, 7, 20, 103):
        curves.draw_learning_curves({"run": epochs([3.0] * last)}, tmp_path / "curves.png")
        ticks = drawn[-1].axes[0].get_xticks()
        assert (ticks[0], ticks[-1]) == (1, last)
        assert len(ticks) <= 8
        assert all(tick == int(tick) for tick in ticks)


def test_what_needs_a_word_has_one(tmp_path, drawn):
    plain = epochs([21.1, 21.0])
    warm = [
        {**line, "kl_weight": weight} for line, weight in zip(epochs([22.0] * 4), (0.4, 0.9, 1.0, 1.0), strict=True)
    ]
    for runs in ({"VAE": plain}, {"VAE": warm}, {"SA-VAE": epochs([21.1, 21.0], [21.2, 21.1])}):
        curves.draw_learning_curves(runs, tmp_path / "curves.png")
    assert [figure.legends[0].get_title().get_text() for figure in drawn] == [
        "",
        "KL warm-up to epoch 2: training counts the KL for less than the bound does, which may rise",
        "initial: bound of the posterior before its refinement",
    ]


def test_colours_are_those_of_the_methods():
    colours = colours_of(["SA-VAE", "mine", "VAE+SVI+KL", "vae_svi", "yours"])
    assert list(colours.values()) == [
        COLOURS["sa_vae"],
        OTHER_COLOURS[0],
        COLOURS["vae_svi_kl"],
        COLOURS["vae_svi"],
        OTHER_COLOURS[1],
    ]


def test_many_runs_have_a_colour_each_and_room_for_their_names(tmp_path, drawn):
    for count in (2, 14):
        curves.draw_learning_curves({f"run {n}": epochs([3.0 + n, 2.0 + n]) for n in range(count)}, tmp_path / "a.png")
    assert len({line.get_color() for line in drawn[1].axes[0].lines if line.get_linestyle() == "-"}) == 14
    few, many = (figure.axes[0].get_window_extent().height for figure in drawn)
    assert many > 0.9 * few


@pytest.mark.parametrize(
    ("bounds", "steps", "best"),
    [
        ([3.0, 2.0, 2.5], [5, 10, 15], 1),
        ([3.0, 2.0, 1.0], [5, 10, 13], 1),  # The third epoch is a part, whose weights are not kept as the best.
        ([3.0], [4], 0),
        ([np.nan, 2.0], [5, 8], 1),
        ([3.0, np.nan, 2.5], [5, 10, 15], 2),
    ],
)
def test_the_best_of_whole_epochs(bounds, steps, best, tmp_path):
    run = [{**epoch, "step": step} for epoch, step in zip(epochs(bounds), steps, strict=True)]
    drawn = curves.draw_learning_curves({"VAE": run}, tmp_path / "curves.png")
    assert curves.best_epoch(drawn["VAE"]) == best


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="runs is empty"):
        curves.draw_learning_curves({}, tmp_path / "curves.png")
    with pytest.raises(ValueError, match="run 'VAE': expected at least one epoch with val_nll_bound"):
        curves.draw_learning_curves({"VAE": [{"epoch": 1}]}, tmp_path / "curves.png")


@pytest.mark.parametrize("name", ["$x$", "a$b", "_hidden", r"$\frac{$", "two $ and $", "\x1b[31m", r"\$"])
def test_names_of_runs_are_shown_as_they_are(name, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves, "save", lambda figure, path, numbers: figures.append(figure))
    curves.draw_learning_curves({name: epochs([3.0, 2.0]), "other": epochs([3.0, 2.5])}, tmp_path / "curves.png")
    [figure] = figures
    figure.canvas.draw()
    [legend] = figure.legends
    first = legend.get_texts()[0]
    # Matplotlib writes `$` for what is escaped, where there is no formula.
    text, formula = first._preprocess_math(first.get_text())
    assert formula is False
    assert text.strip() == name.replace("\x1b", r"\x1b")

"""The landscape of Figure 1, on a likelihood whose bound is known in closed form."""

import json

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.axes import Axes

from sa_vae_tf.analysis import landscape
from sa_vae_tf.analysis.example_bound import example_bound, fixed_noise, grid_search
from sa_vae_tf.analysis.landscape import compute_landscape, draw_landscape
from sa_vae_tf.inference import Posterior, negative_elbo

# -log p(x | z) = sum_d PRECISION_d (z_d - CENTRE_d)^2 / 2.
PRECISION, CENTRE = np.array([8.0, 2.0]), np.array([1.0, -0.5])
OPTIMUM = Posterior(PRECISION * CENTRE / (1 + PRECISION), -np.log(1 + PRECISION))


def closed_form(mean, log_variance):
    variance = np.exp(log_variance)
    likelihood = 0.5 * np.sum(PRECISION * ((mean - CENTRE) ** 2 + variance), -1)
    return likelihood + 0.5 * np.sum(variance + mean**2 - 1 - log_variance, -1)


@pytest.fixture(scope="module")
def value():
    def negative_log_likelihood(z, context, seed):
        return 0.5 * tf.reduce_sum(context["precision"] * tf.square(z - context["centre"]), -1)

    context = {"precision": tf.constant([PRECISION] * 64), "centre": tf.constant([CENTRE] * 64)}
    return example_bound(negative_elbo(negative_log_likelihood), context, fixed_noise(4, 2), 64, tf.float64)


def test_fixed_noise_has_the_moments_of_a_standard_normal():
    noise = fixed_noise(5, 3)
    assert noise.shape == (10, 3)
    np.testing.assert_allclose(noise.mean(0), 0, atol=1e-14)
    np.testing.assert_allclose(noise.T @ noise / 10, np.eye(3), atol=1e-12)
    with pytest.raises(ValueError, match="pairs=2"):
        fixed_noise(2, 3)


@pytest.mark.parametrize("points", [1, 64, 100])
def test_example_bound_is_exact_where_moments_decide(value, points):
    random = np.random.default_rng(0)
    mean, log_variance = random.standard_normal([2, points, 2])
    np.testing.assert_allclose(value(Posterior(mean, log_variance)), closed_form(mean, log_variance), rtol=1e-12)


def test_grid_search_finds_the_optimum(value):
    optimum, lowest = grid_search(value)
    # The last grid's spacing is 0.25 * 0.5**11 in the means and three times that in the log variances.
    np.testing.assert_allclose(optimum.mean, OPTIMUM.mean, atol=0.25 * 0.5**11)
    np.testing.assert_allclose(optimum.log_variance, OPTIMUM.log_variance, atol=0.75 * 0.5**11)
    assert lowest == pytest.approx(closed_form(*OPTIMUM), abs=1e-6)


@pytest.mark.parametrize("centre", [(3.9, -3.9), (-3.9, 3.9)])
def test_grid_search_finds_a_narrow_basin_at_the_edge_of_its_first_grid(centre):
    def two_basins(posterior):
        narrow = 8 * np.sum((posterior.mean - np.array(centre)) ** 2, -1) + 4 * np.sum(posterior.log_variance**2, -1)
        wide = 0.1 * np.sum(posterior.mean**2 + (posterior.log_variance + 3) ** 2, -1)
        return np.minimum(narrow - 1, wide)

    optimum, lowest = grid_search(two_basins)
    # As above; the bound is off by the squares of these distances, times 8 and 4.
    np.testing.assert_allclose(optimum.mean, centre, atol=0.25 * 0.5**11)
    np.testing.assert_allclose(optimum.log_variance, 0, atol=0.75 * 0.5**11)
    assert lowest == pytest.approx(-1, abs=1e-5)


def test_compute_landscape(value):
    path = np.array([[0.0, 0.0], [2.0, -0.25]])
    landscape = compute_landscape(value, OPTIMUM, [path, [0.5, -0.4]], points=11)
    assert landscape.bound.shape == (11, 11)
    # Rows run along the second mean, columns along the first.
    for row, column in [(0, 0), (3, 7), (10, 1)]:
        mean = np.array([landscape.mean_1[column], landscape.mean_2[row]])
        assert landscape.bound[row, column] == pytest.approx(closed_form(mean, OPTIMUM.log_variance), rel=1e-12)
    # Two units from 0 to 2, and a quarter of that on both sides; square, about the middle of what is shown.
    np.testing.assert_allclose(landscape.mean_1[[0, -1]], [-0.5, 2.5])
    np.testing.assert_allclose(np.ptp(landscape.mean_2), 3.0)
    assert landscape.optimum_bound == pytest.approx(closed_form(*OPTIMUM))
    assert landscape.bound.min() >= landscape.optimum_bound
    with pytest.raises(ValueError, match="points=1"):
        compute_landscape(value, OPTIMUM, points=1)
    with pytest.raises(ValueError, match="expected \\[2\\] or \\[points, 2\\]"):
        compute_landscape(value, OPTIMUM, [np.zeros([3, 3])])


def test_draw_landscape_writes_a_figure_and_its_numbers(value, tmp_path):
    trajectories = {"VAE": OPTIMUM.mean + 0.1, "SA-VAE": np.linspace([-1, 1], OPTIMUM.mean, 5)}
    landscape = compute_landscape(value, OPTIMUM, trajectories.values(), points=21)
    near = compute_landscape(value, OPTIMUM, points=11)
    drawn = draw_landscape(landscape, near, trajectories, tmp_path / "new" / "figure.png", "A title")
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads((tmp_path / "new" / "figure.json").read_text())
    assert written.keys() == drawn.keys()
    np.testing.assert_array_equal(written["whole"]["bound"], landscape.bound)
    np.testing.assert_array_equal(written["near"]["mean_1"], near.mean_1)
    np.testing.assert_array_equal(written["optimum_mean"], OPTIMUM.mean)
    np.testing.assert_array_equal(written["trajectories"]["VAE"], [OPTIMUM.mean + 0.1])
    np.testing.assert_array_equal(written["trajectories"]["SA-VAE"], trajectories["SA-VAE"])
    with pytest.raises(ValueError, match="ends in .png"):
        draw_landscape(landscape, near, trajectories, tmp_path / "figure.pdf")


def test_a_landscape_alone_has_one_panel(tmp_path, value):
    whole = compute_landscape(value, OPTIMUM, [np.zeros(2)], points=5)
    numbers = draw_landscape(whole, None, {"VAE": OPTIMUM.mean}, tmp_path / "one.png")
    assert "near" not in numbers
    assert (tmp_path / "one.png").exists()


def test_what_is_drawn_of_a_landscape(value, tmp_path, monkeypatch):
    figures, squares = [], []
    monkeypatch.setattr(landscape, "save", lambda figure, path, numbers: figures.append(figure))
    monkeypatch.setattr(Axes, "indicate_inset", lambda axes, bounds, **style: squares.append((axes, bounds)))
    path = np.linspace([-1, 1], OPTIMUM.mean, 5)
    whole = compute_landscape(value, OPTIMUM, [path], points=21)
    # An optimum between the points of the grid, and a square that leaves `whole` on the right.
    whole = whole._replace(optimum_bound=whole.optimum_bound - 3)
    near = compute_landscape(value, OPTIMUM, [[1.9, 1.0]], points=11)
    drawn = draw_landscape(whole, near, {"SA-VAE": path}, tmp_path / "figure.png")
    means = np.stack(np.meshgrid(whole.mean_1, whole.mean_2), -1)
    above = closed_form(means, OPTIMUM.log_variance) - closed_form(*OPTIMUM) + 3
    assert above.min() < 4
    np.testing.assert_array_equal(drawn["whole"]["levels"], [level for level in (4, 8, 16, 32) if level < above.max()])
    [panel, _] = figures[0].axes
    [start] = [line for line in panel.lines if line.get_marker() == "o" and line.get_markerfacecolor() == "white"]
    np.testing.assert_array_equal(start.get_xydata(), [path[0]])
    [(axes, (left, bottom, width, height))] = squares
    assert axes is panel
    assert whole.mean_1[-1] < near.mean_1[-1]
    np.testing.assert_allclose([left, left + width], [near.mean_1[0], whole.mean_1[-1]])
    np.testing.assert_allclose([bottom, bottom + height], near.mean_2[[0, -1]])


@pytest.mark.parametrize(
    ("precision", "levels"),
    [(1e-6, 0), (0.05, 3), (0.2, 3), (0.6, 3), (2.0, 3), (20.0, 5)],
)
def test_the_levels_of_a_flat_bound_begin_lower(precision, levels, tmp_path, monkeypatch):
    monkeypatch.setattr(landscape, "save", lambda figure, path, numbers: figure.draw_without_rendering())
    whole = compute_landscape(
        lambda p: 0.5 * precision * np.sum(p.mean**2, -1), Posterior(*np.zeros([2, 2])), points=21
    )
    drawn = draw_landscape(whole, None, {"VAE": [0.0, 0.0]}, tmp_path / "figure.png")["whole"]["levels"]
    # Both means are 0.5 in a corner.
    expected = [0.25 * 2.0**k for k in range(-12, 9) if 0.25 * 2.0**k < precision * 0.5**2]
    assert len(drawn) == levels
    np.testing.assert_array_equal(drawn, expected[len(expected) - levels :])

"""The form of a convolution by frequencies, against NumPy's convolution."""

import numpy as np
import pytest

from sa_vae_tf.kernels.frequencies import form


@pytest.mark.parametrize(
    ("width", "columns", "left", "right"),
    [(7, 5, 2, 2), (7, 7, 3, 3), (7, 6, 1, 4), (6, 5, 0, 4), (28, 9, 4, 4), (28, 3, 0, 0), (1, 3, 1, 1)],
)
def test_form(width, columns, left, right):
    rng = np.random.default_rng(0)
    pixels, weights = rng.normal(size=width), rng.normal(size=columns)
    matrices = form(width, columns, left, right)
    actual = matrices.of_results.T @ ((matrices.of_inputs @ pixels) * (matrices.of_kernel @ weights))
    expected = np.correlate(np.pad(pixels, (left, right)), weights, "valid")
    # Some roundings of float64, 1e-16 each, of sums of some hundred terms.
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)


def test_an_image_of_the_paper_takes_few_products():
    # One for each of two of 32 frequencies, and three for each of the 15 between.
    assert len(form(28, 9, 4, 4).of_inputs) == 47

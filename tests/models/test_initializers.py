"""Initial weights: of the seed alone, within their limits, from one graph."""

import keras
import numpy as np
import pytest

from sa_vae_tf.models import initializers
from sa_vae_tf.models.initializers import uniform_stream


def test_one_seed_gives_one_model():
    def weights(seed):
        draw = uniform_stream(seed)
        return [draw(0.1)((3, 4)).numpy(), draw(0.1)((3, 4)).numpy()]

    first, second = weights(5)
    np.testing.assert_array_equal([first, second], weights(5))
    assert not np.any(first == second)
    assert not np.any(first == weights(6)[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_uniform_within_the_limits(dtype):
    values = uniform_stream(1)(0.2)((100, 100), dtype=dtype).numpy()
    assert values.dtype == dtype
    assert np.abs(values).max() <= 0.2
    # Standard error of the mean of 10,000: 0.2 / sqrt(3) / 100.
    assert values.mean() == pytest.approx(0, abs=5 * 0.2 / 3**0.5 / 100)
    assert values.std() == pytest.approx(0.2 / 3**0.5, rel=0.03)


def test_shapes_and_seeds_share_a_graph():
    layer = keras.layers.Dense(7, kernel_initializer=uniform_stream(1)(0.1), bias_initializer=uniform_stream(2)(0.3))
    layer.build([None, 5])
    before = initializers._uniform.experimental_get_tracing_count()
    for seed, shape in enumerate([(2,), (3, 4), (2, 3, 4), (9, 9)]):
        assert uniform_stream(seed)(0.01 * seed)(shape).shape == shape
    assert initializers._uniform.experimental_get_tracing_count() == before

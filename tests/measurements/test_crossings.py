"""First crossings against curves whose crossing is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.measurements import first_crossing, halfway_crossing


def test_of_straight_lines_it_is_exact():
    times, slopes = np.array([0.5, 1.0, 3.0, 7.0]), np.array([[1.0, 2.0], [0.5, 0.01]])
    values = times[:, None, None] * slopes
    np.testing.assert_allclose(first_crossing(times, values, 2.2), [[2.2, 1.1], [4.4, np.nan]], rtol=1e-14)
    levels = np.array([[2.2, 8.0], [0.1, 0.07]])
    np.testing.assert_allclose(first_crossing(times, values, levels), [[2.2, 4.0], [0.5, 7.0]], rtol=1e-14)


def test_it_is_the_first_of_several_and_a_fall_is_a_rise_of_the_negative():
    times = np.arange(6.0)
    values = np.array([0.0, 2.0, 0.0, 2.0, 5.0, 0.0])
    np.testing.assert_allclose(first_crossing(times, values, 1.0), 0.5)
    np.testing.assert_allclose(first_crossing(times, values, 3.5), 3.5)
    np.testing.assert_allclose(first_crossing(times[1:], -values[1:], -1.0), 1.5)


def test_what_is_not_a_number_is_below_every_level_and_lends_no_slope():
    times = np.arange(4.0)
    np.testing.assert_allclose(first_crossing(times, np.array([0.0, np.nan, 2.0, 3.0]), 1.0), 2.0)
    np.testing.assert_allclose(first_crossing(times, np.array([0.0, 0.5, np.nan, np.nan]), 1.0), np.nan)
    np.testing.assert_allclose(first_crossing(times, np.array([-np.inf, 2.0, 2.0, 2.0]), 1.0), 1.0)
    np.testing.assert_allclose(first_crossing(times, np.array([0.0, 1.0, 1.0, 1.0]), 1.0), 1.0)


def test_it_traces_and_keeps_the_dtype():
    times, values = jnp.arange(4.0), jnp.arange(12.0).reshape(4, 3)
    alone = first_crossing(times, values, 4.0)
    assert alone.dtype == values.dtype
    np.testing.assert_array_equal(jax.jit(first_crossing)(times, values, 4.0), alone)


@pytest.mark.parametrize(
    ("times", "values", "level", "word"),
    [
        (np.arange(3.0), np.arange(4.0), 1.0, "times and values"),
        (np.arange(4.0), np.zeros((4, 2)), np.zeros(3), "level"),
        (np.zeros(0), np.zeros(0), 1.0, "times and values"),
    ],
)
def test_other_shapes_are_refused(times, values, level, word):
    with pytest.raises(ValueError, match=word):
        first_crossing(times, values, level)


def test_half_way_is_the_geometric_mean_of_the_extreme_and_the_end():
    times = np.arange(6.0)
    falls = np.exp(np.array([[1.0, 0.0], [3.0, 5.0], [1.0, 4.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, -3.0]]))
    np.testing.assert_allclose(halfway_crossing(times, falls, rising=False), [2.0, 3.0])
    np.testing.assert_allclose(halfway_crossing(times, 1 / falls, rising=True), [2.0, 3.0])
    np.testing.assert_allclose(halfway_crossing(times, np.exp(np.array([2.0, 1, 0, 0, 3, 4])), rising=True), 3 + 2 / 3)

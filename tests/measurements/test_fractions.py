"""The distribution function on fixed points: exact counts, the same distance as from the samples, honest with NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from sgdsde.measurements import cdf_distance, cdf_distance_of_fractions, density_of_fractions, fraction_below

POINTS = np.linspace(-4, 4, 161)
GRID = np.linspace(-6, 6, 1001)
DENSITY = scipy.stats.norm.pdf(GRID)


def test_fractions_are_counts():
    samples = jnp.array([0.5, -1.0, 2.0, 0.0])
    np.testing.assert_array_equal(fraction_below(samples, jnp.array([-2.0, 0.0, 0.25, 3.0])), [0, 0.25, 0.5, 1])


def test_a_diverged_chain_makes_all_of_them_nan():
    found = jax.jit(fraction_below)(jnp.array([0.5, jnp.nan, 2.0]), jnp.array([0.0, 1.0]))
    assert np.isnan(found).all()
    assert np.isnan(cdf_distance_of_fractions(found, 3, np.array([0.0, 1.0]), GRID, DENSITY)).all()


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_distance_is_that_of_the_samples_up_to_the_points(key, shift):
    """Between two points 0.05 apart F moves by at most 0.02; the arg max of a smooth gap loses far less."""
    samples = jax.random.normal(key, (4_000,)) + shift
    fractions = fraction_below(samples, POINTS)
    distance, error = cdf_distance_of_fractions(fractions, 4_000, POINTS, GRID, DENSITY)
    reference, reference_error = cdf_distance(samples, GRID, DENSITY)
    assert distance == pytest.approx(reference, abs=0.004)
    assert error == pytest.approx(reference_error, rel=0.2)
    if shift:
        assert distance > 5.9 * error
        assert distance == pytest.approx(2 * scipy.stats.norm.cdf(shift / 2) - 1, abs=5.9 * error)
    else:
        assert distance < 5.9 * error


def test_the_histogram_is_a_density_with_binomial_errors():
    fractions = scipy.stats.norm.cdf(POINTS)
    heights, errors = density_of_fractions(fractions, 10_000, POINTS)
    middle = (POINTS[1:] + POINTS[:-1]) / 2
    np.testing.assert_allclose(heights, scipy.stats.norm.pdf(middle), atol=1e-4)
    mass = heights * 0.05
    np.testing.assert_allclose(errors, np.sqrt(mass * (1 - mass) / 10_000) / 0.05)

"""Distances of one number: SciPy and quadrature on tiny arrays, then the error bar against many repeats."""

import itertools

import jax
import numpy as np
import ot
import pytest
import scipy.integrate
import scipy.stats

from sgdsde.measurements import (
    cdf_distance,
    cdf_distance_two_samples,
    wasserstein_distance,
    wasserstein_distance_two_samples,
)

LIMIT = 5.9
GRID = np.linspace(-8, 8, 801)
NORMAL = np.exp(-(GRID**2) / 2) / np.sqrt(2 * np.pi)
AGAINST_DENSITY = [cdf_distance, wasserstein_distance]
AGAINST_SAMPLES = [cdf_distance_two_samples, wasserstein_distance_two_samples]


def test_cdf_distance_by_hand():
    """Uniform on [0, 1], samples .1 .2 .9 .95: the largest gap is |1/2 - .9| just left of .9; error of a half."""
    distance, error = cdf_distance(np.array([0.1, 0.9, 0.2, 0.95]), np.array([0.0, 1.0]), np.ones(2))
    np.testing.assert_allclose(distance, 0.4, rtol=1e-14)
    np.testing.assert_allclose(error, np.std([1, 0, 1, 0], ddof=1) / 2)


def test_cdf_distance_is_exact_between_grid_points_and_outside():
    """Density 2x on [0, 1] given by its two ends: F = x^2, for one sample the distance is max(F, 1 - F)."""
    for position, exact in ((0.5, 0.75), (0.9, 0.81), (-3.0, 1.0), (7.0, 1.0)):
        distance, _ = cdf_distance(np.full(3, position), np.array([0.0, 1.0]), np.array([0.0, 2.0]))
        np.testing.assert_allclose(distance, exact, rtol=1e-14)


def test_cdf_distance_agrees_with_scipy():
    samples = np.random.default_rng(0).standard_normal((40, 5))
    exact = scipy.stats.ks_1samp(samples.ravel(), scipy.stats.norm.cdf).statistic
    np.testing.assert_allclose(cdf_distance(samples, GRID, NORMAL)[0], exact, atol=1e-5)  # the grid's F


def test_two_sample_distances_agree_with_scipy_and_optimal_transport():
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal(30), np.round(generator.standard_normal(41), 1)  # with ties
    np.testing.assert_allclose(cdf_distance_two_samples(x, y)[0], scipy.stats.ks_2samp(x, y).statistic, rtol=1e-13)
    distance = wasserstein_distance_two_samples(x, y)[0]
    np.testing.assert_allclose(distance, scipy.stats.wasserstein_distance(x, y), rtol=1e-12)
    np.testing.assert_allclose(distance, ot.wasserstein_1d(x, y, p=1), rtol=1e-12)
    assert cdf_distance_two_samples(x, x)[0] == 0
    assert wasserstein_distance_two_samples(x, x)[0] == 0


def test_wasserstein_to_a_density_by_hand_and_by_quadrature():
    """Uniform on [0, 1]: a point at 1/2 costs 1/4, a point at 3 costs 5/2; then a normal against SciPy's quadrature."""
    uniform = (np.array([0.0, 1.0]), np.ones(2))
    np.testing.assert_allclose(wasserstein_distance(np.full(2, 0.5), *uniform)[0], 0.25, rtol=1e-14)
    np.testing.assert_allclose(wasserstein_distance(np.full(2, 3.0), *uniform)[0], 2.5, rtol=1e-14)
    samples = np.array([-1.0, 0.3, 0.4, 2.0])
    # The jumps, and where the normal CDF crosses the levels: the integrand is smooth between these.
    breaks = np.sort(np.concatenate([[-9, 9], samples, scipy.stats.norm.ppf([0.25, 0.5, 0.75])]))
    exact = sum(
        scipy.integrate.quad(lambda x: abs(np.mean(samples <= x) - scipy.stats.norm.cdf(x)), low, high)[0]
        for low, high in itertools.pairwise(breaks)
    )
    np.testing.assert_allclose(wasserstein_distance(samples, GRID, NORMAL)[0], exact, atol=2e-5)


def enlargement(num_chains):
    """Of an error from few chains: 5.9 of it reach from a chi-square law's one in a million to its mean."""
    rare = scipy.stats.chi2.ppf(5e-7, num_chains) / num_chains
    return max(1, (1 / rare - 1) / (LIMIT * np.sqrt(2 / num_chains)))


@pytest.mark.parametrize("measure", AGAINST_DENSITY)
@pytest.mark.parametrize("num_samples", [1, 6])
def test_error_against_a_density_is_that_of_repeats(measure, num_samples):
    """400 repeats, chains of equal neighbours (correlation 1/2): the spread of the distance is the reported error.

    Limit 5.9/sqrt(2 * 400) = 21 %, far from equality, where the arg max is sharp. At 6 samples a chain the error that
    ignores chains is 47 % too small.
    """
    generator = np.random.default_rng(2)
    samples = (
        0.6
        + np.sqrt(0.5) * generator.standard_normal((400, 150, 1))
        + np.sqrt(0.5) * generator.standard_normal((400, 150, num_samples))
    )
    found = np.array([measure(each, GRID, NORMAL) for each in samples])
    error = np.mean(found[:, 1]) / (enlargement(150) if measure is wasserstein_distance else 1)
    assert abs(error / np.std(found[:, 0]) - 1) < LIMIT / np.sqrt(2 * 400)


@pytest.mark.parametrize("measure", AGAINST_SAMPLES)
def test_error_between_samples_is_that_of_repeats(measure):
    generator = np.random.default_rng(3)
    x, y = generator.standard_normal((400, 150)) + 1, generator.standard_normal((400, 200))
    found = np.array([measure(*pair) for pair in zip(x, y)])
    # the two sets' enlarged errors add up by their squares, both variances being 1 where the laws are far apart
    factors = (
        np.array([enlargement(150), enlargement(200)]) if measure is wasserstein_distance_two_samples else np.ones(2)
    )
    error = np.mean(found[:, 1]) * np.sqrt((1 / 150 + 1 / 200) / np.sum(factors**2 / np.array([150, 200])))
    assert abs(error / np.std(found[:, 0]) - 1) < LIMIT / np.sqrt(2 * 400)


def test_the_right_law_is_accepted_and_a_wrong_one_rejected():
    """10,000 chains; variance 10 % too large is more than 10 standard errors of W, twice the variance of both."""
    samples = np.random.default_rng(4).standard_normal(10_000)
    other = np.random.default_rng(5).standard_normal(10_000)
    for measure in AGAINST_DENSITY:
        distance, error = measure(samples, GRID, NORMAL)
        assert distance < LIMIT * error
        distance, error = measure(np.sqrt(2) * samples, GRID, NORMAL)
        assert distance > 10 * error
    for measure in AGAINST_SAMPLES:
        distance, error = measure(samples, other)
        assert distance < LIMIT * error
        distance, error = measure(np.sqrt(2) * samples, other)
        assert distance > 10 * error


def test_too_few_samples_never_report_a_vanishing_error():
    """All samples beyond the arg max: their fractions, 0, do not vary; the error is that of (0 + 4)/(5 + 8)."""
    distance, error = cdf_distance(np.full(5, 20.0), GRID, NORMAL)
    np.testing.assert_allclose((distance, error), (1.0, np.sqrt(4 / 13 * 9 / 13 / 5)))


@pytest.mark.parametrize("num_samples", [1, 4])
def test_few_chains_raise_no_false_alarm_in_the_tails(num_samples):
    """500 repeats of 50 chains: with the chains' own error alone, z at the arg max exceeds 5.9 in some of them."""
    generator = np.random.default_rng(8)
    samples = np.sqrt(0.5) * (
        generator.standard_normal((500, 50, 1)) + generator.standard_normal((500, 50, num_samples))
    )
    found = np.array([cdf_distance(each, GRID, NORMAL) for each in samples])
    assert np.max(found[:, 0] / found[:, 1]) < LIMIT
    pairs = [cdf_distance_two_samples(each, other[:, 0]) for each, other in zip(samples[::2], samples[1::2])]
    assert np.max(np.divide(*np.transpose(pairs))) < LIMIT


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_sample_that_is_not_finite_makes_distances_nan(bad):
    good = np.random.default_rng(6).standard_normal(20)
    broken = good.copy()
    broken[4] = bad
    for measure in AGAINST_DENSITY:
        assert np.all(np.isnan(measure(broken, GRID, NORMAL)))
    for measure in AGAINST_SAMPLES:
        assert np.all(np.isnan(measure(broken, good)))
        assert np.all(np.isnan(measure(good, broken)))


@pytest.mark.parametrize("measure", AGAINST_DENSITY)
def test_distances_refuse_bad_input(measure):
    good = np.random.default_rng(7).standard_normal(20)
    with pytest.raises(ValueError, match="samples: expected shape"):
        measure(np.ones((4, 3, 2)), GRID, NORMAL)
    with pytest.raises(ValueError, match="at least 2 independent chains"):
        measure(good[None, :], GRID, NORMAL)
    with pytest.raises(ValueError, match="density: expected the grid's shape"):
        measure(good, GRID, NORMAL[:-1])
    with pytest.raises(ValueError, match="increasing"):
        measure(good, GRID[::-1], NORMAL)
    with pytest.raises(ValueError, match="mass 1"):
        measure(good, GRID, 2 * NORMAL)
    with pytest.raises(ValueError, match="non-negative"):
        measure(good, GRID, -NORMAL)
    with pytest.raises(TypeError, match="outside"):
        jax.jit(lambda x: measure(x, GRID, NORMAL))(good)

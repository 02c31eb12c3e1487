"""Exit times: small samples by hand, SciPy's Kaplan-Meier and its intervals, coverage, slopes against least squares."""

import jax
import numpy as np
import pytest
import scipy.stats

from sgdsde.measurements import exponentiality, fraction, log_log_slope, mean_exit_time, survival, weighted_slope

TIMES = np.array([3.0, 5.0, 5.0, 8.0, 10.0, 10.0])
EXITED = np.array([1, 1, 0, 1, 0, 0])


def test_a_small_sample_by_hand():
    mean, error = jax.jit(mean_exit_time)(TIMES, EXITED)
    np.testing.assert_allclose([mean, error], [41 / 3, 41 / 3 / np.sqrt(3)])
    values, errors = survival(TIMES, EXITED, np.array([0.0, 3.0, 4.9, 5.0, 8.0, 10.0, 11.0]))
    steps = [1, 5 / 6, 5 / 6, 4 / 6, 4 / 9, 4 / 9, np.nan]
    np.testing.assert_allclose(values, steps)
    greenwood = np.array(steps) ** 2 * np.cumsum([0, 1 / 30, 0, 1 / 20, 1 / 6, 0, np.nan])
    np.testing.assert_allclose(errors[1:], laplace(np.array(steps), greenwood)[1:])
    np.testing.assert_allclose(errors[0], np.sqrt(1 / 8 * 7 / 8 / 6))  # of none of 6
    np.testing.assert_allclose(survival(TIMES, EXITED, 2.0), (1.0, errors[0]))


def laplace(values, variances):
    """The error of as many chains as the variance is worth."""
    size = values * (1 - values) / np.where(variances > 0, variances, np.nan)
    smoothed = (values * size + 1) / (size + 2)
    return np.sqrt(smoothed * (1 - smoothed) / size)


def test_without_censoring_a_survival_is_a_fraction():
    """Where all are left and where none is, too."""
    times, at = np.random.default_rng(2).exponential(size=30), np.array([0.0, 0.5, 1.0, 9.0])
    right = [fraction(times > each) for each in at]
    np.testing.assert_allclose(np.transpose(survival(times, np.ones(30), at)), right, rtol=1e-12)
    together = survival(np.full(4, 2.0), np.ones(4), np.array([1.0, 2.0]))
    np.testing.assert_allclose(np.transpose(together), [fraction(np.ones(4)), fraction(np.zeros(4))])


def test_censored_chains_are_no_longer_at_risk():
    found = survival(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 1]), np.array([0.5, 1.5, 2.5, 3.5]))
    np.testing.assert_allclose(found[0], [1, 1, 0.5, 0])
    sizes = np.array([3, 3, 2, 2])  # Greenwood's variance at 1/2 is that of two
    np.testing.assert_allclose(found[1], [fraction(np.arange(n) < n * s)[1] for n, s in zip(sizes, found[0])])


def test_without_censoring_the_error_is_the_sample_s_own():
    times = np.array([1.0, 2.0, 4.0])
    mean, error = mean_exit_time(times, np.ones(3, int))
    np.testing.assert_allclose([mean, error], [7 / 3, np.std(times, ddof=1) / np.sqrt(3)])
    none = mean_exit_time(times, np.zeros(3, int))
    assert np.all(np.isinf(none))


def test_survival_has_the_intervals_of_scipy():
    rng = np.random.default_rng(1)
    times, exited = np.round(rng.exponential(3, 200), 1), rng.integers(0, 2, 200)
    times[0], exited[0] = 99.0, 0  # SciPy's interval is undefined after a last exit
    found = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(times, exited == 0)).sf
    values, errors = survival(times, exited, found.quantiles)
    interval = found.confidence_interval(confidence_level=0.5, method="linear")
    middle = (interval.low.probabilities > 0) & (interval.high.probabilities < 1)
    width = (interval.high.probabilities - interval.low.probabilities) / 2
    np.testing.assert_allclose(values, found.probabilities)
    right = laplace(values, (width / scipy.stats.norm.ppf(0.75)) ** 2)
    np.testing.assert_allclose(errors[middle], right[middle], rtol=1e-9)


def test_censored_means_of_an_exponential_law_are_calibrated_and_other_laws_are_found():
    """2,000 samples of 400 chains censored at the mean: z has variance 1 +- 5.9 errors of it; the distance exceeds its
    critical value at most once in a hundred times; two waits in a row, and a law that slows down, are rejected."""
    rng = np.random.default_rng(0)
    whole = rng.exponential(2.0, (2000, 400))
    times, exited = np.minimum(whole, 2.0), whole < 2.0
    mean, error = jax.vmap(mean_exit_time)(times, exited)
    z = (np.asarray(mean) - 2.0) / np.asarray(error)
    assert abs(z.var() - 1) < 5.9 * np.sqrt(2 / 2000)
    tests = [exponentiality(t, e) for t, e in zip(times[:300], exited[:300], strict=True)]
    assert np.mean([test.distance > test.critical_value for test in tests]) < 0.01 + 5.9 * np.sqrt(0.01 / 300)
    ratios = np.array([test.log_hazard_ratio / test.standard_error for test in tests])
    assert abs(ratios.mean()) < 5.9 / np.sqrt(300)
    assert abs(ratios.var() - 1) < 5.9 * np.sqrt(2 / 300)
    waits = np.minimum(whole[:4] + whole[4:8], 4.0).ravel()
    late = exponentiality(waits, waits < 4.0)
    assert late.distance > late.critical_value
    assert late.log_hazard_ratio > 5.9 * late.standard_error
    mixed = exponentiality(np.concatenate([whole[0] / 30, whole[1]]), np.ones(800))
    assert mixed.distance > mixed.critical_value
    assert mixed.log_hazard_ratio < -5.9 * mixed.standard_error


def test_slopes_are_those_of_weighted_least_squares():
    x, y, errors = np.array([1.0, 2.0, 4.0, 7.0]), np.array([2.0, 1.0, 5.0, 6.5]), np.array([0.1, 0.3, 0.2, 0.5])
    fitted, covariance = np.polyfit(x, y, 1, w=1 / errors, cov="unscaled")
    np.testing.assert_allclose(weighted_slope(x, y, errors), [fitted[0], np.sqrt(covariance[0, 0])], rtol=1e-10)
    slope, error = log_log_slope(x, 3 * x**-1.7, 0.01 * x**-1.7)
    np.testing.assert_allclose([slope, error], [-1.7, 0.01 / 3 / np.sqrt(np.sum((np.log(x) - np.log(x).mean()) ** 2))])


def test_times_before_the_start_are_refused_and_traced_ones_are_nan():
    for wrong in (-1.0, np.nan, np.inf):
        times = np.where(TIMES == 8.0, wrong, TIMES)
        with pytest.raises(ValueError, match=r"^times: expected finite numbers >= 0, got an array"):
            mean_exit_time(times, EXITED)
        assert np.isnan(jax.jit(mean_exit_time)(times, EXITED)).all()
    with pytest.raises(ValueError, match=r"^exited: expected truth values, 0 or 1"):
        mean_exit_time(TIMES, 2 * EXITED)
    assert np.isnan(jax.jit(mean_exit_time)(TIMES, 2 * EXITED)).all()
    assert np.isnan(jax.jit(weighted_slope)(TIMES + EXITED, TIMES, -TIMES)).all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="times and exited: expected"):
        mean_exit_time(TIMES, EXITED[:3])
    with pytest.raises(ValueError, match="exited: expected 8 exits or more"):
        exponentiality(TIMES, EXITED)
    with pytest.raises(TypeError, match="works on the host"):
        jax.jit(lambda times: survival(times, EXITED, TIMES)[0])(TIMES)
    with pytest.raises(ValueError, match="expected \\(n,\\) each, n >= 2"):
        weighted_slope(TIMES, TIMES, TIMES[:2])

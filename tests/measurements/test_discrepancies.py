"""Energy distance and MMD: literal double sums, SciPy's V-statistic, the null law, and the error bar of repeats."""

import numpy as np
import pytest
import scipy.stats

from sgdsde.measurements import discrepancies, energy_distance, median_bandwidth, squared_mmd

LIMIT = 5.9


def mmd(x, y):
    return squared_mmd(x, y, bandwidth=1.3)


MEASURES = [energy_distance, mmd]


def literal(x, y, kernel):
    """U-statistic over pairs of different chains by explicit loops; samples (num_chains, num_samples, d)."""

    def average(first, second):
        return np.mean([[kernel(a, b) for b in second] for a in first])

    within = [np.mean([average(z[i], z[k]) for i in range(len(z)) for k in range(len(z)) if i != k]) for z in (x, y)]
    return sum(within) - 2 * np.mean([average(first, second) for first in x for second in y])


@pytest.mark.parametrize(
    ("measure", "kernel"),
    [
        (energy_distance, lambda a, b: -np.linalg.norm(a - b)),
        (mmd, lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * 1.3**2))),
    ],
)
def test_literal_double_sums_and_jackknife(measure, kernel):
    """Laws far apart, so that the error is the jackknife's: leave each chain out in turn."""
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((5, 3, 2)), generator.standard_normal((4, 2, 2)) + 2
    distance, error = measure(x, y)
    np.testing.assert_allclose(distance, literal(x, y, kernel), rtol=1e-12)
    first = np.array([literal(np.delete(x, i, axis=0), y, kernel) for i in range(5)])
    second = np.array([literal(x, np.delete(y, i, axis=0), kernel) for i in range(4)])
    np.testing.assert_allclose(error, np.sqrt(4 * np.var(first) + 3 * np.var(second)), rtol=1e-12)


def test_energy_distance_is_the_square_of_scipys_without_its_bias():
    """SciPy's V-statistic counts |x_i - x_i| = 0, which adds <|x-x'|>/(n-1) + <|y-y'|>/(m-1), and takes the root."""
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal(12), generator.standard_normal(9) + 1
    within = [np.mean(np.abs(z[:, None] - z[None, :])) for z in (x, y)]  # V-statistics
    bias = within[0] / 11 + within[1] / 8
    ours = energy_distance(x[:, None], y[:, None])[0]
    np.testing.assert_allclose(ours + bias, scipy.stats.energy_distance(x, y) ** 2, rtol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_chunks_change_nothing(measure, monkeypatch):
    generator = np.random.default_rng(2)
    x, y = generator.standard_normal((7, 5, 2)), generator.standard_normal((6, 3, 2))
    whole = measure(x, y)
    for pairs in (1, 40, 250):
        monkeypatch.setattr(discrepancies, "_PAIRS_AT_ONCE", pairs)
        np.testing.assert_allclose(measure(x, y), whole, rtol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("num_samples", [1, 3])
def test_equal_laws_are_unbiased_and_the_error_is_valid(measure, num_samples):
    """400 repeats of the degenerate case: mean 0 within 5.9 errors, no |z| near 5.9, and the error not too small.

    The biased (V) statistic would be off by more than 10 standard errors. In expectation the jackknife doubles the
    variance here: the error may be up to about sqrt 2 too large, never (15 % slack, 5.9/sqrt(2 * 400)) too small.
    """
    generator = np.random.default_rng(3)

    def ensemble(num_chains):
        common = generator.standard_normal((400, num_chains, 1, 2))
        return np.sqrt(0.5) * (common + generator.standard_normal((400, num_chains, num_samples, 2)))

    x, y = ensemble(25), ensemble(40)
    found = np.array([measure(*pair) for pair in zip(x, y)])
    across = np.std(found[:, 0]) / np.sqrt(400)
    assert abs(np.mean(found[:, 0])) < LIMIT * across
    # The V-statistic's bias is (a chain with itself - two chains)/num_chains; differences have variance 1 and 2 a side.
    kernel = {
        energy_distance: lambda variance: -np.sqrt(variance * np.pi / 2),
        mmd: lambda variance: 1 / (1 + variance / 1.3**2),
    }[measure]
    itself = kernel(0) / num_samples + kernel(1) * (1 - 1 / num_samples)
    assert (itself - kernel(2)) * (1 / 25 + 1 / 40) > 10 * across
    assert np.max(np.abs(found[:, 0]) / found[:, 1]) < 4
    ratio = np.sqrt(np.mean(found[:, 1] ** 2)) / np.std(found[:, 0])
    assert 1 - LIMIT / np.sqrt(2 * 400) < ratio < 2


@pytest.mark.parametrize("measure", MEASURES)
def test_error_of_different_laws_is_that_of_repeats(measure):
    generator = np.random.default_rng(4)
    x, y = generator.standard_normal((400, 40, 2)) + 1, generator.standard_normal((400, 50, 2))
    found = np.array([measure(*pair) for pair in zip(x, y)])
    assert abs(np.mean(found[:, 1]) / np.std(found[:, 0]) - 1) < 0.05 + LIMIT / np.sqrt(2 * 400)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_wrong_variance_is_rejected(measure):
    """2,000 chains, twice the variance in one coordinate of two."""
    generator = np.random.default_rng(5)
    x, y = generator.standard_normal((2_000, 2)), generator.standard_normal((2_000, 2))
    distance, error = measure(x, y)
    assert abs(distance) < LIMIT * error
    distance, error = measure(x * np.array([2.0, 1.0]), y)
    assert distance > 10 * error


def test_median_bandwidth():
    x = np.array([0.0, 1.0, 3.0, 7.0])[:, None]
    pooled = np.concatenate([x, x + 20])[:, 0]
    exact = np.median([abs(a - b) for i, a in enumerate(pooled) for b in pooled[:i]])
    np.testing.assert_allclose(median_bandwidth(x, x + 20), exact)
    many = np.random.default_rng(6).standard_normal((5_000, 1))
    np.testing.assert_allclose(median_bandwidth(many, many + 0.1), scipy.stats.halfnorm.median() * np.sqrt(2), rtol=0.1)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_one_sample_that_is_not_finite_makes_them_nan(bad):
    good = np.random.default_rng(7).standard_normal((10, 2))
    broken = good.copy()
    broken[1, 1] = bad
    for measure in MEASURES:
        assert np.all(np.isnan(measure(broken, good)))
        assert np.all(np.isnan(measure(good, broken)))
    assert np.isnan(median_bandwidth(good, broken))


def test_bad_input_is_refused():
    good = np.random.default_rng(8).standard_normal((10, 2))
    with pytest.raises(ValueError, match="d = 1 for a number"):
        energy_distance(good[:, 0], good)
    with pytest.raises(ValueError, match="other_samples: expected 2 coordinates"):
        energy_distance(good, good[:, :1])
    with pytest.raises(ValueError, match="at least 4 independent chains"):
        energy_distance(good, good[:3])
    with pytest.raises(ValueError, match="bandwidth"):
        squared_mmd(good, good, bandwidth=0.0)

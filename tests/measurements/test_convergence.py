"""Effective sample size, R-hat, starts that must agree and relaxation times, on chains whose law is known."""

import ast
from pathlib import Path

import numpy as np
import pytest

import sgdsde.measurements
from sgdsde.measurements import (
    effective_sample_size,
    relaxation_time,
    relaxation_time_between_starts,
    rhat,
    stationarity,
)

LIMIT = 5.9


def autoregressive(seed, num_records, num_chains, coefficient, start=None):
    """AR(1) of unit variance, (num_records, num_chains); stationary unless a start is given."""
    normals = np.random.default_rng(seed).standard_normal((num_records, num_chains))
    records = [normals[0] if start is None else np.full(num_chains, float(start))]
    for noise in normals[1:]:
        records.append(coefficient * records[-1] + np.sqrt(1 - coefficient**2) * noise)
    return np.array(records)


def switching(seed, num_records, num_chains, rate, start):
    """Two wells +-1, each left with probability `rate` a record: the relaxation time is -1/log(1 - 2 rate)."""
    flips = np.random.default_rng(seed).random((num_records, num_chains)) < rate
    flips[0] = False
    return start * (-1.0) ** np.cumsum(flips, axis=0)


def test_effective_sample_size_of_autoregression():
    """(1 - a)/(1 + a) of the samples: a third at a = 1/2. The estimate's own spread over these 40,000 is about 2 %."""
    samples = autoregressive(0, 2_000, 20, 0.5).T
    for method in ("bulk", "mean"):
        np.testing.assert_allclose(effective_sample_size(samples, method=method), 40_000 / 3, rtol=0.12)


def test_rhat_sees_chains_that_differ_and_not_wells_that_nobody_visits():
    samples = autoregressive(1, 500, 4, 0.5).T
    assert rhat(samples) < 1.01
    assert rhat(samples + np.array([0, 0, 0, 1.0])[:, None]) > 1.05
    assert rhat(samples + 100) == pytest.approx(rhat(samples), abs=1e-12)


def test_diagnostics_of_chains_that_are_not_finite_or_never_move_are_nan():
    samples = autoregressive(2, 50, 4, 0.5).T
    for bad in (np.nan, np.inf):
        broken = samples.copy()
        broken[0, 0] = bad
        assert np.isnan(effective_sample_size(broken))
        assert np.isnan(rhat(broken))
    assert np.isnan(effective_sample_size(np.ones((4, 50))))
    assert np.isnan(rhat(np.ones((4, 50))))
    with pytest.raises(ValueError, match="at least 4 samples"):
        rhat(samples[:, :3])
    with pytest.raises(ValueError, match="samples: expected shape"):
        effective_sample_size(samples[0])


def test_importing_measurements_does_not_import_the_diagnostics_library():
    """It takes seconds: only a function may import it."""
    files = list(Path(sgdsde.measurements.__file__).parent.glob("*.py"))
    assert len(files) > 3
    for file in files:
        for statement in ast.parse(file.read_text()).body:
            assert not (isinstance(statement, ast.Import | ast.ImportFrom) and "arviz" in ast.unparse(statement)), file


def test_starts_that_have_mixed_agree():
    """Three starts, run 20 relaxation times, 8 correlated samples a chain; false-alarm rate below one in a million."""
    starts = {
        name: switching(seed, 240, 200, 0.1, side)[100::20].T
        for seed, (name, side) in enumerate({"left": -1, "right": 1, "again": 1}.items())
    }
    result = stationarity(starts)
    assert result.agrees
    assert abs(result.statistic) <= LIMIT * result.standard_error
    assert stationarity(list(starts.values())).statistic == result.statistic


def test_starts_that_have_not_mixed_disagree():
    """A quarter of a relaxation time: the means differ by 2 exp(-1/4), 20 standard errors and more."""
    result = stationarity({str(side): switching(7 + side, 13, 200, 0.01, side)[-1] for side in (-1, 1)})
    assert not result.agrees
    assert result.starts == ("-1", "1")
    assert abs(result.statistic) > 10 * result.standard_error


def test_stationarity_sees_equal_means_with_different_laws():
    generator = np.random.default_rng(3)
    result = stationarity([generator.standard_normal(2_000), 3 * generator.standard_normal(2_000)])
    assert not result.agrees
    assert result.kind == "cdf"


def test_frozen_starts_disagree_and_equal_constants_agree():
    assert not stationarity([np.zeros(50), np.ones(50)]).agrees
    assert stationarity([np.full(50, 0.1), np.full(70, 0.1)]).agrees


def test_stationarity_is_honest_about_nan_and_shapes():
    good = np.random.default_rng(4).standard_normal((50, 3))
    broken = good.copy()
    broken[2, 1] = np.nan
    result = stationarity({"good": good, "also good": good[::-1], "broken": broken})
    assert not result.agrees
    assert np.isnan(result.statistic)
    assert np.isnan(result.standard_error)
    assert "broken" in result.starts
    with pytest.raises(ValueError, match="two or more starts"):
        stationarity([good])
    with pytest.raises(ValueError, match=r"samples_by_start\[1\]"):
        stationarity([good, np.ones((4, 3, 2))])


def test_relaxation_time_of_autoregression():
    """-spacing/log a, here 9.49 times .5; within 5.9 of its error, and the error is below a tenth: 800 chains see the
    correlation of 32 records, 0.034, at ten errors, and that of 64 not at all."""
    exact = -0.5 / np.log(0.9)
    time, error = relaxation_time(autoregressive(5, 1_000, 800, 0.9), 0.5 * np.arange(1_000))
    assert abs(time - exact) < LIMIT * error
    assert error < 0.1 * exact


def test_relaxation_time_error_is_that_of_repeats():
    """200 repeats: 5.9/sqrt(2 * 200) = 30 % for the spread; every choice of lag is refreshed."""
    found = np.array([relaxation_time(autoregressive(seed, 100, 100, 0.7), np.arange(100.0)) for seed in range(200)])
    exact = -1 / np.log(0.7)
    assert abs(np.mean(found[:, 0]) - exact) < 0.1 * exact
    assert abs(np.mean(found[:, 1]) / np.std(found[:, 0]) - 1) < 0.3


def test_relaxation_time_finds_the_slow_one_of_two():
    """Hopping between wells (time 49.5) under a larger, fast motion within (time 1.4): the initial slope sees 2.9."""
    exact = -1 / np.log(1 - 2 * 0.01)
    start = np.random.default_rng(6).choice([-1.0, 1.0], 2_000)
    slow = switching(7, 1_000, 2_000, 0.01, start)
    time, error = relaxation_time(slow + 1.5 * autoregressive(8, 1_000, 2_000, 0.5), np.arange(1_000.0))
    assert abs(time - exact) < LIMIT * error
    assert error < 0.1 * exact


def test_relaxation_time_limits():
    times = np.arange(50.0)
    white = np.random.default_rng(9).standard_normal((50, 500))
    time, error = relaxation_time(white, times)
    assert 0 < time < 0.5  # an upper limit
    assert error == 0
    frozen = np.tile(np.random.default_rng(10).standard_normal(500), (50, 1))
    assert relaxation_time(frozen, times) == (np.inf, np.inf)
    broken = white.copy()
    broken[3, 3] = np.nan
    assert np.all(np.isnan(relaxation_time(broken, times)))
    assert np.all(np.isnan(relaxation_time(np.ones((50, 500)), times)))
    with pytest.raises(ValueError, match="equally spaced"):
        relaxation_time(white, times**2)
    with pytest.raises(ValueError, match="num_records"):
        relaxation_time(white, times[:-1])
    with pytest.raises(ValueError, match="num_records"):
        relaxation_time(white[:, 0], times)
    with pytest.raises(ValueError, match="finite, increasing"):
        relaxation_time(white, np.full(50, np.nan))


def test_relaxation_between_starts():
    exact = -1 / np.log(1 - 2 * 0.01)
    left, right = switching(11, 400, 4_000, 0.01, -1.0), switching(12, 400, 3_200, 0.01, 1.0)
    time, error = relaxation_time_between_starts(left, right, np.arange(400.0))
    assert abs(time - exact) < LIMIT * error
    assert error < 0.15 * exact
    np.testing.assert_allclose(relaxation_time_between_starts(right, left, np.arange(400.0)), (time, error))


def test_relaxation_between_starts_does_not_know_when_the_clock_began():
    """The middle is that of the records, whatever the time of the first of them."""
    left, right = switching(11, 100, 400, 0.01, -1.0), switching(12, 100, 400, 0.01, 1.0)
    early, late = (relaxation_time_between_starts(left, right, begin + np.arange(100.0)) for begin in (0.0, 1_000.0))
    np.testing.assert_allclose(late, early, rtol=1e-9)


def test_relaxation_between_starts_limits():
    times = np.arange(20.0)
    assert relaxation_time_between_starts(np.zeros((20, 9)), np.ones((20, 9)), times) == (np.inf, np.inf)
    noise = np.random.default_rng(13).standard_normal((2, 20, 500))
    assert np.all(np.isnan(relaxation_time_between_starts(*noise, times)))  # equal from the first record on
    noise[0, 0] += 100
    time, error = relaxation_time_between_starts(*noise, times)
    assert 0 < time < 1
    assert error == 0
    noise[1, 4, 4] = np.inf
    assert np.all(np.isnan(relaxation_time_between_starts(*noise, times)))

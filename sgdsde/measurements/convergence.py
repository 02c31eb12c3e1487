"""Whether chains have forgotten their start: effective sample size, R-hat, starts that must agree, relaxation time.

Host side, float64. Chains here have the chain axis first, (num_chains, num_samples); only the two relaxation times
take a trajectory's `observed` as it is recorded, (num_records, num_chains), beside its `time`.

R-hat and effective sample size look inside one ensemble: chains that all sit in one of two wells pass both. What shows
stationarity is `stationarity`, ensembles started in different wells, and a run many `relaxation_time`s long.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jax.typing import ArrayLike

from sgdsde.arguments import number
from sgdsde.measurements.chains import number_chains, on_host, scalar_chains, standard_error_across_chains
from sgdsde.measurements.distances import cdf_distance_two_samples

__all__ = [
    "Stationarity",
    "effective_sample_size",
    "relaxation_time",
    "relaxation_time_between_starts",
    "rhat",
    "stationarity",
]

_LIMIT = 5.9  # standard errors: about 300 tests at a family error of one in a million


def effective_sample_size(samples: ArrayLike, *, method: Literal["bulk", "mean"] = "bulk") -> float:
    """Number of independent samples worth as much as these, over all chains (Vehtari et al. 2021).

    method "bulk": of the rank-normalised split chains, for any law; "mean": for the plain average, finite variance.
    It is a property of the estimate, without a standard error of its own; error bars come from independent chains.

    samples: (num_chains, num_samples), at least 4 samples a chain. Returns NaN when a sample is not finite, and when
    all samples are equal: a chain that never moves shows nothing. Raises ValueError for other shapes.
    """
    return _diagnosed(samples, "ess", method)


def rhat(samples: ArrayLike) -> float:
    """Rank-normalised split R-hat (Vehtari et al. 2021): 1 when all chains and their halves look alike.

    Usual limit 1.01. It cannot see a well that no chain has visited: use `stationarity` with starts in every well.
    samples: (num_chains, num_samples), at least 4 samples a chain. Returns NaN when a sample is not finite, and when
    all samples are equal. Raises ValueError for other shapes.
    """
    return _diagnosed(samples, "rhat", "rank")


@dataclass(frozen=True)
class Stationarity:
    """The largest disagreement between ensembles from different starts: what `stationarity` found.

    statistic: the difference that is most standard errors from 0; standard_error: its own. As a Check: measured
    `statistic`, predicted 0, so that a tolerance also demands enough chains to see a difference.
    agrees: no difference exceeds the limit; False when one is NaN. starts: the pair it is between.
    kind: "mean" (difference of the means) or "cdf" (largest difference of the distribution functions).
    """

    statistic: float
    standard_error: float
    agrees: bool
    starts: tuple[str, str]
    kind: Literal["mean", "cdf"]


def stationarity(
    samples_by_start: Mapping[str, ArrayLike] | Sequence[ArrayLike], *, limit: float = _LIMIT
) -> Stationarity:
    """Whether ensembles started in different wells have the same law, judged by every pair's mean and distribution.

    For each pair of starts the difference of the means and the Kolmogorov-Smirnov distance, each over its standard
    error from independent chains; they agree when none exceeds `limit`. At 5.9 a false alarm is rarer than one in a
    million with Gaussian errors, so give each start 50 chains or more: with few chains the error itself is uncertain.
    The statistic over its error is the largest in size of all pairs' means and distances, and has that law: about 2 on
    average for two starts that agree (mostly from the distance, which is never 0), more for more starts.
    Agreement says that differences above 5.9 standard errors are excluded, no more: read `standard_error`, and compare
    the run length with `relaxation_time_between_starts`.

    samples_by_start: name of the start -> samples (num_chains,) or (num_chains, num_samples) of one bounded functional
    (the side of the barrier, tanh of a coordinate), or a sequence of them. A sample that is not finite makes the
    result NaN, `agrees` False. Raises ValueError for fewer than two starts or a wrong shape.
    """
    limit = number("limit", limit, above=0.0)
    if not isinstance(samples_by_start, Mapping | Sequence) or isinstance(samples_by_start, str):
        kind = type(samples_by_start).__name__
        raise TypeError(f"samples_by_start: expected a mapping of names to samples, or a sequence of them, got {kind}")
    named = samples_by_start if isinstance(samples_by_start, Mapping) else dict(enumerate(samples_by_start))
    if len(named) < 2:
        raise ValueError(f"samples_by_start: expected two or more starts, got {len(named)}; start in each well")
    ensembles = {str(name): scalar_chains(value, f"samples_by_start[{name!r}]") for name, value in named.items()}
    found = []
    for first, second in combinations(ensembles, 2):
        for kind, difference in (("mean", _mean_difference), ("cdf", cdf_distance_two_samples)):
            statistic, standard_error = difference(ensembles[first], ensembles[second])
            # Equal constants agree, different constants do not: rounding, not zero, is what z is measured in then.
            size = max(np.max(np.abs(ensembles[first])), np.max(np.abs(ensembles[second])), np.finfo(float).tiny)
            score = abs(statistic) / max(standard_error, 1e-12 * size) if np.isfinite(statistic) else np.inf
            result = Stationarity(statistic, standard_error, bool(score <= limit), (first, second), kind)
            found.append((score, result))
    return max(found, key=lambda pair: pair[0])[1]


def relaxation_time(observed: ArrayLike, time: ArrayLike) -> tuple[float, float]:
    """Slowest relaxation time seen in stationary chains, from the autocorrelation of one observable.

        tau = lag / log( C(lag) / C(2 lag) ),   C(s) = mean over chains and records of (x_t - m)(x_(t+s) - m)

    exact when one exponential is left at `lag`. Lags are 1, 2, 4, ... records; 2 lag is the last of them, up to half
    the run, before C falls below 5.9 standard errors: the latest that the sample can see, so that faster
    relaxations have died out. m is the average over all chains: a chain that stays in one well counts as correlated.
    Choose an observable that moves slowly (the side of the barrier). If *every* chain stays in one well the slow
    relaxation is invisible here: see `relaxation_time_between_starts`.

    observed: (num_records, num_chains), stationary (drop the first records). time: (num_records,), equally spaced.
    Returns (relaxation_time, standard_error) in units of time, the error by the delta method across chains: z has the
    deviation 1.0 at 200 chains of 20 relaxation times; at 50 chains the time is also 2 % too long.
    Nothing left of the correlation after one record: an upper limit, with standard error 0. No decay seen:
    (infinity, infinity). A value that is not finite, or an observable that never changes: (NaN, NaN).
    Raises ValueError for wrong shapes, fewer than 4 records, or unequal spacing.
    """
    values, times = _records(observed, time, "observed", fewest_records=4)
    spacing = np.diff(times)
    if not np.allclose(spacing, spacing[0], rtol=1e-3, atol=0):
        raise ValueError(
            "time: expected equally spaced records; with a learning-rate schedule use the part where it is constant, "
            "or `relaxation_time_between_starts`"
        )
    if not np.all(np.isfinite(values)) or np.all(values == values[0, 0]):
        return np.nan, np.nan
    values = values - np.mean(values)
    nothing = np.zeros(2)
    lags, correlations = [0], [np.mean(values**2, axis=0)]
    lag = 1
    while 2 * lag <= len(values) and (lag == 1 or _is_seen(correlations[-1], nothing)):
        lags.append(lag)
        correlations.append(np.mean(values[lag:] * values[:-lag], axis=0))
        lag *= 2
    last = len(lags) - 1
    if last > 1 and not _is_seen(correlations[last], nothing):
        last -= 1
    pair = np.array(correlations[last - 1 : last + 1])
    return _decay_time((lags[last] - lags[last - 1]) * np.mean(spacing), pair, np.zeros((2, 2)))


def relaxation_time_between_starts(
    observed: ArrayLike, other_observed: ArrayLike, time: ArrayLike
) -> tuple[float, float]:
    """Slowest relaxation time from the decay of the difference between ensembles started in different wells.

        tau = (t2 - t1) / log( d(t1) / d(t2) ),   d(t) = mean over chains of x_t - mean over other chains of x_t

    exact when one exponential is left at t1. t2 is the last record before d falls below 5.9 standard errors, t1 the
    one nearest to half way from the first record. No stationarity is assumed; keep the records from the start on.

    observed, other_observed: (num_records, num_chains) of the same observable; the numbers of chains need not agree.
    time: (num_records,), increasing.
    Returns (relaxation_time, standard_error) in units of time; z has the deviation 1.0, and the time is some 4 % too
    long for being read where the difference is still seen (200 chains, 6 deviations apart). Difference gone by the
    second record: an upper limit, with standard error 0. No decay, or chains that never crossed: (infinity, infinity).
    No difference at the first record, or a value that is not finite: (NaN, NaN). Raises ValueError for wrong shapes or
    times that do not increase.
    """
    first, times = _records(observed, time, "observed", fewest_records=2)
    second, _ = _records(other_observed, time, "other_observed", fewest_records=2)
    if not (np.all(np.isfinite(first)) and np.all(np.isfinite(second))):
        return np.nan, np.nan
    if np.mean(first[0]) < np.mean(second[0]):
        first, second = second, first
    seen = [_is_seen(x, y) for x, y in zip(first, second, strict=True)]
    if not seen[0]:
        return np.nan, np.nan
    last = max((len(seen) if all(seen) else seen.index(False)) - 1, 1)
    middle = min(int(np.argmin(np.abs(times - (times[0] + times[last]) / 2))), last - 1)
    return _decay_time(times[last] - times[middle], first[[middle, last]], second[[middle, last]])


def _decay_time(elapsed: float, values: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Time constant of an exponential, from per-chain values at two times (2, num_chains), less those of others."""
    before, after = np.mean(values, axis=1) - np.mean(others, axis=1)
    if not _is_seen(values[1], others[1]):
        bound = max(after, 0.0) + _LIMIT * _difference_error(values[1], others[1])
        if bound >= before:
            return np.inf, np.inf
        return (float(elapsed / np.log(before / bound)) if bound > 0 else 0.0), 0.0
    if after >= before:
        return np.inf, np.inf
    decay = np.log(before / after)
    # The logarithm's error, chain by chain: both times see the same chains, so their errors do not simply add.
    error = _difference_error(values[0] / before - values[1] / after, others[0] / before - others[1] / after)
    return float(elapsed / decay), float(elapsed / decay**2 * error)


def _difference_error(values: np.ndarray, others: np.ndarray) -> float:
    return math.hypot(standard_error_across_chains(values), standard_error_across_chains(others))


def _is_seen(values: np.ndarray, others: np.ndarray) -> bool:
    """Whether the difference of the means over chains is positive by more than the limit."""
    return bool(np.mean(values) - np.mean(others) > _LIMIT * _difference_error(values, others))


def _mean_difference(samples: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    averages, other_averages = np.mean(samples, axis=1), np.mean(others, axis=1)
    return float(np.mean(averages) - np.mean(other_averages)), _difference_error(averages, other_averages)


def _records(observed: ArrayLike, time: ArrayLike, field: str, fewest_records: int) -> tuple[np.ndarray, np.ndarray]:
    """Checked (num_records, num_chains) and its times."""
    observed = on_host(field, observed)
    values = scalar_chains(observed.T if observed.ndim == 2 else observed, field).T
    times = on_host("time", time)
    if observed.ndim != 2 or times.shape != values.shape[:1]:
        raise ValueError(
            f"{field}: expected (num_records, num_chains) and time (num_records,), "
            f"got {observed.shape} and {times.shape}"
        )
    if len(values) < fewest_records:
        raise ValueError(f"{field}: expected at least {fewest_records} records, got {len(values)}; record more often")
    if not (np.all(np.isfinite(times)) and np.all(np.diff(times) > 0)):
        raise ValueError("time: expected finite, increasing times (an adaptive optimizer has none: pass the steps)")
    return values, times


def _diagnosed(samples: ArrayLike, diagnostic: Literal["ess", "rhat"], method: str) -> float:
    if diagnostic == "ess" and method not in ("bulk", "mean"):
        raise ValueError(f"method: expected 'bulk' or 'mean', got {method!r}")
    values = number_chains(samples, "samples", "(num_chains, num_samples)", (2,), fewest=1)
    if values.shape[1] < 4:
        raise ValueError(f"samples: expected at least 4 samples of each chain, got shape {values.shape}")
    if not np.all(np.isfinite(values)) or np.all(values == values[0, 0]):
        return np.nan
    from arviz_stats.base import array_stats  # here, because it takes seconds to import

    return float(getattr(array_stats, diagnostic)(values, method=method))

"""Exponents of power tails, P(|x| > t) ~ t^-kappa, from independent end points; and the power of a loss in the bulk.

For laws that are known to end in a power, such as that of a random linear recursion x' = a x + b (Kesten 1973). None of
it tells a stable law from another: for a stable law of index near 2 the tail begins so far out that an exponent above 2
is found from any number of samples, and an exponent above 2 does not exclude it. Host side, float64.
"""

from dataclasses import dataclass

import numpy as np
import scipy.optimize
from jax.typing import ArrayLike
from scipy.special import digamma, polygamma

from sgdsde.arguments import count, number
from sgdsde.measurements.chains import on_host

__all__ = ["TailExponent", "loss_exponent", "loss_exponent_of_mean", "tail_exponent", "tail_exponents"]

CRITICAL_AT_ONE_PERCENT = 1.308
"""of the modified distance from an exponential law whose mean is estimated (Stephens 1974, table 4.11)"""
NODES = np.polynomial.legendre.leggauss(200)


@dataclass(frozen=True)
class TailExponent:
    """What `tail_exponent` found.

    exponent, standard_error: kappa above `threshold`, which num_exceedances samples exceed; standard_error is that of
    sampling, exponent / sqrt(num_exceedances - 2), for independent samples whose tail *is* a power there.
    fit_distance: the largest distance of the exceedances' distribution function from Pareto's of that exponent;
    critical_distance: what it stays below in 99 of 100 samples of a Pareto law.
    inner_exponent: from the largest quarter of the exceedances, beyond inner_threshold; drift: (inner_exponent -
    exponent) in standard errors of that difference. A drift says that the threshold is too low for the number of
    samples: the bias, of the order of the difference, then exceeds the standard error.
    """

    exponent: float
    standard_error: float
    threshold: float
    num_exceedances: int
    fit_distance: float
    critical_distance: float
    inner_exponent: float
    inner_threshold: float
    drift: float

    @property
    def is_power(self) -> bool:
        """Whether neither the fit nor the drift rejects a power law beyond the threshold at 1 %."""
        return self.fit_distance < self.critical_distance and abs(self.drift) < 2.576


def tail_exponent(samples: ArrayLike, *, num_exceedances: int) -> TailExponent:
    """kappa of P(|x| > t) ~ t^-kappa by maximum likelihood, from the k = num_exceedances largest |x| over the next, X:

        kappa = (k - 1) / sum_i log(|x_i| / X)          (Hill; without bias for a Pareto law)

    samples: any shape, independent, of one law, centred at 0; the k + 1 largest are enough, the rest may be left out.
    The threshold X, a quantile, is chosen by the user, before looking at the answer: far enough out that the drift
    is within its errors (`tail_exponents` scans it), and no further, as the error grows as 1/sqrt(k).
    Raises TypeError or ValueError naming the argument.
    """
    logs = _largest_logs(samples, num_exceedances, 20)
    heights = logs[:-1] - logs[-1]
    exponent = (num_exceedances - 1) / heights.sum()
    quarter = num_exceedances // 4
    inner = (quarter - 1) / (logs[:quarter] - logs[quarter]).sum()
    steps = np.arange(num_exceedances + 1) / num_exceedances
    law = -np.expm1(-exponent * heights[::-1])
    distance = max(np.max(law - steps[:-1]), np.max(steps[1:] - law))
    root = np.sqrt(num_exceedances)
    return TailExponent(
        exponent=float(exponent),
        standard_error=float(exponent / np.sqrt(num_exceedances - 2)),
        threshold=float(np.exp(logs[-1])),
        num_exceedances=int(num_exceedances),
        fit_distance=float(distance),
        critical_distance=float(CRITICAL_AT_ONE_PERCENT / (root + 0.26 + 0.5 / root) + 0.2 / num_exceedances),
        inner_exponent=float(inner),
        inner_threshold=float(np.exp(logs[quarter])),
        drift=float((inner / exponent - 1) / np.sqrt(1 / quarter - 1 / num_exceedances)),
    )


def tail_exponents(samples: ArrayLike, counts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The exponent at each of several numbers of exceedances, and its standard error: the scan for a plateau.

    counts: integers of at least 3, (num_counts,). Neighbouring points share samples. samples as in `tail_exponent`.
    """
    counts = on_host("counts", counts)
    if (
        counts.ndim != 1
        or counts.size == 0
        or not np.all(np.isfinite(counts) & (counts >= 3) & (counts == np.floor(counts)))
    ):
        raise ValueError(f"counts: expected whole numbers (num_counts,), 3 or more, got {counts}")
    counts = counts.astype(int)
    logs = _largest_logs(samples, int(np.max(counts)), 3, "counts")
    exponents = (counts - 1) / (np.cumsum(logs)[counts - 1] - counts * logs[counts])
    return exponents, exponents / np.sqrt(counts - 2)


def loss_exponent(
    losses: ArrayLike, *, minimum_loss: float, num_directions: int, largest_ratio: float
) -> tuple[float, float]:
    """(phi, standard error) of a density of the parameters ~ L^-phi near a minimum, by maximum likelihood.

    With k = num_directions in which the loss is a parabola over L_* = minimum_loss (1 in one dimension), the density of
    q = L/L_* - 1 is ~ q^(k/2 - 1) (1 + q)^-phi, and the estimate solves E log(1 + q) = mean log(L/L_*). losses: any
    shape, independent, at least L_*; those with L/L_* > largest_ratio are left out and the law is cut there
    (numpy.inf: none). The standard error holds whether or not the density is a power (delta method). Raises
    TypeError or ValueError naming the argument.
    """
    minimum_loss = _one("minimum_loss", minimum_loss, above=0.0)
    largest_ratio = _largest_ratio(largest_ratio)
    ratio = on_host("losses", losses).ravel() / minimum_loss
    if not np.min(ratio, initial=np.inf) >= 1 - 1e-6:
        raise ValueError(
            f"losses: expected none below minimum_loss = {minimum_loss}, got {np.min(ratio) * minimum_loss}"
        )
    logs = np.log(np.maximum(ratio[ratio <= largest_ratio], 1.0))
    if logs.size < 2:
        raise ValueError(f"losses: expected at least 2 up to largest_ratio = {largest_ratio}, got {logs.size}")
    return loss_exponent_of_mean(
        np.mean(logs), np.std(logs, ddof=1) / np.sqrt(logs.size),
        num_directions=num_directions, largest_ratio=largest_ratio,
    )  # fmt: skip


def loss_exponent_of_mean(
    mean: ArrayLike, standard_error: ArrayLike, *, num_directions: int, largest_ratio: float
) -> tuple[float, float]:
    """`loss_exponent` from the mean of log(L/L_*) over the losses up to largest_ratio, and its standard error."""
    mean, error = _one("mean", mean), _one("standard_error", standard_error, at_least=0.0)
    num_directions, largest_ratio = (
        count("num_directions", num_directions, at_most=1_000),
        _largest_ratio(largest_ratio),
    )
    half = num_directions / 2
    if np.isinf(largest_ratio):
        expected = lambda phi: (digamma(phi) - digamma(phi - half), polygamma(1, phi - half) - polygamma(1, phi))
        lowest = half * (1 + 1e-9)
    else:
        expected = lambda phi: _cut_moments(phi, num_directions, largest_ratio)
        lowest = -1e4
    if not expected(1e7)[0] < mean < expected(lowest)[0]:
        raise ValueError(f"mean: expected a mean logarithm that some power law has, got {mean}")
    phi = scipy.optimize.brentq(lambda phi: expected(phi)[0] - mean, lowest, 1e7, xtol=1e-12, rtol=1e-13)
    return float(phi), float(error / expected(phi)[1])


def _cut_moments(phi, num_directions, largest_ratio):
    """Mean and variance of log(1 + q) under q^(k/2 - 1) (1 + q)^-phi up to a largest q, in v = sqrt(q)."""
    nodes, weights = NODES
    end = np.sqrt(largest_ratio - 1)
    if phi > 0:
        end = min(end, np.sqrt(np.expm1((40 + num_directions) / phi)))  # beyond, nothing
    v = (nodes + 1) / 2 * end
    logs = np.log1p(v**2)
    exponents = -phi * logs + (num_directions - 1) * np.log(v)
    weights = weights * np.exp(exponents - exponents.max())
    weights = weights / weights.sum()
    mean = weights @ logs
    return mean, weights @ (logs - mean) ** 2


def _largest_ratio(value):
    """Above 1; infinite where the law is not cut."""
    return (
        np.inf if np.array_equal(on_host("largest_ratio", value), np.inf) else _one("largest_ratio", value, above=1.0)
    )


def _one(field, value, **bounds):
    """One finite number in a range, on the host."""
    on_host(field, value)
    return float(number(field, value, **bounds))


def _largest_logs(samples, num_exceedances, fewest, field="num_exceedances"):
    """log|x| of the `num_exceedances` + 1 largest, falling."""
    sizes = np.abs(on_host("samples", samples).ravel())
    num_exceedances = count(field, num_exceedances, at_least=fewest)
    if sizes.size <= num_exceedances:
        raise ValueError(f"samples: expected more than {field} = {num_exceedances}, got {sizes.size}")
    if not np.all(np.isfinite(sizes)):
        raise ValueError("samples: expected finite numbers; a chain that diverged has no place in a stationary law")
    largest = -np.sort(-np.partition(sizes, sizes.size - num_exceedances - 1)[-num_exceedances - 1 :])
    if not largest[-1] > 0 or largest[0] == largest[-1]:
        raise ValueError("samples: expected different sizes above 0 among the exceedances")
    return np.log(largest)

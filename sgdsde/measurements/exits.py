"""Exit times with censoring: their mean, their survival curve, whether they are exponential; and slopes of logarithms.

`times` (num_chains,) are times until exit, or until the run ended where `exited` (num_chains,) is 0 or False: with
`first_exit`, times = time step * microsteps. Chains are independent. A chain that diverged counts as censored at the
time given for it: count such chains, never drop them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sgdsde.arguments import array, is_traced, real
from sgdsde.measurements.chains import floats, on_host

__all__ = ["Exponentiality", "exponentiality", "log_log_slope", "mean_exit_time", "survival", "weighted_slope"]


class Exponentiality(NamedTuple):
    """How far exit times are from an exponential law.

    distance: the largest |S(t) - exp(-t/mean)|, S the Kaplan-Meier curve, mean the fitted one; critical_value: what it
    exceeds once in a hundred times under an exponential law, 1.3/sqrt(exits) (Stephens 1974 without censoring, and
    less often with it). log_hazard_ratio, standard_error: the logarithm of (exits per unit of time after the median)/
    (exits per unit of time before it), 0 for an exponential law, negative for one that slows down.
    """

    distance: float
    critical_value: float
    log_hazard_ratio: float
    standard_error: float


def mean_exit_time(times: ArrayLike, exited: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """(mean, standard error) of the exit time: the total time over the number of exits.

    The maximum likelihood of an exponential law, whatever the censoring, also of a geometric one in time steps; error
    mean/sqrt(exits). Where no chain is censored it is the sample mean of any law, and the error is the sample's own,
    standard deviation/sqrt(num_chains). The reciprocal is the rate, with the same relative error. Without an exit both
    are infinite. Traceable. Raises ValueError for other shapes, a time that is negative or not finite, or an `exited`
    other than 0 and 1 (NaN under a trace).
    """
    times, exited = _vectors(times, exited)
    exits = jnp.sum(exited)
    mean = jnp.where(exits == 0, jnp.inf, jnp.sum(times) / jnp.maximum(exits, 1))
    exponential = jnp.where(exits == 0, jnp.inf, mean / jnp.sqrt(jnp.maximum(exits, 1)))
    size = times.shape[0]
    own = jnp.sqrt(jnp.sum((times - jnp.mean(times)) ** 2) / (size * max(size - 1, 1)))
    return mean, jnp.where((exits == size) & (size > 1), own, exponential)


def survival(times: ArrayLike, exited: ArrayLike, at: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(S, standard error) of the Kaplan-Meier estimate of P(exit time > t) at the times `at`, in their shape:

        S(t) = product over exit times s <= t of 1 - (exits at s)/(chains at risk at s),

    and its error by Laplace's rule (`fraction`, equal to it without censoring), of as many chains as Greenwood's
    variance V is worth, n = S (1 - S)/V, or as are at risk where none has left yet; NaN beyond the last time seen,
    where it is censored. z has the deviation 1.0 to 1.1, but where few chains have left or few remain, the tails that
    `fraction` has. Runs on the host.
    Source: Kaplan and Meier 1958; Greenwood 1926.
    """
    times, exited = _on_host(times, exited)
    at = on_host("at", at)
    if np.isnan(at).any():
        raise ValueError(f"at: expected times, got NaN among {at}")
    knots = np.unique(times)
    leaving = np.bincount(np.searchsorted(knots, times[exited == 1]), minlength=knots.size)
    at_risk = times.size - np.searchsorted(np.sort(times), knots, side="left")
    values = np.cumprod(1 - leaving / at_risk)
    with np.errstate(divide="ignore", invalid="ignore"):  # both sums are infinite once none is left
        worth = (1 / values - 1) / np.cumsum(leaving / (at_risk * (at_risk - leaving)))
    worth = np.where(values == 1, at_risk, worth)
    worth[values == 0] = worth[values > 0][-1] if (values > 0).any() else times.size
    errors = _error_of_fraction(values, worth)
    place = np.searchsorted(knots, at, side="right") - 1
    pick = lambda row, before: np.where(place < 0, before, row[np.maximum(place, 0)])
    unknown = (at > times.max()) & (values[-1] > 0)
    picked = pick(values, 1.0), pick(errors, _error_of_fraction(1.0, times.size))
    return np.where(unknown, np.nan, picked[0]), np.where(unknown, np.nan, picked[1])


def _error_of_fraction(value, size):
    """Of a fraction of so many chains, by Laplace's rule."""
    smoothed = (value * size + 1) / (size + 2)
    return np.sqrt(smoothed * (1 - smoothed) / size)


def exponentiality(times: ArrayLike, exited: ArrayLike) -> Exponentiality:
    """Distance of exit times from an exponential law of their own mean, and a test of a constant hazard.

    Runs on the host. Raises ValueError with fewer than 8 exits.
    """
    times, exited = _on_host(times, exited)
    exits = exited.sum()
    if exits < 8:
        raise ValueError(f"exited: expected 8 exits or more, got {int(exits)}; run longer or with more chains")
    leaving = np.unique(times[exited == 1])
    values, _ = survival(times, exited, leaving)
    before = np.concatenate([[1.0], values[:-1]])
    law = np.exp(-leaving * exits / times.sum())
    distance = max(np.max(np.abs(values - law)), np.max(np.abs(before - law)))
    split = np.median(times[exited == 1])
    early = np.sum(exited[times <= split]), np.sum(np.minimum(times, split))
    late = np.sum(exited[times > split]), np.sum(np.maximum(times - split, 0))
    ratio = np.log(late[0] / late[1]) - np.log(early[0] / early[1]) if late[0] else -np.inf
    error = np.sqrt(1 / early[0] + 1 / late[0]) if late[0] else np.inf
    return Exponentiality(float(distance), float(1.3 / np.sqrt(exits)), float(ratio), float(error))


def weighted_slope(x: ArrayLike, y: ArrayLike, standard_errors: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """(slope, standard error) of the straight line through independent points y +- standard_errors over x, (n,) each.

    Weighted least squares, weights 1/standard_errors^2, taken as known: the error does not use the scatter about the
    line; NaN if one of them is 0. Traceable. Kramers' slope: x = 1/temperature, y = log time, errors = relative errors
    of the times. Raises ValueError for other shapes, fewer than two points, or a negative error.
    """
    x, y, errors = array("x", x), array("y", y), _errors(standard_errors)
    if x.ndim != 1 or y.shape != x.shape or errors.shape != x.shape or x.shape[0] < 2:
        raise ValueError(f"x, y, standard_errors: expected (n,) each, n >= 2, got {x.shape, y.shape, errors.shape}")
    weights = errors**-2.0
    centred = x - jnp.sum(weights * x) / jnp.sum(weights)
    spread = jnp.sum(weights * centred**2)
    return jnp.sum(weights * centred * y) / spread, spread**-0.5


def log_log_slope(x: ArrayLike, y: ArrayLike, standard_errors: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """(exponent, standard error) of a power law y ~ x^exponent through positive points y +- standard_errors: the
    `weighted_slope` of the logarithms, whose errors are the relative ones. NaN if a point is not positive."""
    x, y, errors = array("x", x), array("y", y), _errors(standard_errors)
    if x.ndim != 1 or y.shape != x.shape or errors.shape != x.shape or x.shape[0] < 2:
        raise ValueError(f"x, y, standard_errors: expected (n,) each, n >= 2, got {x.shape, y.shape, errors.shape}")
    return weighted_slope(jnp.log(x), jnp.log(y), errors / jnp.abs(y))


def _errors(standard_errors):
    known = real("standard_errors", standard_errors)
    if known is not None and np.any(known < 0):
        raise ValueError(f"standard_errors: expected none below 0, got {known.min()}")
    errors = array("standard_errors", standard_errors)
    return jnp.where(errors >= 0, errors, jnp.nan) if known is None else errors


def _vectors(times, exited):
    times, exited = array("times", times, at_least=0.0), floats("exited", exited)
    if times.ndim != 1 or exited.shape != times.shape or times.shape[0] < 1:
        raise ValueError(f"times and exited: expected (num_chains,) each, got {times.shape} and {exited.shape}")
    is_right = (exited == 0) | (exited == 1)
    if is_traced(exited):
        exited = jnp.where(is_right, exited, jnp.nan)
    elif not np.all(is_right):
        raise ValueError(f"exited: expected truth values, 0 or 1, got {exited}")
    return times, exited.astype(times.dtype)


def _on_host(times, exited):
    times, exited = on_host("times", times), on_host("exited", exited)
    if times.ndim != 1 or exited.shape != times.shape or times.shape[0] < 1:
        raise ValueError(f"times and exited: expected (num_chains,) each, got {times.shape} and {exited.shape}")
    if not np.all(np.isfinite(times) & (times >= 0)) or not np.all((exited == 0) | (exited == 1)):
        raise ValueError("times and exited: expected finite times, 0 or later, and truth values, 0 or 1")
    return times, exited

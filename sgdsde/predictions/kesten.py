"""Linear regression in one dimension as a random linear recursion: where it is stationary, and how heavy its tails are.

A step of minibatch SGD on (y - theta x)^2 / 2, **with the half**, is x' = a x + b about the least-squares solution with

    a = 1 - (eta/B) S,    S = x_1^2 + ... + x_B^2,

eta = `learning_rate`, B = `batch_size`, the x_i fresh normal inputs of variance `input_variance`, or drawn with
replacement from a finite data set, `inputs` (n,) or (n, 1). Three borders, in the order of growing rate:

* E a^2 = 1: beyond it the variance is infinite (`critical_learning_rate`, `gaussian_critical_learning_rate`);
* E log|a| = 0: beyond it there is no stationary law (`almost_sure_critical_learning_rate`);
* in all the stationary region, if P(|a| > 1) > 0, the tail is P(|x| > t) ~ t^-kappa with E|a|^kappa = 1 (Kesten).

Everything runs on the host in float64 and refuses tracers. No momentum, and one dimension only: in more, a is a random
matrix, E log|a| becomes the Lyapunov exponent of a product of matrices and E|a|^kappa the growth rate of
E|a_n ... a_1|^kappa; neither has a formula for a given data set, and neither is offered.
Source: Kesten 1973; Hodgkinson, Mahoney 2020 (2006.06293); Gurbuzbalaban, Simsekli, Zhu 2021 (2006.04740).
"""

import itertools

import numpy as np
import scipy.optimize
import scipy.special
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import count, on_host, one_on_host, require

MOST_SUMS = 2_000_000
"""distinct sums of squares of a minibatch that are enumerated at most"""
MOST_INTERVALS = 4_000
"""distinct sums up to which the border of almost-sure stability is looked for"""
NODES = np.arange(-128, 129) / 32
"""where the double exponential rule is read: t in [-4, 4]"""


def gaussian_lyapunov_exponent(*, input_variance: float, learning_rate: float, batch_size: int) -> float:
    """E log|1 - (eta/B) S| a step for fresh normal inputs, S = `input_variance` times chi-square of B degrees.

    Negative: the law of the parameter forgets its start and settles. To about 1e-13 (quadrature).
    """
    return _log_moment_rate(*_gaussian_factor(_reach(input_variance, learning_rate, batch_size), batch_size, 0.0), 0.0)


def gaussian_kesten_exponent(*, input_variance: float, learning_rate: float, batch_size: int) -> float:
    """kappa > 0 with E|1 - (eta/B) S|^kappa = 1 for fresh normal inputs: P(|x| > t) ~ t^-kappa, at every learning rate.

    Above 2 the variance is finite. To about 1e-12 (quadrature and root finding). Raises ValueError from
    `gaussian_almost_sure_critical_learning_rate` on, where there is no stationary law.
    """
    reach = _reach(input_variance, learning_rate, batch_size)
    return _root(lambda kappa: _log_moment_rate(*_gaussian_factor(reach, batch_size, kappa), kappa), learning_rate)


def gaussian_almost_sure_critical_learning_rate(*, input_variance: float, batch_size: int) -> float:
    """Learning rate at which `gaussian_lyapunov_exponent` reaches 0: beyond it there is no stationary law.

    Between `gaussian_critical_learning_rate` and this one the law is stationary with infinite variance: a variance
    printed there is an artefact of the number of samples.
    """
    input_variance = one_on_host("input_variance", input_variance, above=0.0)
    batch_size = count("batch_size", batch_size, at_most=2**31 - 1)

    def exponent(reach):
        return _log_moment_rate(*_gaussian_factor(reach, batch_size, 0.0), 0.0)

    below = 2 / (batch_size + 2)  # E a^2 = 1, hence E log|a| < 0
    return float(scipy.optimize.brentq(exponent, below, _bracket(exponent, below), rtol=1e-13)) * (
        batch_size / input_variance
    )


def kesten_exponent_at_small_rates(*, input_variance: float, learning_rate: float, batch_size: int) -> float:
    """The limit of `gaussian_kesten_exponent` as eta -> 0, c B / (eta `input_variance`) with c (log 2c - 1) = 1/2.

    Rare large inputs make the tail, so that no matching of two moments finds it: the SDE's exponent tends to
    B / (eta `input_variance`), c = 1 instead of c = 1.7956. (Leading exponential order of the integral of
    |1 - u|^kappa exp(-u/(2 r)), r = eta `input_variance` / B, at its saddle u = 1 + 2c.)
    """
    return float(np.exp(1 + scipy.special.lambertw(np.exp(-1)).real)) / (
        2 * _reach(input_variance, learning_rate, batch_size)
    )


def sde_tail_exponent(*, curvature: float, noise_growth: float, learning_rate: float, batch_size: int) -> float:
    """Exponent of P(|x| > t) under the Ito SDE dx = -h x dt + sqrt(eta Sigma(x)/B) dW, Sigma = a_0 + b x^2:

        1 + 2 B h / (eta b),      h = `curvature`, b = `noise_growth`.

    For regression b is the variance of the squared inputs: 2 h^2 for normal ones, hence 1 + B / (eta h). SGD with this
    noise has another exponent, also as eta -> 0.
    """
    curvature = one_on_host("curvature", curvature, above=0.0)
    noise_growth = one_on_host("noise_growth", noise_growth, above=0.0)
    learning_rate = one_on_host("learning_rate", learning_rate, above=0.0)
    batch_size = count("batch_size", batch_size, at_most=2**31 - 1)
    return float(1 + 2 * batch_size * curvature / (learning_rate * noise_growth))


def lyapunov_exponent(inputs: ArrayLike, *, learning_rate: float, batch_size: int) -> float:
    """E log|1 - (eta/B) S| a step for batches drawn with replacement from a finite data set: an exact finite sum.

    -inf where some batch contracts to a point. Raises ValueError for more than 2e6 distinct sums S.
    """
    return _log_moment_rate(*_finite_factor(inputs, learning_rate, batch_size), 0.0)


def kesten_exponent(inputs: ArrayLike, *, learning_rate: float, batch_size: int) -> float:
    """kappa > 0 with E|1 - (eta/B) S|^kappa = 1 for batches drawn with replacement from a finite data set.

    inf where no batch expands, eta max x_i^2 <= 2: bounded inputs have a power tail only beyond that rate. Raises
    ValueError where E log|1 - (eta/B) S| >= 0 (no stationary law), and for more than 2e6 distinct sums S (about
    n^B / B! of them, fewer where squares coincide).
    """
    log_sizes, log_weights = _finite_factor(inputs, learning_rate, batch_size)
    if np.max(log_sizes) <= 0:
        return np.inf
    return _root(lambda kappa: _log_moment_rate(log_sizes, log_weights, kappa), learning_rate)


def almost_sure_critical_learning_rate(inputs: ArrayLike, *, batch_size: int) -> float:
    """The smallest learning rate at which `lyapunov_exponent` reaches 0.

    Below it there is always a stationary law. Beyond it mostly none, but the exponent is -inf wherever some batch
    contracts to a point, eta = B/S, so that narrow bands about those rates are stationary again. Between two of these
    rates the exponent is concave, so that none of its zeros is missed. Raises ValueError for more than 4000 sums S.
    """
    sums, weights = _batch_sums(_squares(inputs), batch_size)
    means, weights = sums[sums > 0][::-1] / batch_size, weights[sums > 0][::-1]
    if means.size > MOST_INTERVALS:
        raise ValueError(
            f"inputs: expected at most {MOST_INTERVALS} distinct sums of squares, got {means.size}; look for the zero"
            " of lyapunov_exponent near that of normal inputs, gaussian_almost_sure_critical_learning_rate"
        )
    singular = np.append(1 / means, np.inf)

    def slope(rate):  # falls from inf to -inf between two singular rates
        return -np.sum(weights * means / (1 - rate * means))

    def exponent(rate):
        return np.sum(weights * np.log(np.abs(1 - rate * means)))

    for low, high in itertools.pairwise(singular):
        inner = low * (1 + 1e-12), high * (1 - 1e-12)
        if np.isinf(high):
            top = _bracket(exponent, 2 * low)
        elif inner[0] >= inner[1] or slope(inner[0]) <= 0 or slope(inner[1]) >= 0:
            continue  # no wider than rounding
        else:
            top = scipy.optimize.brentq(slope, *inner, rtol=1e-14)
        if exponent(top) >= 0:
            return float(scipy.optimize.brentq(exponent, inner[0], top, rtol=1e-14))
    raise ValueError("inputs: expected at least one that is not 0")


def _reach(input_variance, learning_rate, batch_size):
    """r = eta m2 / B: a = 1 - r Y, Y chi-square of B degrees."""
    input_variance = one_on_host("input_variance", input_variance, above=0.0)
    learning_rate = one_on_host("learning_rate", learning_rate, above=0.0)
    return learning_rate * input_variance / count("batch_size", batch_size, at_most=2**31 - 1)


def _gaussian_factor(reach, batch_size, kappa):
    """log|a| and the logarithms of the weights of a rule for E f(a), a = 1 - r Y: good for f = |a|^kappa and log|a|.

    In z = sqrt(Y), cut where a = 0 and where the density and the density times |a|^kappa (logarithms of curvature -1
    or below) have fallen by exp(-40); on every piece the double exponential rule, to which end points may be singular.
    """
    zero, centre = reach**-0.5, np.sqrt(batch_size - 1)
    far = np.sqrt(zero**2 + 2 * kappa + batch_size - 1)
    cuts = [0.0, centre - 9, centre + 9, zero, zero + 1, far - 9, far + 9]
    cuts = np.unique(np.clip(cuts, 0, far + 9))
    left, right = cuts[:-1, None], cuts[1:, None]
    from_left = scipy.special.expit(np.pi * np.sinh(NODES))[None]
    from_right = from_left[:, ::-1]
    z = np.where(from_left < 0.5, left + (right - left) * from_left, right - (right - left) * from_right)
    distance = np.where(
        left == zero, (right - left) * from_left, np.where(right == zero, (right - left) * from_right, z - zero)
    )
    log_sizes = np.log(reach) + np.log(np.abs(distance)) + np.log(z + zero)
    log_rule = np.log((right - left) * np.pi * np.cosh(NODES) * from_left * from_right * (NODES[1] - NODES[0]))
    log_density = np.log(2) * (1 - batch_size / 2) - scipy.special.gammaln(batch_size / 2) - z**2 / 2
    return log_sizes.ravel(), (log_rule + log_density + scipy.special.xlogy(batch_size - 1, z)).ravel()


def _finite_factor(inputs, learning_rate, batch_size):
    """log|a| of every distinct minibatch and the logarithms of their probabilities."""
    learning_rate = one_on_host("learning_rate", learning_rate, above=0.0)
    sums, weights = _batch_sums(_squares(inputs), batch_size)
    with np.errstate(divide="ignore"):
        return np.log(np.abs(1 - learning_rate / batch_size * sums)), np.log(weights)


def _squares(inputs):
    inputs = on_host("inputs", inputs)
    if inputs.ndim == 2 and inputs.shape[1] == 1:
        inputs = inputs[:, 0]
    if inputs.ndim != 1 or inputs.size == 0 or not np.all(np.isfinite(inputs)):
        raise ValueError(f"inputs: expected finite numbers of shape (n,) or (n, 1), one dimension, got {inputs.shape}")
    return inputs**2


def _batch_sums(squares, batch_size):
    """The distinct sums of `batch_size` of the squares, rising, and their probabilities: the square of one more example
    is added at a time and sums that are equal to rounding are put together."""
    batch_size = count("batch_size", batch_size, at_most=10_000, mend="a larger one is nearly its limit")
    values, counts = _merged(squares, np.full(squares.size, 1 / squares.size))
    sums, weights = values, counts
    for _ in range(int(batch_size) - 1):
        if sums.size * values.size > 8 * MOST_SUMS:
            raise ValueError(_too_many(values.size, batch_size))
        sums, weights = _merged((sums[:, None] + values).ravel(), (weights[:, None] * counts).ravel())
        if sums.size > MOST_SUMS:
            raise ValueError(_too_many(values.size, batch_size))
    return sums, weights


def _too_many(size, batch_size):
    return (
        f"batch_size: {size} different squares make more than {MOST_SUMS} different sums of {batch_size}; take a"
        " smaller batch or data set, or normal inputs (gaussian_kesten_exponent)"
    )


def _merged(sums, weights):
    order = np.argsort(sums)
    sums, weights = sums[order], weights[order]
    first = np.flatnonzero(np.append(True, np.diff(sums) > 1e-13 * sums[1:]))
    return sums[first], np.add.reduceat(weights, first)


def _log_moment_rate(log_sizes, log_weights, kappa):
    """log(E|a|^kappa) / kappa, which rises with kappa from E log|a| at 0."""
    if kappa == 0:
        return float(np.sum(np.exp(log_weights) * log_sizes))
    powers = kappa * log_sizes
    if np.max(powers) < 1:
        return float(np.log1p(np.sum(np.exp(log_weights) * np.expm1(powers))) / kappa)
    return float(scipy.special.logsumexp(powers + log_weights) / kappa)


def _root(rate, learning_rate):
    if not rate(0.0) < 0:
        raise ValueError(
            f"learning_rate: no stationary law at {learning_rate}, where E log|1 - (eta/B) S| is {rate(0.0):.6g}, not"
            " negative; stay below the almost-sure critical learning rate"
        )
    return float(scipy.optimize.brentq(rate, 0.0, _bracket(rate, 1.0), xtol=1e-15, rtol=1e-14))


def _bracket(function, at):
    """A place above `at`, by doubling, where the function is positive."""
    while not function(at) > 0:
        at *= 2
        require("learning_rate", at, lambda number: number < 1e9, "a finite root")
    return at

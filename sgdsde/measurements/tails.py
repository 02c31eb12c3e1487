"""Estimates of a symmetric stable law's index and scale: characteristic function, quantiles, log-moments, block sums.

A symmetric stable law of tail index a and scale c has characteristic function exp(-|c k|^a); index 2 is the normal law
of variance 2 c^2, index 1 Cauchy's. Samples have the shape (..., num_samples) and are independent, of one law; every
leading entry is estimated by itself. Log-moments and block sums need samples centred at 0. A NumPy array is worked on
in NumPy, on the host; a JAX array may be traced.

None of these says whether the law is stable at all: they return a number for any samples. `tail_report` adds what
makes the number mean something. Exponents of power tails of any kind are those of `tail_exponents`: a Hill estimate
above 2 does not exclude a stable law.
"""

from typing import Any

import numpy as np
from jax.typing import ArrayLike

from sgdsde.arguments import count
from sgdsde.measurements.chains import of_real_kind
from sgdsde.measurements.stable_law import QUARTILES, quantile_table

__all__ = ["block_tail_index", "characteristic_tail_index", "log_moment_tail_index", "quantile_tail_index"]

FREQUENCIES = np.arange(2, 11) / 10
"""Where the characteristic function is read, in units of 1/(half width), near 1/scale: near the best for indices of 1.2
to 2 and sound below (standard error of the index times sqrt(num_samples): 0.55 at 2, 1.2 at 1.9, 1.7 at 1.5 and 1)"""
SLOPE = (np.log(FREQUENCIES) - np.log(FREQUENCIES).mean()) / np.var(np.log(FREQUENCIES)) / len(FREQUENCIES)
"""Weights that make the least-squares slope against log frequency"""
FEWEST = 100
"""samples from which on normal and stable samples have |phi| between 0 and 1 at every frequency, and Cauchy samples the
quantiles of a normal law less than once in 10,000 times (once in 20 times for 20 samples)"""
EULER_GAMMA = float(np.euler_gamma)


def characteristic_tail_index(samples: ArrayLike) -> tuple[Any, Any]:
    """(index, scale) from the empirical characteristic function, by least squares of

        log(-log |phi(k)|) = index log k + index log scale

    at nine frequencies from 0.2 to 1 over the samples' half width; |phi|^2 by the mean cosine of the differences of
    pairs of samples, unbiased. Hence it needs no centre and, for a stable law, no symmetry. It reads the whole law near
    its middle, not the tail, and its moments are bounded. Not cut off at 2: normal samples come out on both sides of
    it, lighter tails above. NaN where half of the samples are equal or |phi| is not between 0 and 1, which for normal
    or stable samples is rarer than one in 100,000 times from 100 samples on (one in six times for 16): fewer are
    refused, with ValueError.
    Source: Press (1972); Koutrouvelis (1980), at fixed frequencies.
    """
    return fitted_stable_law(*_namespace(samples, fewest=FEWEST))


def fitted_stable_law(xp: Any, x: Any) -> tuple[Any, Any]:
    """`characteristic_tail_index` of any number of samples, NaN where none can be fitted."""
    q25, middle, q75 = xp.quantile(x, _like([0.25, 0.5, 0.75], x), axis=-1)
    half = xp.where(q75 > q25, (q75 - q25) / 2, xp.nan)
    standardised = (x - middle[..., None]) / half[..., None]
    heights = [_height(xp, _like(k, x) * standardised) for k in FREQUENCIES]
    index = sum(_like(weight, x) * height for weight, height in zip(SLOPE, heights, strict=True))
    offset = sum(heights) / len(heights) - index * _like(np.log(FREQUENCIES).mean(), x)
    return index, half * xp.exp(offset / index)


def quantile_tail_index(samples: ArrayLike) -> tuple[Any, Any]:
    """(index, scale) from four quantiles: the index has the ratio (q95 - q05)/(q75 - q25) that is observed.

    The exact ratios of symmetric stable laws, from 0.3 to 2, take the place of McCulloch's printed table. Ratios below
    that of the normal law, 2.44, give 2, as half of all sets of normal samples do (the mean of their indices is 1.90
    for 100 samples, 1.95 for 1,000). It needs no centre. NaN where half of the samples are equal. Raises ValueError for
    fewer than 100 samples: of 3 every law gives 2. Source: McCulloch (1986).
    """
    xp, x = _namespace(samples, fewest=FEWEST)
    q05, q25, q75, q95 = xp.quantile(x, _like(np.array(QUARTILES), x), axis=-1)
    indices, ratios, widths = (_like(column, x) for column in quantile_table())
    width = xp.where(q75 > q25, q75 - q25, xp.nan)
    index = xp.interp((q95 - q05) / width, ratios, indices)
    return index, width / xp.interp(index, indices[::-1], widths[::-1])


def log_moment_tail_index(samples: ArrayLike) -> tuple[Any, Any]:
    """(index, scale) from the first two moments of log|x|, with Euler's constant g:

        Var log|x| = (pi^2/6) (1/index^2 + 1/2),     E log|x| = log scale + g (1/index - 1).

    The standard error of the index times sqrt(num_samples) is 7.3 at 2 (that of `characteristic_tail_index` is 0.55)
    and 1.5 at 1. Not cut off at 2: of 100 normal samples the index is from 1.3 to 5.2 in nine of ten sets. It is
    infinite where the variance is pi^2/12 or less, below that of any index, as it is in 6 % of sets of 100 normal
    samples, 1 % of 200 and none of 1,000: read it as 2 or more, and do not drop such a set, or what is left has too
    small an index. A sample of exactly 0 makes it NaN. Raises ValueError for fewer than 100 samples.
    Source: Zolotarev (1986); Ma and Nikias (1995).
    """
    xp, x = _namespace(samples, fewest=FEWEST)
    logs = _log_size(xp, x)
    inverse = xp.sqrt(xp.maximum(xp.var(logs, axis=-1) * _like(6 / np.pi**2, x) - _like(0.5, x), _like(0, x)))
    index = xp.where(inverse == 0, xp.inf, 1 / xp.where(inverse == 0, 1, inverse))
    return index, xp.exp(xp.mean(logs, axis=-1) - _like(EULER_GAMMA, x) * (inverse - 1))


def block_tail_index(samples: ArrayLike, block_size: int) -> Any:
    """The published estimator of the tail index of gradient noise, from sums S of block_size = K successive samples:

        1/index = ( mean log|S| - mean log|x| ) / log K

    because a sum of K independent stable variables of one law is K^(1/index) times one of them. It takes the samples
    for independent, centred and of one scale, and reports less than 2 for *normal* samples that are not: 1.24 at
    autocorrelation 0.9 and K = 100, about 1.4 for coordinates of unequal scale in one row. Compare it with the same
    estimate on normal samples of the same covariance (`noise.anisotropic` of the same problem), as `tail_report` does.
    Samples beyond the last full block are left out; a sample or sum of exactly 0 makes it NaN. Raises ValueError
    unless 2 <= block_size <= num_samples.
    Source: Mohammadi, Mohammadpour, Ogata (2015); on gradient noise Simsekli, Sagun, Gurbuzbalaban (2019).
    """
    xp, x = _namespace(samples)
    most = x.shape[-1]
    block_size = count("block_size", block_size, at_least=2, at_most=most, mend=f"the number of samples is {most}")
    blocks = in_blocks(x, block_size)
    sums = xp.mean(_log_size(xp, xp.sum(blocks, axis=-1)), axis=-1)
    return _like(np.log(block_size), x) / (sums - xp.mean(_log_size(xp, blocks), axis=(-2, -1)))


def in_blocks(samples: Any, block_size: int) -> Any:
    """(..., num_blocks, block_size), the remainder left out."""
    num_blocks = samples.shape[-1] // block_size
    return samples[..., : num_blocks * block_size].reshape(*samples.shape[:-1], num_blocks, block_size)


def _namespace(samples: ArrayLike, fewest: int = 2) -> tuple[Any, Any]:
    """The array library of the samples and the samples as floating-point numbers of it."""
    array = of_real_kind("samples", samples)
    xp = array.__array_namespace__()
    if array.ndim == 0 or array.shape[-1] < fewest:
        raise ValueError(
            f"samples: expected (..., num_samples), num_samples {fewest} or more for an index, got shape {array.shape}"
        )
    return xp, array if xp.isdtype(array.dtype, "real floating") else array.astype(float)


def _height(xp, angle):
    """log(-log |phi|), |phi|^2 as the mean cosine of the differences of pairs of different samples: unbiased."""
    size = angle.shape[-1]
    squares = xp.sum(xp.cos(angle), axis=-1) ** 2 + xp.sum(xp.sin(angle), axis=-1) ** 2
    modulus = (squares - size) / (size * (size - 1))
    return xp.log(-xp.log(xp.where((modulus > 0) & (modulus < 1), modulus, xp.nan)) / 2)


def _log_size(xp, x):
    return xp.log(xp.where(x == 0, xp.nan, xp.abs(x)))


def _like(value, array):
    """A host constant in the precision of `array`."""
    return np.asarray(value, array.dtype)

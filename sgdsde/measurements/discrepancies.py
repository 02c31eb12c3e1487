"""Unbiased distances between two sampled laws in any dimension, from a kernel of pairs; host side, float64.

Chains come first, and the last axis is always the coordinates. The two sets must be independent of each other
(different keys). Both distances return (distance, standard_error), both NaN as soon as one sample is not finite.
"""

from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike
from scipy.spatial.distance import cdist

from sgdsde.arguments import is_traced, number
from sgdsde.measurements.chains import vector_chains

__all__ = ["energy_distance", "median_bandwidth", "squared_mmd"]

_PAIRS_AT_ONCE = 4_000_000  # kernel values held at a time: 32 MB


def energy_distance(samples: ArrayLike, other_samples: ArrayLike) -> tuple[float, float]:
    """Energy distance between two sets of samples of a vector, unbiased: 0 on average when the laws are equal.

        2 E|X - Y| - E|X - X'| - E|Y - Y'|

    estimated by the U-statistic over pairs of different chains, so it may be negative. It is the *squared* distance:
    `scipy.stats.energy_distance` returns the square root, and of the biased sum that keeps |x_i - x_i| = 0.
    The standard error is explained at `squared_mmd`: with equal laws it is conservative (deviation of z 0.55 to 0.63).
    Needs E|X| < infinity, its standard error E|X|^2 < infinity.

    samples, other_samples: (num_chains, d) or (num_chains, num_samples, d); d = 1 for a number.
    Returns (distance, standard_error), units of |X|. Raises ValueError for wrong shapes or fewer than 4 chains.
    """
    return _squared_kernel_distance(samples, other_samples, lambda x, y: -cdist(x, y))


def squared_mmd(samples: ArrayLike, other_samples: ArrayLike, *, bandwidth: float) -> tuple[float, float]:
    """Squared maximum mean discrepancy with a Gaussian kernel, unbiased: 0 on average when the laws are equal.

        E k(X, X') + E k(Y, Y') - 2 E k(X, Y),   k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2))

    estimated by the U-statistic over pairs of different chains (k averaged over the samples of both chains), so it may
    be negative; k is bounded, so any law will do (Gretton et al. 2012, eq. 3).
    The standard error is the larger of two: the delete-one-chain jackknife of both sets, which estimates the first
    and second order of Hoeffding's expansion (Efron and Stein 1981: not too small on average); and the second order
    alone, V = 2 v_xx/(N (N-1)) + 2 v_yy/(M (M-1)) + 4 v_xy/(N M), v the unbiased variance of the doubly centred
    kernel over pairs. When the laws are equal the first order vanishes (the statistic is degenerate: a centred sum of
    chi-squares of size 1/num_chains, not Gaussian), the jackknife may be near zero by chance, and V is exact.
    So z stays small when the laws are equal (deviation 0.55 to 0.63: conservative); when they differ, z of the squared
    distance is about half of what it would be for the distance: a deviation passes 5.9 here when it is about 12
    standard errors in its own direction.
    A bandwidth taken from the same samples (`median_bandwidth`) leaves the error slightly optimistic.
    Time grows with the square of the number of samples (1e4 against 1e4: seconds); memory is bounded.

    samples, other_samples: (num_chains, d) or (num_chains, num_samples, d); bandwidth: in the units of the samples.
    Returns (squared MMD, standard_error). Raises ValueError for wrong shapes, fewer than 4 chains, bandwidth <= 0.
    """
    if is_traced(bandwidth):
        raise TypeError("bandwidth: expected a number, got a traced one; this works on the host: call it outside jit")
    width = 2 * float(number("bandwidth", bandwidth, above=0.0, mend="`median_bandwidth` gives one")) ** 2
    return _squared_kernel_distance(samples, other_samples, lambda x, y: np.exp(-cdist(x, y, "sqeuclidean") / width))


def median_bandwidth(samples: ArrayLike, other_samples: ArrayLike) -> float:
    """Median distance between different samples of the two sets together: the usual bandwidth of `squared_mmd`.

    At most 2,000 samples, evenly spaced through each set, are used. NaN when a sample is not finite.
    samples, other_samples: (num_chains, d) or (num_chains, num_samples, d). Raises ValueError for wrong shapes.
    """
    sets = (vector_chains(samples, "samples"), vector_chains(other_samples, "other_samples"))
    _same_dimension(*sets)
    if not all(np.all(np.isfinite(each)) for each in sets):
        return np.nan
    flat = [each.reshape(-1, each.shape[-1]) for each in sets]
    pooled = np.concatenate([each[:: -(-len(each) // 1_000)] for each in flat])
    return float(np.median(cdist(pooled, pooled)[np.triu_indices(len(pooled), k=1)]))


def _same_dimension(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"other_samples: expected {first.shape[-1]} coordinates on the last axis as in samples, "
            f"got {second.shape[-1]}"
        )


def _squared_kernel_distance(
    samples: ArrayLike, other_samples: ArrayLike, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """U-statistic E k(X, X') + E k(Y, Y') - 2 E k(X, Y) over different chains, with its standard error."""
    x, y = vector_chains(samples, "samples"), vector_chains(other_samples, "other_samples")
    _same_dimension(x, y)
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        return np.nan, np.nan
    n, m = len(x), len(y)
    x_own, _, x_squares = _kernel_sums(x, x, kernel, same=True)
    y_own, _, y_squares = _kernel_sums(y, y, kernel, same=True)
    x_other, y_other, cross_squares = _kernel_sums(x, y, kernel, same=False)
    distance = np.sum(x_own) / (n * (n - 1)) + np.sum(y_own) / (m * (m - 1)) - 2 * np.sum(x_other) / (n * m)
    jackknife = sum(
        4 * np.var(own / (size - 2) - other / other_size, ddof=1) / size
        for own, other, size, other_size in ((x_own, x_other, n, m), (y_own, y_other, m, n))
    )
    # Doubly centred over pairs of different chains (U-centring, Szekely and Rizzo 2014), and between the two sets.
    within = [
        2
        * (squares - 2 * np.sum(own**2) / (size - 2) + np.sum(own) ** 2 / ((size - 1) * (size - 2)))
        / (size * (size - 3) * size * (size - 1))
        for own, squares, size in ((x_own, x_squares, n), (y_own, y_squares, m))
    ]
    centred = cross_squares - np.sum(x_other**2) / m - np.sum(y_other**2) / n + np.sum(x_other) ** 2 / (n * m)
    second_order = sum(within) + 4 * centred / ((n - 1) * (m - 1) * n * m)
    return float(distance), float(np.sqrt(max(jackknife, second_order)))


def _kernel_sums(
    x: np.ndarray, y: np.ndarray, kernel: Callable[[np.ndarray, np.ndarray], np.ndarray], *, same: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """Of the chain-averaged kernel the sums over y, over x, and of all squares; a chain with itself is left out."""
    rows, columns, squares = np.empty(len(x)), np.zeros(len(y)), 0.0
    points = y.reshape(-1, y.shape[-1])
    step = max(1, _PAIRS_AT_ONCE // (x.shape[1] * len(points)))
    parts = -(-x.shape[1] * len(points) // _PAIRS_AT_ONCE)  # a single chain may be too much: in parts, then
    for start in range(0, len(x), step):
        some = x[start : start + step]
        values = np.zeros((len(some), len(y)))
        for part in np.array_split(some, min(parts, x.shape[1]) if step == 1 else 1, axis=1):
            block = kernel(part.reshape(-1, x.shape[-1]), points)
            values += block.reshape(len(some), part.shape[1], len(y), y.shape[1]).sum(axis=(1, 3))
        values /= x.shape[1] * y.shape[1]
        if same:
            own = np.arange(len(some))
            values[own, start + own] = 0
        rows[start : start + step] = values.sum(axis=1)
        columns += values.sum(axis=0)
        squares += float(np.sum(values**2))
    return rows, columns, squares

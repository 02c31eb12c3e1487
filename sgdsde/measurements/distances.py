"""Distances of samples of one number to a predicted law, or to other samples; host side, float64.

All take independent chains first. Two sets of samples must be independent of each other (different keys). Every
distance returns (distance, standard_error), both NaN as soon as one sample is not finite: a diverged chain is no
sample of any law, and dropping it would be a choice that is not ours.

    cdf_distance, wasserstein_distance                          samples of a number against a density on a grid
    cdf_distance_two_samples, wasserstein_distance_two_samples  two sets of samples of a number
"""

import math

import numpy as np
from jax.typing import ArrayLike

from sgdsde.measurements.chains import enlargement_of_squares, on_host, scalar_chains, standard_error_across_chains

__all__ = [
    "cdf_distance",
    "cdf_distance_two_samples",
    "wasserstein_distance",
    "wasserstein_distance_two_samples",
]


def cdf_distance(samples: ArrayLike, grid: ArrayLike, density: ArrayLike) -> tuple[float, float]:
    """Largest distance between the sampled and the predicted distribution function (Kolmogorov-Smirnov distance).

        D = sup_x |F_hat(x) - F(x)|,   F(x) = integral of the density up to x

    F is the exact integral of the density joined linearly between grid points (at grid points the trapezoid sum), 0
    left of the grid and constant right of it; F_hat counts all samples equally; the supremum is exact, over both
    sides of every jump. The standard error is that of F_hat at the arg max, from each chain's own fraction of samples
    below it, with four chains of pseudo-counts on each side (Agresti and Coull 1998: where chains hardly ever go, that
    they agree proves little), and never less than if F were right, sqrt(F (1 - F)/num_chains) at one sample a chain.
    Use 50 chains or more. In 90,000 trials with the right density, 20 to 1,000 chains, z = 5.9 was not reached.
    D is positive also when the density is right: about .9 / sqrt(num_chains) for one sample a chain.

    samples: (num_chains,) or (num_chains, num_samples). grid: (m,), increasing. density: (m,), trapezoid mass 1 (it is
    not normalised here, so that a wrong partition function shows; mass that a grid leaves out counts as a deviation).
    Returns (D, standard_error). Raises ValueError for wrong shapes, a grid that does not increase, a negative density,
    or a mass more than 1 % from 1.
    """
    chains = scalar_chains(samples, "samples")
    points, heights = _grid_density(grid, density)
    if not np.all(np.isfinite(chains)):
        return np.nan, np.nan
    pooled = np.sort(chains, axis=None)
    # Between jumps F_hat is constant and F does not fall: the supremum is at a jump's left or right side, or at an end.
    ordered = np.sort(np.concatenate([pooled, points[[0, -1]]]))
    predicted = _distribution_function(ordered, points, heights)
    return _largest_gap(
        [chains],
        ordered,
        below=np.searchsorted(pooled, ordered, side="left") / pooled.size - predicted,
        upto=np.searchsorted(pooled, ordered, side="right") / pooled.size - predicted,
        predicted=predicted,
    )


def cdf_distance_two_samples(samples: ArrayLike, other_samples: ArrayLike) -> tuple[float, float]:
    """Largest distance between two sampled distribution functions, D = sup_x |F_hat(x) - G_hat(x)|.

    As `scipy.stats.ks_2samp(...).statistic`; the standard error is that of F_hat - G_hat at the arg max, from each
    chain's own fraction of samples and the pseudo-counts of `cdf_distance`. D is positive also for equal laws.

    samples, other_samples: (num_chains,) or (num_chains, num_samples), the numbers need not agree.
    Returns (D, standard_error). Raises ValueError for wrong shapes.
    """
    chains, others = scalar_chains(samples, "samples"), scalar_chains(other_samples, "other_samples")
    if not (np.all(np.isfinite(chains)) and np.all(np.isfinite(others))):
        return np.nan, np.nan
    ordered, gap = _gap_between(chains, others)
    return _largest_gap([chains, others], ordered, below=np.zeros_like(gap), upto=gap, predicted=None)


def wasserstein_distance(samples: ArrayLike, grid: ArrayLike, density: ArrayLike) -> tuple[float, float]:
    """Wasserstein-1 distance of samples of a number to a predicted density, in the units of the number.

        W = integral |F_hat(x) - F(x)| dx

    F as in `cdf_distance`; samples outside the grid are carried to its mass. The integral is exact for a constant
    density and of second order in the grid's cells otherwise. The standard error is that of the mean over chains of
    the optimal dual potential phi, phi' = -sign(F_hat - F) (delta method); it is right when the laws differ. When they
    are equal W is still positive, about 1 to 2 standard errors. From fewer than 700 chains the error is enlarged as
    that of `measurements.covariance` (4.0 at 20 chains, 1.2 at 200): without it 5.9 was passed in 0.2 to 0.9 % of
    samples of 20 chains, and in 0.07 % of 200 exponential ones.
    Needs a finite variance; under heavier tails use `cdf_distance`.

    samples: (num_chains,) or (num_chains, num_samples). grid, density: (m,) as in `cdf_distance`.
    Returns (W, standard_error). Raises ValueError as `cdf_distance`.
    """
    chains = scalar_chains(samples, "samples")
    points, heights = _grid_density(grid, density)
    if not np.all(np.isfinite(chains)):
        return np.nan, np.nan
    pooled = np.sort(chains, axis=None)
    ordered = np.sort(np.concatenate([pooled, points]))
    widths = np.diff(ordered)
    predicted = _distribution_function(ordered, points, heights)
    empirical = np.searchsorted(pooled, ordered[:-1], side="right") / pooled.size
    left, right = empirical - predicted[:-1], empirical - predicted[1:]
    # A gap that changes sign inside an interval is two triangles; signed is the integral of the gap's sign.
    total = np.abs(left) + np.abs(right)
    crosses = left * right < 0
    safe = np.where(total > 0, total, 1)
    area = np.where(crosses, (left**2 + right**2) / (2 * safe), total / 2) * widths
    signed = np.where(crosses, (np.abs(left) - np.abs(right)) / safe * np.sign(left), _side(left + right)) * widths
    return float(np.sum(area)), _potential_error(chains, ordered, signed)


def wasserstein_distance_two_samples(samples: ArrayLike, other_samples: ArrayLike) -> tuple[float, float]:
    """Wasserstein-1 distance between two sets of samples of a number, W = integral |F_hat(x) - G_hat(x)| dx.

    As `scipy.stats.wasserstein_distance`; the standard error as in `wasserstein_distance`, of both sets together.

    samples, other_samples: (num_chains,) or (num_chains, num_samples), the numbers need not agree.
    Returns (W, standard_error). Raises ValueError for wrong shapes.
    """
    chains, others = scalar_chains(samples, "samples"), scalar_chains(other_samples, "other_samples")
    if not (np.all(np.isfinite(chains)) and np.all(np.isfinite(others))):
        return np.nan, np.nan
    ordered, gap = _gap_between(chains, others)
    widths = np.diff(ordered)
    signed = _side(gap[:-1]) * widths
    first, second = (_potential_error(each, ordered, signed) for each in (chains, others))
    return float(np.sum(np.abs(gap[:-1]) * widths)), math.hypot(first, second)


def _grid_density(grid: ArrayLike, density: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    for field, value in (("grid", grid), ("density", density)):
        value = on_host(field, value)
        if np.ndim(value) != 1 or np.size(value) < 2:
            raise ValueError(f"{field}: expected shape (m,) with m of 2 or more, got {np.shape(value)}")
    points, heights = np.asarray(grid, np.float64), np.asarray(density, np.float64)
    if points.shape != heights.shape:
        raise ValueError(f"density: expected the grid's shape {points.shape}, got {heights.shape}")
    if not (np.all(np.isfinite(points)) and np.all(np.diff(points) > 0)):
        raise ValueError("grid: expected finite, strictly increasing positions; sort the grid and its density")
    if not np.all(heights >= 0) or not np.all(np.isfinite(heights)):
        raise ValueError("density: expected finite, non-negative values; check the potential and the temperature")
    mass = np.trapezoid(heights, points)
    if abs(mass - 1) > 0.01:
        raise ValueError(f"density: expected trapezoid mass 1, got {mass:.4g}; normalise it or widen the grid")
    return points, heights


def _distribution_function(where: np.ndarray, points: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Integral of the piecewise linear density up to `where`."""
    cells = np.diff(points)
    sums = np.concatenate([[0.0], np.cumsum(cells * (heights[1:] + heights[:-1]) / 2)])
    cell = np.clip(np.searchsorted(points, where, side="right") - 1, 0, len(cells) - 1)
    into = np.clip(where - points[cell], 0, cells[cell])
    slope = (heights[cell + 1] - heights[cell]) / cells[cell]
    return np.where(where >= points[-1], sums[-1], sums[cell] + heights[cell] * into + slope * into**2 / 2)


def _gap_between(chains: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All positions in order, and F_hat - G_hat just right of each."""
    first, second = np.sort(chains, axis=None), np.sort(others, axis=None)
    ordered = np.sort(np.concatenate([first, second]))
    gap = np.searchsorted(first, ordered, side="right") / first.size
    return ordered, gap - np.searchsorted(second, ordered, side="right") / second.size


def _largest_gap(
    sets: list[np.ndarray], ordered: np.ndarray, *, below: np.ndarray, upto: np.ndarray, predicted: np.ndarray | None
) -> tuple[float, float]:
    """The larger of the suprema of |below| (counting samples < x) and |upto| (samples <= x), and its error."""
    is_below = np.max(np.abs(below)) > np.max(np.abs(upto))
    gap = np.abs(below if is_below else upto)
    worst = int(np.argmax(gap))
    counted = [chains < ordered[worst] if is_below else chains <= ordered[worst] for chains in sets]
    fraction = 0.0 if predicted is None else float(np.clip(predicted[worst], 0, 1))
    return float(gap[worst]), float(np.linalg.norm([_fraction_error(each, fraction) for each in counted]))


def _fraction_error(counted: np.ndarray, predicted: float) -> float:
    """Standard error of the fraction counted, (num_chains, num_samples) booleans, as `cdf_distance` explains it."""
    averages = np.mean(counted, axis=1)
    num_chains, observed = len(averages), np.mean(averages)
    variance = observed * (1 - observed)
    # Error squared per unit of variance: 1/num_chains for one sample a chain, less when a chain has several.
    ratio = standard_error_across_chains(averages) ** 2 / variance if variance > 0 else 1 / num_chains
    shrunk = (num_chains * observed + 4) / (num_chains + 8)
    return float(np.sqrt(max(shrunk * (1 - shrunk), predicted * (1 - predicted)) * ratio))


def _side(gap: np.ndarray) -> np.ndarray:
    """Sign of the gap. A gap of exactly zero counts as positive: it still fluctuates, and must be seen in the error."""
    return np.where(gap >= 0, 1.0, -1.0)


def _potential_error(chains: np.ndarray, ordered: np.ndarray, signed: np.ndarray) -> float:
    """Standard error of the mean of the dual potential, the running integral of the gap's sign; enlarged where chains
    are few, of which those in a long tail are missed."""
    running = np.concatenate([[0.0], np.cumsum(signed)])
    averages = np.mean(running[np.searchsorted(ordered, chains)], axis=1)
    return standard_error_across_chains(averages) * enlargement_of_squares(len(chains))

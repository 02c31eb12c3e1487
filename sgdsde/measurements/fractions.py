"""An ensemble reduced to its distribution function on a fixed set of points: small enough to keep and to sweep."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = ["cdf_distance_of_fractions", "density_of_fractions", "fraction_below"]


def fraction_below(samples: ArrayLike, points: ArrayLike) -> jax.Array:
    """F_hat at the points: the fraction of independent chains (num_chains,) below each of the points (m,), increasing.

    Traceable. NaN everywhere as soon as one sample is not finite: a diverged chain is never dropped.
    """
    samples, points = jnp.asarray(samples), jnp.asarray(points)
    if samples.ndim != 1 or points.ndim != 1:
        raise ValueError(
            f"samples and points: expected shapes (num_chains,) and (m,), got {samples.shape, points.shape}"
        )
    fractions = jnp.searchsorted(jnp.sort(samples), points.astype(samples.dtype)).astype(samples.dtype) / samples.size
    return jnp.where(jnp.isfinite(samples).all(), fractions, jnp.nan)


def cdf_distance_of_fractions(
    fractions: ArrayLike, num_chains: int, points: ArrayLike, grid: ArrayLike, density: ArrayLike
) -> tuple[float, float]:
    """Largest |F_hat - F| over the points, with its standard error: `cdf_distance` on what `fraction_below` kept.

    Between points F_hat is unknown, so the distance is over the points only; take them closer than the detail looked
    for. density on the grid (its trapezoid mass 1), joined linearly. Returns (distance, standard_error), the error
    sqrt(p (1 - p)/num_chains) at the arg max with p the larger variance of F_hat and F.
    """
    fractions, points = np.asarray(fractions, float), np.asarray(points, float)
    if not np.isfinite(fractions).all():
        return np.nan, np.nan
    grid, density = np.asarray(grid, float), np.asarray(density, float)
    cumulative = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])
    predicted = np.interp(points, grid, cumulative)
    gap = np.abs(fractions - predicted)
    worst = int(np.argmax(gap))
    variance = max(p * (1 - p) for p in (fractions[worst], np.clip(predicted[worst], 0, 1)))
    return float(gap[worst]), float(np.sqrt(max(variance, 1 / num_chains) / num_chains))


def density_of_fractions(fractions: ArrayLike, num_chains: int, points: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The histogram between the points, (m - 1,), as a density with the standard error of every bin."""
    mass, width = np.diff(np.asarray(fractions, float)), np.diff(np.asarray(points, float))
    return mass / width, np.sqrt(mass * (1 - mass) / num_chains) / width

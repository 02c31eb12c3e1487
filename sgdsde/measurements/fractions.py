"""An ensemble reduced to its distribution function on a fixed set of points: small enough to keep and to sweep."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sgdsde.arguments import count, real
from sgdsde.measurements.chains import floats, on_host

__all__ = ["cdf_distance_of_fractions", "density_of_fractions", "fraction_below"]


def fraction_below(samples: ArrayLike, points: ArrayLike) -> jax.Array:
    """F_hat at the points: the fraction of independent chains (num_chains,) below each of the points (m,), increasing.

    Traceable. NaN everywhere as soon as one sample is not finite: a diverged chain is never dropped.
    """
    samples, points = floats("samples", samples), floats("points", points)
    if samples.ndim != 1 or points.ndim != 1:
        raise ValueError(
            f"samples and points: expected shapes (num_chains,) and (m,), got {samples.shape, points.shape}"
        )
    where = real("points", points)
    if where is not None and not np.all(np.diff(where) > 0):
        raise ValueError(f"points: expected strictly increasing positions, got {where}")
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
    fractions, points = _fractions(fractions, num_chains, points)
    grid, density = on_host("grid", grid), on_host("density", density)
    if grid.ndim != 1 or grid.size < 2 or density.shape != grid.shape:
        raise ValueError(f"grid and density: expected (m,) each, m of 2 or more, got {grid.shape} and {density.shape}")
    if not (np.isfinite(grid).all() and (np.diff(grid) > 0).all() and np.isfinite(density).all()):
        raise ValueError("grid and density: expected finite numbers, the grid increasing")
    if not np.isfinite(fractions).all():
        return np.nan, np.nan
    cumulative = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])
    predicted = np.interp(points, grid, cumulative)
    gap = np.abs(fractions - predicted)
    worst = int(np.argmax(gap))
    variance = max(p * (1 - p) for p in (fractions[worst], np.clip(predicted[worst], 0, 1)))
    return float(gap[worst]), float(np.sqrt(max(variance, 1 / num_chains) / num_chains))


def density_of_fractions(fractions: ArrayLike, num_chains: int, points: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The histogram between the points, (m - 1,), as a density with the standard error of every bin."""
    fractions, points = _fractions(fractions, num_chains, points)
    mass, width = np.diff(fractions), np.diff(points)
    return mass / width, np.sqrt(mass * (1 - mass) / num_chains) / width


def _fractions(fractions, num_chains, points):
    """Fractions and their points on the host, checked; NaN, the mark of a diverged chain, passes in the fractions."""
    fractions, points = on_host("fractions", fractions), on_host("points", points)
    count("num_chains", num_chains)
    if fractions.ndim != 1 or fractions.shape != points.shape or points.size < 2:
        raise ValueError(
            f"fractions and points: expected (m,) each, m of 2 or more, got {fractions.shape} and {points.shape}"
        )
    if not (np.isfinite(points).all() and (np.diff(points) > 0).all()):
        raise ValueError("points: expected finite, strictly increasing positions")
    if not ((fractions >= 0) & (fractions <= 1) | np.isnan(fractions)).all():
        raise ValueError(f"fractions: expected fractions from 0 to 1, got {fractions}")
    return fractions, points

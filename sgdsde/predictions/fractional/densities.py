"""Densities of Levy processes in a potential: the fractional Fokker-Planck equation, stationary and in time.

    dp/dt = d(U'(x) p)/dx - scale^alpha (-d^2/dx^2)^(alpha/2) p,

the fractional derivative being |k|^alpha under Fourier's transform (Riesz), alpha = `tail_index`: the law of
dx = -U'(x) dt + dL, L of characteristic function exp(-t |scale k|^alpha). At tail index 2 it is the Fokker-Planck
equation with D = scale^2. It is the SDE's, without a time step; `kernels` has the exact law of a finite step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.interpolate
import scipy.linalg
from jax.typing import ArrayLike

from sgdsde.predictions.fractional.jumps import jump_rates, levy_motion
from sgdsde.predictions.grids import points_and_weights
from sgdsde.predictions.requirements import on_host, require, require_positive


class LevyDensity(NamedTuple):
    """`density` on the grid, (m,), or (num_durations, m) in time, trapezoid mass 1; `error`, an estimate of its L1
    error, a number or (num_durations,)."""

    density: np.ndarray
    error: np.ndarray


def levy_stationary_density(
    gradient: Callable[[np.ndarray], ArrayLike], grid: ArrayLike, *, tail_index: float, scale: float
) -> LevyDensity:
    """Stationary density of dx = -U'(x) dt + dL, L symmetric stable of any tail index in (0, 2], in one dimension.

    `gradient` is U', elementwise on arrays; `scale` is the SDE's: stable gradient noise of scale c at learning rate eta
    makes c eta^(1 - 1/tail_index). `grid` (m,), m odd, to about 2000 points, is best numpy.sinh of a uniform one, wide
    enough for the power tails: p ~ |x|^(-alpha-3) in a quartic, |x|^(-alpha-1) in a parabola.

    A jump process on the grid (`jumps.jump_rates`) is solved directly, with errors that fall with the square of the
    spacing where it changes smoothly: 1e-4 in density and distribution function on 800 points. The error's estimate is
    the L1 distance from the solution on every second point, usually three times the truth, plus |x| p(x) at both ends
    for what lies beyond: of order one where the potential does not confine. What rounding leaves below zero in empty
    tails is cut off. Sources: Chechkin et al. 2002; Huang and Oberman 2014 (discretisation by hat functions).
    """
    motion = levy_motion(gradient, grid, tail_index, scale)
    return _with_error(motion.grid, [_stationary(motion)], [_stationary(motion.on_every_second_point())], ())


def levy_density_evolution(
    gradient: Callable[[np.ndarray], ArrayLike],
    initial_density: ArrayLike,
    grid: ArrayLike,
    *,
    tail_index: float,
    scale: float,
    durations: ArrayLike,
) -> LevyDensity:
    """Density of dx = -U'(x) dt + dL after each of `durations` (num_durations,), positive and increasing.

    Arguments, error and sources as in `levy_stationary_density`; `initial_density` (m,) on the grid is normalised, and
    should be wide against its spacing. The exponential of the jump process's rates, one for each different interval
    between durations: to about 1000 points.
    """
    motion = levy_motion(gradient, grid, tail_index, scale)
    initial, durations = on_host("initial_density", initial_density), on_host("durations", durations)
    if initial.shape != motion.grid.shape:
        raise ValueError(f"initial_density: expected the grid's shape {motion.grid.shape}, got {initial.shape}")
    require("initial_density", initial, lambda p: np.isfinite(p) & (p >= 0) & (np.max(p) > 0), "0 or more, not all 0")
    if durations.ndim != 1:
        raise ValueError(f"durations: expected shape (num_durations,), got {durations.shape}")
    intervals = np.diff(durations, prepend=0.0)
    require_positive("durations", durations)
    require("durations", intervals, lambda step: step > 0, "times that increase strictly")
    fine = _evolution(motion, initial, intervals)
    coarse = _evolution(motion.on_every_second_point(), initial[::2], intervals)
    return _with_error(motion.grid, fine, coarse, durations.shape)


def density_modes(grid: ArrayLike, density: ArrayLike) -> np.ndarray:
    """Positions of the local maxima of a density on a grid, (num_modes,), joined by a cubic spline, left to right.

    Maxima lower than 1e-6 of the highest are rounding, and left out."""
    grid, density = on_host("grid", grid), on_host("density", density)
    points_and_weights(grid)
    if grid.ndim != 1 or density.shape != grid.shape:
        raise ValueError(f"density: expected one dimension and the grid's shape {grid.shape}, got {density.shape}")
    require("density", density, np.isfinite, "finite numbers")
    spline = scipy.interpolate.CubicSpline(grid, density)
    stationary = spline.derivative().roots(extrapolate=False)
    is_mode = (spline(stationary, 2) < 0) & (spline(stationary) > 1e-6 * density.max())
    return stationary[is_mode]


def _stationary(motion):
    """Q^T P = 0, its columns scaled by each point's own rate, plus the normalisation in every row; as a density."""
    rates = jump_rates(motion)
    waiting = -1 / np.diag(rates)
    matrix = rates.T * waiting
    matrix -= (waiting / waiting.mean())[None, :] / waiting.size
    return _density(motion.grid, scipy.linalg.solve(matrix, np.full(waiting.size, -1.0), overwrite_a=True) * waiting)


def _evolution(motion, initial, intervals):
    rates = jump_rates(motion)
    _, weights = points_and_weights(motion.grid)
    masses = initial * weights
    densities, previous, propagator = [], None, None
    for interval in intervals:
        if previous is None or abs(interval - previous) > 1e-9 * interval:
            propagator, previous = scipy.linalg.expm(interval * rates), interval
        masses = masses @ propagator
        if not np.isfinite(masses).all():
            raise ValueError("durations: expected times that numbers can follow at this scale; take shorter ones")
        densities.append(_density(motion.grid, masses))
    return densities


def _density(grid, masses):
    _, weights = points_and_weights(grid)
    masses = np.maximum(masses / masses.sum(), 0)
    return masses / masses.sum() / weights


def _with_error(grid, fine, coarse, shape):
    _, weights = points_and_weights(grid[::2])
    errors = []
    for density, rougher in zip(fine, coarse):
        centre = grid[np.argmax(density)]
        # not at the last point: all that jumps over it lands there
        beyond = sum(abs(grid[end] - centre) * density[end] for end in (2, -3))
        errors.append(np.sum(weights * np.abs(rougher - density[::2])) + beyond)
    return LevyDensity(np.reshape(fine, (*shape, grid.size)), np.reshape(errors, shape))

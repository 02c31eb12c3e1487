"""Stationary law of the drift-implicit step under stable noise, in one dimension, however short the step.

A step of dt = `time_step` of the SDE dx = -U'(x) dt + dL, L of characteristic function exp(-t |scale k|^alpha), is

    x' + dt U'(x') = x + dt^(1/alpha) scale S,   S of characteristic function exp(-|k|^alpha),

so that the stationary density solves p(y) = (1 + dt U''(y)) q(y + dt U'(y)), q = p convolved with the step's noise. The
noise of a short step is far narrower than p: `stationary_density` would have to resolve it, this module does not.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.sparse.linalg
from jax.typing import ArrayLike

from sgdsde.predictions.fractional.densities import LevyDensity
from sgdsde.predictions.requirements import on_host, one_on_host, require, require_function


def implicit_levy_density(
    gradient: Callable[[np.ndarray], ArrayLike],
    curvature: Callable[[np.ndarray], ArrayLike],
    grid: ArrayLike,
    *,
    tail_index: float,
    scale: float,
    time_step: float,
) -> LevyDensity:
    """Stationary density of the implicit step on a uniform grid (m,), and an estimate of its L1 error.

    `gradient` is U' and `curvature` U'', elementwise on arrays; `scale` is the SDE's, that of one unit of time:
    stable gradient noise of scale c at learning rate eta makes c eta^(1 - 1/tail_index). As `time_step` tends to 0 the
    density tends to `levy_stationary_density`'s.

    The convolution is a product of Fourier's, the density at y + dt U'(y) a spline of fifth order, and p the solution
    of a linear system by GMRES: the error falls exponentially with the spacing once p is resolved. What the noise
    throws beyond the image of the grid under y + dt U'(y) comes back at its other side: the image should reach so far
    that this is rare, which in a steep potential it soon does (Cauchy noise in x^4/4 at dt = 0.01, scale 1: 2 % of the
    probability beyond 6 is lost on a grid to 20, 0.02 % on one to 50). The error's estimate is the distance from the
    solution on every second point of the middle three quarters of the grid, and the probability outside these.
    Raises ValueError where 1 + dt U'' <= 0 on the grid, or where the iteration does not settle.
    """
    require_function(gradient=gradient, curvature=curvature)
    grid = on_host("grid", grid)
    if grid.ndim != 1 or grid.size < 32 or not _is_uniform(np.diff(grid)):
        raise ValueError(f"grid: expected 32 or more points, uniform and increasing, got shape {grid.shape}")
    tail_index = one_on_host("tail_index", tail_index, above=0.0, at_most=2.0)
    scale, time_step = one_on_host("scale", scale, above=0.0), one_on_host("time_step", time_step, above=0.0)
    laws, eighth = [], grid.size // 8
    inner = slice(eighth, grid.size - eighth, 2)
    for points in (grid, grid[inner]):
        image = points + time_step * np.asarray(gradient(points), float)
        jacobian = 1 + time_step * np.asarray(curvature(points), float)
        require("curvature", jacobian, lambda number: number > 0, "1 + dt * curvature > 0 on the grid (shorter step)")
        laws.append(_solve(points, image, jacobian, tail_index, time_step ** (1 / tail_index) * scale))
    fine, coarse = laws
    outside = 1 - np.trapezoid(fine[inner], grid[inner])
    return LevyDensity(fine, np.trapezoid(np.abs(coarse - fine[inner]), grid[inner]) + abs(outside))


def _is_uniform(spacing):
    return spacing[0] > 0 and np.allclose(spacing, spacing.mean(), rtol=1e-6)


def _solve(points, image, jacobian, tail_index, width):
    """p = A p, A linear, with the normalisation in every row: (1 - A) p + u (sum of p) = u, u uniform."""
    spacing = (points[-1] - points[0]) / (points.size - 1)
    span = (image.max() - image.min()) / spacing
    if not span < 2**24:
        raise ValueError(
            f"time_step: y + time_step * gradient(y) spreads the grid over {span:.2g} of its spacings, expected at most"
            f" {2**24}; shorten the step, or narrow the grid"
        )
    size = scipy.fft.next_fast_len(int(np.ceil(span)) + 1, real=True)
    frequency = 2 * np.pi * scipy.fft.rfftfreq(size, spacing)
    factor = np.exp(-((width * frequency) ** tail_index))
    places = (image - points[0])[None] / spacing

    def following(density):
        convolved = scipy.fft.irfft(scipy.fft.rfft(density, size) * factor, size)
        return jacobian * scipy.ndimage.map_coordinates(convolved, places, order=5, mode="grid-wrap")

    uniform = np.full(points.size, 1 / (points.size * spacing))
    operator: Any = scipy.sparse.linalg.LinearOperator  # its stubs know no keyword
    matrix = operator((points.size,) * 2, lambda p: p - following(p) + uniform * p.sum() * spacing, dtype=float)
    density, unsettled = scipy.sparse.linalg.gmres(matrix, uniform, x0=uniform, rtol=1e-9, restart=400, maxiter=4)
    if unsettled:
        raise ValueError("grid: the implicit step's stationary law did not settle on it; widen or refine the grid")
    return density / np.trapezoid(density, points)

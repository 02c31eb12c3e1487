"""The generator of dx = -U'(x) dt + dL, L symmetric stable, as the rates of a jump process on a one-dimensional grid.

Convention: L has the characteristic function exp(-t |scale k|^alpha), alpha = `tail_index`; alpha = 2 is a diffusion of
D = scale^2. `scale` is the *process's*: that of gradient noise of scale c is c eta^(1 - 1/alpha), eta the rate.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.special

from sgdsde.predictions.requirements import on_host, one_on_host, require, require_function


class LevyMotion(NamedTuple):
    """The checked arguments: `drift` = -U' at the points of `grid` (m,), and the noise."""

    drift: np.ndarray
    grid: np.ndarray
    tail_index: float
    scale: float

    def on_every_second_point(self) -> "LevyMotion":
        return self._replace(drift=self.drift[::2], grid=self.grid[::2])


def levy_motion(gradient: Callable, grid, tail_index, scale) -> LevyMotion:
    """The arguments every prediction of this folder has in common, checked before any compute."""
    grid = on_host("grid", grid)
    if grid.ndim != 1 or grid.size < 17 or grid.size % 2 == 0:
        raise ValueError(f"grid: expected shape (m,), m odd and 17 or more (its half is solved too), got {grid.shape}")
    if not np.all(np.isfinite(grid)) or not np.all(np.diff(grid) > 0):
        raise ValueError("grid: expected finite positions that increase strictly")
    tail_index = one_on_host("tail_index", tail_index, above=0.0, at_most=2.0)
    scale = one_on_host("scale", scale, above=0.0)
    require_function(gradient=gradient)
    slope = np.asarray(gradient(grid), float)
    if slope.shape != grid.shape:
        raise ValueError(f"gradient: expected U' elementwise, {grid.shape} -> {grid.shape}, got shape {slope.shape}")
    require("gradient", slope, np.isfinite, "a finite number at every grid point")
    return LevyMotion(-slope, grid, tail_index, scale)


def jump_rates(motion: LevyMotion) -> np.ndarray:
    """Q (m, m), dP/dt = Q^T P for the masses P at the grid points, dF/dt = Q F for expectations: rows sum to zero.

    Jumps z have the density K |z|^(-1-alpha), K = alpha scale^alpha C_alpha/2, C_alpha = (2/pi) Gamma(alpha)
    sin(pi alpha/2). One that lands between two points is shared between them in proportion (exact integrals of the hat
    functions), one beyond the grid lands at its end. That sharing is too wide by the mean of (z - left)(right - z): it
    is taken from the diffusion by which the jumps to either neighbour, and shorter ones, are replaced with their exact
    first and second moment. Landings in cells much wider than the start's own keep theirs: there it is no diffusion.
    Drift and diffusion go to the neighbours by central differences.

    On a grid whose spacing changes smoothly every error is of second order in it at every tail index. The price is that
    rates against a steep drift are negative where |U'| spacing exceeds twice the diffusion left: an upwind drift has
    none, but its error at tail index 1 is of first order, 1e-2 on 1600 points where this one is 1e-5.
    """
    drift, grid, alpha, scale = motion
    size, width = grid.size, np.diff(grid)
    left, right = np.concatenate([width[:1], width]), np.concatenate([width, width[-1:]])
    # K / (2 - alpha), which is scale^2 at alpha = 2, where K is zero
    diffusive = alpha * scipy.special.gamma(alpha) * np.sinc(1 - alpha / 2) / 2 * scale**alpha
    density = diffusive * (2 - alpha)
    rates = np.zeros((size, size))
    excess = np.zeros(size)
    for start in range(size):  # the cells beyond the neighbours, on either side
        taper = 1 / (1 + (width**2 / (9 * left[start] * right[start])) ** 4)
        for cells, nearer, farther, sign in (
            (slice(start + 1, None), slice(start + 1, -1), slice(start + 2, None), 1),
            (slice(0, max(start - 1, 0)), slice(1, max(start, 1)), slice(0, max(start - 1, 0)), -1),
        ):
            near = sign * (grid[nearer] - grid[start])
            to_near, to_far, second = _hats(near, width[cells], alpha)
            rates[start, nearer] += density * to_near
            rates[start, farther] += density * to_far
            excess[start] += density * np.sum(taper[cells] * second)
    rates[1:, 0] += density / alpha * (grid[1:] - grid[0]) ** -alpha
    rates[:-1, -1] += density / alpha * (grid[-1] - grid[:-1]) ** -alpha
    first = drift + density * (_power(right, 1 - alpha) - _power(left, 1 - alpha))
    second = diffusive * (right ** (2 - alpha) + left ** (2 - alpha))
    second = second - np.minimum(excess, 0.9 * second)
    inner = np.arange(size - 1)
    rates[inner, inner + 1] += ((second + first * left) / (right * (left + right)))[:-1]
    rates[inner + 1, inner] += ((second - first * right) / (left * (left + right)))[1:]
    rates[np.diag_indices(size)] = 0
    rates[np.diag_indices(size)] = -rates.sum(axis=1)
    return rates


def _hats(near, width, alpha):
    """Integrals over cells (near, near + width) of z^(-1-alpha) times the hat of the nearer end, that of the farther,
    and (z - near)(near + width - z). The series serves where the cells are short and the closed forms cancel."""
    middle = near + width / 2
    ratio = width / middle
    height = middle ** (-1 - alpha) * width
    even, odd = 0.5 + (1 + alpha) * (2 + alpha) * ratio**2 / 48, (1 + alpha) * ratio / 12
    to_near, to_far, second = height * (even + odd), height * (even - odd), height * width**2 / 6
    exact = ratio > 3e-3
    a, w = near[exact], width[exact]
    log = np.log1p(w / a)
    zeroth, once, twice = (a ** (n - alpha) * _relative_power(log, n - alpha) for n in (0, 1, 2))
    to_near[exact], to_far[exact] = ((a + w) * zeroth - once) / w, (once - a * zeroth) / w
    second[exact] = (2 * a + w) * once - a * (a + w) * zeroth - twice
    return to_near, to_far, second


def _relative_power(log, power):
    return np.expm1(power * log) / power if power else log


def _power(position, power):
    """(position^power - 1)/power, log(position) at power 0."""
    return _relative_power(np.log(position), power)

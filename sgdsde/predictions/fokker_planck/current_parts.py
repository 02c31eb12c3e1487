"""What a probability current is made of: its gradient and solenoidal parts, its circulation, the entropy it produces.

Currents are arrays on a uniform grid as `fokker_planck_density` returns them; measured ones may be put in their place.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import scipy.fft
from jax.typing import ArrayLike

from sgdsde.predictions.fokker_planck.coefficients import (
    check_diffusion,
    diffusion_matrix,
    require_shapes,
    uniform_axes,
)
from sgdsde.predictions.grids import points_and_weights
from sgdsde.predictions.requirements import array, on_host, require


class HelmholtzParts(NamedTuple):
    """`gradient` (m1, m2, 2) and `solenoidal` (m1, m2, 2), which add up to the current; `stream_function` (m1, m2)."""

    gradient: np.ndarray
    solenoidal: np.ndarray
    stream_function: np.ndarray


def helmholtz_parts(current: ArrayLike, grid: ArrayLike) -> HelmholtzParts:
    """Helmholtz decomposition of a current that does not pass the walls of its two-dimensional grid.

        J = -grad phi + (d psi/dx_2, -d psi/dx_1),    psi = 0 on the walls

    `current` is (m1, m2, 2), `grid` (m1, m2, 2), uniform. The first part moves probability about, the second only
    circulates: a stationary current is solenoidal, and its streamlines are the level lines of psi; one that changes in
    time has both. The parts are orthogonal in L2. Spectral (sine and cosine series, which the no-flux walls give).
    Raises ValueError for other shapes or a current that is not finite, or, at the walls, above 1 % of its largest.
    """
    (first, second), steps, flow = _current_on(current, grid)
    largest = np.abs(flow).max()
    walls = max(np.abs(flow[[0, -1], :, 0]).max(), np.abs(flow[:, [0, -1], 1]).max())
    if walls > 0.01 * largest:
        raise ValueError(f"current: expected none through the walls of the grid, got {walls:.3g} of {largest:.3g}")
    k = (np.arange(len(first)) * np.pi / (steps[0] * (len(first) - 1)))[:, None]
    q = (np.arange(len(second)) * np.pi / (steps[1] * (len(second) - 1)))[None, :]
    along = _sine(scipy.fft.dct(flow[..., 0], type=1, axis=1), axis=0)
    across = _sine(scipy.fft.dct(flow[..., 1], type=1, axis=0), axis=1)
    square = k**2 + q**2
    square[0, 0] = 1.0
    potential, stream = (k * along + q * across) / square, (q * along - k * across) / square
    gradient = np.stack([_from_sine_cosine(k * potential, 0), _from_sine_cosine(q * potential, 1)], axis=-1)
    function = _sine(_sine(stream, axis=0, inverse=True), axis=1, inverse=True)
    return HelmholtzParts(gradient, flow - gradient, function)


def circulation(current: ArrayLike, grid: ArrayLike) -> float:
    """Mean angular momentum of a two-dimensional current: the integral of x_1 J_2 - x_2 J_1 over the grid.

    In a stationary law it is E[x_1 o dx_2 - x_2 o dx_1]/dt, twice the mean area swept per unit time about the origin
    (and about any other point, if the stationary current vanishes on the rim). A quadratic loss with Hessian H and
    covariance S has [H, S]_12 = (H S - S H)_12: positive is counterclockwise. 0 without a current, but 0 also where two
    eddies cancel. `current` (m1, m2, 2) and `grid` (m1, m2, 2), uniform. Raises ValueError for other shapes.
    """
    _, _, flow = _current_on(current, grid)
    points, weights = points_and_weights(on_host("grid", grid))
    return float(np.sum(weights * (points[..., 0] * flow[..., 1] - points[..., 1] * flow[..., 0])))


def entropy_production(density: ArrayLike, current: ArrayLike, diffusion: Callable, grid: ArrayLike) -> float:
    """Entropy production per unit time, int J^T D^-1 J / p: 0 in equilibrium, whatever the potential.

    `density` and `current` as `fokker_planck_density` returns them, `diffusion` the D it was given, on the same grid,
    of one or two dimensions. In units of the Boltzmann constant, natural logarithm. Where p is below 1e-12 of its
    largest value nothing is added. A quadratic loss has tr(D^-1 H S H) - tr H. Raises ValueError for shapes that do
    not fit, a density that is negative or not finite, or a D that is not positive definite.
    """
    grid = on_host("grid", grid)
    points, weights = points_and_weights(grid)
    density, current = on_host("density", density), on_host("current", current)
    if density.shape != weights.shape or current.shape != points.shape:
        raise ValueError(
            f"density and current: expected the grid's {weights.shape} and {points.shape}, "
            f"got {density.shape} and {current.shape}"
        )
    require("density", density, lambda number: (number >= 0) & np.isfinite(number), "0 or more")
    flat = array("grid", points.reshape(-1, points.shape[-1]))
    require_shapes(None, diffusion, points.shape[-1], flat.dtype)
    spread = np.asarray(jax.vmap(lambda params: diffusion_matrix(diffusion, params))(flat), float)
    check_diffusion(spread, flat)
    force = np.linalg.solve(spread.reshape(*points.shape, points.shape[-1]), current[..., None])[..., 0]
    inside = density > 1e-12 * density.max()
    return float(np.sum((weights * np.sum(current * force, axis=-1))[inside] / density[inside]))


def _current_on(current: ArrayLike, grid: ArrayLike):
    axes, steps = uniform_axes(grid)
    flow = on_host("current", current)
    if len(axes) != 2 or flow.shape != (len(axes[0]), len(axes[1]), 2):
        raise ValueError(f"current: expected shape (m1, m2, 2) as a two-dimensional grid, got {flow.shape}")
    require("current", flow, np.isfinite, "finite numbers")
    return axes, steps, flow


def _sine(values: np.ndarray, *, axis: int, inverse: bool = False) -> np.ndarray:
    """Sine series along an axis, the two ends (0 in every term) included."""
    values = np.moveaxis(values, axis, 0)
    result = np.zeros_like(values)
    result[1:-1] = (scipy.fft.idst if inverse else scipy.fft.dst)(values[1:-1], type=1, axis=0)
    return np.moveaxis(result, 0, axis)


def _from_sine_cosine(series: np.ndarray, axis: int) -> np.ndarray:
    return _sine(scipy.fft.idct(series, type=1, axis=1 - axis), axis=axis, inverse=True)

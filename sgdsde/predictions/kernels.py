"""Numerically exact stationary densities: the invariant law of one step's transition kernel on a grid, any noise law.

Everything here is NumPy on the host. A transition density is a function (next (..., d), current (..., d)) -> (...) of
broadcasting arrays; `explicit_transition` builds that of SGD's or Euler's own step, `implicit_transition` that of the
drift-implicit step, from a noise density (noise (..., d), current (..., d)) -> (...) of `noise_densities`.
A microstep of dt = learning_rate / substeps is (alpha = tail_index, noise in gradient units)

    x' = x - dt gradient - learning_rate^(1 - 1/alpha) dt^(1/alpha) noise.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jax.typing import ArrayLike

from sgdsde.predictions.grids import points_and_weights
from sgdsde.predictions.requirements import count, on_host, one_on_host, require, require_function

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


class StationaryDensity(NamedTuple):
    """`density` on the grid, trapezoid mass 1; `error`, an estimate of its L1 error; `lost_mass`, the stationary
    mean of |1 - mass of the kernel on the grid| per step, before the columns are normalised."""

    density: np.ndarray
    error: float
    lost_mass: float


def stationary_density(transition_density: Kernel, grid: ArrayLike) -> StationaryDensity:
    """Stationary density p of a Markov chain, p(y) = int transition_density(y, x) p(x) dx, on a grid.

    `grid` is (m,) for d = 1, to about 3000 points, or (m1, m2, 2) for d = 2, to about 80 x 80, not necessarily uniform.
    Trapezoid rule, columns normalised to mass 1, then one direct solve of (I - K + u 1^T) p = u, u uniform, whose
    solution has mass 1: no power iteration, so rare hopping between wells costs nothing. The error has three parts: the
    L1 distance from the solution on every second point; to first order, the change had the lost mass landed on the
    grid's boundary, whence it takes longest to return (good to a factor of three: heavy tails need a wide grid however
    fine it is); and the rounding of the solve, large where the hopping rate per step nears 1e-14.
    Raises ValueError if the chain loses or gains more than 1 % of its mass a step: the grid is too narrow, or too
    coarse for the kernel (the spacing should not exceed its standard deviation); or if it does not pass between wells.
    """
    require_function(transition_density=transition_density)
    grid = on_host("grid", grid)
    density, lost_mass, truncation, rounding = _solve(transition_density, grid)
    if not lost_mass < 0.01:
        raise ValueError(
            f"grid: the kernel's mass on it is off by {lost_mass:.2g} a step; widen the grid if mass leaves it, refine"
            " it if its spacing exceeds the standard deviation of one step"
        )
    if not rounding < 0.01:
        raise ValueError(
            "transition_density: its stationary law on this grid is not unique to rounding (the chain does not pass"
            " between some wells); raise the noise, or solve on a grid that holds one well"
        )
    every_second = (slice(None, None, 2),) * density.ndim
    _, weights = points_and_weights(grid[every_second])
    coarse, *_ = _solve(transition_density, grid[every_second])
    resolution = float(np.sum(weights * np.abs(coarse - density[every_second])))
    return StationaryDensity(density, resolution + truncation + rounding, lost_mass)


def _solve(transition_density, grid):
    points, weights = points_and_weights(grid)
    points, flat = points.reshape(weights.size, -1), weights.ravel()
    kernel = np.empty((flat.size, flat.size), order="F")
    block = max(1, 2_000_000 // flat.size)  # bounds the temporaries of the transition density
    for first in range(0, flat.size, block):
        current = points[None, first : first + block]
        kernel[:, first : first + block] = transition_density(points[:, None], current) * flat[:, None]
    mass = kernel.sum(axis=0)
    if not np.all(mass > 0) or not np.all(np.isfinite(mass)):
        where = points[np.argmin(np.isfinite(mass) & (mass > 0))]
        raise ValueError(
            f"grid: the transition density from {where} is zero or not finite on it; refine or widen the grid"
        )
    kernel /= -mass
    kernel += 1 / flat.size
    kernel[np.diag_indices(flat.size)] += 1
    norm, factorise, condition = scipy.linalg.get_lapack_funcs(("lange", "getrf", "gecon"), (kernel,))
    size = norm("1", kernel)
    factors, pivots, _ = factorise(kernel, overwrite_a=True)
    reciprocal_condition, _ = condition(factors, size)

    def solution(source):
        return scipy.linalg.lu_solve((factors, pivots), source, check_finite=False)

    probability = solution(np.full(flat.size, 1 / flat.size))
    loss = np.abs(probability * (1 - mass))
    boundary = np.pad(np.zeros([size - 2 for size in weights.shape]), 1, constant_values=1).ravel()
    moved = solution(loss.sum() * boundary / boundary.sum() - loss)
    rounding = np.finfo(float).eps / max(reciprocal_condition, 1e-300)
    return (probability / flat).reshape(weights.shape), float(loss.sum()), float(np.abs(moved).sum()), rounding


def explicit_transition(
    gradient: Callable[[np.ndarray], ArrayLike],
    noise_density: Kernel,
    *,
    learning_rate: float,
    substeps: int = 1,
    tail_index: float = 2.0,
) -> Kernel:
    """Transition density of the explicit step: Euler-Maruyama's at any `substeps`, SGD's own at one.

    `gradient` is vectorised, (..., d) -> (..., d) (for a JAX function, `jnp.vectorize` with signature "(d)->(d)").
    The noise may depend on the state it leaves (Ito). Gaussian noise of any covariance has tail index 2.
    """
    require_function(gradient=gradient, noise_density=noise_density)
    step, kick = _step_and_kick(learning_rate, substeps, tail_index)

    def transition(following, current):
        noise = (current - step * np.asarray(gradient(current)) - following) / kick
        return noise_density(noise, current) / kick ** current.shape[-1]

    return transition


def implicit_transition(
    gradient: Callable[[np.ndarray], ArrayLike],
    curvature: Callable[[np.ndarray], ArrayLike],
    noise_density: Kernel,
    *,
    learning_rate: float,
    substeps: int,
    tail_index: float,
) -> Kernel:
    """Transition density of the drift-implicit step y + dt gradient(y) = x - kick, in one dimension.

    Its Jacobian is 1 + dt curvature(y); `gradient` and `curvature` = U'' map (..., 1) to (..., 1). Super-linear drifts
    keep their tails, so the grid may reach far out (`numpy.sinh` of a uniform one), if it still resolves the kernel
    there, whose width falls by the Jacobian. Raises ValueError where 1 + dt U'' <= 0.
    """
    require_function(gradient=gradient, curvature=curvature, noise_density=noise_density)
    step, kick = _step_and_kick(learning_rate, substeps, tail_index)

    def transition(following, current):
        if following.shape[-1] != 1:
            raise ValueError(f"grid: the implicit step is one-dimensional, got dimension {following.shape[-1]}")
        jacobian = 1 + step * np.asarray(curvature(following))[..., 0]
        require("curvature", jacobian, lambda number: number > 0, "1 + dt * curvature > 0 on the grid (more substeps)")
        noise = (current - following - step * np.asarray(gradient(following))) / kick
        return noise_density(noise, current) * jacobian / kick

    return transition


def _step_and_kick(learning_rate, substeps, tail_index):
    learning_rate = one_on_host("learning_rate", learning_rate, above=0.0)
    substeps, tail_index = count("substeps", substeps), one_on_host("tail_index", tail_index, above=0.0, at_most=2.0)
    step = learning_rate / substeps
    return step, learning_rate ** (1 - 1 / tail_index) * step ** (1 / tail_index)

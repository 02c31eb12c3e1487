"""Drift and diffusion of a stochastic differential equation on a grid, in the Ito convention whatever they came in."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.grids import points_and_weights
from sgdsde.predictions.requirements import array, is_traced, on_host, require_function

Convention = Literal["ito", "stratonovich", "haenggi_klimontovich"]
"""Where along a step a state-dependent noise is taken: at its start, in the middle, at its end."""
POWER = {"ito": 0.0, "stratonovich": 0.5, "haenggi_klimontovich": 1.0}
"""That place as q: in one dimension the stationary density is D^(q - 1) exp(int f/D)."""


class Coefficients(NamedTuple):
    """Ito `drift` (..., d) and `diffusion` (..., d, d) on the points of a grid and halfway between them, (2 m - 1)
    points an axis; `steps` (d,) are the grid's own spacings, twice those of these points."""

    drift: np.ndarray
    diffusion: np.ndarray
    steps: np.ndarray


def ito_coefficients(drift: Callable, diffusion: Callable, grid: ArrayLike, convention: Convention) -> Coefficients:
    """The coefficients on a grid and halfway between its points; one compiled call. Errors name the argument."""
    require_convention(convention)
    require_function(drift=drift)
    axes, steps = uniform_axes(grid)
    finer = [np.linspace(axis[0], axis[-1], 2 * len(axis) - 1) for axis in axes]
    points = array("grid", np.stack(np.meshgrid(*finer, indexing="ij"), axis=-1).reshape(-1, len(axes)))
    shape = [len(axis) for axis in finer]
    require_shapes(drift, diffusion, len(axes), points.dtype)
    found = jax.vmap(lambda params: _in_ito(drift, diffusion, convention, params))(points)
    flow, spread = (np.asarray(value, float) for value in found)
    _refuse("drift", flow, np.isfinite(flow).all(-1), points, "finite numbers (with the derivative of the diffusion)")
    check_diffusion(spread, points)
    size = len(axes)
    return Coefficients(flow.reshape(*shape, size), spread.reshape(*shape, size, size), steps)


def coarser(fine: Coefficients) -> Coefficients:
    """The coefficients that belong to every second point of the grid."""
    every_second = (slice(None, None, 2),) * len(fine.steps)
    return Coefficients(fine.drift[every_second], fine.diffusion[every_second], 2 * fine.steps)


def require_convention(convention: str) -> None:
    if not isinstance(convention, str) or convention not in get_args(Convention):
        raise ValueError(f"convention: expected one of {get_args(Convention)}, got {convention!r}")


def uniform_axes(grid: ArrayLike) -> tuple[list[np.ndarray], np.ndarray]:
    """The axes of a grid (m,) or (m1, m2, 2), and their spacings; each uniform, with an odd number of points."""
    grid = on_host("grid", grid)
    points_and_weights(grid)
    axes = [grid] if grid.ndim == 1 else [grid[:, 0, 0], grid[0, :, 1]]
    for axis in axes:
        if len(axis) < 9 or len(axis) % 2 == 0:
            raise ValueError(
                f"grid: expected an odd number of points an axis, 9 or more (every second point is the second "
                f"resolution), got {len(axis)}"
            )
        if not np.allclose(np.diff(axis), (axis[-1] - axis[0]) / (len(axis) - 1), rtol=1e-3, atol=0):
            raise ValueError("grid: expected uniform axes, made by linspace")
    return axes, np.array([(axis[-1] - axis[0]) / (len(axis) - 1) for axis in axes])


def require_shapes(drift: Callable | None, diffusion: Callable, size: int, dtype) -> None:
    require_function(diffusion=diffusion)
    params = jax.ShapeDtypeStruct((size,), dtype)
    if drift is not None and (shape := jnp.shape(jax.eval_shape(drift, params))) != (size,):
        raise ValueError(f"drift: expected shape ({size},) for params ({size},) of this grid, got {shape}")
    if (shape := jnp.shape(jax.eval_shape(diffusion, params))) not in ((), (size, size)):
        raise ValueError(f"diffusion: expected a scalar or shape ({size}, {size}) for params ({size},), got {shape}")


def diffusion_matrix(diffusion: Callable, params: Array) -> Array:
    """D(params) (d, d); a scalar stands for that number times the identity."""
    value = jnp.asarray(diffusion(params), params.dtype)
    return value * jnp.eye(params.size, dtype=params.dtype) if value.ndim == 0 else value


def check_diffusion(spread: np.ndarray, points: ArrayLike) -> None:
    _refuse("diffusion", spread, np.isfinite(spread).all((-2, -1)), points, "finite numbers")
    size = np.abs(spread).max((-2, -1))
    asymmetry = np.abs(spread - np.swapaxes(spread, -2, -1)).max((-2, -1))
    definite = (asymmetry <= 1e-5 * size) & (np.linalg.eigvalsh(spread)[..., 0] > 1e-7 * size)
    _refuse("diffusion", spread, definite, points, "a symmetric, positive definite matrix (noise in every direction)")


def _in_ito(drift: Callable, diffusion: Callable, convention: str, params: Array) -> tuple[Array, Array]:
    """f + noise-induced drift, and D. Haenggi-Klimontovich adds d_j D_ij, Stratonovich s_jk d_j s_ik / 2, s s = 2 D."""

    def matrix(params):
        return diffusion_matrix(diffusion, params)

    def root(params):
        return _symmetric_root(2 * matrix(params))

    flow = jnp.asarray(drift(params), params.dtype)
    if convention == "haenggi_klimontovich":
        flow = flow + jnp.einsum("ijj->i", jax.jacfwd(matrix)(params))
    elif convention == "stratonovich":
        flow = flow + jnp.einsum("jk,ikj->i", root(params), jax.jacfwd(root)(params)) / 2
    return flow, matrix(params)


def _symmetric_root(matrix: Array) -> Array:
    """The symmetric square root, in closed form: differentiable also where the eigenvalues are equal."""
    if matrix.shape == (1, 1):
        return jnp.sqrt(matrix)
    determinant = jnp.sqrt(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    eye = jnp.eye(2, dtype=matrix.dtype)
    return (matrix + determinant * eye) / jnp.sqrt(jnp.trace(matrix) + 2 * determinant)


def _refuse(name: str, values: np.ndarray, holds: np.ndarray, points: ArrayLike, expected: str) -> None:
    if not holds.all():
        worst = int(np.argmin(holds))
        where = np.asarray(points)[worst]
        raise ValueError(f"{name}: expected {expected} everywhere on the grid, got {values[worst]} at {where}")


def refuse_tracers(**arguments) -> None:
    for name, value in arguments.items():
        if any(is_traced(leaf) for leaf in jax.tree_util.tree_leaves(value)):
            raise TypeError(f"{name}: this prediction runs on the host and cannot be traced; call it outside jit")

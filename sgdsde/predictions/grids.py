"""Product grids in one and two dimensions: their points and their trapezoid weights, for NumPy and JAX arrays alike."""

import jax.numpy as jnp
import numpy as np

from sgdsde.predictions.requirements import is_finite, is_traced


def points_and_weights(grid):
    """Points (..., d) and trapezoid weights (...) of a grid: (m,) for d = 1, or (m1, m2, 2) for d = 2.

    Axes need not be uniform. The second form is `stack(meshgrid(first, second, indexing="ij"), axis=-1)`.
    Raises ValueError for another shape, an axis that does not increase, or a grid that is not such a product.
    """
    if grid.ndim == 1 and grid.shape[0] >= 2:
        axes, points = [grid], grid[:, None]
    elif grid.ndim == 3 and grid.shape[-1] == 2 and min(grid.shape[:2]) >= 2:
        axes, points = [grid[:, 0, 0], grid[0, :, 1]], grid
    else:
        raise ValueError(f"grid: expected shape (m,) or (m1, m2, 2) with two points or more an axis, got {grid.shape}")
    if not is_traced(grid):
        axes_known = [np.asarray(axis) for axis in axes]
        if not all(np.isfinite(axis).all() and np.all(axis[1:] > axis[:-1]) for axis in axes_known):
            raise ValueError(
                'grid: expected finite axes that increase strictly; build it with meshgrid(..., indexing="ij")'
            )
        if len(axes) == 2 and not np.array_equal(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1), grid):
            raise ValueError("grid: expected a product of two axes, stack(meshgrid(first, second, indexing='ij'), -1)")
    weights = [_trapezoid(axis) for axis in axes]
    weights = weights[0] if len(axes) == 1 else weights[0][:, None] * weights[1][None, :]
    if is_traced(grid):
        is_rising = jnp.array([jnp.all(axis[1:] > axis[:-1]) for axis in axes]).all()
        weights = jnp.where(is_rising & is_finite(grid).all(), weights, jnp.nan)
    return points, weights


def _trapezoid(axis):
    steps = axis.__array_namespace__().diff(axis, prepend=axis[:1], append=axis[-1:])
    return (steps[1:] + steps[:-1]) / 2

"""The Gibbs law exp(-potential / temperature): SGD's where its noise is isotropic and constant and its rate small."""

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import logsumexp
from jax.typing import ArrayLike

from sgdsde.predictions.grids import points_and_weights
from sgdsde.predictions.requirements import (
    array,
    is_traced,
    number,
    require,
    require_function,
    require_positive,
    require_whole,
)

COARSEST = 2
"""widths of the law in one step of a grid: the trapezoid rule is off by 1 % on a Gaussian, by up to 30 % on a cusp"""


def temperature(*, learning_rate: ArrayLike, batch_size: ArrayLike, gradient_variance: ArrayLike) -> ArrayLike:
    """Temperature of SGD sampled with replacement: T = learning_rate * gradient_variance / (2 * batch_size).

    `gradient_variance` v is that of *one example's* gradient in one coordinate, Sigma = v I (divide by n, not n - 1).
    It is the T of dx = -grad L dt + sqrt(2 T) dW with time = learning_rate * steps (Ito), so that p ~ exp(-L / T).
    Under momentum put learning_rate / (1 - momentum); without replacement multiply by (n - B) / (n - 1).
    Units: those of the loss. Source: Mandt, Hoffman, Blei 2017 (1704.04289).
    """
    learning_rate = require_positive("learning_rate", learning_rate)
    batch_size = require_whole("batch_size", batch_size)
    gradient_variance = require("gradient_variance", gradient_variance, lambda number: number >= 0, "0 or more")
    return learning_rate * gradient_variance / (2 * batch_size)


def log_partition_function(potential: Callable[[Array], Array], temperature: ArrayLike, grid: ArrayLike) -> Array:
    """log Z, Z = integral of exp(-potential / temperature) over the grid, by the trapezoid rule; never overflows.

    `potential(params (d,)) -> scalar` is a JAX function (+inf is a wall); `grid` is (m,) for d = 1 or (m1, m2, 2), not
    necessarily uniform, and has to cover the wells. Raises ValueError for a bad grid or temperature, or a NaN; warns
    where a step of the grid is more than two widths sqrt(temperature / curvature) of the law: Z may be off by 1 %.
    """
    return _energies_and_log_partition(potential, temperature, grid)[1]


def partition_function(potential: Callable[[Array], Array], temperature: ArrayLike, grid: ArrayLike) -> Array:
    """Z itself, the exponential of `log_partition_function`: it overflows when min(potential) << -temperature."""
    return jnp.exp(log_partition_function(potential, temperature, grid))


def gibbs_density(potential: Callable[[Array], Array], temperature: ArrayLike, grid: ArrayLike) -> Array:
    """Density exp(-potential / temperature) / Z on the grid, of trapezoid mass 1; shape (m,) or (m1, m2).

    Arguments as in `log_partition_function`. Traceable and differentiable; finite at any temperature, because the
    smallest energy is subtracted inside the logarithm of Z.
    """
    energies, log_partition = _energies_and_log_partition(potential, temperature, grid)
    return jnp.exp(-energies - log_partition)


def _energies_and_log_partition(potential, temperature, grid):
    require_function(potential=potential)
    temperature = number("temperature", temperature, above=0.0)
    points, weights = points_and_weights(array("grid", grid))
    energies = jax.vmap(potential)(points.reshape(-1, points.shape[-1]))
    if energies.shape != (weights.size,):
        raise ValueError(f"potential: expected a scalar for params (d,), got shape {energies.shape[1:]}")
    energies = (energies / jnp.asarray(temperature, energies.dtype)).reshape(weights.shape)
    require("potential", energies, lambda energy: ~jnp.isnan(energy), "a number at every grid point")
    if not is_traced((energies, temperature)):
        _warn_where_coarse(np.asarray(energies), points)
    return energies, logsumexp(-energies, b=weights)


def _warn_where_coarse(energies: np.ndarray, points: Array) -> None:
    """Second differences of potential / temperature: (step / width)^2 of a Gaussian."""
    is_likely = energies < energies.min() + 5
    for axis in range(energies.ndim):
        inner = tuple(slice(1, -1) if one == axis else slice(None) for one in range(energies.ndim))
        with np.errstate(invalid="ignore"):  # between two walls
            bend = np.diff(energies, n=2, axis=axis)
        bend = np.where(is_likely[inner] & np.isfinite(bend), bend, 0)
        if bend.size and bend.max() > COARSEST**2:
            place = np.asarray(points[inner])[np.unravel_index(np.argmax(bend), bend.shape)]
            warnings.warn(
                f"gibbs: near {place.tolist()} a step of the grid's axis {axis} is {np.sqrt(bend.max()):.3g} times the "
                "width of the law, so that the sum over the grid is not the integral; refine the grid there, or raise "
                "the temperature",
                stacklevel=4,
            )

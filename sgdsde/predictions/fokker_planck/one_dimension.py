"""Closed forms in one dimension: the stationary density with state-dependent noise, and the variance it gives."""

from collections.abc import Callable

import jax
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.fokker_planck.coefficients import (
    POWER,
    Convention,
    check_diffusion,
    diffusion_matrix,
    require_convention,
    require_shapes,
)
from sgdsde.predictions.grids import points_and_weights
from sgdsde.predictions.requirements import (
    array,
    on_host,
    require,
    require_broadcast,
    require_function,
    require_whole,
    stationary,
)


def one_dimensional_density(
    drift: Callable, diffusion: Callable, grid: ArrayLike, *, convention: Convention
) -> np.ndarray:
    """Stationary density p ~ D(x)^(q - 1) exp(int f/D dx) in one dimension; q = 0 Ito, 1/2 Stratonovich, 1
    Haenggi-Klimontovich.

    dx = f dt + sqrt(2 D) dW in the given `convention`, f = `drift` (params (1,)) -> (1,), D = `diffusion` (params (1,))
    -> a scalar or (1, 1): JAX functions. For SGD f = -L', D = learning_rate C(x)/2, "ito", time = learning_rate *
    steps. `grid` (m,), not necessarily uniform, has to hold the law; the density there has trapezoid mass 1. The
    exponent is integrated by four-point Gauss-Legendre in every cell. No current flows. Runs on the host (the
    coefficients in JAX's default precision). Raises ValueError for another grid, a drift that is not finite, D <= 0.
    Source: Gardiner, Stochastic Methods, sections 4.3 and 5.2; Haenggi 1982; Klimontovich 1990.
    """
    require_convention(convention)
    require_function(drift=drift)
    grid = on_host("grid", grid)
    if grid.ndim != 1:
        raise ValueError(f"grid: expected shape (m,), one dimension, got {grid.shape}")
    _, weights = points_and_weights(grid)
    nodes, shares = np.polynomial.legendre.leggauss(4)
    width = np.diff(grid)
    inside = grid[:-1, None] + width[:, None] * (nodes + 1) / 2
    points = array("grid", np.concatenate([grid, inside.ravel()])[:, None])
    require_shapes(drift, diffusion, 1, points.dtype)
    flow, spread = jax.vmap(lambda params: (drift(params), diffusion_matrix(diffusion, params)))(points)
    flow, spread = np.asarray(flow, float)[:, 0], np.asarray(spread, float)
    require("drift", flow, np.isfinite, "finite numbers on the grid")
    check_diffusion(spread, points)
    force = (flow / spread[:, 0, 0])[grid.size :].reshape(-1, 4)
    exponent = np.concatenate([[0.0], np.cumsum(width * (force @ shares) / 2)])
    exponent += (POWER[convention] - 1) * np.log(spread[: grid.size, 0, 0])
    density = np.exp(exponent - exponent.max())
    return density / np.sum(weights * density)


def state_dependent_sde_variance(
    curvature: ArrayLike,
    additive: ArrayLike,
    multiplicative: ArrayLike,
    *,
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    convention: Convention,
) -> Array:
    """Stationary variance e a / (2 h - j e b) of the SDE on h x^2/2 with Sigma(x) = a + b x^2; e = eta/B.

    h = `curvature`, a = `additive`, b = `multiplicative` (those of `landscapes.state_dependent`: Sigma of one example,
    divided by n), eta = `learning_rate`, B = `batch_size` with replacement; D = e Sigma/2. j = 1 Ito (SGD's), 2
    Stratonovich, 3 Haenggi-Klimontovich. Traceable. Raises ValueError (NaN under a trace) unless 2 h > j e b: the law's
    tails then have no variance.
    """
    require_convention(convention)
    return _variance(curvature, additive, multiplicative, learning_rate, batch_size, 0.0, 1 + 2 * POWER[convention])


def state_dependent_sgd_variance(
    curvature: ArrayLike,
    additive: ArrayLike,
    multiplicative: ArrayLike,
    *,
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
) -> Array:
    """Exact stationary variance e a / (2 h - eta h^2 - e b) of SGD itself where the SDE has e a / (2 h - e b).

    Arguments as in `state_dependent_sde_variance`; sampling with replacement. The step's own term eta h^2 can make it
    equal to the Stratonovich value (B h^2 = b), which says nothing of the convention: SGD's limit is the Ito SDE.
    Traceable. Raises ValueError (NaN under a trace) where there is no variance.
    """
    return _variance(curvature, additive, multiplicative, learning_rate, batch_size, 1.0, 1.0)


def _variance(curvature, additive, multiplicative, learning_rate, batch_size, discrete, factor):
    curvature, learning_rate = (
        array("curvature", curvature, above=0.0),
        array("learning_rate", learning_rate, above=0.0),
    )
    additive, multiplicative = (
        array("additive", additive, at_least=0.0),
        array("multiplicative", multiplicative, at_least=0.0),
    )
    batch_size = array("batch_size", require_whole("batch_size", batch_size), at_least=1.0)
    require_broadcast(
        curvature=curvature, additive=additive, multiplicative=multiplicative, learning_rate=learning_rate,
        batch_size=batch_size,
    )  # fmt: skip
    ratio = learning_rate / batch_size
    drop = discrete * learning_rate * curvature**2 + factor * ratio * multiplicative
    remaining = 2 * curvature - drop
    refusal = "curvature: no stationary variance: 2 curvature = {} does not exceed {}; lower the learning rate"
    return stationary(remaining > 0, ratio * additive / remaining, lambda: refusal.format(2 * curvature, drop))

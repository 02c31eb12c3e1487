"""Stationary solution of a Fokker-Planck equation in one or two dimensions, with its current and its error."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jax.typing import ArrayLike
from scipy.sparse.linalg import splu

from sgdsde.predictions.fokker_planck.coefficients import Convention, coarser, ito_coefficients
from sgdsde.predictions.fokker_planck.generator import Generator, current_of, markov_generator


class FokkerPlanckSolution(NamedTuple):
    """`density` on the grid, non-negative, trapezoid mass 1; `current` (..., d), probability per time and, in two
    dimensions, per length; `error` and `current_error`, estimates of their L1 errors."""

    density: np.ndarray
    current: np.ndarray
    error: float
    current_error: float


def fokker_planck_density(
    drift: Callable, diffusion: Callable, grid: ArrayLike, *, convention: Convention
) -> FokkerPlanckSolution:
    """Stationary density of dx = f dt + sqrt(2 D) dW, and the probability current that flows in it.

        0 = div J,    Ito                     J_i = f_i p - d_j (D_ij p)
                      Stratonovich            J_i = f_i p - s_ik d_j (s_jk p) / 2,   s the symmetric root of 2 D
                      Haenggi-Klimontovich    J_i = f_i p - D_ij d_j p

    f = `drift` (params (d,)) -> (d,) and D = `diffusion` (params (d,)) -> (d, d), or a scalar, which stands for that
    times the identity: JAX functions. `convention` has to be said: with a state-dependent D the three are three laws
    (in two dimensions Stratonovich's also depends on the root; here it is the symmetric one). For SGD with minibatch
    noise covariance C and time = learning_rate * steps: f = -grad L, D = learning_rate C / 2, convention "ito".
    `grid` is (m,) or (m1, m2, 2), uniform, an odd number of points an axis; it has to hold the law: 1001 points, or
    151 x 151 (a second), to 301 x 301 (ten).

    Finite volumes of second order (see `generator`): non-negative, mass 1 to rounding, for any anisotropy. The law
    is reached by implicit Euler steps of enormous length from two starts, which have to agree. `error` is the L1
    distance from the solution on every second point, about three times the error of what is returned, plus the mass
    that tails falling like 1/x^2 would have outside. Where a state-dependent, correlated D changes the offsets of the
    volumes, lines of the current are off by a percent or two at any spacing; its integrals are of second order. The
    walls reflect. Runs on the host in float64 (the coefficients in JAX's default precision).

    Raises ValueError for a drift or diffusion of the wrong shape, not finite, or D not positive definite, for a grid
    of another kind or too narrow, for wells between which nothing passes (rates below 1e-14 of the jump rate);
    TypeError for traced arguments.
    """
    fine = ito_coefficients(drift, diffusion, grid, convention)
    solutions = [(found, _stationary(found)) for found in (markov_generator(fine), markov_generator(coarser(fine)))]
    return with_error(*solutions)


def with_error(fine: tuple[Generator, np.ndarray], coarse: tuple[Generator, np.ndarray]) -> FokkerPlanckSolution:
    """The finer of two solutions (generator, masses), with its distance from the coarser."""
    (density, current, weights), (coarse_density, coarse_current, coarse_weights) = (
        (mass / chain.weights, current_of(chain, mass / chain.weights), chain.weights) for chain, mass in (fine, coarse)
    )
    every_second = (slice(None, None, 2),) * density.ndim
    error = np.sum(coarse_weights * np.abs(coarse_density - density[every_second]))
    current_gap = np.linalg.norm(coarse_current - current[every_second], axis=-1)
    outside = 0.0
    for axis in range(density.ndim):
        mass = np.moveaxis(density * weights, axis, 0)
        outside += (mass[0].sum() + mass[-1].sum()) * (len(mass) - 1)
    if not outside < 0.01:
        raise ValueError(f"grid: too narrow: about {outside:.2g} of the mass would be outside its walls; widen it")
    return FokkerPlanckSolution(density, current, float(error + outside), float(np.sum(coarse_weights * current_gap)))


def factorised(matrix: scipy.sparse.csc_matrix):
    """Sparse LU without pivoting: columns are diagonally dominant, and a Markov chain's factors stay of one sign."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _stationary(chain: Generator) -> np.ndarray:
    """Masses of the stationary law. Two starts, even and ragged, which weigh every basin differently."""
    size = chain.weights.size
    shift = 1e-12 * np.abs(chain.matrix.diagonal()).max()
    solve = factorised((shift * scipy.sparse.identity(size, format="csc") - chain.matrix).tocsc()).solve
    mass = np.stack(
        [chain.weights.ravel(), chain.weights.ravel() * np.random.default_rng(0).uniform(size=size)], axis=1
    )
    for _ in range(60):
        mass = solve(mass / mass.sum(axis=0))
        mass /= mass.sum(axis=0)
        if np.abs(mass[:, 0] - mass[:, 1]).sum() < 1e-12:
            break
    else:
        raise ValueError(
            "diffusion: too small for this landscape: nothing passes between some of its wells, so that the stationary "
            "law is not unique to rounding; raise it, or solve on a grid that holds one well"
        )
    if mass[:, 0].min() < 0:
        raise ValueError(f"grid: the solution is negative ({mass[:, 0].min():.2g}); refine the grid")
    return mass[:, 0].reshape(chain.weights.shape)

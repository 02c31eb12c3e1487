"""Time-dependent solution of a Fokker-Planck equation in one or two dimensions."""

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.sparse
from jax.typing import ArrayLike

from sgdsde.predictions.fokker_planck.coefficients import Convention, coarser, ito_coefficients
from sgdsde.predictions.fokker_planck.generator import Generator, markov_generator
from sgdsde.predictions.fokker_planck.stationary_states import FokkerPlanckSolution, factorised, with_error
from sgdsde.predictions.requirements import on_host, one_on_host

POLE = 0.1
"""the length of an implicit step, in units of the duration, whose powers span the solution"""
LARGEST_BASIS = 200


def fokker_planck_evolution(
    drift: Callable,
    diffusion: Callable,
    initial_density: ArrayLike,
    grid: ArrayLike,
    *,
    duration: float,
    convention: Convention,
) -> FokkerPlanckSolution:
    """Density and current a time `duration` after `initial_density`: dp/dt = -div J, J as in `fokker_planck_density`.

    `initial_density` has the grid's shape and trapezoid mass 1 to 1 % (it is normalised); a peak should be a few
    spacings wide. For SGD time = learning_rate * steps. There is no time step: the matrix exponential is taken within
    the span of implicit steps, which grows until the answer changes by less than 1e-12, so that hopping over barriers
    costs no more than a moment; what rounding makes negative (refused above 1e-10 of the mass) is set to 0. The error
    is that of space alone, as in `fokker_planck_density`, and so are the arguments and what raises, also a bad initial
    density. Source: van den Eshof and Hochbruck 2006, SIAM J. Sci. Comput. 27, 1438 (shift-and-invert Krylov).
    """
    duration = one_on_host("duration", duration, above=0.0)
    initial = on_host("initial_density", initial_density)
    fine = ito_coefficients(drift, diffusion, grid, convention)
    chain, coarse_chain = markov_generator(fine), markov_generator(coarser(fine))
    if initial.shape != chain.weights.shape:
        raise ValueError(f"initial_density: expected the grid's shape {chain.weights.shape}, got {initial.shape}")
    mass = np.sum(initial * chain.weights)
    if not (np.all(initial >= 0) and abs(mass - 1) < 0.01):
        raise ValueError(f"initial_density: expected 0 or more everywhere and trapezoid mass 1, got mass {mass:.6g}")
    coarse = initial[(slice(None, None, 2),) * initial.ndim]
    return with_error(
        (chain, _evolved(chain, initial, duration)), (coarse_chain, _evolved(coarse_chain, coarse, duration))
    )


def _evolved(chain: Generator, initial: np.ndarray, duration: float) -> np.ndarray:
    """Masses exp(A) P, A = duration * matrix, by Arnoldi's basis of powers of (1 - POLE A)^-1 on P."""
    start = (initial * chain.weights).ravel()
    start /= start.sum()
    eye = scipy.sparse.identity(start.size, format="csc")
    solve = factorised((eye - POLE * duration * chain.matrix).tocsc()).solve
    basis, projected = [start / np.linalg.norm(start)], np.zeros((LARGEST_BASIS + 1, LARGEST_BASIS))
    mass = start
    for count in range(1, LARGEST_BASIS + 1):
        following = solve(basis[-1])
        known = np.stack(basis)
        for _ in range(2):  # a second time: orthogonal to rounding
            overlap = known @ following
            following -= overlap @ known
            projected[:count, count - 1] += overlap
        length = np.linalg.norm(following)
        finished = length < 1e-14
        if count % 5 == 0 or finished:
            inverse = np.linalg.inv(projected[:count, :count])
            exponent = scipy.linalg.expm((np.eye(count) - inverse) / POLE)
            previous, mass = mass, np.linalg.norm(start) * exponent[:, 0] @ known
            if not np.isfinite(mass).all():
                raise ValueError(f"duration: expected a time that numbers can follow, got {duration:g}")
            if finished or np.abs(mass - previous).sum() < 1e-12:
                break
        projected[count, count - 1] = length
        basis.append(following / length)
    else:
        raise ValueError("duration: the solution turns too often within it; take it in several parts")
    negative = -mass[mass < 0].sum()
    if not negative < 1e-10:
        raise ValueError(f"grid: the solution is negative ({negative:.2g} of the mass); refine the grid")
    mass = np.maximum(mass, 0)
    return (mass / mass.sum()).reshape(initial.shape)

"""The slowest rate at which a Fokker-Planck equation forgets where it started."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.typing import ArrayLike
from scipy.sparse import identity
from scipy.sparse.linalg import LinearOperator, eigs

from sgdsde.predictions.fokker_planck.coefficients import Convention, coarser, ito_coefficients
from sgdsde.predictions.fokker_planck.generator import Generator, markov_generator
from sgdsde.predictions.fokker_planck.stationary_states import factorised

NUM_EIGENVALUES = {1: 4, 2: 20}


def relaxation_rate(
    drift: Callable, diffusion: Callable, grid: ArrayLike, *, convention: Convention
) -> tuple[float, float]:
    """Slowest relaxation rate r: expectations approach their stationary values like exp(-r t); and its error.

    r is the smallest real part, the stationary 0 apart, among the decay rates (eigenvalues of minus the generator; with
    a current they come in complex pairs, which rotate). 1/r is the time to compare with a run's length. In a parabola r
    is its smallest curvature; in a symmetric double well it is twice the rate of escape from one well.

    Arguments and what raises as in `fokker_planck_density`. Returns (r, error): the error is the distance from the
    value on every second point, about three times the error of r. In two dimensions the 20 eigenvalues nearest to 0
    are looked at: a rotation some ten times faster than the relaxation may hide beyond them. Also raises ValueError for
    a rate below 1e-13 of the jump rate of the grid, which rounding hides.
    """
    fine = ito_coefficients(drift, diffusion, grid, convention)
    rate, coarse = (_slowest(markov_generator(each)) for each in (fine, coarser(fine)))
    return rate, abs(rate - coarse)


def _slowest(chain: Generator) -> float:
    """Shift-invert Arnoldi on the masses of total 0, where the generator is regular."""
    size = chain.weights.size
    shift = 1e-11 * np.abs(chain.matrix.diagonal()).max()
    solve = factorised((shift * identity(size, format="csc") - chain.matrix).tocsc()).solve
    even = chain.weights.ravel() / chain.weights.sum()
    stationary = even
    for _ in range(60):
        previous, stationary = stationary, solve(stationary)
        stationary /= stationary.sum()
        if np.abs(stationary - previous).sum() < 1e-12:
            break

    def resolvent(mass):
        mass = solve(mass - mass.sum() * stationary)
        return mass - mass.sum() * stationary

    start = np.random.default_rng(0).standard_normal(size) * even
    operator: Any = LinearOperator  # its stubs know no keyword
    found: Any = eigs(
        operator((size, size), matvec=resolvent, dtype=float),
        k=min(NUM_EIGENVALUES[len(chain.steps)], size // 4),
        ncv=min(60, size // 2),
        tol=1e-9,
        v0=start - start.sum() * stationary,
        return_eigenvectors=False,
    )
    rate = float(np.min((1 / found).real) - shift)
    if not rate > 0.01 * shift:
        raise ValueError(
            f"diffusion: too small for this landscape: its slowest rate is below rounding ({rate:.2g} beside "
            f"{1e11 * shift:.2g} of a jump); raise it, or take a grid that holds one well"
        )
    return rate

"""Currents of the Ornstein-Uhlenbeck process and of SGD on a quadratic: where H and C do not commute, x circulates.

SDE: dx = -H x dt + sqrt(eta C) dW, diffusion D = eta C / 2, covariance S of `covariances.sde_covariance`. SGD: x' =
(I - eta H) x + noise, S of `sgd_covariance`, one step being the time eta. Both are x' = A x + noise over a lag: A =
exp(-H lag), or (I - eta H)^num_steps with lag = num_steps * eta. All that a measurement at a finite lag sees follows
from A S = Cov(x', x), and is given here as it is measured (displacements counted at midpoints):

    angular momentum      E[x_i o dx_j - x_j o dx_i]/lag = (S A^T - A S)_ij/lag       -> [H, S]_ij
    density of midpoints  p = N(0, M),    M = (2 S + A S + S A^T)/4                    -> N(0, S)
    current               J(x) = p(x) (A S - S A^T) M^-1 x/(2 lag)                      -> -p H x - D grad p
    entropy production    integral of J^T D^-1 J/p                                     -> tr(D^-1 H S H) - tr H

with the limits of lag -> 0. All vanish where [H, C] = 0. Arguments: H = `hessian`, C = `noise_covariance` (that of the
minibatch gradient), (d, d); eta = `learning_rate`. `lag`: time between two positions of the SDE, 0 for the limit.
`num_steps`: SGD's steps between two positions. Traceable. Errors as `covariances`.
Source: Chaudhari and Soatto 2018 (arXiv 1710.11029); Risken, The Fokker-Planck Equation, chapter 6.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.covariances import rotated, sde_covariance, sgd_covariance
from sgdsde.predictions.requirements import array, count, is_traced, number


def sde_angular_momentum(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, lag: ArrayLike = 0.0
) -> Array:
    """Mean angular momentum of the SDE in every plane, per unit time, (d, d): [H, S] at lag 0, less at a finite lag."""
    return -2 * _sde(hessian, noise_covariance, learning_rate, lag)[1]


def sgd_angular_momentum(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, num_steps: int = 1
) -> Array:
    """Mean angular momentum of SGD in every plane, per unit time eta a step, (d, d): [H, S] at one step, S its own."""
    return -2 * _sgd(hessian, noise_covariance, learning_rate, num_steps)[1]


def sde_entropy_production(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, lag: ArrayLike = 0.0
) -> Array:
    """Entropy produced by the SDE per unit time: tr(D^-1 H S H) - tr H at lag 0; at a finite lag, what the current
    measured there gives. Needs C positive definite."""
    joint = _sde(hessian, noise_covariance, learning_rate, lag)
    return _entropy(_definite(noise_covariance), learning_rate, *joint)


def sgd_entropy_production(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, num_steps: int = 1
) -> Array:
    """The integral of J^T D^-1 J/p of SGD, D = eta C/2, per unit time eta a step. Needs C positive definite."""
    joint = _sgd(hessian, noise_covariance, learning_rate, num_steps)
    return _entropy(_definite(noise_covariance), learning_rate, *joint)


def sde_current(
    points: ArrayLike,
    hessian: ArrayLike,
    noise_covariance: ArrayLike,
    *,
    learning_rate: ArrayLike,
    lag: ArrayLike = 0.0,
) -> tuple[Array, Array]:
    """(density, current) of the SDE at `points` (..., d): shapes (...) and (..., d); NaN where the determinant of its
    covariance overflows."""
    return _current(points, *_sde(hessian, noise_covariance, learning_rate, lag))


def sgd_current(
    points: ArrayLike,
    hessian: ArrayLike,
    noise_covariance: ArrayLike,
    *,
    learning_rate: ArrayLike,
    num_steps: int = 1,
) -> tuple[Array, Array]:
    """(density of midpoints, current) of SGD at `points` (..., d): shapes (...) and (..., d)."""
    return _current(points, *_sgd(hessian, noise_covariance, learning_rate, num_steps))


def _sde(hessian, noise_covariance, learning_rate, lag):
    """Covariance of midpoints, and Cov(x' - x, midpoint)/lag, antisymmetric."""
    lag = jnp.asarray(number("lag", lag, at_least=0.0), float)
    hessian, noise_covariance = _square("hessian", hessian), _square("noise_covariance", noise_covariance)
    values, modes, covariance = _between_modes(
        hessian, sde_covariance(hessian, noise_covariance, learning_rate=learning_rate)
    )
    safe = jnp.where(lag == 0, 1, lag)
    decay = jnp.exp(-values * lag)
    rate = jnp.where(lag == 0, values, -jnp.expm1(-values * lag) / safe)  # (1 - A)/lag
    return _joint(modes, covariance, decay, rate)


def _sgd(hessian, noise_covariance, learning_rate, num_steps):
    num_steps = count("num_steps", num_steps, at_most=2**31 - 1)
    hessian, noise_covariance = _square("hessian", hessian), _square("noise_covariance", noise_covariance)
    values, modes, covariance = _between_modes(
        hessian, sgd_covariance(hessian, noise_covariance, learning_rate=learning_rate)
    )
    decay, mean = _powers(1 - jnp.asarray(learning_rate, float) * values, num_steps)
    return _joint(modes, covariance, decay, values * mean)


@jax.jit
def _powers(factor, num_steps):
    """a^k and (1 + a + ... + a^(k-1))/k, which is (1 - a^k)/(k (1 - a)) without a difference of equal numbers."""
    power, total = jnp.ones_like(factor), jnp.zeros_like(factor)
    power, total = jax.lax.fori_loop(0, num_steps, lambda _, of: (factor * of[0], of[1] + of[0]), (power, total))
    return power, total / jnp.asarray(num_steps, total.dtype)


def _square(name, matrix):
    return jnp.atleast_2d(array(name, matrix))


@jax.jit
def _between_modes(hessian, covariance):
    values, modes = jnp.linalg.eigh(hessian)
    return values, modes, rotated(modes.T, covariance)


@jax.jit
def _joint(modes, covariance, decay, rate):
    midpoints = covariance * (2 + decay[:, None] + decay[None, :]) / 4
    turning = -covariance * (rate[:, None] - rate[None, :]) / 2
    return rotated(modes, midpoints), rotated(modes, turning)


def _definite(noise_covariance):
    matrix = _square("noise_covariance", noise_covariance)
    if is_traced(matrix):
        values = jnp.linalg.eigvalsh(matrix)
        return jnp.where(values[0] > 1e-12 * values[-1], matrix, jnp.nan)
    values = np.linalg.eigvalsh(matrix)
    if not values[0] > 1e-12 * values[-1]:
        raise ValueError(f"noise_covariance: expected positive eigenvalues (entropy is infinite without), got {values}")
    return matrix


@jax.jit
def _entropy(noise_covariance, learning_rate, midpoints, turning):
    diffusion = jnp.asarray(learning_rate, float) * noise_covariance / 2
    return jnp.trace(jnp.linalg.solve(diffusion, turning) @ jnp.linalg.solve(midpoints, turning.T))


def _current(points, midpoints, turning):
    points = array("points", points)
    size = len(midpoints)
    if points.ndim < 1 or points.shape[-1] != size:
        raise ValueError(f"points: expected shape (..., {size}) for a Hessian of {size} dimensions, got {points.shape}")
    return _gaussian_current(points, midpoints, turning)


@jax.jit
def _gaussian_current(points, midpoints, turning):
    size = len(midpoints)
    scaled = jnp.linalg.solve(midpoints, points.reshape(-1, size).T).T.reshape(points.shape)
    exponent = -jnp.sum(points * scaled, axis=-1) / 2
    density = jnp.exp(exponent) / jnp.sqrt((2 * jnp.pi) ** size * jnp.linalg.det(midpoints))
    return density, density[..., None] * jnp.einsum("ij,...j->...i", turning, scaled, precision="highest")

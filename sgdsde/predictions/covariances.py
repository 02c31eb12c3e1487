"""Stationary covariances on a quadratic loss with constant gradient noise: the SDE's, Euler's and SGD's own.

All three solve one Lyapunov equation, diagonal in the eigenbasis of the Hessian H. With curvatures h_i, minibatch noise
covariance C, rate eta, microstep dt (0: SDE, eta / substeps: Euler, eta: SGD) and momentum mu,

    S_ij = eta C_ij / [(1 - mu)(h_i + h_j) + dt (mu (h_i^2 + h_j^2) - (1 + mu^2) h_i h_j) / (1 - mu^2)].

C need not commute with H. `noise_covariance` is always that of the *minibatch* gradient: Sigma / B with replacement.
Inputs are matrices (d, d), or scalars for d = 1; the result has the shape of `hessian`. Rates and momentum are one
number each: sweep them with jax.vmap. Traceable; matrix products at full precision. Concrete inputs out of range or
without a stationary law raise ValueError; under a trace they give NaN. Derivatives in `hessian` itself need distinct
curvatures.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import array, momentum_of, number, require_symmetric, stationary, whole_number


def sde_covariance(hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike) -> Array:
    """Covariance S of the SDE dx = -H x dt + sqrt(eta C) dW: S H + H S = eta C (continuous-time Lyapunov equation).

    H = `hessian`, C = `noise_covariance`, eta = `learning_rate`; time = eta * steps. Needs H positive definite.
    Source: Mandt, Hoffman, Blei 2017 (1704.04289).
    """
    return _covariance(hessian, noise_covariance, learning_rate, 0.0, 0.0)


def euler_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, substeps: int
) -> Array:
    """Exact covariance of Euler-Maruyama with dt = eta / substeps: S = (I - dt H) S (I - dt H) + eta dt C.

    H = `hessian`, C = `noise_covariance`, eta = `learning_rate`. One substep is SGD's own covariance; many approach
    `sde_covariance`. Needs H positive definite and dt * max curvature < 2.
    """
    substeps = whole_number("substeps", substeps)
    return _covariance(hessian, noise_covariance, learning_rate, 1.0 / substeps, 0.0)


def sgd_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, momentum: ArrayLike = 0.0
) -> Array:
    """Exact covariance of SGD, heavy ball m' = mu m + H x + xi, x' = x - eta m' (optax.sgd), Cov xi = C.

    H = `hessian`, C = `noise_covariance`, eta = `learning_rate`, mu = `momentum`; the noise is independent of x and
    between steps (not epoch sampling). In one dimension eta C (1 + mu) / (h (1 - mu)(2 (1 + mu) - eta h)). Needs H
    positive definite and eta * max curvature < 2 (1 + mu). Source: Liu, Ziyin, Ueda 2021 (2012.03636).
    """
    return _covariance(hessian, noise_covariance, learning_rate, 1.0, momentum)


def eigenmodes(hessian, noise_covariance, learning_rate, momentum):
    """Rate and momentum as arrays, curvatures, eigenvectors of H, and C between them; the arguments checked."""
    eta, mu = number("learning_rate", learning_rate, above=0.0), momentum_of(momentum)
    hessian = require_symmetric("hessian", hessian, semidefinite=False)
    noise_covariance = require_symmetric("noise_covariance", noise_covariance, semidefinite=True)
    if np.shape(hessian) != np.shape(noise_covariance):
        raise ValueError(
            f"noise_covariance: expected the shape of hessian, {np.shape(hessian)}, got {np.shape(noise_covariance)}"
        )
    hessian, noise_covariance = array("hessian", hessian), array("noise_covariance", noise_covariance)
    return _eigenmodes(hessian, noise_covariance, jnp.asarray(eta, float), jnp.asarray(mu, float))


@jax.jit
def _eigenmodes(hessian, noise_covariance, eta, mu):
    curvatures, modes = jnp.linalg.eigh(jnp.atleast_2d(hessian))
    return eta, mu, curvatures, modes, rotated(modes.T, jnp.atleast_2d(noise_covariance))


def rotated(modes, matrix):
    """modes matrix modes^T."""
    return jnp.einsum("ai,ij,bj->ab", modes, matrix, modes, precision="highest")


def where_stable(covariance, curvatures, step, limit, limit_in_words):
    """The covariance where all curvatures are positive and step times the largest is below the limit, else refused."""
    smallest, largest = curvatures[0], step * curvatures[-1]
    return stationary(
        (smallest > 0) & (largest < limit),
        covariance,
        lambda: (
            f"no stationary law: hessian needs a positive smallest eigenvalue, got {smallest:.6g}, and step times"
            f" largest eigenvalue below {limit_in_words} = {limit:.6g}, got {largest:.6g}; lower learning_rate"
        ),
    )


def _covariance(hessian, noise_covariance, learning_rate, relative_step, momentum):
    eta, mu, curvatures, modes, noise = eigenmodes(hessian, noise_covariance, learning_rate, momentum)
    covariance = _heavy_ball(eta, mu, curvatures, modes, noise, relative_step).reshape(np.shape(hessian))
    return where_stable(covariance, curvatures, eta * relative_step, 2 * (1 + mu), "2 (1 + momentum)")


@jax.jit
def _heavy_ball(eta, mu, curvatures, modes, noise, relative_step):
    row, column = curvatures[:, None], curvatures[None, :]
    correction = (mu * (row**2 + column**2) - (1 + mu**2) * row * column) / (1 - mu**2)
    relaxation = (1 - mu) * (row + column) + eta * relative_step * correction
    return rotated(modes, eta * noise / relaxation)

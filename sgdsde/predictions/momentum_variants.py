"""Stationary covariances of two other forms of momentum, on a quadratic loss with constant gradient noise.

Arguments as for `covariances.sgd_covariance`: H = `hessian` (d, d), a number for d = 1, C = `noise_covariance` that of
the *minibatch* gradient, which need not commute with H, eta = `learning_rate`, mu = `momentum`; g = H x + xi with
Cov xi = C, independent between steps. The result has the shape of `hessian`. Traceable. Rates and momentum are
one number each: sweep them with jax.vmap. Concrete inputs without a stationary law raise ValueError; under a trace
they give NaN. Derivatives in `hessian` itself need distinct curvatures.
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.covariances import eigenmodes, rotated, sgd_covariance, where_stable


def nesterov_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, momentum: ArrayLike
) -> Array:
    """Exact covariance of Nesterov's momentum as `optax.sgd(learning_rate, momentum, nesterov=True)` computes it.

        m' = mu m + g(x),    x' = x - eta (g(x) + mu m')

    One linear system of four unknowns for each pair of eigenmodes of H. In one dimension, with a = 1 - eta h,
    eta^2 C [(1 + mu a)(1 + 2 mu + 2 mu^2) - 2 mu (1 + mu)^2 a] / [(1 - mu a)(1 - a)(1 + a + 2 mu a)], which tends to
    eta C / (2 (1 - mu) h) only where eta h << 1 - mu. Needs H positive definite and
    eta * max curvature < 2 (1 + mu)/(1 + 2 mu).
    """
    eta, mu, curvatures, modes, noise = eigenmodes(hessian, noise_covariance, learning_rate, momentum)
    rate = eta * curvatures
    one = jnp.ones_like(rate)
    # The state of a mode is (x, eta m), so that the entries are of order one at any learning rate.
    first = jnp.stack([1 - (1 + mu) * rate, -(mu**2) * one], axis=-1)
    step = jnp.stack([first, jnp.stack([rate, mu * one], axis=-1)], axis=-2)
    kick = eta * jnp.stack([-(1 + mu), jnp.ones_like(mu)])
    size = rate.size
    pairs = jnp.einsum("iab,jcd->ijacbd", step, step).reshape(size, size, 4, 4)
    forcing = jnp.broadcast_to(jnp.outer(kick, kick).reshape(1, 1, 4, 1), (size, size, 4, 1))
    response = jnp.linalg.solve(jnp.eye(4, dtype=pairs.dtype)[None, None] - pairs, forcing)
    covariance = rotated(modes, response[..., 0, 0] * noise).reshape(np.shape(hessian))
    limit = 2 * (1 + mu) / (1 + 2 * mu)
    return where_stable(covariance, curvatures, eta, limit, "2 (1 + momentum)/(1 + 2 momentum)")


def averaged_momentum_covariance(
    hessian: ArrayLike, noise_covariance: ArrayLike, *, learning_rate: ArrayLike, momentum: ArrayLike
) -> Array:
    """Exact covariance of SGD along an exponential average of the gradients (`optax.ema`, not debiased, then a step).

        m' = mu m + (1 - mu) g(x),    x' = x - eta m'

    It is the heavy ball at the rate (1 - mu) eta. In one dimension eta C (1 + mu) / (h (2 (1 + mu) - eta h (1 - mu))):
    as eta -> 0 that of plain SGD, with no 1/(1 - mu). Needs H positive definite and
    eta * max curvature < 2 (1 + mu)/(1 - mu).
    """
    eta, mu, curvatures, _, _ = eigenmodes(hessian, noise_covariance, learning_rate, momentum)
    limit = 2 * (1 + mu) / (1 - mu)
    where_stable(curvatures, curvatures, eta, limit, "2 (1 + momentum)/(1 - momentum)")
    return sgd_covariance(hessian, noise_covariance, learning_rate=(1 - mu) * eta, momentum=mu)

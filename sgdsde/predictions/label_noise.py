"""Label noise on a quadratic: gradient noise that is aligned with the Hessian and yet has an isotropic law."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import array, number, require_symmetric, stationary, whole_number

__all__ = ["label_noise_covariance"]


def label_noise_covariance(
    hessian: ArrayLike, *, label_variance: ArrayLike, learning_rate: ArrayLike, batch_size: ArrayLike
) -> Array:
    """Exact stationary covariance of SGD under label noise, Sigma = s^2 H of one example:

        S = (eta s^2 / B) (2 I - eta H)^-1.

    H = `hessian` (d, d), or a number for d = 1; s^2 = `label_variance`; eta = `learning_rate`; B = `batch_size`, drawn
    with replacement. It solves S = (I - eta H) S (I - eta H) + eta^2 s^2 H / B: the noise is that of the optimum,
    independent of the parameters. Sigma = s^2 H is right for the squared loss (f - y)^2/2 **with the half**, label
    noise independent of the inputs; without the half, H doubles and Sigma is 2 s^2 H: put label_variance = 2 s^2. As
    eta -> 0, S -> (eta s^2 / 2 B) I for every H: isotropic, so that exp(-L/T), which would have H^-1, is wrong.

    Needs eta * largest curvature < 2 and no negative curvature (a flat direction has no noise: where it starts, it
    stays; the formula is its limit). Traceable; NaN under a trace where there is no stationary law, else ValueError.
    Source: Blanc et al. 2020 (1904.09080) for the isotropy; S is the discrete Lyapunov equation's solution.
    """
    eta = jnp.asarray(number("learning_rate", learning_rate, above=0.0), float)
    label_variance = number("label_variance", label_variance, above=0.0)
    batch_size = whole_number("batch_size", batch_size)
    hessian = require_symmetric("hessian", hessian, semidefinite=True)
    curvatures, modes = jnp.linalg.eigh(jnp.atleast_2d(array("hessian", hessian)))
    variances = eta * jnp.asarray(label_variance, float) / jnp.asarray(batch_size, float) / (2 - eta * curvatures)
    covariance = jnp.einsum("ai,i,bi->ab", modes, variances, modes, precision="highest").reshape(np.shape(hessian))
    largest = eta * curvatures[-1]
    return stationary(
        largest < 2,
        covariance,
        lambda: f"no stationary law: learning_rate times the largest curvature must be below 2, got {largest:.6g}",
    )

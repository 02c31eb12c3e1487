"""Increment test: whether the steps of a process are Gaussian, with the stated mean and covariance, and nothing else.

z = Q^(-1/2) (x' - x - m(x)) is, if the step is x' = x + m(x) + N(0, Q), standard normal, independent of x and of every
other step. No burn-in and no stationary law are needed. For Euler-Maruyama at step h and temperature T,
m = -h grad V(x) and Q = 2 T h I.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sgdsde.measurements.chains import floats

__all__ = ["IncrementTest", "increment_test", "whitened_increments"]


class IncrementTest(NamedTuple):
    """What whitened increments show; each field is (estimate, standard_error), and every estimate is predicted to be 0.

    mean (d,): E z. covariance (d, d): E z z^T - I. kurtosis (d,): E z^4 - 3.
    cdf_distance (d,): largest distance of the distribution function of z_i to the normal one (positive by about
    .9/sqrt(number of increments) even where it is right).
    with_position (d, d): correlation of z_i and x_j. with_square (d, d): of z_i and x_j^2. spread_with_square (d, d):
    of z_i^2 - 1 (over its deviation sqrt 2) and x_j^2: the sign of noise that depends on the position.
    autocorrelation (d, d): E z_i z'_j, of consecutive steps of one chain (NaN for a single step).
    """

    mean: tuple[jax.Array, jax.Array]
    covariance: tuple[jax.Array, jax.Array]
    kurtosis: tuple[jax.Array, jax.Array]
    cdf_distance: tuple[jax.Array, jax.Array]
    with_position: tuple[jax.Array, jax.Array]
    with_square: tuple[jax.Array, jax.Array]
    spread_with_square: tuple[jax.Array, jax.Array]
    autocorrelation: tuple[jax.Array, jax.Array]


def whitened_increments(
    before: ArrayLike, after: ArrayLike, *, step_mean: ArrayLike, step_covariance: ArrayLike
) -> jax.Array:
    """z = Q^(-1/2) (after - before - m), of the shape of before, (..., d).

    step_mean: m at every `before`, (..., d). step_covariance: Q, (d, d) or one for each increment (..., d, d),
    symmetric positive definite; Q^(-1/2) is its symmetric inverse root. NaN where Q is not positive definite.
    """
    before, after, mean = floats("before", before), floats("after", after), floats("step_mean", step_mean)
    if before.shape != after.shape or before.shape != mean.shape or before.ndim < 1:
        raise ValueError(
            f"step_mean: expected before, after and step_mean of one shape (..., d), got {before.shape}, "
            f"{after.shape} and {mean.shape}"
        )
    size = before.shape[-1]
    covariance = floats("step_covariance", step_covariance).astype(before.dtype)
    if covariance.shape not in ((size, size), (*before.shape, size)):
        raise ValueError(
            f"step_covariance: expected shape {(size, size)} or {(*before.shape, size)}, got {covariance.shape}"
        )
    values, vectors = jnp.linalg.eigh(covariance)
    roots = 1 / jnp.sqrt(jnp.where(values > 0, values, jnp.nan))
    whitening = jnp.einsum("...ia,...a,...ja->...ij", vectors, roots, vectors, precision="highest")
    return jnp.einsum("...ij,...j->...i", whitening, after - before - mean, precision="highest")


def increment_test(before: ArrayLike, whitened: ArrayLike) -> IncrementTest:
    """The statistics of `IncrementTest` from the positions before each step and `whitened_increments`.

    before, whitened: (num_steps, num_chains, d), consecutive steps of independent chains, or (num_chains, d).
    Standard errors are those of means over independent chains, each chain's steps averaged first. Positions are
    centred and scaled by their own moments over all samples. Traceable. A chain that is not finite makes every number
    NaN. Raises ValueError for other shapes or fewer than 2 chains.
    """
    before, whitened = floats("before", before), floats("whitened", whitened)
    if before.shape != whitened.shape or before.ndim not in (2, 3) or before.shape[-2] < 2:
        raise ValueError(
            "whitened: expected the shape of before, (num_steps, num_chains, d) or (num_chains, d) with 2 chains or "
            f"more, got {whitened.shape} and {before.shape}"
        )
    return _increment_test(*(array.reshape(-1, *array.shape[-2:]) for array in (before, whitened)))


@jax.jit
def _increment_test(before, z):
    num_steps, num_chains, size = z.shape
    z = jnp.where(jnp.all(jnp.isfinite(z)) & jnp.all(jnp.isfinite(before)), z, jnp.nan)

    def across(per_chain):
        return jnp.mean(per_chain, axis=0), jnp.std(per_chain, axis=0, ddof=1) / num_chains**0.5

    def standardised(x):
        deviation = x - jnp.mean(x, axis=(0, 1), keepdims=True)
        scale = jnp.sqrt(jnp.mean(deviation**2, axis=(0, 1), keepdims=True))
        return deviation / jnp.where(scale > 0, scale, 1)

    def product(first, second):
        return jnp.einsum("rni,rnj->nij", first, second, precision="highest") / len(first)

    position, square = standardised(before), standardised(standardised(before) ** 2)
    identity = jnp.eye(size, dtype=z.dtype)[None]
    ordered = jnp.sort(z.reshape(-1, size), axis=0)
    count = ordered.shape[0]
    normal = jax.scipy.special.ndtr(ordered)
    rank = jnp.arange(count, dtype=z.dtype)[:, None]
    gap = jnp.maximum(jnp.abs((rank + 1) / count - normal), jnp.abs(rank / count - normal))
    where = jnp.argmax(gap, axis=0)
    worst = jnp.take_along_axis(ordered, where[None], axis=0)[0]
    below = jnp.mean((z <= worst[None, None]).astype(z.dtype), axis=0)
    # never less than if the law were right: chains that agree by chance prove little
    fraction = jax.scipy.special.ndtr(worst)
    error = jnp.maximum(across(below)[1], jnp.sqrt(fraction * (1 - fraction) / count))
    if num_steps > 1:
        autocorrelation = across(product(z[:-1], z[1:]))
    else:
        autocorrelation = (jnp.full((size, size), jnp.nan, z.dtype),) * 2
    return IncrementTest(
        mean=across(jnp.mean(z, axis=0)),
        covariance=across(product(z, z) - identity),
        kurtosis=across(jnp.mean(z**4, axis=0) - 3),
        cdf_distance=(jnp.where(jnp.isfinite(worst), jnp.max(gap, axis=0), jnp.nan), error),
        with_position=across(product(z, position)),
        with_square=across(product(z, square)),
        spread_with_square=across(product((z**2 - 1) / 2**0.5, square)),
        autocorrelation=autocorrelation,
    )

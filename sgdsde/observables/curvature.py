"""Curvature of any scalar function of the parameters, by Hessian-vector products: extreme eigenvalues and the trace.

The function is params -> scalar: `Partial(loss, problem)` is the full loss (penalty included),
`Partial(mean_example_loss, problem, examples)` that of any examples. The Hessian is that of the function as it stands:
a loss with the half, (y - f)^2 / 2, has half the curvature of one without.

Everything random comes from the key that an observer holds, so it is the same at every record and in every chain: what
fixed probes miss, they miss along the whole run and in all chains alike.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from matfree import decomp, stochtrace

from sgdsde.arguments import check_floating
from sgdsde.arguments import count as whole
from sgdsde.randomness import same_key

__all__ = ["hessian_eigenvalues", "hessian_extremes", "hessian_trace", "sharpness"]


def sharpness(function: Callable, num_products: int, key: jax.Array, params: Any) -> jax.Array:
    """The largest eigenvalue of the Hessian (algebraically: at a maximum it is negative), by Lanczos.

    Gradient descent of rate eta is stable along it below 2/eta. num_products: Hessian-vector products, that is the
    dimension of the Krylov space (fewer where there are fewer parameters); key: draws its start vector. The value
    comes from below and is exact once the space holds the eigenvector; 20 products usually give three digits for a
    network. `hessian_eigenvalues` also says how near it is.
    """
    return _largest(*_flat_hessian(function, params), num_products, same_key(key))[0]


def hessian_extremes(function: Callable, num_products: int, key: jax.Array, params: Any) -> dict[str, jax.Array]:
    """{"smallest", "largest"}: both ends of the Hessian's spectrum from one Krylov space; arguments as `sharpness`.

    The eigenvalue of largest magnitude is one of the two. Both come from inside the spectrum.
    """
    product, size, dtype = _flat_hessian(function, params)
    start = jax.random.normal(same_key(key), (size,), dtype)
    diagonal, couplings, _, inside = _krylov(product, start, _products(num_products, size))
    # Rows outside the Krylov space repeat a Rayleigh quotient, which lies between the ends.
    values = jnp.linalg.eigvalsh(_tridiagonal(jnp.where(inside, diagonal, diagonal[0]), couplings))
    return {"smallest": values[0], "largest": values[-1]}


def hessian_eigenvalues(
    function: Callable, count: int, num_products: int, key: jax.Array, params: Any
) -> dict[str, jax.Array]:
    """The `count` algebraically largest eigenvalues of the Hessian, decreasing, each as often as it occurs.

    {"eigenvalues": (count,), "residuals": (count,)}: residual |H v - value v| of the unit vector v found; some
    eigenvalue of the Hessian lies within it (and, when converged, within about residual^2/gap).
    One Krylov space of num_products per eigenvalue, with the vectors already found projected out: a single space holds
    each eigenvalue once only, however often it occurs. Raises ValueError for count above the number of parameters.
    """
    product, size, dtype = _flat_hessian(function, params)
    count = whole("count", count, at_most=size, mend="there are no more eigenvalues than parameters")

    key = same_key(key)

    def find(carry, place):
        found, floor = carry
        own_key = jax.random.fold_in(key, place)
        value, vector, spread = _largest(product, size, dtype, num_products, own_key, found, floor)
        residual = jnp.linalg.norm(product(vector) - value * vector)
        return (found.at[place].set(vector), jnp.maximum(floor, spread)), (value, residual)

    start = (jnp.zeros((count, size), dtype), jnp.zeros((), dtype))
    _, (values, residuals) = jax.lax.scan(find, start, jnp.arange(count, dtype=jnp.int32))
    order = jnp.argsort(-values)
    return {"eigenvalues": values[order], "residuals": residuals[order]}


def hessian_trace(function: Callable, num_probes: int, key: jax.Array, params: Any) -> dict[str, jax.Array]:
    """The trace of the Hessian by Hutchinson's estimator, {"trace", "standard_error"}.

        trace = (1/m) sum_k z_k^T H z_k,    z_k independent random signs,  m = num_probes

    Unbiased over keys, of variance 2 sum_(i != j) H_ij^2 / m: exact for a diagonal Hessian. standard_error is
    std/sqrt(m) over the probes (NaN for one probe). Source: Hutchinson (1990).
    """
    product, size, dtype = _flat_hessian(function, params)
    num_probes = whole("num_probes", num_probes)
    sampler = stochtrace.sampler_signs(jnp.zeros((size,), dtype), num=num_probes)
    estimate = stochtrace.estimator_monte_carlo_mean_and_sem(stochtrace.monte_carlo_trace(), sampler)
    trace, error = estimate(product, same_key(key))
    unbiased = np.sqrt(num_probes / (num_probes - 1)).item() if num_probes > 1 else np.nan  # theirs divides by m
    return {"trace": trace, "standard_error": error * unbiased}


def _flat_hessian(function, params):
    """Hessian-vector products of flat vectors (forward over reverse), their length and precision."""
    if not callable(function):
        raise TypeError(f"function: expected a function params -> scalar, got {function!r}")
    check_floating("params", params)
    flat, unravel = ravel_pytree(params)
    slope = jax.grad(lambda vector: function(unravel(vector)))

    def product(vector):
        with jax.default_matmul_precision("highest"):
            return jax.jvp(slope, (flat,), (vector,))[1]

    return product, flat.size, flat.dtype


def _largest(product, size, dtype, num_products, key, found=None, floor: Any = 0.0):
    """The largest eigenvalue with an eigenvector orthogonal to the rows of `found`, its unit vector, and a bound on the
    magnitudes seen. Directions already found get an eigenvalue -2 floor, below the rest of the spectrum, so that what
    roundoff leaks into them cannot surface again."""
    start = jax.random.normal(key, (size,), dtype)
    deflated = product
    if found is not None:
        project = lambda vector: vector - _product(_product(found, vector), found)

        def deflated(vector):
            inside = project(vector)
            return project(product(inside)) - 2 * floor * (vector - inside)

        start = project(start)
    diagonal, couplings, basis, inside = _krylov(deflated, start, _products(num_products, size))
    spread = jnp.max(jnp.abs(diagonal)) + 2 * jnp.max(jnp.abs(couplings), initial=0)
    below = diagonal[0] - 1 - 2 * spread
    values, vectors = jnp.linalg.eigh(_tridiagonal(jnp.where(inside, diagonal, below), couplings))
    vector = _product(basis, vectors[:, -1])
    return values[-1], vector / jnp.linalg.norm(vector), spread


def _products(num_products, size):
    return min(whole("num_products", num_products), size)


def _krylov(product, start, num_products):
    """The tridiagonal matrix of the Hessian on a Krylov space, and the space: (diagonal, couplings, basis, inside).

    Once the space is exhausted (as many products as the start has different eigenvalues) the next vector is roundoff,
    normalised: the recursion then divides 0 by 0, or takes an old vector again, and a matrix 2 I is reported to have
    an eigenvalue 3. Rows from there on are cut: inside False, couplings and columns of the basis 0.
    """
    algorithm = decomp.hessenberg(num_products, reortho="full", custom_vjp=False)
    with jax.default_matmul_precision("highest"):  # a GPU's default would lose the orthogonality
        rows, matrix, _, _ = algorithm(product, start)
    basis, matrix = jnp.asarray(rows).T, jnp.asarray(matrix)
    diagonal, couplings = jnp.diagonal(matrix), jnp.diagonal(matrix, -1)
    known = jnp.where(jnp.isfinite(matrix), jnp.abs(matrix), 0)
    smallest = jnp.finfo(matrix.dtype).eps.item() * jnp.max(known)
    goes_on = jnp.cumprod((couplings > smallest).astype(jnp.int32)) == 1
    inside = jnp.concatenate([jnp.ones((1,), bool), goes_on])
    couplings = jnp.where(goes_on, couplings, 0)
    return jnp.where(inside, diagonal, 0), couplings, jnp.where(inside[None, :], basis, 0), inside


def _tridiagonal(diagonal, couplings):
    return jnp.diag(diagonal) + jnp.diag(couplings, 1) + jnp.diag(couplings, -1)


def _product(first, second):
    return jnp.matmul(first, second, precision="highest")

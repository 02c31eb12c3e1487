"""Arguments of a problem as arrays of one precision: known values are checked by name, traced ones pass unchecked."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import tree_leaves

from sgdsde.pytrees import as_float

__all__ = ["is_number", "is_traced", "known", "matrix", "number", "precision", "square_root", "vector"]


def known(name: str, value: Any) -> np.ndarray | None:
    """`value` as a finite float64 NumPy array, None if any part of it is traced. Raises ValueError for NaN or inf."""
    if is_traced(value):
        return None
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: expected real numbers, got {value!r}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: contains NaN or inf; expected finite numbers, got {value}")
    return array


def precision(**arrays: Any) -> Any:
    """The floating-point type that the given arrays share; numbers and lists follow it, and alone they mean JAX's
    default. Raises TypeError, naming the arguments, if two arrays differ."""
    found = {
        name: jnp.result_type(value)
        for name, value in arrays.items()
        if jnp.issubdtype(getattr(value, "dtype", np.int32), jnp.floating) and value.ndim > 0
    }
    if len(set(found.values())) > 1:
        given = ", ".join(f"{name} is {dtype}" for name, dtype in found.items())
        raise TypeError(f"{given}: expected one precision; cast one of them with .astype so that they agree")
    return next(iter(found.values()), jnp.result_type(float))


def is_traced(value: Any) -> bool:
    """Whether any part of `value`, an array, a number or a sequence of them, is known only to a trace."""
    return any(isinstance(leaf, Tracer) for leaf in tree_leaves(value))


def is_number(value: Any) -> bool:
    """Whether `value` is one number, known or traced, rather than a sequence or an array with axes."""
    return not isinstance(value, list | tuple) and jnp.ndim(value) == 0


def number(name: str, value: Any, *, above: float = -np.inf, at_least: float = -np.inf) -> Any:
    """One finite real number, a Python number as a float. Raises ValueError unless it is > above and >= at_least."""
    value = as_float(value)
    array = known(name, value)
    if not is_number(value):
        raise ValueError(f"{name}: expected one number, got {value}; sweep it with jax.vmap")
    if array is not None and not (array > above and array >= at_least):
        raise ValueError(f"{name}: expected a number {_bound(above, at_least)}, got {value}")
    return value


def vector(name: str, value: Any, dtype: Any, *, above: float = -np.inf, at_least: float = -np.inf) -> jax.Array:
    """A (k,) array of finite numbers, k may be 0. Raises ValueError unless all are > above and >= at_least."""
    array = known(name, value)
    result = jnp.asarray(value, dtype)
    if result.ndim != 1:
        raise ValueError(f"{name}: expected a sequence of numbers, one for each direction, got shape {result.shape}")
    if array is not None and not ((array > above) & (array >= at_least)).all():
        raise ValueError(f"{name}: expected numbers {_bound(above, at_least)}, got {value}")
    return result


def matrix(name: str, value: Any, dtype: Any, *, size: int | None = None, semidefinite: bool = False) -> jax.Array:
    """A symmetric (d, d) array; a number is the (1, 1) matrix. Raises ValueError if it is not square, not of the asked
    size, not symmetric, or (where asked) not positive semi-definite, to 100 roundings of its largest entry."""
    array = known(name, value)
    result = jnp.asarray(value, dtype)
    if result.ndim == 0:
        result = result.reshape(1, 1)
    d = result.shape[0] if size is None else size
    if d == 0 or result.shape != (d, d):
        wanted = f"({d}, {d}) for {d} parameters" if size is not None else "(d, d)"
        raise ValueError(f"{name}: expected a matrix of shape {wanted}, got {result.shape}")
    if array is None:
        return result
    array = array.reshape(d, d)
    given = getattr(value, "dtype", np.float64)
    given = given if jnp.issubdtype(given, jnp.floating) else np.float64
    rounding = 100 * float(jnp.finfo(given).eps) * np.abs(array).max()
    if np.abs(array - array.T).max() > rounding:
        raise ValueError(f"{name}: expected a symmetric matrix, got {array.tolist()}; symmetrise it with (A + A.T) / 2")
    smallest = np.linalg.eigvalsh(array)[0]
    if semidefinite and smallest < -rounding:
        raise ValueError(f"{name}: expected a positive semi-definite matrix, got one with eigenvalue {smallest:.6g}")
    return result


@jax.jit
def square_root(covariance: jax.Array) -> jax.Array:
    """F (d, d) with F F^T = covariance, symmetric positive semi-definite (singular and traced ones too)."""
    values, vectors = jnp.linalg.eigh(covariance)
    return vectors * jnp.sqrt(jnp.maximum(values, 0))[None, :]


def _bound(above: float, at_least: float) -> str:
    return f"> {above:g}" if above > -np.inf else f">= {at_least:g}"

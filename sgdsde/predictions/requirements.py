"""What a prediction asks of its arguments, beyond the gate of `arguments`. Concrete values are checked before any
compute; traced ones have a kind and a shape, and are NaN where they are out of range."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from sgdsde.arguments import array, count, is_traced, number, real

__all__ = [
    "array",
    "count",
    "is_finite",
    "is_integer",
    "is_traced",
    "momentum_of",
    "number",
    "on_host",
    "one_on_host",
    "real",
    "require",
    "require_broadcast",
    "require_function",
    "require_positive",
    "require_symmetric",
    "require_whole",
    "stationary",
    "whole_number",
]


def require(name: str, value: Any, holds: Callable, expected: str) -> Any:
    """`value`, of which `holds` is true, entry by entry; traced entries for which it is not become NaN. Raises
    ValueError naming the argument where a known one does not hold (NaN never does), TypeError for what is no real
    number."""
    known = real(name, value, expected)
    if known is None:
        traced = jnp.asarray(value)
        traced = traced if jnp.issubdtype(traced.dtype, jnp.floating) else traced.astype(float)
        return jnp.where(holds(traced), traced, jnp.nan)
    if not np.all(holds(known)):
        raise ValueError(f"{name}: expected {expected}, got {value}")
    return known if isinstance(value, list | tuple) else value


def require_positive(name: str, value: Any) -> Any:
    """`require` of finite and positive numbers."""
    return require(name, value, lambda number: (number > 0) & is_finite(number), "finite and positive")


def require_whole(name: str, value: Any) -> Any:
    """`require` of whole numbers, 1 or more."""
    return require(name, value, _is_whole, "a whole number, 1 or more")


def is_integer(number: Any) -> Any:
    """Without a fraction; infinity passes. For NumPy's arrays and traced ones alike."""
    return number == (jnp.floor if is_traced(number) else np.floor)(number)


def is_finite(number: Any) -> Any:
    """Neither NaN nor infinite: for NumPy's arrays and traced ones alike."""
    return abs(number) < np.inf


def require_broadcast(**arguments) -> None:
    """Raise ValueError unless the shapes of the arguments go together."""
    shapes = {name: jnp.shape(value) for name, value in arguments.items()}
    try:
        np.broadcast_shapes(*shapes.values())
    except ValueError:
        found = ", ".join(f"{name} {shape}" for name, shape in shapes.items() if shape)
        raise ValueError(f"{found}: expected shapes that broadcast together; give numbers, or equal shapes") from None


def require_function(**arguments) -> None:
    for name, value in arguments.items():
        if not callable(value):
            raise TypeError(f"{name}: expected a function, got {type(value).__name__}")


def require_symmetric(name: str, matrix, *, semidefinite: bool) -> Any:
    """`matrix`, a scalar or a finite, symmetric (d, d) array (to 1e-5, so that float32 passes); a traced one that is
    not becomes NaN. Raises TypeError or ValueError."""
    known = real(name, matrix, "a number or a matrix (d, d) of real numbers")
    shape = jnp.shape(matrix) if known is None else known.shape
    if shape and (len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0):
        raise ValueError(f"{name}: expected a scalar or a square matrix (d, d), got shape {shape}")
    if known is None:
        traced = jnp.asarray(matrix, float)
        square = jnp.atleast_2d(traced)
        slack = 1e-5 * jnp.max(jnp.abs(square))
        is_such = jnp.all(jnp.abs(square - square.T) <= slack) & is_finite(slack)
        if semidefinite:
            is_such &= jnp.linalg.eigvalsh(square)[0] >= -slack
        return jnp.where(is_such, traced, jnp.nan)
    square = np.atleast_2d(known)
    slack = 1e-5 * np.max(np.abs(square))
    if not np.all(np.isfinite(square)) or not np.all(np.abs(square - square.T) <= slack):
        raise ValueError(f"{name}: expected finite and symmetric, got {matrix}")
    if semidefinite and np.linalg.eigvalsh(square)[0] < -slack:
        raise ValueError(f"{name}: expected a covariance (no negative eigenvalue), got {matrix}")
    return matrix


def momentum_of(momentum) -> Any:
    """One momentum mu, 0 <= mu < 1."""
    return number("momentum", momentum, at_least=0.0, below=1.0)


def whole_number(name: str, value) -> Any:
    """One whole number, 1 or more, as a float or a traced number; a traced one is NaN below 1."""
    return number(name, require_whole(name, value), at_least=1.0)


def on_host(name: str, value) -> np.ndarray:
    """The argument as a float64 NumPy array; TypeError for a tracer, or what is no real number. NaN passes."""
    known = real(name, value)
    if known is None:
        raise TypeError(f"{name}: this prediction runs on the host and cannot be traced; call it outside jit and vmap")
    return known


def one_on_host(name: str, value, **bounds) -> float:
    """One finite number in a range, as a float; errors as `on_host`."""
    if shape := on_host(name, value).shape:
        raise ValueError(f"{name}: expected one number, got shape {shape}; call this prediction once for each")
    return float(number(name, value, **bounds))


def stationary(exists: ArrayLike, value: Array, refusal: Callable[[], str]) -> Array:
    """The value where the stationary law exists; otherwise ValueError, or NaN under a trace."""
    if is_traced(exists):
        return jnp.where(exists, value, jnp.nan)
    if not np.all(np.asarray(exists)):
        raise ValueError(refusal())
    return value


def _is_whole(number):
    return (number >= 1) & is_integer(number) & is_finite(number)

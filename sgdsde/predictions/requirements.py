"""What a prediction asks of its arguments. Concrete values are checked before any compute; tracers pass."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.typing import ArrayLike


def is_traced(value) -> bool:
    """True for a value that jit, vmap or grad is tracing, which has no number to check."""
    return isinstance(value, Tracer)


def require(name: str, value, holds: Callable, expected: str) -> None:
    """Raise ValueError naming the argument unless `holds` of the concrete value; a NaN never holds."""
    if not is_traced(value) and not np.all(holds(np.asarray(value))):
        raise ValueError(f"{name}: expected {expected}, got {value}")


def require_positive(**arguments) -> None:
    for name, value in arguments.items():
        require(name, value, lambda number: (number > 0) & np.isfinite(number), "finite and positive")


def require_whole(**arguments) -> None:
    for name, value in arguments.items():
        require(name, value, lambda number: (number >= 1) & (number == np.floor(number)), "a whole number, 1 or more")


def require_momentum(momentum) -> None:
    require("momentum", momentum, lambda number: (number >= 0) & (number < 1), "0 <= momentum < 1")


def require_tail_index(tail_index) -> None:
    require("tail_index", tail_index, lambda number: (number > 0) & (number <= 2), "0 < tail_index <= 2")


def require_symmetric(name: str, matrix, *, semidefinite: bool) -> None:
    """Raise unless a scalar or a finite, symmetric (d, d) matrix (to 1e-5, so that float32 passes)."""
    shape = np.shape(matrix)
    if shape and (len(shape) != 2 or shape[0] != shape[1]):
        raise ValueError(f"{name}: expected a scalar or a square matrix (d, d), got shape {shape}")
    if is_traced(matrix):
        return
    square = np.atleast_2d(np.asarray(matrix, float))
    slack = 1e-5 * np.max(np.abs(square), initial=0)
    if not np.all(np.abs(square - square.T) <= slack):
        raise ValueError(f"{name}: expected finite and symmetric, got {matrix}")
    if semidefinite and np.linalg.eigvalsh(square)[0] < -slack:
        raise ValueError(f"{name}: expected a covariance (no negative eigenvalue), got {matrix}")


def on_host(name: str, value) -> np.ndarray:
    """The argument as a float64 NumPy array; a tracer is refused."""
    if is_traced(value):
        raise TypeError(f"{name}: this prediction runs on the host and cannot be traced; call it outside jit and vmap")
    return np.asarray(value, float)


def stationary(exists: ArrayLike, value: Array, refusal: Callable[[], str]) -> Array:
    """The value where the stationary law exists; otherwise ValueError, or NaN under a trace."""
    if is_traced(exists):
        return jnp.where(exists, value, jnp.nan)
    if not np.all(np.asarray(exists)):
        raise ValueError(refusal())
    return value

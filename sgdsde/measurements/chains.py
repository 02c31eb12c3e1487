"""Independent chains on the host: the shapes that measurements accept, and the standard error across chains.

A chain is one independent run. Several samples of one chain are correlated, so they are averaged within the chain
first and the standard error is taken across chains only; no autocorrelation time enters.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from scipy.special import gammaincinv, stdtrit

from sgdsde.arguments import is_traced
from sgdsde.casting import as_array

__all__ = [
    "enlargement_of_largest",
    "enlargement_of_squares",
    "floats",
    "number_chains",
    "of_real_kind",
    "on_host",
    "scalar_chains",
    "standard_error_across_chains",
    "vector_chains",
]

_LIMIT = 5.9
"""standard errors that a right value is not to pass"""
_RARE = 5e-7
"""the probability of either side of an interval that one in a million right values is outside of"""


def floats(field: str, value: Any) -> jax.Array:
    """Numbers as a JAX array in their own precision, traced or not; whole numbers and truth values become floats.

    Raises TypeError for what is not made of real numbers. NaN passes. Where JAX is set to 32 bits, numbers of 64 are
    cast as the examples of a problem are: ValueError where they do not fit, a warning where rounding takes from them.
    """
    array = of_real_kind(field, value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(float) if isinstance(array, Tracer) else np.asarray(array, np.float64)
    return as_array(field, array)


def on_host(field: str, value: Any) -> np.ndarray:
    """Numbers or truth values as a float64 NumPy array. Raises TypeError for others, and for a traced array."""
    if isinstance(value, Tracer):
        raise TypeError(
            f"{field}: expected numbers, got a traced array; this measurement works on the host: call it outside "
            "jit and vmap, for an experiment in `checks`"
        )
    return np.asarray(of_real_kind(field, value), np.float64)


def of_real_kind(field: str, value: Any) -> Any:
    """`value`, or the array that a list makes, if it holds real numbers or truth values."""
    if not hasattr(value, "dtype"):
        try:
            value = jnp.asarray(value) if isinstance(value, list | tuple) and is_traced(value) else np.asarray(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{field}: expected real numbers in equal rows, got {type(value).__name__}") from error
    try:
        is_real = any(jnp.issubdtype(value.dtype, kind) for kind in (jnp.floating, jnp.integer, bool))
    except TypeError:  # a type that JAX does not know
        is_real = False
    if not is_real:
        raise TypeError(f"{field}: expected real numbers, got dtype {value.dtype}")
    return value


def enlargement_of_squares(num_chains: int, num_entries: int = 1) -> float:
    """The factor by which the standard error of a mean of squares from few chains is enlarged, 1 from some 700 on.

    A sample of squares that misses the large ones has too small a mean and too small an error. With N normal chains
    the mean s N = chi-square_N and the error is about s sqrt(2/N): at the s below which one in a million samples (with
    the largest of several entries: of entries) lies, 5.9 times the enlarged error reaches the true value 1.
    """
    rare = 2 * gammaincinv(num_chains / 2, _RARE / num_entries) / num_chains
    return max(1.0, float((1 / rare - 1) / (_LIMIT * math.sqrt(2 / num_chains))))


def enlargement_of_largest(num_groups: int, num_entries: int) -> float:
    """The factor by which the standard error from few groups is enlarged, 1 from 35 groups on for a single entry: 5.9
    enlarged errors are passed by one in a million of the largest of `num_entries` of Student's t."""
    return max(1.0, float(-stdtrit(num_groups - 1, _RARE / num_entries)) / _LIMIT)


def number_chains(samples: ArrayLike, field: str, axes: str, dimensions: tuple[int, ...], fewest: int) -> np.ndarray:
    """`samples` as a float64 array with one of the given numbers of `dimensions`, chains first.

    axes: the accepted axes in words, for the message; fewest: the smallest number of chains that gives an error bar.
    Raises TypeError for a traced array (the host works on numbers) and ValueError for a wrong shape or too few chains.
    """
    array = on_host(field, samples)
    if array.ndim not in dimensions:
        raise ValueError(f"{field}: expected shape {axes}, got {array.shape}; reshape so that chains come first")
    if array.shape[0] < fewest:
        raise ValueError(
            f"{field}: expected at least {fewest} independent chains on the first axis, got shape {array.shape}; "
            f"run more chains, or move the chain axis to the front"
        )
    if 0 in array.shape:
        raise ValueError(f"{field}: expected at least one sample of each chain, got shape {array.shape}")
    return array


def scalar_chains(samples: ArrayLike, field: str) -> np.ndarray:
    """Samples of one number, (num_chains,) or (num_chains, num_samples), as float64 (num_chains, num_samples)."""
    array = number_chains(samples, field, "(num_chains,) or (num_chains, num_samples)", (1, 2), fewest=2)
    return array.reshape(len(array), -1)


def vector_chains(samples: ArrayLike, field: str) -> np.ndarray:
    """Samples of a vector, (num_chains, d) or (num_chains, num_samples, d), as float64 (num_chains, num_samples, d)."""
    axes = "(num_chains, d) or (num_chains, num_samples, d), with d = 1 for a number,"
    array = number_chains(samples, field, axes, (2, 3), fewest=4)
    return array.reshape(len(array), -1, array.shape[-1])


def standard_error_across_chains(per_chain: np.ndarray) -> float:
    """Standard error of the mean of one number a chain, (num_chains,): std(per_chain, ddof=1) / sqrt(num_chains)."""
    return float(np.std(per_chain, ddof=1) / np.sqrt(len(per_chain)))

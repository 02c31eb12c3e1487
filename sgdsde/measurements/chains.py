"""Independent chains on the host: the shapes that measurements accept, and the standard error across chains.

A chain is one independent run. Several samples of one chain are correlated, so they are averaged within the chain
first and the standard error is taken across chains only; no autocorrelation time enters.
"""

import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

__all__ = ["number_chains", "scalar_chains", "standard_error_across_chains", "vector_chains"]


def number_chains(samples: ArrayLike, field: str, axes: str, dimensions: tuple[int, ...], fewest: int) -> np.ndarray:
    """`samples` as a float64 array with one of the given numbers of `dimensions`, chains first.

    axes: the accepted axes in words, for the message; fewest: the smallest number of chains that gives an error bar.
    Raises TypeError for a traced array (the host works on numbers) and ValueError for a wrong shape or too few chains.
    """
    if isinstance(samples, Tracer):
        raise TypeError(
            f"{field}: expected numbers, got a traced array; this measurement works on the host: call it outside "
            "jit and vmap, for an experiment in `checks`"
        )
    array = np.asarray(samples)
    if array.dtype.kind not in "buif" and str(array.dtype) != "bfloat16":
        raise TypeError(f"{field}: expected real numbers, got dtype {array.dtype}")
    if array.ndim not in dimensions:
        raise ValueError(f"{field}: expected shape {axes}, got {array.shape}; reshape so that chains come first")
    if array.shape[0] < fewest:
        raise ValueError(
            f"{field}: expected at least {fewest} independent chains on the first axis, got shape {array.shape}; "
            f"run more chains, or move the chain axis to the front"
        )
    if 0 in array.shape:
        raise ValueError(f"{field}: expected at least one sample of each chain, got shape {array.shape}")
    return array.astype(np.float64)


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

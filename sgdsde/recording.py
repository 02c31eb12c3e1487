"""A stretch of a simulation as one compiled function: steps, then a record, again and again."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import tree_map

from sgdsde.devices import CHAINS
from sgdsde.dynamics.contract import Dynamics
from sgdsde.ensemble import Chains, nan_where
from sgdsde.stepping import advance_ensemble

__all__ = ["mean_and_error", "record_shapes", "record_stretch", "together"]


def record_stretch(
    dynamics: Dynamics, observe: Callable, keys: jax.Array, chains: Chains, first_step: Any, length: Any, count: Any,
    *, capacity: int, average: bool, block: int, mesh: Mesh | None = None, in_kernel: bool = False,
) -> tuple[Chains, Any]:  # fmt: skip
    """`count` records, each after `length` steps, into buffers of `capacity` records; the chains after them.

    average: a record is (mean, sum of squared deviations) over chains. mesh: the devices that share the chains.
    block, in_kernel: as in `advance_ensemble`.
    """
    advance = functools.partial(advance_ensemble, block=block, in_kernel=in_kernel)
    if mesh is not None:
        split, whole = PartitionSpec(CHAINS), PartitionSpec()
        advance = jax.shard_map(
            advance, mesh=mesh, in_specs=(whole, split, split, whole, whole), out_specs=split, check_vma=False
        )

    def record(index, carry):
        chains, buffer = carry
        chains = advance(dynamics, keys, chains, first_step + index * length, length)
        seen = _observed(observe, chains, average)
        return chains, tree_map(lambda kept, new: kept.at[index].set(new), buffer, seen)

    shapes = record_shapes(observe, chains, average)
    buffer = tree_map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, count, record, (chains, buffer))


def record_shapes(observe: Callable, chains: Chains, average: bool) -> Any:
    """Shapes and precisions of one record."""
    return jax.eval_shape(functools.partial(_observed, observe, average=average), chains)


def mean_and_error(moments: tuple[Any, Any], num_chains: int) -> tuple[Any, Any]:
    """(mean, standard error) over chains from (mean, sum of squared deviations)."""
    scale = 1 / (num_chains * (num_chains - 1)) if num_chains > 1 else np.nan
    return moments[0], tree_map(lambda leaf: jnp.sqrt(leaf * np.asarray(scale, leaf.dtype)), moments[1])


def together(records: list, sizes: list[int], average: bool) -> Any:
    """The records of several parts of an ensemble, of `sizes` chains each, as those of the whole (NumPy, on the host).

    Moments are merged pairwise exact, n = sum n_i, mean = sum n_i mean_i / n, and about the common mean
    sum_i (squares_i + n_i |mean_i - mean|^2), in float64.
    """
    if len(records) == 1:
        return records[0]
    if not average:
        return tree_map(lambda *leaves: np.concatenate(leaves, axis=1), *records)
    counts = np.asarray(sizes, np.float64)

    def weighted(leaves):
        return np.tensordot(counts / counts.sum(), np.stack(leaves).astype(_wide(leaves[0])), axes=1)

    mean = tree_map(lambda *leaves: weighted(leaves), *(record[0] for record in records))
    squares = tree_map(lambda *leaves: np.sum(np.stack(leaves), axis=0, dtype=np.float64), *(r[1] for r in records))
    for size, (part, _) in zip(sizes, records, strict=True):
        squares = tree_map(lambda s, m, whole, n=size: s + n * np.abs(m - whole) ** 2, squares, part, mean)
    narrow = lambda wide, like: wide.astype(like.dtype)
    return tree_map(narrow, (mean, squares), records[0])


def _wide(leaf):
    return np.complex128 if np.iscomplexobj(leaf) else np.float64


def _observed(observe: Callable, chains: Chains, average: bool) -> Any:
    diverged = chains.diverged_at >= 0
    seen = jax.vmap(observe)(chains.state.params)
    if not average:
        return nan_where(diverged, seen)
    real = jnp.result_type(float)
    seen = tree_map(lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(real), seen)
    seen = nan_where(diverged, seen)
    mean = tree_map(lambda leaf: jnp.mean(leaf, axis=0), seen)
    squares = tree_map(lambda leaf, m: jnp.sum(jnp.abs(leaf - m[None]) ** 2, axis=0), seen, mean)
    return mean, squares

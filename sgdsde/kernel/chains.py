"""An ensemble's steps handed to the kernel: which numbers it takes, and whether it can."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from sgdsde.dynamics.contract import Dynamics
from sgdsde.ensemble import Chains, nan_where
from sgdsde.kernel.launch import NEVER, run_kernel
from sgdsde.kernel.primitives import refused_primitives
from sgdsde.randomness import key_words, scalar_pairs
from sgdsde.scalars import ScalarForm, arrays_of, boxes_like, scalars_of, vectors_of

__all__ = ["kernel_for"]

LARGEST_SHARED = 256
"""numbers that all chains share (a rate, a small matrix): more would not stay at hand"""


def kernel_for(dynamics: Dynamics, chains: Chains, numbers: Any, form: ScalarForm) -> Callable | None:
    """kernel(dynamics, keys, chains, first_slot, last_slot) -> chains, for dynamics like this whose microstep has this
    scalar form; None where a kernel cannot take it: other precisions than 32 bits, reads of a
    minibatch, large matrices, primitives that it lacks.

    numbers: shapes of what one microstep of one chain consumes.
    """
    leaves, structure = jax.tree.flatten(dynamics)
    one_chain = tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), chains.state)
    needed = [is_read or jnp.ndim(leaf) == 0 for leaf, is_read in zip(leaves, form.is_read)]  # laws read numbers too
    shared = [jax.ShapeDtypeStruct(np.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
    if sum(leaf.size for leaf, wanted in zip(shared, needed, strict=True) if wanted) > LARGEST_SHARED:
        return None
    if any(leaf.dtype.itemsize != 4 for leaf in tree_leaves((one_chain, numbers))):
        return None

    def rebuilt(scalars, scalar):
        """The dynamics from the scalars of its needed leaves; the others keep their shapes only."""
        remaining = iter(scalars)
        filled = [
            scalar(boxes_like(leaf, [next(remaining) for _ in range(leaf.size)])) if wanted
            else np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)
            for leaf, wanted in zip(shared, needed, strict=True)
        ]  # fmt: skip
        return structure.unflatten(filled)

    def step(scalars, state, draws, slot):
        number = (slot // np.uint32(dynamics.substeps)).astype(jnp.int32)
        together = rebuilt(scalars, lambda box: box), boxes_like(jax.ShapeDtypeStruct((), jnp.int32), [number])
        return scalars_of(form(together, boxes_like(one_chain, state), boxes_like(numbers, draws)))

    def pair_draws(scalars, words, pair):
        variates = rebuilt(scalars, lambda box: box[()] if box.ndim == 0 else np.zeros(box.shape)).variates
        return tuple(tuple(half) for half in scalar_pairs(variates, words, pair))

    def scalars_shared(dynamics):
        pairs = zip(jax.tree.leaves(dynamics), needed, strict=True)
        return [jnp.asarray(x) for leaf, wanted in pairs if wanted for x in jnp.asarray(leaf).ravel()]

    word = jax.ShapeDtypeStruct((), jnp.uint32)
    scalars = [jax.ShapeDtypeStruct((), leaf.dtype) for leaf, w in zip(shared, needed) if w for _ in range(leaf.size)]
    state, draws = ([jax.ShapeDtypeStruct((), x.dtype) for x in tree_leaves(t) for _ in range(x.size)]
                    for t in (one_chain, numbers))  # fmt: skip
    try:
        lacking = refused_primitives(step, scalars, state, draws, word)
        lacking |= refused_primitives(pair_draws, scalars, (word, word), word)
    except (TypeError, ValueError, IndexError):  # it needs an array where a kernel has only numbers
        return None
    if lacking:
        return None

    def kernel(dynamics, keys, chains, first_slot, last_slot):
        after, lost = run_kernel(
            step, pair_draws, scalars_shared(dynamics), key_words(keys), vectors_of(chains.state),
            first_slot, last_slot, interpret=jax.default_backend() != "gpu",
        )  # fmt: skip
        at = (lost // np.uint32(dynamics.substeps)).astype(jnp.int32) + 1
        diverged_at = jnp.where((chains.diverged_at < 0) & (lost != NEVER), at, chains.diverged_at)
        state = arrays_of(one_chain, after)
        return Chains(state._replace(params=nan_where(diverged_at >= 0, state.params)), diverged_at)

    return kernel

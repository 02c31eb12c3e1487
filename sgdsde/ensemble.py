"""An ensemble: the chains, their keys, and the Trajectory that they leave."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import tree_map

from sgdsde.dynamics.contract import State
from sgdsde.pytrees import pytree

__all__ = ["Chains", "Trajectory", "chain_keys", "nan_where", "with_own_keys"]


class Chains(NamedTuple):
    """All chains on a leading (in the loop: last) axis: their State, and the step at which each diverged, or -1."""

    state: State
    diverged_at: jax.Array


@pytree(static=("made_by",))
class Trajectory:
    """What a simulation returns.

    observed: what `observe` returned, each leaf (num_records, num_chains, ...); with average=True the pair
        (mean, standard_error) over chains, each leaf (num_records, ...).
    step (num_records,): learning-rate steps done at each record; time (num_records,): the sum of the learning rates,
        each over 1 - momentum (NaN for `optimizer`, which has no such clock).
    state: the dynamics' State of every chain, from which `simulate` goes on bit for bit with the same key.
    diverged_at (num_chains,): the first step with a non-finite parameter, -1 if none. Such a chain is NaN from then
        on, in params and in every floating-point observation; it is never dropped.
    made_by: which dynamics ran, in words; `simulate` goes on from the state with the same one only. Empty: not known.
    """

    observed: Any
    step: jax.Array
    time: jax.Array
    state: State
    diverged_at: jax.Array
    made_by: tuple[tuple[str, str], ...] = ()

    @property
    def params(self) -> Any:
        """The parameters at the last step, leading axis num_chains."""
        return self.state.params


def with_own_keys(state: Any, keys: jax.Array) -> Any:
    """The state (num_chains, ...) with every random key that it holds, such as an optimizer's that draws noise, made
    the chain's own from that key and the chain's."""
    words = jax.random.key_data(keys)
    fold = lambda key, word: jax.random.fold_in(jax.random.fold_in(key, word[0]), word[1])

    def own(leaf):
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        each = fold
        for _ in range(leaf.ndim - 1):
            each = jax.vmap(each, in_axes=(0, None))
        return jax.vmap(each)(leaf, words)

    return tree_map(own, state)


def nan_where(lost: jax.Array, tree: Any) -> Any:
    """The arrays (num_chains, ...) with NaN for the lost chains; integers and truth values, which have none, as they
    are."""

    def mask(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        where = lost.reshape(lost.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(where, jnp.asarray(jnp.nan, leaf.dtype), leaf)

    return tree_map(mask, tree)


@functools.partial(jax.jit, static_argnums=1)
def chain_keys(key: jax.Array, num_chains: int) -> jax.Array:
    """The key of every chain, `fold_in(key, chain)`."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_chains, dtype=jnp.uint32))

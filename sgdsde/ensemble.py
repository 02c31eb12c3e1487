"""An ensemble before its first step: the chains, where they start, what is checked; and the Trajectory they leave."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_map

from sgdsde.arguments import is_traced
from sgdsde.dynamics.contract import Dynamics, State, check_schedule
from sgdsde.pytrees import pytree

__all__ = [
    "Chains",
    "Trajectory",
    "chain_keys",
    "check_counts",
    "check_length",
    "check_step",
    "nan_where",
    "start_chains",
]


class Chains(NamedTuple):
    """All chains on a leading (in the loop: last) axis: their State, and the step at which each diverged, or -1."""

    state: State
    diverged_at: jax.Array


@pytree()
class Trajectory:
    """What a simulation returns.

    observed: what `observe` returned, each leaf (num_records, num_chains, ...); with average=True the pair
        (mean, standard_error) over chains, each leaf (num_records, ...).
    step (num_records,): learning-rate steps done at each record; time (num_records,): the sum of the learning rates,
        each over 1 - momentum (NaN for `optimizer`, which has no such clock).
    state: the dynamics' State of every chain, from which `simulate` goes on bit for bit with the same key.
    diverged_at (num_chains,): the first step with a non-finite parameter, -1 if none. Such a chain is NaN from then
        on, in params and in every floating-point observation; it is never dropped.
    """

    observed: Any
    step: jax.Array
    time: jax.Array
    state: State
    diverged_at: jax.Array

    @property
    def params(self) -> Any:
        """The parameters at the last step, leading axis num_chains."""
        return self.state.params


def start_chains(
    dynamics: Dynamics, start: Any, key: jax.Array, num_chains: int
) -> tuple[Chains, jax.Array, jax.Array]:
    """The chains before the first step of a run, with the steps and the time already done. `start` as for `simulate`.

    Raises TypeError or ValueError where a start has not the structure, shapes and precision of problem.init's params,
    or is not finite.
    """
    like = dynamics.problem.params_like
    if isinstance(start, Trajectory):
        if start.diverged_at.shape != (num_chains,):
            raise ValueError(
                f"num_chains: {num_chains}, but the trajectory to go on from has {start.diverged_at.shape[0]} chains"
            )
        return Chains(start.state, start.diverged_at), start.step[-1], start.time[-1]
    is_params = jax.tree.structure(start) == jax.tree.structure(like)
    if is_params and not any(callable(leaf) for leaf in tree_leaves(start)):
        params = tree_map(lambda leaf, want: _given(leaf, want), start, like)
        _check_start(params, like)
        params = tree_map(lambda leaf: jnp.broadcast_to(leaf, (num_chains, *leaf.shape)), params)
    elif callable(start):
        _check_start(jax.eval_shape(start, key), like)
        params = jax.vmap(start)(chain_keys(key, num_chains))
    else:
        raise TypeError(
            "start: expected params with the structure that problem.init gives, a function key -> params, or a "
            f"Trajectory; got {jax.tree.structure(start)} instead of {jax.tree.structure(like)}"
        )
    for path, leaf in tree_leaves_with_path(params):
        if not is_traced(leaf) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"start{keystr(path)}: contains NaN or inf; start from finite parameters")
    state = with_own_keys(jax.vmap(dynamics.init)(params), chain_keys(key, num_chains))
    return Chains(state, jnp.full((num_chains,), -1, jnp.int32)), jnp.int32(0), jnp.zeros(())


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


def _given(leaf: Any, like: Any) -> jax.Array:
    """A start's leaf: Python numbers and lists take the precision of init's parameters, arrays keep their own."""
    return jnp.asarray(leaf) if hasattr(leaf, "dtype") else jnp.asarray(leaf, like.dtype)


def _check_start(params: Any, like: Any) -> None:
    if jax.tree.structure(params) != jax.tree.structure(like):
        raise TypeError(
            f"start: returns {jax.tree.structure(params)}, but problem.init gives {jax.tree.structure(like)}"
        )
    for (path, leaf), want in zip(tree_leaves_with_path(params), tree_leaves(like), strict=True):
        if leaf.shape != want.shape or leaf.dtype != want.dtype:
            raise TypeError(
                f"start{keystr(path)}: expected {want.dtype}{list(want.shape)} as problem.init gives, got "
                f"{leaf.dtype}{list(leaf.shape)}; cast or reshape it, or make the problem in that precision"
            )


def check_counts(num_steps: int, num_chains: int, every: int, observe: Any) -> None:
    """Whole positive numbers, and a cadence that divides the number of steps."""
    for name, value in (("num_steps", num_steps), ("num_chains", num_chains), ("every", every)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
    if num_steps % every:
        near = max(d for d in range(1, min(every, num_steps) + 1) if num_steps % d == 0)
        raise ValueError(f"every: {every} does not divide num_steps = {num_steps}; try every = {near}")
    if not callable(observe):
        raise TypeError(f"observe: expected a function params -> pytree, got {observe!r}")


def check_length(dynamics: Dynamics, first_step: Any, num_steps: int) -> None:
    """Microsteps are counted in 31 bits over a whole run, those before a Trajectory included, and a schedule has a
    rate for every step."""
    done = 0 if is_traced(first_step) else int(first_step)
    if (done + num_steps) * dynamics.substeps >= 2**31:
        raise ValueError(
            f"num_steps: {num_steps} steps of {dynamics.substeps} microsteps after {done} steps come to 2**31 "
            "microsteps or more, which is all that the counter of random numbers holds; begin another run, with "
            "another key"
        )
    check_schedule(getattr(dynamics, "learning_rate", None), done, num_steps)


def check_step(dynamics: Dynamics, observe: Callable, keys: jax.Array, chains: Chains) -> None:
    """Precision and shapes of one step, by `jax.eval_shape`: nothing is computed."""
    precisions = {leaf.dtype for leaf in tree_leaves(chains.state.params)}
    for path, leaf in tree_leaves_with_path(dynamics):
        is_real_array = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.ndim(leaf) > 0
        if is_real_array and not any(jnp.promote_types(leaf.dtype, precision) == precision for precision in precisions):
            raise TypeError(
                f"dynamics{keystr(path)} is {leaf.dtype}, but the parameters are "
                f"{' and '.join(sorted(p.name for p in precisions))}, which it would promote; cast one with .astype so "
                "that the parameters keep their precision"
            )
    key, before = tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (keys, chains.state))
    after = jax.eval_shape(_one_step, dynamics, key, before)
    for (path, old), new in zip(tree_leaves_with_path(before), tree_leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"state{keystr(path)}: one step turns {old.dtype}{list(old.shape)} into {new.dtype}{list(new.shape)}; "
                "the loss and the optimizer must keep the parameters' precision"
            )
    jax.eval_shape(observe, before.params)


@jax.jit
def _one_step(dynamics, key, state):
    """Jitted so that its shapes are found once for every dynamics of the same structure; it never runs."""
    draws = dynamics.draw(key, 0, 0)
    if dynamics.period > 1:
        draws = tree_map(lambda leaf: leaf[0], draws)
    return dynamics.advance(state, draws, jnp.int32(0))


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

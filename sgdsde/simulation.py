"""The one loop: an ensemble of chains of any dynamics, recorded every so many steps.

Called with known inputs, `simulate` runs chunks of one compiled function from the host, with progress and Ctrl-C; under
a trace (jit, vmap) the same function is one loop. Draws are functions of (key, chain, step, substep, coordinate), so
they are identical for any number of chains, chunks and records.
"""

import functools
import time as clock
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_map
from tqdm.auto import tqdm

from sgdsde.arguments import is_traced
from sgdsde.dynamics.contract import Dynamics, State
from sgdsde.pytrees import as_partial, pytree
from sgdsde.randomness import counter_key

__all__ = ["Interrupted", "Trajectory", "simulate"]

SECONDS_PER_CHUNK = 0.5
BYTES_PER_BUFFER = 2**26


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


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `simulate`: `trajectory` holds everything recorded so far and can be given back as `start`.

    It is None if no record was complete.
    """

    def __init__(self, trajectory: Trajectory | None):
        super().__init__("simulate was interrupted; what was recorded so far is in the exception's `trajectory`")
        self.trajectory = trajectory


class _Chains(NamedTuple):
    state: State
    diverged_at: jax.Array


def simulate(
    dynamics: Dynamics,
    start: Any,
    key: jax.Array,
    *,
    num_steps: int,
    num_chains: int,
    observe: Callable,
    every: int,
    average: bool = False,
) -> Trajectory:
    """Run num_chains independent chains for num_steps learning-rate steps (an SDE takes `substeps` microsteps in each).

    start: one params pytree, a callable key -> params (one draw a chain), or a Trajectory to go on from.
    observe(params) -> pytree: recorded at steps every, 2 every, ...; every divides num_steps. Pass one function object
    (a fresh lambda recompiles); one that needs arrays is a `jax.tree_util.Partial` holding them.
    average: keep only (mean, standard error over chains) of each record, so that memory does not grow with
    num_chains x records; a diverged chain makes them NaN.

    Raises TypeError or ValueError, naming the argument, before anything is compiled; `Interrupted` on Ctrl-C.
    """
    _check_counts(num_steps, num_chains, every, observe)
    observe = as_partial(observe) or observe
    start_key, run_key = jax.random.split(counter_key(key))
    chains, first_step, first_time = _start(dynamics, start, start_key, num_chains)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(run_key, jnp.arange(num_chains, dtype=jnp.uint32))
    _check_step(dynamics, observe, keys, chains)
    num_records = num_steps // every
    steps = first_step + every * jnp.arange(1, num_records + 1, dtype=jnp.int32)
    times = _times(dynamics, first_step, first_time, every, num_records)
    if is_traced((jnp.zeros(()), dynamics, observe, keys, chains)):
        chains, observed = _chunk(
            dynamics, observe, keys, chains, first_step, every, num_records, capacity=num_records, average=average
        )
    else:
        chains, observed = _from_host(
            dynamics, observe, keys, chains, first_step, every, num_records, average, (steps, times)
        )
    return Trajectory(observed, steps, times, chains.state, chains.diverged_at)


@functools.partial(jax.jit, static_argnames=("capacity", "average"))
def _chunk(dynamics, observe, keys, chains, first_step, length, count, *, capacity, average):
    """`count` records, each after `length` steps, into buffers of `capacity` records."""
    period, substeps = dynamics.period, dynamics.substeps
    over_chains = functools.partial(jax.vmap, out_axes=-1)  # chains last: neighbours in memory, so they share vectors

    def microstep(step, substep, state):
        def move(key, state):
            return dynamics.advance(state, dynamics.draw(key, step, substep), step)

        return over_chains(move, in_axes=(0, -1))(keys, state)

    def one_step(step, carry):
        (state, diverged_at), draws = carry
        if period > 1:
            draws = jax.lax.cond(step % period == 0, lambda: draw_period(step), lambda: draws)
            now = tree_map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, step % period, 1, keepdims=False), draws)
            state = over_chains(dynamics.advance, in_axes=(-1, 0, None))(state, now, step)
        elif substeps == 1:
            state = microstep(step, 0, state)
        else:
            state = jax.lax.fori_loop(0, substeps, functools.partial(microstep, step), state)
        marked = over_chains(_mark_diverged, in_axes=(-1, None))(_Chains(state, diverged_at), step + 1)
        return marked, draws

    def draw_period(step):
        return jax.vmap(dynamics.draw, in_axes=(0, None, None))(keys, step, 0)

    def record(index, carry):
        chains, draws, buffer = carry
        begin = first_step + index * length
        chains, draws = jax.lax.fori_loop(begin, begin + length, one_step, (chains, draws))
        seen = _observed(observe, _chains_to(0, chains), average)
        return chains, draws, tree_map(lambda kept, new: kept.at[index].set(new), buffer, seen)

    draws = draw_period(first_step - first_step % period) if period > 1 else ()
    shapes = jax.eval_shape(functools.partial(_observed, observe, average=average), chains)
    buffer = tree_map(lambda leaf: jnp.zeros((capacity, *leaf.shape), leaf.dtype), shapes)
    chains, _, buffer = jax.lax.fori_loop(0, count, record, (_chains_to(-1, chains), draws, buffer))
    return _chains_to(0, chains), buffer


def _chains_to(axis: int, chains: _Chains) -> _Chains:
    """With the chain axis, now last (or first), put first (or last)."""
    return tree_map(lambda leaf: jnp.moveaxis(leaf, -1 - axis, axis), chains)


def _mark_diverged(chain: _Chains, step: Any) -> _Chains:
    """One chain after a step: the first step with a non-finite parameter is kept, and the chain stays NaN."""
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in tree_leaves(chain.state.params)]).all()
    diverged_at = jnp.where((chain.diverged_at < 0) & ~finite, step, chain.diverged_at)
    params = tree_map(lambda leaf: jnp.where(diverged_at >= 0, jnp.nan, leaf), chain.state.params)
    return _Chains(chain.state._replace(params=params), diverged_at)


def _observed(observe: Callable, chains: _Chains, average: bool) -> Any:
    diverged = chains.diverged_at >= 0
    seen = jax.vmap(observe)(chains.state.params)
    if not average:
        return _nan_where(diverged, seen)
    real = jnp.result_type(float)
    seen = tree_map(lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(real), seen)
    seen = _nan_where(diverged, seen)
    error = tree_map(lambda leaf: jnp.std(leaf, axis=0, ddof=1) / np.sqrt(leaf.shape[0]).item(), seen)
    return tree_map(lambda leaf: jnp.mean(leaf, axis=0), seen), error


def _nan_where(diverged: jax.Array, tree: Any) -> Any:
    def mask(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf
        where = diverged.reshape(diverged.shape + (1,) * (leaf.ndim - 1))
        return jnp.where(where, jnp.asarray(jnp.nan, leaf.dtype), leaf)

    return tree_map(mask, tree)


def _from_host(dynamics, observe, keys, chains, first_step, every, num_records, average, clocks):
    """Chunks of about half a second: progress is shown, Ctrl-C loses at most one chunk, draws do not notice."""
    shapes = jax.eval_shape(functools.partial(_observed, observe, average=average), chains)
    record_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in tree_leaves(shapes))
    capacity = max(1, min(num_records, 256, BYTES_PER_BUFFER // max(record_bytes, 1)))
    num_steps, num_chains, done, budget, records = every * num_records, keys.shape[0], 0, 64, []
    at_record = chains
    bar = tqdm(total=num_steps * num_chains, unit=" chain-steps", unit_scale=True, disable=None, delay=1.0, leave=False)
    try:
        with bar:
            while done < num_steps:
                into = done % every
                whole = into == 0 and budget >= every
                length = every if whole else min(budget, every - into)
                count = min(budget // every, capacity, num_records - len(records)) if whole else 1
                began = clock.perf_counter()
                chains, buffer = jax.block_until_ready(
                    _chunk(
                        dynamics, observe, keys, chains, first_step + done, length, count,
                        capacity=capacity, average=average,
                    )
                )  # fmt: skip
                seconds = clock.perf_counter() - began
                if (into + length) % every == 0:
                    buffer = tree_map(np.asarray, buffer)
                    records.extend(tree_map(lambda leaf, i=i: leaf[i], buffer) for i in range(count))
                    at_record = chains
                if done:  # the first chunk's time is mostly compilation
                    budget = max(1, int(budget * min(4.0, max(0.25, SECONDS_PER_CHUNK / seconds))))
                done += length * count
                bar.update(length * count * num_chains)
    except KeyboardInterrupt as error:
        partial = None
        if records:
            step, time = (clock_values[: len(records)] for clock_values in clocks)
            partial = Trajectory(_stack(records), step, time, at_record.state, at_record.diverged_at)
        raise Interrupted(partial) from error
    return chains, _stack(records)


def _stack(records: list) -> Any:
    return tree_map(lambda *leaves: jnp.asarray(np.stack(leaves)), *records)


def _times(dynamics: Dynamics, first_step: Any, first_time: Any, every: int, num_records: int) -> jax.Array:
    real = jnp.result_type(float)
    if not callable(getattr(dynamics, "learning_rate", None)):
        steps = first_step + every * jnp.arange(1, num_records + 1, dtype=jnp.int32)
        return steps.astype(real) * jnp.asarray(dynamics.duration(0), real)

    def add(time, record):
        steps = first_step + record * every + jnp.arange(every, dtype=jnp.int32)
        time = time + jnp.sum(jax.vmap(dynamics.duration)(steps).astype(real))
        return time, time

    return jax.lax.scan(add, jnp.asarray(first_time, real), jnp.arange(num_records, dtype=jnp.int32))[1]


def _start(dynamics: Dynamics, start: Any, key: jax.Array, num_chains: int) -> tuple[_Chains, jax.Array, jax.Array]:
    like = dynamics.problem.params_like
    if isinstance(start, Trajectory):
        if start.diverged_at.shape != (num_chains,):
            raise ValueError(
                f"num_chains: {num_chains}, but the trajectory to go on from has {start.diverged_at.shape[0]} chains"
            )
        return _Chains(start.state, start.diverged_at), start.step[-1], start.time[-1]
    is_params = jax.tree.structure(start) == jax.tree.structure(like)
    if is_params and not any(callable(leaf) for leaf in tree_leaves(start)):
        params = tree_map(lambda leaf, want: _given(leaf, want), start, like)
        _check_start(params, like)
        params = tree_map(lambda leaf: jnp.broadcast_to(leaf, (num_chains, *leaf.shape)), params)
    elif callable(start):
        _check_start(jax.eval_shape(start, key), like)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_chains, dtype=jnp.uint32))
        params = jax.vmap(start)(keys)
    else:
        raise TypeError(
            "start: expected params with the structure that problem.init gives, a function key -> params, or a "
            f"Trajectory; got {jax.tree.structure(start)} instead of {jax.tree.structure(like)}"
        )
    for path, leaf in tree_leaves_with_path(params):
        if not is_traced(leaf) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError(f"start{keystr(path)}: contains NaN or inf; start from finite parameters")
    state = jax.vmap(dynamics.init)(params)
    return _Chains(state, jnp.full((num_chains,), -1, jnp.int32)), jnp.int32(0), jnp.zeros(())


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


def _check_counts(num_steps: int, num_chains: int, every: int, observe: Any) -> None:
    for name, value in (("num_steps", num_steps), ("num_chains", num_chains), ("every", every)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
    if num_steps % every:
        near = max(d for d in range(1, min(every, num_steps) + 1) if num_steps % d == 0)
        raise ValueError(f"every: {every} does not divide num_steps = {num_steps}; try every = {near}")
    if num_steps >= 2**31:
        raise ValueError(f"num_steps: expected less than 2**31, got {num_steps}; go on from the Trajectory instead")
    if not callable(observe):
        raise TypeError(f"observe: expected a function params -> pytree, got {observe!r}")


def _check_step(dynamics: Dynamics, observe: Callable, keys: jax.Array, chains: _Chains) -> None:
    """Precision and shapes of one step, by `jax.eval_shape`: nothing is computed."""
    precisions = {leaf.dtype for leaf in tree_leaves(chains.state.params)}
    for path, leaf in tree_leaves_with_path(dynamics):
        is_real_array = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.ndim(leaf) > 0
        if is_real_array and leaf.dtype not in precisions:
            raise TypeError(
                f"dynamics{keystr(path)} is {leaf.dtype}, but the parameters are "
                f"{' and '.join(sorted(p.name for p in precisions))}; cast one with .astype so that they agree"
            )
    after = jax.eval_shape(
        lambda key, state: dynamics.advance(
            state, tree_map(lambda d: d[0], dynamics.draw(key, 0, 0)) if dynamics.period > 1 else
            dynamics.draw(key, 0, 0), jnp.int32(0),
        ),
        *tree_map(lambda leaf: leaf[0], (keys, chains.state)),
    )  # fmt: skip
    before = tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), chains.state)
    for (path, old), new in zip(tree_leaves_with_path(before), tree_leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"state{keystr(path)}: one step turns {old.dtype}{list(old.shape)} into {new.dtype}{list(new.shape)}; "
                "the loss and the optimizer must keep the parameters' precision"
            )
    jax.eval_shape(observe, before.params)

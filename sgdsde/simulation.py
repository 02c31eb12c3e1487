"""The one loop: an ensemble of chains of any dynamics, recorded every so many steps.

Called with known inputs, `simulate` runs chunks of one compiled function from the host, with progress and Ctrl-C; under
a trace (jit, vmap) the same function is one loop. Draws are functions of (key, chain, step, substep, coordinate), so
they are identical for any number of chains, chunks and records.
"""

import functools
import time as clock
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map
from tqdm.auto import tqdm

from sgdsde.arguments import is_traced
from sgdsde.dynamics.contract import Dynamics
from sgdsde.ensemble import Chains, Trajectory, check_counts, check_step, start_chains
from sgdsde.pytrees import as_partial
from sgdsde.randomness import counter_key

__all__ = ["Interrupted", "simulate"]

SECONDS_PER_CHUNK = 0.5
BYTES_PER_BUFFER = 2**26


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `simulate`: `trajectory` holds everything recorded so far and can be given back as `start`.

    It is None if no record was complete.
    """

    def __init__(self, trajectory: Trajectory | None):
        super().__init__("simulate was interrupted; what was recorded so far is in the exception's `trajectory`")
        self.trajectory = trajectory


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
    check_counts(num_steps, num_chains, every, observe)
    observe = as_partial(observe)
    start_key, run_key = jax.random.split(counter_key(key))
    chains, first_step, first_time = start_chains(dynamics, start, start_key, num_chains)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(run_key, jnp.arange(num_chains, dtype=jnp.uint32))
    check_step(dynamics, observe, keys, chains)
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
        marked = over_chains(_mark_diverged, in_axes=(-1, None))(Chains(state, diverged_at), step + 1)
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


def _chains_to(axis: int, chains: Chains) -> Chains:
    """With the chain axis, now last (or first), put first (or last)."""
    return tree_map(lambda leaf: jnp.moveaxis(leaf, -1 - axis, axis), chains)


def _mark_diverged(chain: Chains, step: Any) -> Chains:
    """One chain after a step: the first step with a non-finite parameter is kept, and the chain stays NaN."""
    finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in tree_leaves(chain.state.params)]).all()
    diverged_at = jnp.where((chain.diverged_at < 0) & ~finite, step, chain.diverged_at)
    params = tree_map(lambda leaf: jnp.where(diverged_at >= 0, jnp.nan, leaf), chain.state.params)
    return Chains(chain.state._replace(params=params), diverged_at)


def _observed(observe: Callable, chains: Chains, average: bool) -> Any:
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

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
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_map, tree_structure

from sgdsde.admission import check_dynamics, check_length, check_step, checked_counts
from sgdsde.arguments import is_traced
from sgdsde.checkpointing import checkpoint_of
from sgdsde.devices import (
    ClosesOverTraced,
    agreed,
    as_arrays,
    executable,
    has_kernels,
    mesh_for,
    num_cores,
    on_mesh,
    parts,
    run_all,
    to_host,
)
from sgdsde.differentiation import forward_only
from sgdsde.dynamics.contract import Dynamics
from sgdsde.ensemble import Trajectory, chain_keys
from sgdsde.interruption import Interrupted, stopping
from sgdsde.memory import bytes_of, check_memory, check_records
from sgdsde.progress import announce, bar_of
from sgdsde.pytrees import as_partial
from sgdsde.randomness import num_variates, one_key
from sgdsde.recording import mean_and_error, record_shapes, record_stretch, together
from sgdsde.standstill import warn_where_steps_round
from sgdsde.starting import description, start_chains
from sgdsde.stepping import kernel_agrees, pairs_per_block
from sgdsde.times import record_times

__all__ = ["Interrupted", "simulate"]

SECONDS_PER_STRETCH = 0.5
BYTES_PER_BUFFER = 2**26
NUMBERS_IN_FIRST_STRETCH = 2**22
"""parameters x steps of all chains before the clock is looked at for the first time"""


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

    start, one of
        one params pytree, for all chains;
        an ensemble of params, each array with a leading axis num_chains: memory (momentum, optimizer state), step, time
            and the count of random numbers begin anew;
        a callable key -> params, drawn for each chain;
        a Trajectory to go on from, bit for bit with its key; its dynamics may have other numbers now (a rate, a batch
            size, examples), and time goes on from the trajectory's. Another dynamics (other microsteps, momentum or
            none, an SDE after SGD, `first_exit`) cannot take over its memory: start=trajectory.params, with another
            key, or random numbers would come again.
    key: one key of `jax.random`. The same key gives the same random numbers, for any number of chains and records.
    observe(params) -> pytree: recorded at steps every, 2 every, ...; every divides num_steps. Pass one function object
    (a fresh lambda recompiles); one that needs arrays is a `jax.tree_util.Partial` holding them.
    average: keep only (mean, standard error over chains) of each record, so that memory does not grow with
    num_chains x records; a diverged chain makes both NaN from its `diverged_at` on, and infinite or NaN already where
    the observation overflows before.

    Divergence raises no error: `diverged_at` of the Trajectory holds for each chain the first step with a parameter
    that is not finite, -1 where there is none.

    Functions are compiled once and kept, as by `jax.jit`: a loss or an observer that reads a global variable or an
    attribute of an object goes on with the value that it had when it was first traced. Pass what changes as examples
    of the problem or in a `Partial`, or define the function anew.

    Derivatives of what comes out, in rates, examples or the start: forward mode (`jax.jvp`, `jax.jacfwd`) for given
    random numbers; reverse mode (`jax.grad`) is refused, because the loop keeps none of its steps.

    Raises TypeError, ValueError or MemoryError, naming the argument, before anything is compiled; `Interrupted` on
    Ctrl-C.
    """
    check_dynamics(dynamics, observe)
    num_steps, num_chains, every = checked_counts(num_steps, num_chains, every)
    if not isinstance(average, bool | np.bool_):
        raise TypeError(f"average: expected True or False, got {average!r}")
    observe = as_partial(observe)
    start_key, run_key = jax.random.split(one_key(key))
    chains, first_step, first_time = start_chains(dynamics, start, start_key, num_chains)
    check_length(dynamics, first_step, num_steps)
    keys = chain_keys(run_key, num_chains)
    check_step(dynamics, observe, keys, chains)
    num_records = num_steps // every
    shapes = record_shapes(observe, chains, average)
    check_records(shapes, num_records, num_chains)
    steps = first_step + every * jnp.arange(1, num_records + 1, dtype=jnp.int32)
    times = record_times(dynamics, first_step, first_time, every, num_records)
    options = {"average": average, "block": pairs_per_block(dynamics, every, num_chains)}
    made_by = description(dynamics)
    what = dynamics, observe, keys, chains, first_step, every
    is_known = not is_traced((jnp.zeros(()), dynamics, observe, keys, chains))
    try:
        ended = _from_host(*what, dict(options), shapes, (steps, times), made_by) if is_known else None
    except ClosesOverTraced:
        ended = None
    if ended is None:
        announce(num_steps * num_chains, (tree_structure((dynamics, observe)), num_chains, num_records))
        ended = forward_only(_traced_once(*as_arrays(what), count=num_records, capacity=num_records, **options))
    chains, observed = ended
    if average:
        observed = mean_and_error(observed, num_chains)
    return Trajectory(observed, steps, times, chains.state, chains.diverged_at, made_by)


_traced_once = jax.jit(record_stretch, static_argnames=("count", "capacity", "average", "block"))
"""for simulations of one kind within one program, such as those of an experiment under a sweep"""


def _from_host(dynamics, observe, keys, chains, first_step, every, options, shapes, clocks, made_by):
    """Stretches of about half a second each: progress is shown, what was done is kept, draws do not notice."""
    num_records, num_chains, average = clocks[0].size, keys.shape[0], options["average"]
    num_steps, records = every * num_records, []
    record_bytes = bytes_of(shapes)
    options["capacity"] = capacity = max(1, min(num_records, 256, BYTES_PER_BUFFER // max(record_bytes, 1)))
    options["in_kernel"] = has_kernels() and kernel_agrees(dynamics, keys, chains, first_step)
    checkpoint = checkpoint_of(
        functools.partial(record_stretch, **options),
        (dynamics, observe, *tree_map(lambda leaf: leaf[:1], (keys, chains)), first_step, every, 1),
        (dynamics, observe, keys, chains, first_step, num_steps, every),
    )
    found = None if checkpoint is None else checkpoint.restored(chains, shapes)
    done, chains, records = (0, chains, []) if found is None else found
    begun_at = done
    size = sum(leaf.size for leaf in tree_leaves(chains.state.params))
    budget = max(1, min(64, NUMBERS_IN_FIRST_STRETCH // max(size, 1)))
    advance, ensemble = _on_devices(
        dynamics, observe, keys, chains, first_step, options, kept=record_bytes * num_records
    )
    at_record = None  # the chains at the last record, where the ensemble has gone on from there
    with bar_of(num_steps * num_chains, done * num_chains) as bar, stopping() as stop:
        while done < num_steps and not stop.requested:
            into = done % every
            whole = into == 0 and budget >= every
            length = every if whole else min(budget, every - into)
            count = min(budget // every, capacity, num_records - len(records)) if whole else 1
            if into == 0 and not whole:
                at_record = tree_map(jnp.copy, ensemble)
            began = clock.perf_counter()
            ensemble, seen = advance(ensemble, first_step + done, length, count)
            seconds = clock.perf_counter() - began
            if done == 0:
                num_microsteps = length * count * dynamics.substeps
                warn_where_steps_round(dynamics, chains, ensemble[0], int(first_step), num_steps, num_microsteps)
            if (into + length) % every == 0:
                stretch = seen()
                records.extend(tree_map(lambda leaf, i=i: leaf[i], stretch) for i in range(count))
                at_record = None
                bar.set_postfix_str(_shown(records[-1], average), refresh=False)
            if done > begun_at:  # the first stretch's time says little
                budget = agreed(max(1, int(budget * min(8.0, max(0.25, SECONDS_PER_STRETCH / seconds)))))
            done += length * count
            bar.update(length * count * num_chains)
            if checkpoint is not None and (stop.requested or agreed(checkpoint.is_due(finished=done == num_steps))):
                checkpoint.write(done, _joined(ensemble), records)
    if done < num_steps:
        partial = None
        if records:
            step, time = (clock_values[: len(records)] for clock_values in clocks)
            last = _joined(ensemble if at_record is None else at_record)
            observed = mean_and_error(_stack(records), num_chains) if average else _stack(records)
            partial = Trajectory(observed, step, time, last.state, last.diverged_at, made_by)
        is_kept = checkpoint is not None and not checkpoint.is_failing
        raise Interrupted(partial, checkpoint.path.parent if is_kept else None)
    return _joined(ensemble), _stack(records)


def _shown(record, average):
    """The latest record's mean over chains, for the progress line, where it consists of a few numbers a chain."""
    means = record[0] if average else tree_map(lambda leaf: np.mean(leaf, axis=0), record)
    leaves = tree_leaves_with_path(means)
    if len(leaves) > 6 or any(np.size(leaf) > 1 for _, leaf in leaves):
        return ""
    name = lambda path: keystr(path, simple=True, separator=".")
    return " ".join(f"{name(path)}={np.real(leaf).item():.4g}".lstrip("=") for path, leaf in leaves)


def _on_devices(dynamics, observe, keys, chains, first_step, options, kept):
    """The ensemble as a list of parts, and the function that advances them all by one stretch and gives them back with
    a function for what was recorded (fetched only where a record is complete)."""
    num_chains = keys.shape[0]
    mesh = mesh_for(num_chains)
    if mesh is not None:
        dynamics, observe = on_mesh((dynamics, observe), mesh, split=False)
        keys, chains = on_mesh((keys, chains), mesh, split=True)
    cuts = parts(num_chains, 16 * options["block"] * num_variates(dynamics.variates))
    dynamics, observe = as_arrays((dynamics, observe))
    all_keys = [keys] if len(cuts) == 1 else [keys[cut] for cut in cuts]
    # Copies, because `record_stretch` is given its chains' memory.
    ensemble = [tree_map(lambda leaf, cut=cut: jnp.copy(leaf if len(cuts) == 1 else leaf[cut]), chains) for cut in cuts]
    sizes = [keys.shape[0] for keys in all_keys]

    def called(ensemble, first_step, length, count):
        counters = as_arrays((first_step, length, count))
        return [(dynamics, observe, keys, chains, *counters) for keys, chains in zip(all_keys, ensemble, strict=True)]

    compiled = {
        size: executable(record_stretch, call, donated=3, mesh=mesh, **options)
        for size, call in dict(zip(sizes, called(ensemble, first_step, 1, 1), strict=True)).items()
    }
    check_memory(compiled[max(sizes)], min(len(cuts), num_cores()), dynamics, num_chains, kept=kept)

    def advance(ensemble, first_step, length, count):
        calls = called(ensemble, first_step, length, count)
        after = run_all([(compiled[size], call) for size, call in zip(sizes, calls, strict=True)])
        buffers = [buffer for _, buffer in after]
        recorded = lambda buffer: tree_map(lambda leaf: np.array(leaf[:count]), to_host(buffer))  # the rest is freed
        seen = lambda: together([recorded(buffer) for buffer in buffers], sizes, options["average"])
        return [chains for chains, _ in after], seen

    return advance, ensemble


def _joined(ensemble):
    if len(ensemble) == 1:
        return ensemble[0]
    return tree_map(lambda *leaves: jnp.concatenate(leaves), *ensemble)


def _stack(records: list) -> Any:
    return tree_map(lambda *leaves: jnp.asarray(np.stack(leaves)), *records)

"""An ensemble advanced over a range of microsteps: blocks of random numbers, drawn at once and consumed one by one.

Two forms of the same step. A small problem is taken as scalar arithmetic (`scalars/`): every parameter is one vector
over chains, so that a landscape that indexes its coordinates costs no rearranging. A large one is `jax.vmap` over
chains, whose matrix products are then batched.

A block's numbers cross a loop's boundary (the loop over its microsteps takes them as an operand); fused with the step
instead, XLA would draw them again for every coordinate that uses them.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from sgdsde.arguments import is_traced
from sgdsde.devices import chains_at_once
from sgdsde.dynamics.contract import Dynamics, derived_draw
from sgdsde.ensemble import Chains, nan_where
from sgdsde.kernel import kernel_for
from sgdsde.randomness import Variates, draw_pairs, halves, key_schedule, key_words, num_variates
from sgdsde.scalars import ScalarForm, arrays_of, boxes_like, repeats_reads, scalar_form, scalars_of, vectors_of

__all__ = ["advance_ensemble", "kernel_agrees", "pairs_per_block"]

LARGEST_BLOCK = 8
"""pairs of microsteps drawn at once; more gain nothing, and the last block of a record is seldom full"""
BYTES_PER_BLOCK = 2**26
"""of random numbers, where a problem takes many in each microstep"""
SCALAR_OPERATIONS = 600
"""a step of more is not taken as scalar arithmetic: it would compile for seconds, and run no faster than arrays"""


def pairs_per_block(dynamics: Dynamics, num_steps: int, num_chains: int) -> int:
    """How many pairs of microsteps to draw at once where a record is due after num_steps steps."""
    numbers = num_variates(dynamics.variates) * min(num_chains, 4096)
    return min(LARGEST_BLOCK, -(-num_steps * dynamics.substeps // 2), max(1, BYTES_PER_BLOCK // (8 * max(1, numbers))))


def advance_ensemble(
    dynamics: Dynamics,
    keys: jax.Array,
    chains: Chains,
    first_step: Any,
    num_steps: Any,
    *,
    block: int,
    in_kernel: bool = False,
) -> Chains:
    """Every chain num_steps steps further. The first step at which a parameter is not finite is marked in
    `diverged_at`, and such a chain is NaN from there on. block: pairs of microsteps drawn at once. in_kernel: as one
    GPU kernel (interpreted on a CPU), where `kernel_agrees` says that there is one."""
    form = _scalar_form(dynamics, chains.state) or _array_form(dynamics, chains.state)
    substeps = np.uint32(dynamics.substeps)
    first, last = (jnp.asarray(step).astype(jnp.uint32) * substeps for step in (first_step, first_step + num_steps))
    if in_kernel and (kernel := _kernel(dynamics, chains, form)) is not None:
        return kernel(dynamics, keys, chains, first, last)
    num_chains, size = keys.shape[0], chains_at_once(keys.shape[0], 8 * block * num_variates(dynamics.variates))
    if size == num_chains:
        return _advance_group(dynamics, form, keys, chains, first, last, block)

    def advance_one(index, after):
        start = jnp.minimum(index * np.int32(size), np.int32(num_chains - size))  # the last may take some chains again
        some_keys, some = tree_map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, size), (keys, chains))
        new = _advance_group(dynamics, form, some_keys, some, first, last, block)
        return tree_map(lambda whole, few: jax.lax.dynamic_update_slice_in_dim(whole, few, start, 0), after, new)

    return jax.lax.fori_loop(np.int32(0), np.int32(-(-num_chains // size)), advance_one, chains)


def _advance_group(dynamics, form, keys, chains, first, last, block):
    """The microsteps first, ..., last - 1 of chains whose random numbers stay in a cache."""
    substeps = np.uint32(dynamics.substeps)
    unit, length = (2, 2 * block) if dynamics.period == 1 else (dynamics.period, dynamics.period)
    origin = first - first % np.uint32(unit)
    if dynamics.period == 1:
        draw_block, source = _pairs, key_schedule(key_words(keys))
    else:
        draw_block, source = _epoch, keys

    def advance_block(index, carry):
        vectors, diverged_at = carry
        base = origin + index * np.uint32(length)
        low, high = jnp.maximum(base, first), jnp.minimum(base + np.uint32(length), last)
        numbers_at = draw_block(dynamics, source, base, length, form.scalar is not None)

        def one(slot, vectors):
            return form.step(vectors, numbers_at(slot), (slot // substeps).astype(jnp.int32))

        def one_marked(slot, carry):
            after = one(slot, carry[0])
            found = (carry[1] < 0) & _is_lost(after[: form.num_params])
            return after, jnp.where(found, (slot // substeps).astype(jnp.int32) + 1, carry[1])

        after = jax.lax.fori_loop(low, high, one, vectors)
        params, memory = after[: form.num_params], after[form.num_params :]
        lost = _is_lost(params)  # what is not finite stays so: only a block that lost a chain is gone through again
        diverged_at = jax.lax.while_loop(
            lambda marks: jnp.any((marks < 0) & lost),
            lambda marks: jax.lax.fori_loop(low, high, one_marked, (vectors, marks))[1],
            diverged_at,
        )
        return (*nan_where(diverged_at >= 0, params), *memory), diverged_at

    num_blocks = (last - origin + np.uint32(length - 1)) // np.uint32(length)
    carry = form.split(chains.state), chains.diverged_at
    vectors, diverged_at = jax.lax.fori_loop(jnp.uint32(0), num_blocks, advance_block, carry)
    return Chains(form.join(vectors), diverged_at)


def kernel_agrees(dynamics: Dynamics, keys: jax.Array, chains: Chains, first_step: Any) -> bool:
    """Whether a GPU kernel can take the steps of these chains and, tried on some of them, does what the plain loop does
    to rounding. A kernel that fails is reported and left alone: it may cost speed, never a result."""
    form = _scalar_form(dynamics, chains.state)
    if form is None or _kernel(dynamics, chains, form) is None:
        return False
    some_keys, some = tree_map(lambda leaf: leaf[:256], (keys, chains))
    try:
        found, expected = (_few_steps(dynamics, some_keys, some, first_step, in_kernel) for in_kernel in (True, False))
        agree = jax.tree.map(lambda a, b: jnp.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True), found, expected)
        if is_traced(agree):  # a function holds a value that something else traces
            return False
        fault = "" if all(tree_leaves(agree)) else "its first steps differ from the plain loop's"
    except Exception as error:  # whatever a compiler of this machine says
        fault = f"{type(error).__name__}: {str(error)[:300]}"
    if fault:
        warnings.warn(f"the GPU kernel is not used for these steps, the plain loop is ({fault})", stacklevel=2)
    return not fault


@functools.partial(jax.jit, static_argnames="in_kernel")
def _few_steps(dynamics, keys, chains, first_step, in_kernel):
    return advance_ensemble(dynamics, keys, chains, first_step, 5, block=2, in_kernel=in_kernel)


def _kernel(dynamics, chains, form):
    if form.scalar is None or dynamics.period > 1:
        return None
    return kernel_for(dynamics, chains, _numbers_like(dynamics), form.scalar)


class _Form(NamedTuple):
    """A microstep of all chains: step(vectors, numbers, step), on the arrays that split(state) makes and join puts
    together again. The first num_params of them are parameters. In the scalar form numbers come with chains last."""

    split: Callable
    join: Callable
    step: Callable
    num_params: int
    scalar: ScalarForm | None


def _scalar_form(dynamics, state):
    """One vector over chains for each number of the state; None if the step takes too many scalar operations, or would
    read its minibatch again for every coordinate."""
    numbers = _numbers_like(dynamics)
    one_chain = tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state)
    if sum(leaf.size for leaf in tree_leaves((one_chain, numbers))) > SCALAR_OPERATIONS:
        return None
    step_like = jax.ShapeDtypeStruct((), jnp.int32)
    example = (dynamics, step_like), one_chain, numbers
    form = scalar_form(_shared_first, *example, max_cost=SCALAR_OPERATIONS)
    if form is None or repeats_reads(form, *example):
        return None

    def step(vectors, rows, step):
        def one(scalars, row):
            return scalars_of(form((dynamics, step), boxes_like(one_chain, scalars), boxes_like(numbers, row)))

        return jax.vmap(one)(vectors, rows)

    join = functools.partial(arrays_of, one_chain)
    return _Form(vectors_of, join, step, sum(leaf.size for leaf in tree_leaves(one_chain.params)), form)


def _array_form(dynamics, state):
    """The leaves of the state, chains first."""
    structure = jax.tree.structure(state)
    numbers = _numbers_like(dynamics)

    def step(vectors, rows, step):
        shaped = tree_map(lambda like, row: row.reshape(-1, *like.shape), numbers, tree.unflatten(rows))
        one = lambda state, numbers: _microstep(dynamics, state, numbers, step)
        return tuple(tree_leaves(jax.vmap(one)(structure.unflatten(vectors), shaped)))

    tree = jax.tree.structure(numbers)
    return _Form(
        lambda state: tuple(tree_leaves(state)), structure.unflatten, step, len(tree_leaves(state.params)), None
    )


def _microstep(dynamics, state, numbers, step):
    draws = dynamics.arrange(numbers) if dynamics.period == 1 else numbers
    return dynamics.advance(state, draws, step)


def _shared_first(shared, state, numbers):
    dynamics, step = shared
    return _microstep(dynamics, state, numbers, step)


def _numbers_like(dynamics):
    """Shapes of what one microstep consumes: the variates' numbers, or one minibatch of an epoch."""
    if dynamics.period > 1:
        return jax.ShapeDtypeStruct((dynamics.batch_size,), jnp.int32)
    is_leaf = lambda node: isinstance(node, Variates)
    return tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), dynamics.variates, is_leaf=is_leaf)


def _pairs(dynamics, schedule, base, length, chains_last):
    """The numbers of a block of `length` microsteps, as slot -> an array (size, num_chains) for each variate, or a row
    for each scalar."""
    first = base >> 1
    pairs = first + jnp.arange(length // 2, dtype=jnp.uint32)
    packed = draw_pairs(dynamics.variates, schedule, pairs, chains_last=chains_last)

    def numbers_at(slot):
        index = ((slot >> 1) - first).astype(jnp.int32)
        both = tree_map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), packed)
        numbers = tree_leaves(halves(dynamics.variates, both, slot & 1 == 1))
        return tuple(row for leaf in numbers for row in leaf) if chains_last else tuple(numbers)

    return numbers_at


def _epoch(dynamics, keys, base, length, chains_last):
    """The minibatches of an epoch, drawn at its first step, likewise."""
    batches = jax.vmap(lambda key: derived_draw(dynamics, key, base.astype(jnp.int32), 0))(keys)
    batches = jnp.moveaxis(batches, 0, -1 if chains_last else 1)  # (length, batch_size, num_chains) or chains second

    def numbers_at(slot):
        batch = jax.lax.dynamic_index_in_dim(batches, (slot - base).astype(jnp.int32), keepdims=False)
        return tuple(batch) if chains_last else (batch,)

    return numbers_at


def _is_lost(params):
    """Which chains have a parameter that is not finite."""
    finite = [jnp.isfinite(leaf).reshape(leaf.shape[0], -1).all(axis=1) for leaf in params]
    return ~functools.reduce(jnp.logical_and, finite)

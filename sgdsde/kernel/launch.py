"""The kernel: a block of chains, a loop over pairs of microsteps, the state in registers from first to last."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sgdsde.kernel.primitives import with_native_primitives

__all__ = ["NEVER", "run_kernel"]

NEVER = np.uint32(2**32 - 1)
"""the slot at which a chain is lost that never is"""


def run_kernel(
    step: Callable,
    pair_draws: Callable,
    leaves: Sequence[Any],
    key_words: Sequence[Any],
    state: Sequence[Any],
    first_slot: Any,
    last_slot: Any,
    *,
    block: int = 128,
    interpret: bool = False,
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """The chains after the microsteps first_slot, ..., last_slot - 1, and the slot of the first of these after which
    one of a chain's real numbers is not finite (uint32; NEVER if none).

    step(leaves, state, draws, slot) -> state and pair_draws(leaves, words, pair) -> (draws at slot 2 pair, at
        2 pair + 1): of one chain, tuples of scalars to tuples of scalars; they may hold no arrays
        (`refused_primitives` says what else stands in the way).
    leaves: the scalars that all chains share; key_words: two uint32 (num_chains,) vectors; state: one (num_chains,)
        vector for each number of a chain.
    block: chains in a block, a multiple of the 128 threads that advance it. interpret: as ordinary JAX, anywhere.

    Slots stay below 2^31. It runs on NVIDIA GPUs from the Hopper generation on.
    """
    num_chains = state[0].shape[0]
    num_blocks = -(-num_chains // block)
    shared, order = _by_type([jnp.asarray(leaf) for leaf in leaves])
    bounds = jnp.stack([jnp.asarray(slot).astype(jnp.uint32) for slot in (first_slot, last_slot)])
    never = jnp.full(num_chains, NEVER, jnp.uint32)
    vectors = [_padded(vector, num_blocks * block) for vector in (*key_words, *state, never)]
    results = [jax.ShapeDtypeStruct(vector.shape, vector.dtype) for vector in vectors[2:]]
    as_native = (lambda function: function) if interpret else with_native_primitives
    body = functools.partial(_advance_block, step, pair_draws, as_native, order, len(shared), len(vectors), block)
    launch = _interpreted(body, num_blocks, results) if interpret else _on_gpu(body, num_blocks, results)
    *state, lost = (vector[:num_chains] for vector in launch(bounds, *shared, *vectors))
    return tuple(state), lost


def _advance_block(step, pair_draws, as_native, order, num_shared, num_vectors, block, ds, index, *refs):
    """What one program of the grid does. refs: the bounds, the shared numbers, the vectors (the key's words, the state,
    the slot of loss), and where the state and the slot go."""
    bounds_ref, shared_refs = refs[0], refs[1 : 1 + num_shared]
    vector_refs, result_refs = refs[1 + num_shared :][:num_vectors], refs[1 + num_shared + num_vectors :]
    here = ds(index * block, block)
    first, last = bounds_ref[0], bounds_ref[1]
    words = vector_refs[0][here], vector_refs[1][here]
    draw = as_native(jax.vmap(pair_draws, (None, 0, None)))

    @as_native
    def microstep(leaves, draws, slot, *carry):
        *state, lost = carry
        moved = jax.vmap(step, (None, 0, 0, None))(leaves, tuple(state), draws, slot)
        moved = [jnp.where(lost <= NEVER, x, x) for x in moved]  # a constant becomes one number a thread
        return *moved, jnp.where(_are_finite(moved), lost, jnp.minimum(lost, slot))

    def two_microsteps(pair, carry):
        leaves = tuple(shared_refs[group][place] for group, place in order)
        for parity, draws in enumerate(draw(leaves, words, pair)):
            slot = 2 * pair + np.uint32(parity)
            taken = functools.partial(microstep, leaves, draws, slot)
            carry = lax.cond((first <= slot) & (slot < last), taken, lambda *carry: carry, *carry)
        return carry

    carry = tuple(ref[here] for ref in vector_refs[2:])
    carry = lax.fori_loop(first >> 1, (last + 1) >> 1, two_microsteps, carry)
    for ref, vector in zip(result_refs, carry):
        ref[here] = vector


def _interpreted(body, num_blocks, results):
    from jax.experimental import pallas

    def program(*refs):
        body(pallas.ds, pallas.program_id(0), *refs)

    return pallas.pallas_call(program, results, grid=(num_blocks,), interpret=True)


def _on_gpu(body, num_blocks, results):
    from jax.experimental import pallas
    from jax.experimental.pallas import mosaic_gpu  # its import takes a second

    def program(*refs):
        body(pallas.ds, lax.axis_index("block"), *refs)

    by_lane = mosaic_gpu.CompilerParams(lowering_semantics=mosaic_gpu.LoweringSemantics.Lane)
    grid = {"grid": (num_blocks,), "grid_names": ("block",)}
    return mosaic_gpu.kernel(program, out_type=results, compiler_params=by_lane, **grid)


def _by_type(leaves):
    """The scalars as one vector for each of their types, and for each scalar (which vector, which place)."""
    groups, order = {}, []
    for leaf in leaves:
        group = groups.setdefault(leaf.dtype, [])
        order.append((list(groups).index(leaf.dtype), len(group)))
        group.append(leaf)
    return [jnp.stack(group) for group in groups.values()], order


def _padded(vector, size):
    return jnp.pad(vector, (0, size - vector.shape[0]), mode="edge")


def _are_finite(state):
    real = [vector for vector in state if jnp.issubdtype(vector.dtype, jnp.floating)]
    return functools.reduce(jnp.logical_and, [jnp.abs(vector) < np.asarray(np.inf, vector.dtype) for vector in real])

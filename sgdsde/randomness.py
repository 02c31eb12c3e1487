"""Counter-based randomness: every number is a pure function of (chain's key, microstep, coordinate).

The bits are threefry2x32's (Salmon et al. 2011, 20 rounds), written in jnp so that they fuse with what uses them. A
chain's key is `fold_in(key, chain)`; its block at the counter (coordinate, number) gives two words. Hence the numbers
do not depend on how many chains, chunks or devices there are, nor on how many are drawn at once: the words are equal
bit for bit, what is made of them to rounding. Keys of any implementation are accepted: two words of another's become
the words of a threefry key.

A microstep is numbered by its slot, step * substeps + substep. Numbers come in pairs, for the slots 2 p and 2 p + 1,
because one block makes two normals. What a law does with the words is in `laws.py`.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from sgdsde.pytrees import pytree

__all__ = [
    "Variates",
    "counter_key",
    "draw",
    "draw_pairs",
    "halves",
    "key_schedule",
    "key_words",
    "num_variates",
    "one_key",
    "same_key",
    "scalar_pairs",
]


@pytree(static=("shape", "dtype", "first", "stream"))
class Variates:
    """Independent random numbers of one law, one for each coordinate of `shape`, fresh at every microstep.

    law(block, pair, coordinate, dtype) -> (even, odd): the numbers of one coordinate at the slots 2 pair and
        2 pair + 1, scalars, from block(number) -> two words of 32 bits.
    first: what this array's coordinates are counted from, so that the leaves of one pytree do not share numbers;
    stream: likewise for numbers of different purposes, 0 to 7.
    """

    law: Callable
    shape: tuple[int, ...]
    dtype: Any
    first: int
    stream: int

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))


def counter_key(key: Any) -> jax.Array:
    """`key` itself if it is a threefry key, else a threefry key made of two of its words (any other implementation).

    Raises TypeError for what is no key of JAX: an integer, None, a list.
    """
    if not jnp.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key):
        key = _wrapped(key)
    if str(jax.random.key_impl(key)) in ("threefry2x32", "fry"):
        return key
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")


def one_key(key: Any) -> jax.Array:
    """`counter_key(key)`. Raises TypeError where it is no key, or many of them."""
    return counter_key(same_key(key))


def same_key(key: Any) -> jax.Array:
    """The key itself, of any implementation; a raw one as a key. Raises TypeError where it is no key, or many."""
    if not jnp.issubdtype(getattr(key, "dtype", None), jax.dtypes.prng_key):
        key = _wrapped(key)
    if key.shape != ():
        raise TypeError(
            f"key: expected one key, got {key.size} of shape {key.shape}; take one of them, or run all by jax.vmap "
            "over the keys"
        )
    return key


def _wrapped(key):
    if getattr(key, "dtype", None) == np.uint32:
        with contextlib.suppress(TypeError, ValueError):
            return jax.random.wrap_key_data(jnp.asarray(key))
    raise TypeError(
        f"key: expected a key of JAX, got {_shown(key)}; make one of an integer seed with jax.random.key(seed)"
    )


def _shown(value):
    is_array = hasattr(value, "shape")
    return f"an array {value.dtype}{list(value.shape)}" if is_array else f"{type(value).__name__} {value!r}"[:80]


def key_words(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two words of a key, or of each of many."""
    words = jax.random.key_data(counter_key(key))
    return words[..., 0], words[..., 1]


def key_schedule(words: tuple) -> tuple[tuple, tuple]:
    """What threefry adds to its two words, from the two words of a key: (three words, five sums).

    To be made once, outside the loop that draws: a constant 1 in it, which these sums hold, comes out of a register
    that the iteration before is the last to write, and iterations that could overlap wait for each other.
    """
    first, second = words
    three = (first, second, first ^ second ^ jnp.uint32(0x1BD11BDA))
    return three, tuple(three[(group + 2) % 3] + jnp.uint32(group + 1) for group in range(5))


def threefry2x32(schedule: tuple, counter: tuple) -> tuple[jax.Array, jax.Array]:
    """Two random words of 32 bits from a key's schedule and two counter words (uint32, broadcast), 20 rounds."""
    three, sums = schedule
    x, y = counter[0] + three[0], counter[1] + three[1]
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x = x + y
            y = x ^ ((y << jnp.uint32(rotation)) | (y >> jnp.uint32(32 - rotation)))
        x, y = x + three[(group + 1) % 3], y + sums[group]
    return x, y


def draw(variates: Any, key: jax.Array, slot: Any) -> Any:
    """The numbers of one chain at one microstep: an array for each `Variates` of a pytree."""
    schedule, slot = key_schedule(key_words(key)), jnp.asarray(slot).astype(jnp.uint32)

    def one(leaf):
        coordinates = jnp.arange(leaf.size, dtype=jnp.uint32)
        even, odd = jax.vmap(lambda coordinate: _pair(leaf, schedule, slot >> 1, coordinate))(coordinates)
        return jnp.where(slot & 1 == 1, odd, even).reshape(leaf.shape).astype(leaf.dtype)

    return tree_map(one, variates, is_leaf=_is_variates)


def draw_pairs(variates: Any, schedule: tuple, pairs: jax.Array, *, chains_last: bool) -> Any:
    """The numbers of many chains (schedule: of arrays (num_chains,)) at the slots 2 p and 2 p + 1 of each of `pairs`
    (num_pairs,): for each `Variates` an array (num_pairs, size, num_chains) or, without chains_last,
    (num_pairs, num_chains, size), which holds the two halves as one complex number.

    Complex, because XLA's loops on a CPU have one output: two would draw the words twice. The nesting of the scalar
    maps is the memory's order.
    """

    def one(leaf):
        def packed(schedule, pair, coordinate):
            return jax.lax.complex(*(_as_float(half) for half in _pair(leaf, schedule, pair, coordinate)))

        chains, coordinates = (0, None, None), (None, None, 0)
        inner, outer = (chains, coordinates) if chains_last else (coordinates, chains)
        nested = jax.vmap(jax.vmap(jax.vmap(packed, inner), outer), (None, 0, None))
        return nested(schedule, pairs.astype(jnp.uint32), jnp.arange(leaf.size, dtype=jnp.uint32))

    return tree_map(one, variates, is_leaf=_is_variates)


def halves(variates: Any, packed: Any, odd: Any) -> Any:
    """The even or the odd slot's numbers of what `draw_pairs` made, each leaf in its own precision."""

    def one(leaf, both):
        half = jnp.where(odd, jnp.imag(both), jnp.real(both))
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return (jax.lax.bitcast_convert_type(half, jnp.int32) - SMALLEST_NORMAL).astype(leaf.dtype)
        return half.astype(leaf.dtype)

    return tree_map(one, variates, packed, is_leaf=_is_variates)


def scalar_pairs(variates: Any, words: tuple, pair: Any) -> tuple[list, list]:
    """The same numbers as lists of scalars (or of one array over chains), even and odd, leaf after leaf: for a kernel
    that holds them in registers."""
    schedule = key_schedule(words)
    both = [
        tuple(half.astype(leaf.dtype) for half in _pair(leaf, schedule, pair, jnp.uint32(coordinate)))
        for leaf in tree_leaves(variates, is_leaf=_is_variates)
        for coordinate in range(leaf.size)
    ]
    return [even for even, _ in both], [odd for _, odd in both]


def num_variates(variates: Any) -> int:
    """How many numbers a microstep takes."""
    return sum(leaf.size for leaf in tree_leaves(variates, is_leaf=_is_variates))


SMALLEST_NORMAL = 0x00800000
"""added to integers that travel as the bits of a float32: the result is a normal number, which no hardware changes"""


def _pair(variates, schedule, pair, coordinate):
    counter = coordinate + jnp.uint32(variates.first + (variates.stream << 29))
    wide = jnp.issubdtype(variates.dtype, jnp.floating) and jnp.finfo(variates.dtype).bits == 64
    block = lambda number: threefry2x32(schedule, (counter, number))
    return variates.law(block, pair, coordinate, jnp.float64 if wide else jnp.float32)


def _as_float(half):
    if jnp.issubdtype(half.dtype, jnp.integer):
        return jax.lax.bitcast_convert_type(half.astype(jnp.int32) + SMALLEST_NORMAL, jnp.float32)
    return half


def _is_variates(node):
    return isinstance(node, Variates)

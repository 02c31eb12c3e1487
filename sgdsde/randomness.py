"""The randomness of one step: pure functions of a key and integer counters.

A chain's key is `fold_in(key, chain)`; its draws at a step are functions of (chain's key, step, substep, coordinate)
alone, so they do not depend on how many chains, chunks or devices there are. The bits are threefry2x32's (Salmon et al.
2011, 20 rounds), written in jnp so that they fuse with what uses them. Keys of any implementation are accepted: two
words of another's become the words of a threefry key.

Stable laws: a symmetric alpha-stable variate of scale c has characteristic function exp(-|c k|^alpha); tail index 2 is
the normal law of variance 2 c^2. A one-sided stable variate A of index q in (0, 1] has E exp(-s A) = exp(-s^q).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

__all__ = [
    "Sampling",
    "check_tail_index",
    "counter_key",
    "epoch_indices",
    "minibatch_indices",
    "normals_like",
    "one_sided_stable",
    "random_words",
    "step_key",
    "symmetric_stable",
    "symmetric_stable_like",
    "threefry2x32",
]

Sampling = Literal["with_replacement", "without_replacement", "epoch"]
"""independent draws | uniform subsets, fresh each step | random reshuffling, one permutation an epoch"""

SMALLEST_FLOAT32_TAIL_INDEX = 0.4
"""below it the largest draws overflow float32"""

NORMALS, STABLE, MIXING, INDICES = range(4)
"""streams: the second counter word, so that one key serves several purposes"""


def threefry2x32(key: tuple, counter: tuple) -> tuple[jax.Array, jax.Array]:
    """Two random words of 32 bits from two key words and two counter words (uint32, broadcast together), 20 rounds."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = counter[0] + schedule[0], counter[1] + schedule[1]
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x = x + y
            y = x ^ ((y << jnp.uint32(rotation)) | (y >> jnp.uint32(32 - rotation)))
        x = x + schedule[(group + 1) % 3]
        y = y + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def counter_key(key: jax.Array) -> jax.Array:
    """`key` itself if it is a threefry key, else a threefry key made of two of its words (any other implementation)."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if str(jax.random.key_impl(key)) in ("threefry2x32", "fry"):
        return key
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")


def step_key(key: jax.Array, step: Any, substep: Any) -> jax.Array:
    """The key of one microstep: the block of the chain's key at the counter (step, substep)."""
    counter = (jnp.asarray(step).astype(jnp.uint32), jnp.asarray(substep).astype(jnp.uint32))
    return jax.random.wrap_key_data(jnp.stack(threefry2x32(_words(key), counter)), impl="threefry2x32")


def random_words(key: jax.Array, size: int, stream: int) -> tuple[jax.Array, jax.Array]:
    """Two random words of 32 bits for each of `size` coordinates, (size,) each, in one of the streams of a key."""
    return threefry2x32(_words(key), (jnp.arange(size, dtype=jnp.uint32), jnp.full(size, stream, jnp.uint32)))


def normals_like(key: jax.Array, like: Any) -> Any:
    """Independent standard normals with the structure, shapes and precision of the pytree `like`.

    sqrt(-2 log u) cos(pi v), v uniform in [-1, 1), from the two words of a coordinate (Box, Muller 1958); tails to 6.7
    standard deviations.
    """

    def normal(words, dtype):
        u = (words[0].astype(dtype) + 0.5) * 2.0**-32
        v = words[1].astype(jnp.int32).astype(dtype) * 2.0**-31
        return jnp.sqrt(jnp.maximum(-2 * jnp.log(u), 0)) * _sine(0.5 - jnp.abs(v))

    return _draw_like(key, like, NORMALS, normal)


def symmetric_stable_like(key: jax.Array, tail_index: Any, like: Any) -> Any:
    """Independent `symmetric_stable` variates with the structure, shapes and precision of the pytree `like`."""
    return _draw_like(key, like, STABLE, lambda words, dtype: _stable(words, tail_index, dtype))


def symmetric_stable(key: jax.Array, tail_index: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Symmetric stable variates of scale 1: characteristic function exp(-|k|^tail_index), 0 < tail_index <= 2.

    With V uniform in (0, 1/2), U = pi (1/2 - V) and W ~ Exp(1),

        X = +- sin(a U) cos(U)^(-1/a) [cos((1 - a) U) / W]^((1 - a)/a),       a = tail_index.

    Every sine and cosine is the sine of a sum of positive terms at most pi/2, so nothing cancels near the singular
    angle; the powers are in logarithms; tail index 1 (tan U) and 2 (2 sin U sqrt(W), variance 2) are exact branches.
    Source: Chambers, Mallows, Stuck (1976). Raises ValueError outside (0, 2], and below 0.4 in float32.
    """
    return symmetric_stable_like(key, tail_index, jax.ShapeDtypeStruct(shape, dtype))


def _stable(words, tail_index, dtype):
    check_tail_index(tail_index, dtype)
    a = jnp.asarray(tail_index, dtype)
    angle_bits, exponential_bits = words
    sign = jnp.where(angle_bits >> 31 == 1, -1.0, 1.0).astype(dtype)
    v = _unit(angle_bits & jnp.uint32(0x7FFFFFFF), dtype)
    w = _exponential(exponential_bits, dtype)
    sin_u, cos_u = _sine(0.5 - v), _sine(v)
    sin_au = _sine(jnp.minimum(a * (0.5 - v), (2 - a) / 2 + a * v))
    cos_rest = _sine(jnp.where(a < 1, a / 2 + (1 - a) * v, (2 - a) / 2 + (a - 1) * v))
    general = jnp.exp(
        jnp.log(jnp.maximum(sin_au, 0)) - jnp.log(cos_u) / a + (1 - a) / a * (jnp.log(cos_rest) - jnp.log(w))
    )
    magnitude = jnp.where(a == 1, sin_u / cos_u, jnp.where(a == 2, 2 * sin_u * jnp.sqrt(w), general))
    return sign * magnitude


def one_sided_stable(key: jax.Array, index: Any, dtype: Any) -> jax.Array:
    """The logarithm of one positive stable variate A with E exp(-s A) = exp(-s^q), q = index in (0, 1].

    With V uniform in (0, pi) and W ~ Exp(1),  A = sin(q V) sin(V)^(-1/q) [sin((1 - q) V) / W]^((1 - q)/q); A = 1 at
    q = 1. The logarithm, because A itself overflows float32 long before its square root does. sqrt(A) N(0, C) with
    q = alpha/2 has characteristic function exp(-(k^T C k / 2)^(alpha/2)). Source: Kanter (1975).
    """
    check_tail_index(2 * index, dtype)
    q = jnp.asarray(index, dtype)
    angle_bits, exponential_bits = (word[0] for word in random_words(key, 1, MIXING))
    v = 2 * _unit(angle_bits >> 1, dtype)
    opposite = 2 * _unit(~angle_bits >> 1, dtype)
    w = _exponential(exponential_bits, dtype)
    sin_v = _sine(jnp.minimum(v, opposite))
    sin_qv = _sine(jnp.minimum(q * v, (1 - q) + q * opposite))
    sin_rest = _sine(jnp.minimum((1 - q) * v, q + (1 - q) * opposite))
    general = jnp.log(sin_qv) - jnp.log(sin_v) / q + (1 - q) / q * (jnp.log(sin_rest) - jnp.log(w))
    return jnp.where(q == 1, jnp.zeros((), dtype), general)


def minibatch_indices(key: jax.Array, num_examples: int, batch_size: int, sampling: Sampling) -> jax.Array:
    """The examples of one minibatch, (batch_size,): independent draws, or a uniform subset without replacement.

    An index is floor(n u) of a 32-bit uniform: every example has probability 1/n to within a relative n 2^-32.
    """
    if sampling == "with_replacement":
        return _below(random_words(key, batch_size, INDICES)[0], num_examples)
    if batch_size**2 > 32 * num_examples:
        return _permutation(key, num_examples)[:batch_size]
    return _subset(key, num_examples, batch_size)


def epoch_indices(key: jax.Array, num_examples: int, batch_size: int) -> jax.Array:
    """The minibatches of one epoch, (num_examples // batch_size, batch_size): a random permutation cut into batches;
    the remainder of the permutation sits out."""
    num_batches = num_examples // batch_size
    return _permutation(key, num_examples)[: num_batches * batch_size].reshape(num_batches, batch_size)


def check_tail_index(tail_index: Any, dtype: Any = None) -> None:
    """Raise ValueError unless a concrete tail index lies in (0, 2], and at least 0.4 where `dtype` is float32."""
    if isinstance(tail_index, Tracer):
        return
    values = np.asarray(tail_index)
    if not ((values > 0) & (values <= 2)).all():
        raise ValueError(f"tail_index: expected a number in (0, 2] (2 is Gaussian), got {tail_index}")
    if dtype is not None and jnp.finfo(dtype).bits < 64 and (values < SMALLEST_FLOAT32_TAIL_INDEX).any():
        raise ValueError(
            f"tail_index: {tail_index} is below {SMALLEST_FLOAT32_TAIL_INDEX}, where the largest draws overflow "
            f"{jnp.dtype(dtype).name}; use float64 (jax_enable_x64) or a larger tail index"
        )


def _unit(bits31: jax.Array, dtype: Any) -> jax.Array:
    """(bits + 1/2) 2^-32 for 31 random bits: uniform in (0, 1/2), never 0."""
    return (bits31.astype(dtype) + 0.5) * 2.0**-32


def _sine(half_turns: jax.Array) -> jax.Array:
    """sin(pi y) for |y| <= 1/2, to rounding in float32 and float64: its Taylor series to the 21st power. `jnp.sin`
    reduces any argument first, which costs most of a draw on a CPU."""
    x = half_turns * np.pi
    square = x * x
    series = jnp.ones_like(x)
    for k in range(20, 0, -2):
        series = 1 - series * square * (1 / (k * (k + 1)))
    return x * series


def _exponential(bits: jax.Array, dtype: Any) -> jax.Array:
    """Exp(1) variates, exact in both tails: -log u from whichever end of (0, 1) u is nearer."""
    lower = _unit(jnp.minimum(bits, ~bits), dtype)
    return jnp.where(bits < jnp.uint32(2**31), -jnp.log(lower), -jnp.log1p(-lower))


def _words(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    data = jax.random.key_data(counter_key(key))
    return data[0], data[1]


def _draw_like(key, like, stream, variate):
    """`variate(words, dtype)` of a block for each coordinate of the pytree `like`, counted through its leaves."""
    leaves, structure = jax.tree.flatten(like)
    sizes = [int(np.prod(leaf.shape)) for leaf in leaves]
    words = random_words(key, sum(sizes), stream)
    draws, offset = [], 0
    for leaf, size in zip(leaves, sizes, strict=True):
        mine = tuple(word[offset : offset + size] for word in words)
        draws.append(variate(mine, leaf.dtype).reshape(leaf.shape))
        offset += size
    return structure.unflatten(draws)


def _below(bits: jax.Array, bound: Any) -> jax.Array:
    """floor(bits * bound / 2^32), the high word of a product of two 32-bit words, in 32-bit arithmetic."""
    bound, low, half = jnp.asarray(bound).astype(jnp.uint32), jnp.uint32(0xFFFF), jnp.uint32(16)
    carry = (bits >> half) * (bound & low) + ((bits & low) * (bound & low) >> half)
    middle = (bits & low) * (bound >> half) + (carry & low)
    return ((bits >> half) * (bound >> half) + (carry >> half) + (middle >> half)).astype(jnp.int32)


def _permutation(key: jax.Array, size: int) -> jax.Array:
    """0, ..., size - 1 in the order of independent 64-bit words."""
    first, second = random_words(key, size, INDICES)
    return jax.lax.sort((first, second, jnp.arange(size, dtype=jnp.int32)), num_keys=2)[2]


def _subset(key: jax.Array, num_examples: int, batch_size: int) -> jax.Array:
    """Floyd's algorithm: a uniform subset in batch_size draws. At j = n - B, ..., n - 1 take a uniform t <= j, or j
    itself if t is already in."""
    uppers = num_examples - batch_size + jnp.arange(batch_size, dtype=jnp.int32)
    proposals = _below(random_words(key, batch_size, INDICES)[0], uppers + 1)

    def insert(chosen, position):
        proposal = proposals[position]
        taken = jnp.any((chosen == proposal) & (jnp.arange(batch_size) < position))
        return chosen.at[position].set(jnp.where(taken, uppers[position], proposal)), None

    return jax.lax.scan(insert, jnp.zeros_like(proposals), jnp.arange(batch_size))[0]

"""What is drawn: normals, stable variates and minibatch indices, as `Variates` of the counter-based generator.

Stable laws: a symmetric alpha-stable variate of scale c has characteristic function exp(-|c k|^alpha); tail index 2 is
the normal law of variance 2 c^2. A one-sided stable variate A of index q in (0, 1] has E exp(-s A) = exp(-s^q).
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import is_traced, number
from sgdsde.elementary import exponential, logarithm, minus_log_uniform, minus_log_word, sine
from sgdsde.randomness import Variates

__all__ = [
    "Sampling",
    "check_tail_index",
    "log_one_sided_stable",
    "minibatch",
    "minibatch_indices",
    "normals",
    "symmetric_stable",
]

Sampling = Literal["with_replacement", "without_replacement", "epoch"]
"""independent draws | uniform subsets, fresh each step | random reshuffling, one permutation an epoch"""

SMALLEST_FLOAT32_TAIL_INDEX = 0.4
"""below it the largest draws overflow float32"""

NORMALS, STABLE, MIXING, INDICES = range(4)
"""streams: numbers of different purposes at the same counters"""


def normals(like: Any) -> Any:
    """Independent standard normals with the structure, shapes and precision of the pytree `like`.

    A block makes two, for consecutive microsteps: r cos(w) and r sin(w), r = sqrt(-2 log u), w uniform on the circle
    (Box, Muller 1958); tails to 6.6 standard deviations.
    """
    return _variates_like(like, Partial(_normal_pair), NORMALS)


def symmetric_stable(tail_index: Any, like: Any) -> Any:
    """Symmetric stable variates of scale 1 like the pytree `like`: characteristic function exp(-|k|^tail_index).

    With V uniform in (0, 1/2), U = pi (1/2 - V) and W ~ Exp(1),

        X = +- sin(a U) cos(U)^(-1/a) [cos((1 - a) U) / W]^((1 - a)/a),       a = tail_index.

    Every sine and cosine is the sine of a sum of positive terms at most pi/2, so nothing cancels near the singular
    angle; the powers are in logarithms; tail index 1 (tan U) and 2 (2 sin U sqrt(W), variance 2) are exact branches.
    Source: Chambers, Mallows, Stuck (1976). Raises ValueError outside (0, 2], and below 0.4 in float32.
    """
    for leaf in jax.tree.leaves(like):
        tail_index = check_tail_index(tail_index, leaf.dtype)
    return _variates_like(like, Partial(_one_by_one, Partial(_stable, tail_index)), STABLE)


def log_one_sided_stable(index: Any, dtype: Any) -> Variates:
    """The logarithm of one positive stable variate A with E exp(-s A) = exp(-s^q), q = index in (0, 1].

    With V uniform in (0, pi) and W ~ Exp(1),  A = sin(q V) sin(V)^(-1/q) [sin((1 - q) V) / W]^((1 - q)/q); A = 1 at
    q = 1. The logarithm, because A itself overflows float32 long before its square root does. sqrt(A) N(0, C) with
    q = alpha/2 has characteristic function exp(-(k^T C k / 2)^(alpha/2)). Source: Kanter (1975).
    """
    index = check_tail_index(2 * index, dtype) / 2
    return Variates(Partial(_one_by_one, Partial(_log_one_sided, index)), (), jnp.dtype(dtype), 0, MIXING)


def minibatch(num_examples: int, batch_size: int, sampling: Sampling) -> Variates:
    """The numbers of which `minibatch_indices` makes one minibatch, or all minibatches of one epoch.

    An index is floor(n u) of a 32-bit uniform: every example has probability 1/n to within a relative n 2^-32.
    """
    if sampling == "with_replacement":
        return Variates(Partial(_index_pair, num_examples), (batch_size,), jnp.dtype(jnp.int32), 0, INDICES)
    if sampling == "without_replacement" and not _shuffles(num_examples, batch_size):
        law = Partial(_proposal_pair, num_examples - batch_size + 1)
        return Variates(law, (batch_size,), jnp.dtype(jnp.int32), 0, INDICES)
    return Variates(Partial(_rank_pair), (2, num_examples), jnp.dtype(jnp.int32), 0, INDICES)


def minibatch_indices(numbers: jax.Array, num_examples: int, batch_size: int, sampling: Sampling) -> jax.Array:
    """The examples of one minibatch, (batch_size,): independent, or a uniform subset; for sampling by epochs those of
    the whole epoch, (num_examples // batch_size, batch_size), a random permutation cut into batches, the remainder of
    which sits out."""
    if sampling == "with_replacement":
        return numbers
    if sampling == "without_replacement":
        if _shuffles(num_examples, batch_size):
            return _permutation(numbers)[:batch_size]
        return _subset(numbers, num_examples, batch_size)
    num_batches = num_examples // batch_size
    return _permutation(numbers)[: num_batches * batch_size].reshape(num_batches, batch_size)


def check_tail_index(tail_index: Any, dtype: Any = None) -> Any:
    """The tail index as a float or an array without axes, NaN where a traced one is outside of (0, 2]. Raises unless a
    known one lies in (0, 2], and at 0.4 or above where `dtype` is of less than 64 bits."""
    tail_index = number("tail_index", tail_index, above=0.0, at_most=2.0, mend="2 is Gaussian")
    is_low = not is_traced(tail_index) and np.asarray(tail_index) < SMALLEST_FLOAT32_TAIL_INDEX
    if is_low and dtype is not None and jnp.finfo(dtype).bits < 64:
        raise ValueError(
            f"tail_index: {tail_index} is below {SMALLEST_FLOAT32_TAIL_INDEX}, where the largest draws overflow "
            f"{jnp.dtype(dtype).name}; use float64 (jax_enable_x64) or a larger tail index"
        )
    return tail_index


def _variates_like(like, law, stream):
    leaves, structure = jax.tree.flatten(like)
    variates, first = [], 0
    for leaf in leaves:
        variates.append(Variates(law, tuple(leaf.shape), jnp.dtype(leaf.dtype), first, stream))
        first += variates[-1].size
    return structure.unflatten(variates)


def _normal_pair(block, pair, coordinate, dtype):
    radius_bits, angle_bits = block(pair)
    radius = jnp.sqrt(2 * minus_log_word(radius_bits, dtype))
    # An angle pi v of a half circle, v in [-1/2, 1/2); the highest bit chooses which. (With one form for both halves of
    # the pair, LLVM packs them into one vector and rounds differently from loop to loop.)
    v = jax.lax.bitcast_convert_type(angle_bits << jnp.uint32(1), jnp.int32).astype(dtype) * 2.0**-32
    return _signed(radius * sine(0.5 - jnp.abs(v)), angle_bits), radius * sine(v)


def _one_by_one(variate, block, pair, coordinate, dtype):
    """A law whose number takes a whole block, variate(words, dtype)."""
    return tuple(variate(block(2 * pair + jnp.uint32(half)), dtype) for half in (0, 1))


def _stable(tail_index, words, dtype):
    angle_bits, exponential_bits = words
    a = jnp.asarray(tail_index, dtype)
    inverse = 1 / a
    v = _unit(angle_bits & jnp.uint32(0x7FFFFFFF), dtype)
    w = minus_log_uniform(exponential_bits, dtype)
    sin_u, cos_u = sine(0.5 - v), sine(v)
    sin_au = sine(jnp.minimum(a * (0.5 - v), (2 - a) / 2 + a * v))
    cos_rest = sine(jnp.where(a < 1, a / 2 + (1 - a) * v, (2 - a) / 2 + (a - 1) * v))
    general = exponential(
        logarithm(jnp.maximum(sin_au, jnp.finfo(dtype).tiny))
        - logarithm(cos_u) * inverse
        + (inverse - 1) * (logarithm(cos_rest) - logarithm(w))
    )
    return _signed(jnp.where(a == 1, sin_u / cos_u, jnp.where(a == 2, 2 * sin_u * jnp.sqrt(w), general)), angle_bits)


def _log_one_sided(index, words, dtype):
    angle_bits, exponential_bits = words
    q = jnp.asarray(index, dtype)
    inverse = 1 / q
    v = 2 * _unit(angle_bits >> 1, dtype)
    opposite = 2 * _unit(~angle_bits >> 1, dtype)
    w = minus_log_uniform(exponential_bits, dtype)
    sin_v = sine(jnp.minimum(v, opposite))
    sin_qv = sine(jnp.minimum(q * v, (1 - q) + q * opposite))
    sin_rest = sine(jnp.minimum((1 - q) * v, q + (1 - q) * opposite))
    general = logarithm(sin_qv) - logarithm(sin_v) * inverse + (inverse - 1) * (logarithm(sin_rest) - logarithm(w))
    return jnp.where(q == 1, jnp.zeros((), dtype), general)


def _index_pair(num_examples, block, pair, coordinate, dtype):
    return tuple(_below(word, num_examples) for word in block(pair))


def _proposal_pair(smallest, block, pair, coordinate, dtype):
    """Uniform on 0, ..., n - B + coordinate: Floyd's proposals."""
    return tuple(_below(word, coordinate + jnp.asarray(smallest).astype(jnp.uint32)) for word in block(pair))


def _rank_pair(block, pair, coordinate, dtype):
    """30 random bits: two of them order the examples."""
    return tuple((word >> 2).astype(jnp.int32) for word in block(pair))


def _shuffles(num_examples, batch_size):
    """Whether a subset is the beginning of a permutation: Floyd's algorithm compares B^2 / 2 pairs."""
    return batch_size**2 > 32 * num_examples


def _signed(magnitude: jax.Array, bits: jax.Array) -> jax.Array:
    """With the highest of 32 bits as its sign."""
    if magnitude.dtype != jnp.float32:
        return jnp.where(bits >> 31 == 1, -magnitude, magnitude)
    as_bits = jax.lax.bitcast_convert_type(magnitude, jnp.uint32)
    return jax.lax.bitcast_convert_type(as_bits ^ (bits & jnp.uint32(0x80000000)), jnp.float32)


def _unit(bits31: jax.Array, dtype: Any) -> jax.Array:
    """(bits + 1/2) 2^-32 for 31 random bits: uniform in (0, 1/2), never 0."""
    return (bits31.astype(dtype) + 0.5) * 2.0**-32


def _below(bits: jax.Array, bound: Any) -> jax.Array:
    """floor(bits * bound / 2^32), the high word of a product of two 32-bit words, in 32-bit arithmetic."""
    bound, low, half = jnp.asarray(bound).astype(jnp.uint32), jnp.uint32(0xFFFF), jnp.uint32(16)
    carry = (bits >> half) * (bound & low) + ((bits & low) * (bound & low) >> half)
    middle = (bits & low) * (bound >> half) + (carry & low)
    return ((bits >> half) * (bound >> half) + (carry >> half) + (middle >> half)).astype(jnp.int32)


def _permutation(ranks: jax.Array) -> jax.Array:
    """0, ..., size - 1 in the order of independent 60-bit numbers."""
    return jax.lax.sort((ranks[0], ranks[1], jnp.arange(ranks.shape[1], dtype=jnp.int32)), num_keys=2)[2]


def _subset(proposals: jax.Array, num_examples: int, batch_size: int) -> jax.Array:
    """Floyd's algorithm: a uniform subset in batch_size draws. At j = n - B, ..., n - 1 take a uniform t <= j, or j
    itself if t is already in."""
    places = np.arange(batch_size, dtype=np.int32)

    def insert(position, chosen):
        taken = jnp.any((chosen == proposals[position]) & (places < position))
        new = jnp.where(taken, jnp.int32(num_examples - batch_size) + position, proposals[position])
        return jnp.where(places == position, new, chosen)

    if batch_size > 16:
        return jax.lax.fori_loop(0, batch_size, lambda i, chosen: insert(i.astype(jnp.int32), chosen), proposals)
    chosen = proposals
    for position in range(batch_size):
        chosen = insert(position, chosen)
    return chosen

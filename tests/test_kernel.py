"""The kernel: in interpret mode the plain loop's numbers; and that it lowers for a GPU, without one.

Integers agree bit for bit. Real numbers agree to rounding: XLA joins products and sums differently in the two programs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from sgdsde.kernel import NEVER, refused_primitives, run_kernel
from sgdsde.kernel.primitives import REPLACED, with_native_primitives
from sgdsde.scalars import boxes_like, scalar_form, scalars_of

NUM_CHAINS = 150  # not a whole number of blocks
FIRST, LAST = 3, 20  # neither is the first slot of a pair


def in_float32(*values):
    return tuple(jnp.asarray(value, jnp.float32) for value in values)


def random_pairs(size):
    """A hash of (words, pair, coordinate) as sums of four signed uniforms: a bell of variance 1 in exact arithmetic."""

    def pair_draws(leaves, words, pair):
        pairs = []
        for coordinate in range(size):
            x, y = words[0] ^ (pair * jnp.uint32(0x9E3779B9)), words[1] + jnp.uint32(coordinate + 1)
            for _ in range(4):
                x = (x ^ (x >> jnp.uint32(16))) * jnp.uint32(0x7FEB352D) + y
                y = (y ^ (x >> jnp.uint32(15))) * jnp.uint32(0x846CA68B) + x
            pairs.append(tuple(_bell(word) for word in (x, y)))
        return tuple(zip(*pairs, strict=True))

    return pair_draws


def _bell(word):
    bytes_ = [(word >> jnp.uint32(shift)) & jnp.uint32(0xFF) for shift in (0, 8, 16, 24)]
    return (sum(byte.astype(jnp.int32) for byte in bytes_) - 510).astype(jnp.float32) * np.float32(0.0068)


def double_well(barrier, x):
    return barrier * (x[0] ** 2 - 1) ** 2


def mueller_brown(scale, x):
    wells = (
        (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
        (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
        (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
        (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
    )
    return 0.005 * scale * sum(
        height * jnp.exp(a * (x[0] - u) ** 2 + b * (x[0] - u) * (x[1] - v) + c * (x[1] - v) ** 2)
        for height, a, b, c, u, v in wells
    )  # fmt: skip


def langevin(potential):
    """x' = x - rate grad L(x) - sqrt(rate) z, with a rate that falls with the slot."""

    def advance(shared, x, z):
        rate = shared["rate"] / (1 + shared["slot"].astype(jnp.float32) / 16)
        return x - rate * jax.grad(lambda x: potential(shared["height"], x))(x) - jnp.sqrt(rate) * z

    return advance


def cubic_root(shared, x, z):
    """y + y^3 = x - rate z by Newton's method, as many iterations as each chain needs."""

    def newton(carry):
        y, count = carry
        return y - (y**3 + y - target) / (3 * y**2 + 1), count + 1

    target = x - shared["rate"] * z
    unfinished = lambda carry: (carry[1] < 50) & jnp.any(jnp.abs(carry[0] ** 3 + carry[0] - target) > 1e-5)
    return lax.while_loop(unfinished, newton, (x, 0))[0]


def stepped(advance, size):
    """`step` of a kernel from an advance(shared, x, z) on arrays of `size` coordinates."""
    vector, slot_like = jax.ShapeDtypeStruct((size,), jnp.float32), jax.ShapeDtypeStruct((), jnp.uint32)
    number = jax.ShapeDtypeStruct((), jnp.float32)
    shared = {"height": number, "rate": number, "slot": slot_like}
    form = scalar_form(advance, shared, vector, vector, max_cost=1000)
    assert form is not None

    def step(leaves, state, draws, slot):
        boxes = boxes_like(shared, [*leaves, slot])
        return scalars_of(form(boxes, boxes_like(vector, state), boxes_like(vector, draws)))

    return step


PROBLEMS = {
    "double well": (stepped(langevin(double_well), 1), 1),
    "Mueller-Brown": (stepped(langevin(mueller_brown), 2), 2),
    "Newton": (stepped(cubic_root, 2), 2),
}


def arguments(size, num_chains=NUM_CHAINS):
    random = np.random.default_rng(5)
    words = tuple(random.integers(2**32, size=(2, num_chains), dtype=np.uint32))
    return in_float32(1.5, 0.01), words, in_float32(*random.normal(scale=0.3, size=(size, num_chains)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def plain(step, pair_draws, leaves, words, state, first, last):
    """The loop that the kernel stands for, and the first slot after which a chain is not finite."""

    def one(slot, carry):
        state, lost = carry
        even, odd = jax.vmap(pair_draws, (None, 0, None))(leaves, words, slot >> 1)
        draws = tuple(jnp.where(slot & 1 == 1, b, a) for a, b in zip(even, odd, strict=True))
        state = jax.vmap(step, (None, 0, 0, None))(leaves, state, draws, slot)
        real = [x for x in state if x.dtype == jnp.float32]
        is_finite = jnp.isfinite(jnp.stack(real)).all(axis=0)
        return state, jnp.where((lost == NEVER) & ~is_finite, slot, lost)

    lost = jnp.full(words[0].shape, NEVER, jnp.uint32)
    return lax.fori_loop(jnp.uint32(first), jnp.uint32(last), one, (state, lost))


def interpreted(step, pair_draws, *inputs, **options):
    return jax.jit(functools.partial(run_kernel, step, pair_draws, interpret=True, **options))(*inputs)


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5 if a.dtype == jnp.float32 else 0)


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_plain_loop(name):
    step, size = PROBLEMS[name]
    inputs = (*arguments(size), FIRST, LAST)
    assert_same(interpreted(step, random_pairs(size), *inputs), plain(step, random_pairs(size), *inputs))


def test_blocks_cuts_and_neighbours_do_not_matter():
    step, size = PROBLEMS["double well"]
    draws, (leaves, words, state) = random_pairs(size), arguments(size)
    whole, _ = interpreted(step, draws, leaves, words, state, FIRST, LAST)
    assert_same(whole, interpreted(step, draws, leaves, words, state, FIRST, LAST, block=256)[0])
    half, _ = interpreted(step, draws, leaves, words, state, FIRST, 8)
    assert_same(whole, interpreted(step, draws, leaves, words, half, 8, LAST)[0])
    some = slice(20, 23)
    few = interpreted(step, draws, leaves, [word[some] for word in words], [x[some] for x in state], FIRST, LAST)[0]
    assert_same([x[some] for x in whole], few)
    assert_same(state, interpreted(step, draws, leaves, words, state, 5, 5)[0])


def test_the_slot_of_a_lost_chain():
    """x = 30 in a quartic: the explicit step explodes within a few microsteps; the others go on."""
    step, size = PROBLEMS["double well"]
    leaves, words, (x,) = arguments(size)
    inputs = leaves, words, (x.at[7].set(30.0).at[9].set(jnp.nan),), FIRST, LAST
    state, lost = interpreted(step, random_pairs(size), *inputs)
    assert_same((state, lost), plain(step, random_pairs(size), *inputs))
    assert FIRST < lost[7] < LAST
    assert lost[9] == FIRST
    assert (np.delete(lost, [7, 9]) == NEVER).all()


def test_a_sweep_is_a_vmap():
    step, size = PROBLEMS["double well"]
    leaves, words, state = arguments(size)
    rates = jnp.asarray([0.01, 0.02], jnp.float32)
    run = lambda rate: run_kernel(step, random_pairs(size), (leaves[0], rate), words, state, 0, 4, interpret=True)
    swept = jax.jit(jax.vmap(run))(rates)
    for k in range(2):
        assert_same(jax.tree.map(lambda leaf, k=k: leaf[k], swept), jax.jit(run)(rates[k]))


def counting(leaves, state, draws, slot):
    """Integers of either sign, whose sign the compiler must not forget."""
    x, count = state
    count = jnp.where(draws[0] > 0, jnp.int32(-5), count - 1) + leaves[0]
    return x + 0.1 * count.astype(jnp.float32), jnp.where(count < -8, lax.bitcast_convert_type(slot, jnp.int32), count)


def test_integers_in_the_state():
    _, words, (x,) = arguments(1)
    inputs = (jnp.int32(-1),), words, (x, jnp.arange(NUM_CHAINS, dtype=jnp.int32) - 50), FIRST, LAST
    assert_same(interpreted(counting, random_pairs(1), *inputs), plain(counting, random_pairs(1), *inputs))


def hashing(leaves, state, draws, slot):
    """Every draw in every bit of what follows: exact, so that not one may be another, or come at another time."""
    word = lax.bitcast_convert_type(draws[0], jnp.uint32) + leaves[0] * lax.bitcast_convert_type(draws[1], jnp.uint32)
    return (state[0] * jnp.uint32(0x2545F491) + word * (2 * slot + 1), state[1])


def test_the_same_draws_at_the_same_slots_bit_for_bit():
    _, words, (x,) = arguments(1)
    inputs = (jnp.uint32(77),), words, (jnp.arange(NUM_CHAINS, dtype=jnp.uint32), x), FIRST, LAST
    (ours, _), _ = interpreted(hashing, random_pairs(2), *inputs)
    (theirs, _), _ = plain(hashing, random_pairs(2), *inputs)
    np.testing.assert_array_equal(ours, theirs)


def lowered_for_gpu(step, pair_draws, *inputs):
    pytest.importorskip("jax.experimental.pallas.mosaic_gpu", exc_type=ImportError)
    run = jax.jit(functools.partial(run_kernel, step, pair_draws))
    return run.trace(*inputs).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("name", PROBLEMS)
def test_it_lowers_for_a_gpu(name):
    step, size = PROBLEMS[name]
    text = lowered_for_gpu(step, random_pairs(size), *arguments(size), jnp.uint32(FIRST), jnp.uint32(LAST))
    assert text.count("custom_call @mosaic_gpu") == 1


def test_integers_and_constants_lower_for_a_gpu():
    def step(leaves, state, draws, slot):
        return *counting(leaves, state[:2], draws, slot), jnp.float32(2.0)

    _, words, (x,) = arguments(1)
    state = x, jnp.zeros(NUM_CHAINS, jnp.int32), x
    text = lowered_for_gpu(step, random_pairs(1), (jnp.int32(-1),), words, state, FIRST, LAST)
    assert text.count("custom_call @mosaic_gpu") == 1


def test_what_a_kernel_refuses():
    x = jnp.float32(0.5)
    assert refused_primitives(lambda x: jax.scipy.special.erfinv(x) + jnp.sqrt(x), x) == {"erf_inv"}
    assert refused_primitives(lambda x: x % 3, x) == {"rem"}
    assert refused_primitives(lambda n: n % 3, jnp.uint32(7)) == set()
    looped = lambda x: lax.while_loop(lambda y: y < 3, lambda y: lax.lgamma(y) + 9, jax.jit(lax.cbrt)(x))
    assert refused_primitives(looped, x) == {"cbrt", "lgamma"}
    table = np.arange(3.0)
    assert refused_primitives(lambda k: jnp.asarray(table)[k], 1) >= {"constant"}
    for step, size in PROBLEMS.values():
        leaves, words, state = jax.tree.map(lambda leaf: leaf if leaf.ndim == 0 else leaf[0], arguments(size))
        assert not refused_primitives(random_pairs(size), leaves, words, jnp.uint32(0))
        assert not refused_primitives(step, leaves, state, state, jnp.uint32(0))


SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, -1e-6, 0.3, -0.45, 0.7, -2.5, 2.0, 17.0, -40.0, 1e4])
ORIGINALS = {
    "ceil": jnp.ceil,
    "cosh": jnp.cosh,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "is_finite": jnp.isfinite,
    "log1p": jnp.log1p,
    "pow": lambda x: jnp.stack([jnp.power(x, np.float32(y)) for y in (0.0, 2.0, 3.0, -1.0, 0.7)]),
    "sqrt": jnp.sqrt,
    "stop_gradient": lax.stop_gradient,
    "tan": jnp.tan,
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_replacements_are_what_they_replace(name):
    """To a few roundings of float32 (a power: of its exponent), with the same NaN and infinities."""
    x, original = jnp.asarray(SPECIAL, jnp.float32), ORIGINALS[name]
    native = with_native_primitives(original)
    left = {equation.primitive.name for equation in jax.make_jaxpr(native)(x).eqns}
    assert not left & (REPLACED.keys() - {"select_n", "bitcast_convert_type"})
    np.testing.assert_allclose(native(x), original(x), rtol=3e-6)


def test_every_replacement_is_tested():
    elsewhere = {"add_any", "bitcast_convert_type", "copy", "one_minus_square", "select_n"}
    assert REPLACED.keys() == ORIGINALS.keys() | elsewhere

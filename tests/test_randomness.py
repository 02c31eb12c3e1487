"""The counter-based generator, exactly: known answers, the same numbers however they are drawn, no number twice."""

import dataclasses

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from sgdsde import laws, randomness
from sgdsde.randomness import Variates

LARGEST = 2**31 - 2**24
"""the most examples of which an index survives its travel as the bits of a float32"""
NUM_CHAINS, FIRST_PAIR, NUM_PAIRS = 5, 3, 4

VARIATES = {
    "normals": laws.normals({"a": jnp.zeros(2, jnp.float32), "b": jnp.zeros((2, 1), jnp.float64)}),
    "normals in half precision": laws.normals(jnp.zeros(1, jnp.bfloat16)),
    "stable": laws.symmetric_stable(1.5, jnp.zeros(2, jnp.float32)),
    "one-sided stable": laws.log_one_sided_stable(0.75, jnp.float64),
    "with replacement": laws.minibatch(7, 2, "with_replacement"),
    "without replacement": laws.minibatch(40, 2, "without_replacement"),
    "permutation": laws.minibatch(3, 1, "epoch"),
    "with replacement of many": laws.minibatch(LARGEST, 2, "with_replacement"),
    "without replacement of many": laws.minibatch(LARGEST, 2, "without_replacement"),
}


def leaves(variates):
    return jax.tree.leaves(variates, is_leaf=lambda node: isinstance(node, Variates))


def chain_keys(key, count):
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(count, dtype=jnp.uint32))


def first_words(values, block, pair, coordinate, dtype):
    """A law that hands out the words themselves, the first at even slots and the second at odd ones."""
    return block(pair)


def given_values(values, block, pair, coordinate, dtype):
    return values[2 * coordinate.astype(jnp.int32)], values[2 * coordinate.astype(jnp.int32) + 1]


@jax.jit
def draws_of_all(variates, keys, slots):
    """A pytree of (num_slots, num_chains, *shape)."""
    one_chain = lambda slot: jax.vmap(randomness.draw, in_axes=(None, 0, None))(variates, keys, slot)
    return jax.vmap(one_chain)(slots)


@pytest.fixture(scope="module")
def drawn():
    """All numbers of `VARIATES` of a few chains at a few slots, by `draw`: name -> arrays, leaf after leaf."""
    keys = chain_keys(jax.random.key(20), NUM_CHAINS)
    slots = jnp.arange(2 * FIRST_PAIR, 2 * (FIRST_PAIR + NUM_PAIRS))
    draws = draws_of_all(VARIATES, keys, slots)
    return {name: [np.asarray(leaf) for leaf in jax.tree.leaves(draws[name])] for name in VARIATES}


def test_threefry_has_its_known_answers_and_is_the_generator_of_jax(key):
    """Random123's test vectors, then JAX's own words for the same key and counters."""
    ones = 0xFFFFFFFF
    for words, counter, answer in [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ones, ones), (ones, ones), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]:
        words, counter = (tuple(map(jnp.uint32, pair)) for pair in (words, counter))
        found = randomness.threefry2x32(randomness.key_schedule(words), counter)
        assert tuple(int(word) for word in found) == answer
    counters = jax.random.bits(jax.random.key(1), (2, 1000), jnp.uint32)
    ours = randomness.threefry2x32(randomness.key_schedule(randomness.key_words(key)), tuple(counters))
    theirs = jax.extend.random.threefry_2x32(jax.random.key_data(key), counters.ravel())
    np.testing.assert_array_equal(jnp.concatenate(ours), theirs)


def test_a_number_has_the_block_of_its_chain_pair_and_coordinate(key):
    """At the counter (coordinate + first + 2^29 stream, pair): the even slot takes one word, the odd slot the other."""
    variates = Variates(Partial(first_words, None), (2, 3), jnp.dtype(jnp.uint32), 10, 5)
    for slot in (0, 1, 6, 7, 2**32 - 1):
        counters = jnp.concatenate([10 + 5 * 2**29 + jnp.arange(6), jnp.full(6, slot >> 1)]).astype(jnp.uint32)
        blocks = jax.extend.random.threefry_2x32(jax.random.key_data(key), counters).reshape(2, 2, 3)
        np.testing.assert_array_equal(randomness.draw(variates, key, slot), blocks[slot & 1])


def test_a_law_sees_its_pair_its_coordinate_and_its_precision(key):
    def law(block, pair, coordinate, dtype):
        code = (pair * jnp.uint32(100) + coordinate).astype(dtype)
        return code, code + 0.5 * (dtype == jnp.float64)

    for dtype, half in ((jnp.bfloat16, 0), (jnp.float32, 0), (jnp.float64, 0.5)):
        found = randomness.draw(Variates(Partial(law), (2,), jnp.dtype(dtype), 30, 1), key, 2 * 7 + 1)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, (jnp.array([700.0, 701.0]) + half).astype(dtype))


def assert_same(found, expected):
    """Integers bit for bit; what is computed from the words to rounding, because the compiler fuses multiplications
    with additions in some vectors and not in others."""
    if np.issubdtype(np.asarray(found).dtype, np.integer):
        np.testing.assert_array_equal(found, expected)
    else:
        rounding = 30 * float(jnp.finfo(np.asarray(found).dtype).eps)
        np.testing.assert_allclose(found, expected, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("chains_last", [True, False])
def test_numbers_drawn_in_pairs_are_those_drawn_one_by_one(drawn, chains_last):
    """In both layouts of memory; the integers have travelled as the bits of floats."""
    schedule = randomness.key_schedule(randomness.key_words(chain_keys(jax.random.key(20), NUM_CHAINS)))
    pairs = FIRST_PAIR + jnp.arange(NUM_PAIRS, dtype=jnp.uint32)
    packed = jax.jit(lambda *drawn: randomness.draw_pairs(VARIATES, *drawn, chains_last=chains_last))(schedule, pairs)
    both = jax.jit(lambda packed, odd: randomness.halves(VARIATES, packed, odd))
    for half in (0, 1):
        found = both(packed, half == 1)
        for name, variates in VARIATES.items():
            rows = zip(leaves(variates), drawn[name], jax.tree.leaves(found[name]), strict=True)
            for leaf, one_by_one, in_pairs in rows:
                assert one_by_one.dtype == in_pairs.dtype == leaf.dtype
                expected = one_by_one[half::2].reshape(NUM_PAIRS, NUM_CHAINS, leaf.size)
                expected = np.moveaxis(expected, 1, -1) if chains_last else expected
                assert_same(in_pairs, expected)


def test_numbers_drawn_as_scalars_are_those_drawn_one_by_one(drawn):
    words = randomness.key_words(chain_keys(jax.random.key(20), NUM_CHAINS))
    both = jax.jit(lambda *drawn: randomness.scalar_pairs(VARIATES, *drawn))
    total = randomness.num_variates(VARIATES)
    assert total == 4 + 1 + 2 + 1 + 2 * 4 + 6  # the coordinates of VARIATES
    for pair in range(NUM_PAIRS):
        for half, scalars in enumerate(both(words, jnp.uint32(FIRST_PAIR + pair))):
            assert len(scalars) == total
            scalars = iter(scalars)
            for name in sorted(drawn):
                for leaf in drawn[name]:
                    for expected in leaf[2 * pair + half].reshape(NUM_CHAINS, -1).T:
                        found = next(scalars)
                        assert found.dtype == expected.dtype
                        assert_same(found, expected)


def test_numbers_depend_neither_on_how_many_are_drawn_at_once_nor_on_the_layout(drawn):
    """Many chains and pairs against `drawn`'s few, to rounding: the compiler fuses multiplications with additions in
    some vectors and not in others."""
    variates = {"normals": VARIATES["normals"]["a"], "stable": VARIATES["stable"]}
    schedule = randomness.key_schedule(randomness.key_words(chain_keys(jax.random.key(20), 263)))
    pairs = jnp.arange(FIRST_PAIR + NUM_PAIRS + 2, dtype=jnp.uint32)
    draw = jax.jit(randomness.draw_pairs, static_argnames="chains_last")
    last, first = (draw(variates, schedule, pairs, chains_last=chains_last) for chains_last in (True, False))
    for name in variates:
        many = np.asarray(first[name])
        assert_same(many, np.moveaxis(np.asarray(last[name]), 1, -1))
        few = many[FIRST_PAIR : FIRST_PAIR + NUM_PAIRS, :NUM_CHAINS]
        assert_same(few.real, drawn[name][0][::2])
        assert_same(few.imag, drawn[name][0][1::2])


@pytest.mark.parametrize("chains_last", [True, False])
def test_integers_survive_their_travel_as_the_bits_of_floats(chains_last):
    """Through a loop's operand, as in a run; as floats they are normal numbers, which no hardware flushes to zero or
    takes for NaN."""
    ends = [0, 1, 2**23, 2**30 - 1, LARGEST - 2, LARGEST - 1]
    values = np.concatenate([ends, np.random.default_rng(0).integers(0, LARGEST, 1000)]).astype(np.int32)
    variates = Variates(Partial(given_values, jnp.asarray(values)), (values.size // 2,), jnp.dtype(jnp.int32), 0, 0)

    @jax.jit
    def travel(schedule, pairs):
        packed = randomness.draw_pairs(variates, schedule, pairs, chains_last=chains_last)
        take = lambda slot, row: randomness.halves(variates, row, slot & 1 == 1)
        return packed, jax.lax.map(lambda slot: take(slot, packed[slot >> 1]), jnp.arange(2 * len(pairs)))

    schedule = randomness.key_schedule(tuple(jnp.zeros((2, 3), jnp.uint32)))
    packed, found = (np.asarray(each) for each in travel(schedule, jnp.arange(2, dtype=jnp.uint32)))
    halves = packed.view(np.float32)
    assert (np.isfinite(halves) & (halves >= np.finfo(np.float32).tiny)).all()
    found = found if chains_last else np.moveaxis(found, -1, 1)
    assert found.dtype == np.int32
    for slot in range(4):
        for chain in range(3):
            np.testing.assert_array_equal(found[slot, :, chain], values[slot % 2 :: 2])


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_a_key_of_another_implementation_gives_two_of_its_words(implementation):
    theirs = jax.random.key(3, impl=implementation)
    ours = randomness.counter_key(theirs)
    assert str(jax.random.key_impl(ours)) in ("threefry2x32", "fry")
    words = jax.random.bits(theirs, (2,), jnp.uint32)
    np.testing.assert_array_equal(jax.random.key_data(ours), words)
    np.testing.assert_array_equal(jnp.stack(randomness.key_words(theirs)), words)
    variates = VARIATES["with replacement"]
    np.testing.assert_array_equal(randomness.draw(variates, theirs, 7), randomness.draw(variates, ours, 7))


def test_a_threefry_key_stays_itself_and_old_style_keys_are_the_same_keys():
    old, new = jax.random.PRNGKey(4), jax.random.key(4)
    np.testing.assert_array_equal(jax.random.key_data(randomness.counter_key(new)), old)
    for key in (old, new):
        np.testing.assert_array_equal(jnp.stack(randomness.key_words(key)), old)
    many = jax.random.split(new, 3)
    np.testing.assert_array_equal(jnp.stack(randomness.key_words(many), axis=-1), jax.random.key_data(many))
    np.testing.assert_array_equal(
        jnp.stack(randomness.key_words(jax.random.key_data(many)), axis=-1), jax.random.key_data(many)
    )
    variates = VARIATES["with replacement"]
    np.testing.assert_array_equal(randomness.draw(variates, old, 7), randomness.draw(variates, new, 7))


def test_no_two_numbers_of_a_key_share_a_block(key):
    """All coordinates of all leaves of one pytree, and of the four purposes, at some slots: threefry is one-to-one, so
    that different counters have different pairs of words."""
    like = {"a": jnp.zeros(3), "b": jnp.zeros(()), "c": jnp.zeros((2, 2))}
    variates = [
        laws.normals(like),
        laws.symmetric_stable(1.5, like),
        laws.log_one_sided_stable(0.5, jnp.float64),
        laws.minibatch(10, 4, "epoch"),
    ]
    raw = [
        dataclasses.replace(leaf, law=Partial(first_words, None), dtype=jnp.dtype(jnp.uint32))
        for leaf in leaves(variates)
    ]
    slots = np.array([0, 1, 2, 3, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1], np.uint32)
    draws = [np.asarray(leaf) for leaf in draws_of_all(raw, chain_keys(key, 3), slots)]
    words = np.concatenate([leaf.reshape(len(slots), -1) for leaf in draws], axis=1).astype(np.uint64)
    blocks = words[::2] << np.uint64(32) | words[1::2]
    assert blocks.size == 4 * 3 * (8 + 8 + 1 + 20)
    assert len(np.unique(blocks)) == blocks.size


def test_chains_slots_and_coordinates_have_different_numbers(drawn):
    for name in ("normals", "stable", "one-sided stable"):
        draws = np.concatenate([leaf.ravel() for leaf in drawn[name]])
        assert len(np.unique(draws)) == draws.size


def test_our_draws_never_reuse_a_key(key):
    from sgdsde import noise
    from sgdsde.dynamics.minibatch import sgd
    from sgdsde.problem import Problem

    problem = Problem(lambda x, z: z @ x, jnp.eye(4), lambda k: jnp.zeros(4))
    noises = [
        noise.isotropic(problem, variance=1.0),
        noise.anisotropic(problem, batch_size=2, sampling="with_replacement"),
        noise.levy(problem, tail_index=1.5, scale=1.0),
        noise.levy_coordinates(problem, tail_index=1.5, scale=1.0),
        noise.anisotropic_levy(problem, tail_index=1.5, batch_size=2, sampling="with_replacement"),
    ]
    samplings = ("with_replacement", "without_replacement", "epoch")
    steps = [sgd(problem, learning_rate=0.1, batch_size=2, sampling=sampling) for sampling in samplings]
    functions = [law.draw for law in noises] + [lambda key, one=one: one.draw(key, 0, 0) for one in steps]
    keys = [jax.random.clone(key) for _ in functions]
    with jax.debug_key_reuse(True):
        jax.jit(lambda keys: [draw(key) for draw, key in zip(functions, keys, strict=True)])(keys)
        jax.jit(functions[-3])(jax.random.key(0, impl="rbg"))
        with pytest.raises(jax.errors.KeyReuseError):
            jax.jit(lambda key: jax.random.bits(key) + jax.random.bits(key))(key)

"""Randomness: exact known answers, exact laws, then statistics with z limits (5.9: one false alarm in 3e8 each)."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from sgdsde import randomness

Z = 5.9


def many(sampler, key, count):
    return np.asarray(jax.jit(jax.vmap(sampler))(jax.random.split(key, count)))


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_draws_do_not_depend_on_how_many_chains_there_are(implementation):
    key = randomness.counter_key(jax.random.key(3, impl=implementation))
    draw = lambda chain: randomness.normals_like(
        randomness.step_key(jax.random.fold_in(key, chain), 7, 0), jnp.zeros(2)
    )
    chains = jnp.arange(5, dtype=jnp.uint32)
    np.testing.assert_array_equal(jax.vmap(draw)(chains)[:2], jax.vmap(draw)(chains[:2]))


def test_threefry_has_its_known_answers_and_is_the_generator_of_jax(key):
    """Random123's test vectors, then JAX's own words for the same key and counters."""
    ones = 0xFFFFFFFF
    for words, counter, answer in [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ones, ones), (ones, ones), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]:
        found = randomness.threefry2x32(
            tuple(jnp.uint32(word) for word in words), tuple(jnp.uint32(word) for word in counter)
        )
        assert tuple(int(word) for word in found) == answer
    theirs = jax.extend.random.threefry_2x32(jax.random.key_data(key), jnp.array([7, 0], jnp.uint32))
    np.testing.assert_array_equal(jax.random.key_data(randomness.step_key(key, 7, 0)), theirs)


@pytest.mark.parametrize("bound", [1, 3, 65_537, 2**31 - 1])
def test_indices_are_the_high_word_of_a_product(key, bound):
    bits = jax.random.bits(key, (100,), jnp.uint32)
    exact = [(int(word) * bound) >> 32 for word in np.asarray(bits)]
    np.testing.assert_array_equal(randomness._below(bits, bound), exact)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_sine_is_right_to_rounding(dtype):
    y = jnp.linspace(-0.5, 0.5, 10_001).astype(dtype)
    exact = np.sin(np.pi * np.asarray(y, np.longdouble))
    found = np.asarray(jax.jit(randomness._sine)(y), np.longdouble)
    np.testing.assert_allclose(found, exact, rtol=4 * jnp.finfo(dtype).eps, atol=0)


def test_old_style_keys_are_the_same_keys():
    old, new = jax.random.PRNGKey(4), jax.random.key(4)
    np.testing.assert_array_equal(
        jax.random.key_data(randomness.step_key(old, 1, 2)), jax.random.key_data(randomness.step_key(new, 1, 2))
    )


def test_counters_and_coordinates_give_different_draws(key):
    keys = [randomness.step_key(key, step, substep) for step in range(3) for substep in range(3)]
    draws = np.stack([randomness.normals_like(k, {"a": jnp.zeros(2), "b": jnp.zeros(1)})["a"] for k in keys])
    assert len(np.unique(draws)) == draws.size


def test_our_draws_never_reuse_a_key(key):
    from sgdsde import noise
    from sgdsde.dynamics.minibatch import sgd
    from sgdsde.problem import Problem

    problem = Problem(lambda x, z: z @ x, jnp.eye(4), lambda k: jnp.zeros(4))
    laws = [
        noise.isotropic(problem, variance=1.0),
        noise.anisotropic(problem, batch_size=2, sampling="with_replacement"),
        noise.levy(problem, tail_index=1.5, scale=1.0),
        noise.levy_coordinates(problem, tail_index=1.5, scale=1.0),
        noise.anisotropic_levy(problem, tail_index=1.5, batch_size=2, sampling="with_replacement"),
    ]
    samplings = ("with_replacement", "without_replacement", "epoch")
    steps = [sgd(problem, learning_rate=0.1, batch_size=2, sampling=sampling) for sampling in samplings]
    with jax.debug_key_reuse(True):
        for law in laws:
            jax.jit(law.draw)(randomness.step_key(key, 0, 0))
        for dynamics in steps:
            jax.jit(dynamics.draw)(jax.random.clone(key), 0, 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_normals_are_normal(key, dtype):
    draws = many(lambda k: randomness.normals_like(k, jnp.zeros(4, dtype)), key, 50_000).ravel()
    assert draws.dtype == dtype
    assert scipy.stats.kstest(draws, "norm").pvalue > 1e-8


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("tail_index", [0.8, 1.0, 1.5, 1.9, 2.0])
def test_symmetric_stable_has_its_characteristic_function(key, tail_index, dtype):
    """E cos(k X) = exp(-|k|^a). False alarm 4e-9 a row; a scale off by sqrt(2) is rejected by more than 100 se."""
    draws = many(lambda k: randomness.symmetric_stable(k, tail_index, (4,), dtype), key, 50_000).ravel()
    assert np.isfinite(draws).all()
    for wave in (0.3, 1.0, 2.0):
        cosines = np.cos(wave * draws.astype(np.float64))
        error = cosines.std() / np.sqrt(draws.size)
        assert abs(cosines.mean() - np.exp(-(wave**tail_index))) < Z * error
        sines = np.sin(wave * draws.astype(np.float64))
        assert abs(sines.mean()) < Z * sines.std() / np.sqrt(draws.size)


def test_tail_index_one_is_cauchy_and_two_is_normal_of_variance_two(key):
    for tail_index, law in ((1.0, scipy.stats.cauchy()), (2.0, scipy.stats.norm(scale=np.sqrt(2.0)))):
        draws = many(lambda k, a=tail_index: randomness.symmetric_stable(k, a, (4,), jnp.float32), key, 50_000)
        assert scipy.stats.kstest(draws.ravel().astype(np.float64), law.cdf).pvalue > 1e-8


def test_general_formula_meets_the_exact_branches(key):
    """The law is continuous in the tail index: the same bits give nearly the same variates."""
    for exact in (1.0, 2.0):
        near = exact - 1e-7
        a = randomness.symmetric_stable(key, exact, (1000,), jnp.float64)
        b = randomness.symmetric_stable(key, near, (1000,), jnp.float64)
        np.testing.assert_allclose(a, b, rtol=3e-5)


def test_float32_draws_are_the_float64_draws_rounded(key):
    """Same bits, same variates: an instability of the float32 formula would show as a large relative difference."""
    for tail_index in (0.5, 0.8, 1.2, 1.5, 1.9, 1.999):
        single = randomness.symmetric_stable(key, tail_index, (20_000,), jnp.float32)
        double = randomness.symmetric_stable(key, tail_index, (20_000,), jnp.float64)
        np.testing.assert_allclose(single, double, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("index", [0.3, 0.5, 0.75, 0.95])
def test_one_sided_stable_has_its_laplace_transform(key, index):
    """E exp(-s A) = exp(-s^q): a bounded functional; index 1/2 is also the Levy law of scale 1/2."""
    draws = np.exp(many(lambda k: randomness.one_sided_stable(k, index, jnp.float64), key, 200_000))
    for s in (0.1, 1.0, 4.0):
        values = np.exp(-s * draws)
        assert abs(values.mean() - np.exp(-(s**index))) < Z * values.std() / np.sqrt(draws.size)
    if index == 0.5:
        assert scipy.stats.kstest(draws, scipy.stats.levy(scale=0.5).cdf).pvalue > 1e-8


def test_one_sided_stable_of_index_one_is_one(key):
    assert randomness.one_sided_stable(key, 1.0, jnp.float32) == 0.0


@pytest.mark.parametrize("tail_index", [0.0, -1.0, 2.5, float("nan")])
def test_a_tail_index_outside_its_range_is_refused(key, tail_index):
    with pytest.raises(ValueError, match=r"tail_index.*\(0, 2\]"):
        randomness.symmetric_stable(key, tail_index, (1,), jnp.float64)


def test_a_tail_index_that_overflows_float32_is_refused(key):
    with pytest.raises(ValueError, match="overflow float32"):
        randomness.symmetric_stable(key, 0.3, (1,), jnp.float32)


@pytest.mark.parametrize(("num_examples", "batch_size"), [(5, 2), (6, 6), (40, 36)])
def test_subsets_are_uniform(key, num_examples, batch_size):
    """Both algorithms (Floyd's and the permutation): distinct, and each pair of examples equally often together."""
    draws = many(
        lambda k: randomness.minibatch_indices(k, num_examples, batch_size, "without_replacement"), key, 20_000
    )
    assert all(len(set(row)) == batch_size for row in draws[:200])
    member = (draws[:, :, None] == np.arange(num_examples)).any(axis=1).astype(float)
    together = member.T @ member / len(draws)
    single = batch_size / num_examples
    pair = single * (batch_size - 1) / (num_examples - 1)
    expected = np.where(np.eye(num_examples, dtype=bool), single, pair)
    assert np.abs(together - expected).max() <= Z * np.sqrt(0.25 / len(draws))


def test_small_subsets_are_uniform_over_all_of_them(key):
    draws = many(lambda k: randomness.minibatch_indices(k, 5, 2, "without_replacement"), key, 20_000)
    _, counts = np.unique(np.sort(draws, axis=1), axis=0, return_counts=True)
    assert len(counts) == 10
    assert scipy.stats.chisquare(counts).pvalue > 1e-8


def test_with_replacement_is_uniform_and_independent(key):
    draws = many(lambda k: randomness.minibatch_indices(k, 3, 2, "with_replacement"), key, 20_000)
    _, counts = np.unique(draws, axis=0, return_counts=True)
    assert len(counts) == 9
    assert scipy.stats.chisquare(counts).pvalue > 1e-8


def test_an_epoch_uses_every_example_at_most_once_and_the_remainder_sits_out(key):
    batches = np.asarray(randomness.epoch_indices(key, 11, 3))
    assert batches.shape == (3, 3)
    assert len(np.unique(batches)) == 9


def stable_tail_probability(tail_index, level):
    """P(X > level) for a symmetric stable X of scale 1 and level >= 10: the asymptotic series
    (1/pi) sum_k (-1)^(k+1) Gamma(a k)/k! sin(pi a k/2) level^(-a k), to its smallest term; closed forms at 1 and 2."""
    if tail_index == 2:
        return scipy.stats.norm.sf(level, scale=np.sqrt(2))
    if tail_index == 1:
        return scipy.stats.cauchy.sf(level)
    k = np.arange(1, 30)
    size = np.exp(scipy.special.gammaln(tail_index * k) - scipy.special.gammaln(k + 1)) * level ** (-tail_index * k)
    last = int(np.argmin(size)) + 1
    return float(np.sum(((-1.0) ** (k + 1) * np.sin(np.pi * tail_index * k / 2) * size)[:last]) / np.pi)


@pytest.mark.slow
@pytest.mark.parametrize("tail_index", [0.8, 1.0, 1.2, 1.5, 1.9, 2.0])
def test_fifty_million_float32_stable_draws(tail_index):
    """No non-finite value; the CDF at 200 points within 5.9 standard errors (4e-4) of SciPy's; the right numbers beyond
    10, 100 and 1000 scales."""
    count, blocks = 1_000_000, 50
    grid = np.concatenate([-np.geomspace(20, 1e-2, 100), np.geomspace(1e-2, 20, 100)])
    levels = np.array([10.0, 100.0, 1000.0])
    block = jax.jit(lambda key: randomness.symmetric_stable(key, tail_index, (count,), jnp.float32))
    below, beyond = np.zeros(grid.size), np.zeros(levels.size)
    for index in range(blocks):
        draws = np.sort(np.asarray(block(jax.random.fold_in(jax.random.key(8), index))).astype(np.float64))
        assert np.isfinite(draws[[0, -1]]).all()
        assert not np.isnan(draws).any()
        below += np.searchsorted(draws, grid)
        beyond += np.searchsorted(draws, -levels) + count - np.searchsorted(draws, levels)
    total = count * blocks
    law = scipy.stats.norm(scale=np.sqrt(2)) if tail_index == 2 else scipy.stats.levy_stable(tail_index, 0.0)
    assert np.abs(below / total - law.cdf(grid)).max() < Z * 0.5 / np.sqrt(total)
    for level, found in zip(levels, beyond, strict=True):
        expected = 2 * total * stable_tail_probability(tail_index, level)
        assert abs(found - expected) <= Z * np.sqrt(expected + 1)

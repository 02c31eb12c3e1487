"""What is drawn. First exactly: the formulas of the words, the float32 normals' distribution over all their words,
Floyd's algorithm over all proposals; then statistics with fixed seeds and z limits (5.9: one false alarm in 3e8 each).
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from sgdsde import laws, randomness

Z = 5.9
SMALLEST_P = 1e-8
EXTREME_WORDS = (0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


@functools.partial(jax.jit, static_argnames=("num_chains", "num_pairs"))
def numbers(variates, key, num_chains=1000, num_pairs=25):
    """The numbers of many chains at consecutive slots, (2 num_pairs, num_chains, *shape), as a run draws them."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(num_chains, dtype=jnp.uint32))
    pairs = jnp.arange(num_pairs, dtype=jnp.uint32)
    schedule = randomness.key_schedule(randomness.key_words(keys))
    packed = randomness.draw_pairs(variates, schedule, pairs, chains_last=False)
    both = [randomness.halves(variates, packed, odd) for odd in (False, True)]
    return jnp.stack(both, axis=1).reshape(2 * num_pairs, num_chains, *variates.shape)


def sample(variates, key, **counts):
    """The same in one row of float64."""
    draws = np.asarray(numbers(variates, key, **counts))
    assert draws.dtype == variates.dtype
    return draws.ravel().astype(np.float64)


@jax.jit
def of_words(variates, words):
    """The two numbers that a law makes of two words, or of two arrays of them."""
    wide = variates.dtype == jnp.float64
    zero = jnp.uint32(0)
    return variates.law(lambda number: words, zero, zero, jnp.float64 if wide else jnp.float32)


def some_words(count=20_000):
    """Random pairs of words and the extreme ones."""
    random = np.random.default_rng(0).integers(0, 2**32, (2, count), dtype=np.uint32)
    corners = np.array(list(itertools.product(EXTREME_WORDS, repeat=2)), np.uint32).T
    return tuple(jnp.asarray(word) for word in np.concatenate([random, corners], axis=1))


def uniforms(words):
    """(word + 1/2) / 2^32 and what is missing to 1, exactly."""
    u = (np.asarray(words).astype(np.longdouble) + 0.5) / 2**32
    return u, 1 - u


# normals


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_pair_of_normals_has_the_radius_of_its_first_word(dtype):
    """even^2 + odd^2 = -2 log u with u = (word | 1) 2^-32, never beyond 6.67."""
    words = some_words()
    even, odd = (np.asarray(half).astype(np.longdouble) for half in of_words(laws.normals(jnp.zeros((), dtype)), words))
    exact = -2 * np.log((np.asarray(words[0]) | 1).astype(np.longdouble) / 2**32)
    assert (np.abs(even**2 + odd**2 - exact) <= 6 * jnp.finfo(dtype).eps * (exact + (dtype == jnp.float32))).all()
    assert np.hypot(even, odd).max() < 6.67


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_angles_of_equidistant_second_words_are_equidistant(dtype):
    """Round the whole circle, whatever the bits choose: to 2^-31 of a turn, the spacing of words, and some rounding."""
    count = 40_000
    words = jnp.full(count, 2**30, jnp.uint32), equidistant_words(count)
    even, odd = (np.asarray(half).astype(np.float64) for half in of_words(laws.normals(jnp.zeros((), dtype)), words))
    turns = np.sort(np.arctan2(odd, even) / (2 * np.pi) + 0.5)
    np.testing.assert_allclose(turns, (np.arange(count) + 0.5) / count, rtol=0, atol=2**-31 + jnp.finfo(dtype).eps)


def test_float32_normals_are_the_float64_normals_rounded():
    """The angle between the two is at most 4 eps of a right angle."""
    words = some_words()
    single, double = (
        np.asarray(of_words(laws.normals(jnp.zeros((), dtype)), words)).astype(np.float64)
        for dtype in (jnp.float32, jnp.float64)
    )
    cross = np.abs(single[0] * double[1] - single[1] * double[0])  # product of the radii and the sine of the angle
    assert (cross <= 4 * 2.0**-23 * np.pi / 2 * np.hypot(*single) * np.hypot(*double)).all()


@functools.partial(jax.jit, static_argnames="half")
def float32_normals_beyond(levels, half, angle_words):
    """P(X > level) of the even (half 0) or odd number over all 2^32 first words, the mean over some second words.

    X is monotone in the first word (`test_the_radius_never_rises_with_its_word`): for each second word a bisection
    counts the words exactly. The probability is a smooth function of the angle, periodic and even at the axes, so that
    the mean over equidistant second words converges faster than any power.
    """

    def number(word):
        words = jnp.broadcast_to(word, angle_words.shape).astype(jnp.uint32), angle_words
        return of_words(laws.normals(jax.ShapeDtypeStruct((), jnp.float32)), words)[half]

    falling = number(jnp.int64(0)) > number(jnp.int64(2**32 - 1))

    def beyond(level):
        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) // 2
            passed = (number(middle) > level) != falling  # false for the words below the sought one, true from it on
            return jnp.where(passed | (low == high), low, middle + 1), jnp.where(passed, middle, high)

        bracket = jnp.zeros(angle_words.shape, jnp.int64), jnp.full(angle_words.shape, 2**32)
        first = jax.lax.fori_loop(0, 33, halve, bracket)[0]
        return jnp.mean(jnp.where(falling, first, 2**32 - first).astype(jnp.float64)) / 2**32

    return jax.lax.map(beyond, levels)


def equidistant_words(count):
    return jnp.asarray(np.round((np.arange(count) + 0.5) * (2**32 / count)).astype(np.uint32))


@pytest.mark.parametrize("half", [0, 1])
def test_float32_normals_have_the_exact_distribution(half):
    """Over all words: the CDF within 1e-7 on [-5, 5] (2.0e-8 found; 2^-25 = 3.0e-8 is half a spacing of the float32
    uniform); both tails out to 6 standard deviations, to four roundings of the radius and one of the 2^31 e^(-x^2/2)
    different uniforms beyond (1.7e-3 found at 6, where there are 33)."""
    angles = equidistant_words(10_000)
    levels = np.concatenate([-np.geomspace(5, 0.02, 40), [0.0], np.geomspace(0.02, 5, 40)]).astype(np.float32)
    error = np.asarray(float32_normals_beyond(levels, half, angles)) - scipy.stats.norm.sf(levels.astype(np.float64))
    assert np.abs(error).max() < 1e-7
    tails = np.array([3, 4, 5, 6], np.float32)
    exact = scipy.stats.norm.sf(tails.astype(np.float64))
    upper = np.asarray(float32_normals_beyond(tails, half, angles))
    lower = 1 - np.asarray(float32_normals_beyond(-tails, half, angles))
    for found in (upper, lower):
        assert (np.abs(found / exact - 1) < 4 * 2.0**-23 * tails**2 + np.exp(tails**2 / 2) / 2**31).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_normals_are_normal(key, dtype):
    draws = sample(laws.normals(jnp.zeros(4, dtype)), key)
    assert scipy.stats.kstest(draws, "norm").pvalue > SMALLEST_P


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_normals_are_independent(key, dtype):
    """Correlations of the values, their squares and sizes: within a pair, from one pair to the next, between
    coordinates and between chains; and the joint law of a pair on a grid of 100 equally likely cells."""
    draws = np.asarray(numbers(laws.normals(jnp.zeros(4, dtype)), key)).astype(np.float64)
    features = (draws, (draws**2 - 1) / np.sqrt(2), (np.abs(draws) - np.sqrt(2 / np.pi)) / np.sqrt(1 - 2 / np.pi))
    for f, g in itertools.product(features, features):
        for one, other in (
            (f[::2], g[1::2]),
            (f[1:-1:2], g[2::2]),
            (f[:-2], g[2:]),
            (f[..., :-1], g[..., 1:]),
            (f[:, :-1], g[:, 1:]),
        ):
            assert abs(np.mean(one * other)) * np.sqrt(one.size) < Z
    edges = scipy.stats.norm.ppf(np.arange(1, 10) / 10)
    cells = 10 * np.searchsorted(edges, draws[::2]) + np.searchsorted(edges, draws[1::2])
    assert scipy.stats.chisquare(np.bincount(cells.ravel(), minlength=100)).pvalue > SMALLEST_P


# stable laws


@pytest.mark.parametrize("tail_index", [0.3, 0.8, 1.2, 1.5, 1.9, 1.999])
def test_float64_stable_draws_are_the_formula_of_chambers_mallows_and_stuck(tail_index):
    """As it is printed, in extended precision, on random words: at their extremes it cancels."""
    words = tuple(word[:20_000] for word in some_words())
    a = np.longdouble(tail_index)
    sign = np.where(np.asarray(words[0]) >= 2**31, -1, 1)
    v = (np.asarray(words[0]) % 2**31 + np.longdouble(0.5)) / 2**32
    angle = sign * 4 * np.arctan(np.longdouble(1)) * (0.5 - v)
    w = -np.log(uniforms(words[1])[0])
    expected = np.sin(a * angle) / np.cos(angle) ** (1 / a) * (np.cos((1 - a) * angle) / w) ** ((1 - a) / a)
    for half in of_words(laws.symmetric_stable(tail_index, jnp.zeros(())), words):
        np.testing.assert_allclose(half, expected, rtol=1e-11)


@pytest.mark.parametrize("index", [0.2, 0.5, 0.75, 0.99])
def test_float64_one_sided_stable_draws_are_the_formula_of_kanter(index):
    words = tuple(word[:20_000] for word in some_words())
    q = np.longdouble(index)
    v = 4 * np.arctan(np.longdouble(1)) * (np.asarray(words[0]) // 2 + np.longdouble(0.5)) / 2**31
    w = -np.log(uniforms(words[1])[0])
    expected = np.log(np.sin(q * v)) - np.log(np.sin(v)) / q + (1 / q - 1) * (np.log(np.sin((1 - q) * v)) - np.log(w))
    for half in of_words(laws.log_one_sided_stable(index, jnp.float64), words):
        np.testing.assert_allclose(half, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("tail_index", [0.4, 0.5, 0.8, 1.0, 1.2, 1.5, 1.9, 1.999, 2.0])
def test_float32_stable_draws_are_the_float64_draws_rounded(tail_index):
    """Same words, same variates, the extreme ones too: the relative error is that of exponents up to 88 (50 eps found)
    and that of a float32 angle next to 0, where the density is finite. An instability of the formula would show as a
    large difference, an overflow as an infinity."""
    words, index = some_words(), float(np.float32(tail_index))
    single, double = (
        np.asarray(of_words(laws.symmetric_stable(index, jnp.zeros((), dtype)), words)).astype(np.float64)
        for dtype in (jnp.float32, jnp.float64)
    )
    assert np.isfinite(single).all()
    angle = 0.5 - (np.asarray(words[0]) % 2**31 + 0.5) / 2**32
    assert (np.abs(single - double) <= np.abs(double) * (100 * 2.0**-23 + 2.0**-25 / angle)).all()


@pytest.mark.parametrize("index", [0.2, 0.3, 0.5, 0.75, 0.95, 1.0])
def test_float32_one_sided_stable_draws_are_the_float64_draws_rounded(index):
    """In the logarithm (27 eps of 1 + |log A| found), the extreme words too; the variate is 1 at index 1."""
    words, index = some_words(), float(np.float32(index))
    single, double = (
        np.asarray(of_words(laws.log_one_sided_stable(index, dtype), words)).astype(np.float64)
        for dtype in (jnp.float32, jnp.float64)
    )
    assert (np.abs(single - double) <= 40 * 2.0**-23 * (1 + np.abs(double))).all()
    if index == 1.0:
        assert (single == 0).all()


def test_general_formula_meets_the_exact_branches():
    """The law is continuous in the tail index: the same words give nearly the same variates."""
    words = tuple(word[:1000] for word in some_words())
    for exact in (1.0, 2.0):
        a, b = (of_words(laws.symmetric_stable(index, jnp.zeros(())), words)[0] for index in (exact, exact - 1e-7))
        np.testing.assert_allclose(a, b, rtol=3e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("tail_index", [0.8, 1.0, 1.5, 1.9, 2.0])
def test_symmetric_stable_has_its_characteristic_function(key, tail_index, dtype):
    """E cos(k X) = exp(-|k|^a). False alarm 4e-9 a row; a scale off by sqrt(2) is rejected by more than 100 se."""
    draws = sample(laws.symmetric_stable(tail_index, jnp.zeros(4, dtype)), key)
    assert np.isfinite(draws).all()
    for wave in (0.3, 1.0, 2.0):
        cosines = np.cos(wave * draws)
        assert abs(cosines.mean() - np.exp(-(wave**tail_index))) < Z * cosines.std() / np.sqrt(draws.size)
        sines = np.sin(wave * draws)
        assert abs(sines.mean()) < Z * sines.std() / np.sqrt(draws.size)


def test_tail_index_one_is_cauchy_and_two_is_normal_of_variance_two(key):
    for tail_index, law in ((1.0, scipy.stats.cauchy()), (2.0, scipy.stats.norm(scale=np.sqrt(2.0)))):
        draws = sample(laws.symmetric_stable(tail_index, jnp.zeros(4, jnp.float32)), key)
        assert scipy.stats.kstest(draws, law.cdf).pvalue > SMALLEST_P


def test_the_two_stable_numbers_of_a_pair_are_independent(key):
    """Bounded functionals: the signs, and the order of the sizes against their common median."""
    draws = np.asarray(numbers(laws.symmetric_stable(1.5, jnp.zeros(4)), key))
    for feature in (np.sign(draws), np.sign(np.abs(draws) - np.median(np.abs(draws)))):
        for lag in (1, 2):
            products = feature[:-lag] * feature[lag:]
            assert abs(products.mean()) * np.sqrt(products.size) < Z


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("index", [0.3, 0.5, 0.75, 0.95])
def test_one_sided_stable_has_its_laplace_transform(key, index, dtype):
    """E exp(-s A) = exp(-s^q): a bounded functional; index 1/2 is also the Levy law of scale 1/2."""
    draws = np.exp(sample(laws.log_one_sided_stable(index, dtype), key, num_chains=2000, num_pairs=50))
    for s in (0.1, 1.0, 4.0):
        values = np.exp(-s * draws)
        assert abs(values.mean() - np.exp(-(s**index))) < Z * values.std() / np.sqrt(draws.size)
    if index == 0.5:
        assert scipy.stats.kstest(draws, scipy.stats.levy(scale=0.5).cdf).pvalue > SMALLEST_P


def test_a_traced_tail_index_gives_the_same_draws():
    """In `of_words` it is traced; here it is a constant, which the compiler may fold."""
    words, variates = some_words(), laws.symmetric_stable(1.5, jnp.zeros(()))
    constant = jax.jit(lambda words: variates.law(lambda number: words, jnp.uint32(0), jnp.uint32(0), jnp.float64))
    np.testing.assert_allclose(of_words(variates, words), constant(words), rtol=1e-13)


@pytest.mark.parametrize("tail_index", [0.0, -1.0, 2.5, float("nan")])
def test_a_tail_index_outside_its_range_is_refused(tail_index):
    with pytest.raises(ValueError, match=r"tail_index.*\(0, 2\]"):
        laws.symmetric_stable(tail_index, jnp.zeros(1))
    with pytest.raises(ValueError, match=r"tail_index.*\(0, 2\]"):
        laws.log_one_sided_stable(tail_index / 2, jnp.float64)


def test_a_tail_index_that_overflows_float32_is_refused():
    mixed = {"wide": jnp.zeros(1, jnp.float64), "narrow": jnp.zeros(1, jnp.float32)}
    with pytest.raises(ValueError, match="overflow float32"):
        laws.symmetric_stable(0.3, mixed)
    with pytest.raises(ValueError, match="overflow float32"):
        laws.log_one_sided_stable(0.15, jnp.float32)
    laws.symmetric_stable(0.3, mixed["wide"])


# minibatches


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def indices_of(proposals, num_examples, batch_size, sampling):
    """Many minibatches, of the numbers that `minibatch` asks for."""
    return jax.vmap(lambda row: laws.minibatch_indices(row, num_examples, batch_size, sampling))(proposals)


def batches(key, num_examples, batch_size, sampling, count=20_000):
    drawn = numbers(laws.minibatch(num_examples, batch_size, sampling), key, num_chains=count // 10, num_pairs=5)
    return np.asarray(indices_of(drawn.reshape(count, *drawn.shape[2:]), num_examples, batch_size, sampling))


@pytest.mark.parametrize("bound", [1, 3, 65_537, 2**31 - 1])
def test_an_index_is_the_high_word_of_a_product(bound):
    """With replacement the two words of a block make two indices; Floyd's proposal j is below n - B + 1 + j."""
    words = some_words(100)
    exact = [[(int(word) * bound) >> 32 for word in half] for half in words]
    np.testing.assert_array_equal(of_words(laws.minibatch(bound, 1, "with_replacement"), words), exact)
    np.testing.assert_array_equal(of_words(laws.minibatch(bound, 1, "without_replacement"), words), exact)


def test_floyds_proposals_are_uniform_below_a_bound_that_rises(key):
    drawn = np.asarray(numbers(laws.minibatch(9, 4, "without_replacement"), key)).reshape(-1, 4)
    for coordinate, values in enumerate(drawn.T):
        counts = np.bincount(values, minlength=6 + coordinate)
        assert len(counts) == 6 + coordinate
        assert scipy.stats.chisquare(counts).pvalue > SMALLEST_P


@pytest.mark.parametrize(("num_examples", "batch_size"), [(5, 2), (6, 3), (5, 4), (4, 4)])
def test_floyds_algorithm_makes_every_subset_of_equally_many_proposals(num_examples, batch_size):
    proposals = list(itertools.product(*(range(num_examples - batch_size + 1 + j) for j in range(batch_size))))
    drawn = indices_of(np.array(proposals, np.int32), num_examples, batch_size, "without_replacement")
    subsets, counts = np.unique(np.sort(drawn, axis=1), axis=0, return_counts=True)
    assert (np.diff(subsets, axis=1) > 0).all()
    assert len(counts) == scipy.special.comb(num_examples, batch_size, exact=True)
    assert len(set(counts)) == 1


@pytest.mark.parametrize(("num_examples", "batch_size"), [(30, 16), (30, 17), (2**31 - 1, 20)])
def test_a_large_subset_is_floyds(num_examples, batch_size):
    """Both forms of the loop against Floyd's algorithm in Python, on proposals that often meet."""
    random = np.random.default_rng(0)
    bounds = num_examples - batch_size + 1 + np.arange(batch_size)
    proposals = random.integers(0, bounds, (50, batch_size)).astype(np.int32)
    proposals[::2, 1:] = np.where(random.random((25, batch_size - 1)) < 0.5, proposals[::2, :1], proposals[::2, 1:])
    drawn = np.asarray(indices_of(proposals, num_examples, batch_size, "without_replacement"))
    for row, found in zip(proposals, drawn, strict=True):
        chosen = []
        for upper, proposal in zip(bounds - 1, row, strict=True):
            chosen.append(int(upper if proposal in chosen else proposal))
        assert found.tolist() == chosen


@pytest.mark.parametrize(("num_examples", "batch_size"), [(5, 2), (6, 6), (40, 20), (40, 36)])
def test_subsets_are_uniform(key, num_examples, batch_size):
    """Floyd's algorithm in both forms and the permutation: distinct, and each pair of examples equally often
    together."""
    draws = batches(key, num_examples, batch_size, "without_replacement")
    assert (np.diff(np.sort(draws, axis=1), axis=1) > 0).all()
    member = (draws[:, :, None] == np.arange(num_examples)).any(axis=1).astype(float)
    together = member.T @ member / len(draws)
    single = batch_size / num_examples
    pair = single * (batch_size - 1) / (num_examples - 1)
    expected = np.where(np.eye(num_examples, dtype=bool), single, pair)
    assert np.abs(together - expected).max() <= Z * np.sqrt(0.25 / len(draws))


def test_small_subsets_are_uniform_over_all_of_them(key):
    _, counts = np.unique(np.sort(batches(key, 5, 2, "without_replacement"), axis=1), axis=0, return_counts=True)
    assert len(counts) == 10
    assert scipy.stats.chisquare(counts).pvalue > SMALLEST_P


def test_with_replacement_is_uniform_and_independent(key):
    _, counts = np.unique(batches(key, 3, 2, "with_replacement"), axis=0, return_counts=True)
    assert len(counts) == 9
    assert scipy.stats.chisquare(counts).pvalue > SMALLEST_P


def test_a_permutation_sorts_by_the_first_rank_and_then_by_the_second(key):
    ranks = np.asarray(jax.random.randint(key, (200, 2, 11), 0, 4, jnp.int32))  # ties are common
    drawn = indices_of(ranks, 11, 3, "epoch")
    expected = np.stack([np.lexsort((second, first)) for first, second in ranks])
    np.testing.assert_array_equal(drawn, expected[:, :9].reshape(200, 3, 3))
    assert laws.minibatch(33, 33, "without_replacement").shape == (2, 33)  # a batch so large is cut from a permutation
    np.testing.assert_array_equal(
        indices_of(np.stack([ranks[:, 0, :].repeat(3, axis=1)] * 2, axis=1), 33, 33, "without_replacement"),
        np.argsort(ranks[:, 0, :].repeat(3, axis=1), axis=1, kind="stable"),
    )


def test_an_epoch_uses_every_example_at_most_once_and_the_remainder_sits_out(key):
    draws = batches(key, 11, 3, "epoch", count=1000)
    assert draws.shape == (1000, 3, 3)
    assert (np.diff(np.sort(draws.reshape(1000, 9), axis=1), axis=1) > 0).all()


def test_all_permutations_are_equally_likely(key):
    _, counts = np.unique(batches(key, 4, 1, "epoch").reshape(-1, 4), axis=0, return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > SMALLEST_P


# many draws


@pytest.mark.slow
def test_the_radius_never_rises_with_its_word():
    """Over all 8.4e7 first words at which its float32 value may change; each squared radius right to 2 eps of 1 + r^2
    (1.4 found). `float32_normals_beyond` rests on it."""

    def radius(words):
        pair = of_words(laws.normals(jnp.zeros((), jnp.float32)), (words, jnp.zeros_like(words)))
        return np.asarray(jnp.maximum(*pair)).astype(np.float64)  # at an angle 0 or pi/2

    last = np.inf
    for octave in range(9):
        first = 0 if octave == 0 else 2**23
        words = np.arange(first << octave, 2 ** (24 + octave), 1 << octave, dtype=np.uint64).astype(np.uint32)
        found = radius(jnp.asarray(words))
        assert found[0] <= last
        assert (np.diff(found) <= 0).all()
        last = found[-1]
        square = -2 * np.log((words | 1) / 2**32)
        assert np.max(np.abs(found**2 - square) / (1 + square)) < 2 * np.finfo(np.float32).eps


@pytest.mark.slow
def test_a_hundred_million_float32_normals():
    """Kolmogorov's and Smirnov's test (false alarm 1e-8; a CDF off by 4e-4 anywhere is rejected by 8 se), chi-square
    on 768 cells, and the right numbers beyond 4, 5 and 6 standard deviations."""
    blocks = 100
    grid = np.arange(-384, 385) / 64
    variates = laws.normals(jax.ShapeDtypeStruct((4,), jnp.float32))
    below = np.zeros(grid.size)
    for index in range(blocks):
        key = jax.random.fold_in(jax.random.key(9), index)
        draws = np.sort(np.asarray(numbers(variates, key, num_chains=12_500, num_pairs=10)).ravel())
        below += np.searchsorted(draws, grid.astype(np.float32))
    total = 100_000_000
    assert blocks * draws.size == total
    exact = scipy.stats.norm.cdf(grid)
    assert np.abs(below / total - exact).max() < scipy.stats.kstwobign.isf(SMALLEST_P) / np.sqrt(total)
    assert (np.abs(below - total * exact) < Z * np.sqrt(total * exact * (1 - exact) + 1)).all()
    cells = np.diff(np.concatenate([[0], below, [total]]))
    expected = total * np.diff(np.concatenate([[0], exact, [1]]))
    expected[-(grid.size // 2 + 1) :] = expected[: grid.size // 2 + 1][::-1]  # the upper tail without cancellation
    often = expected > 20
    square = np.sum((cells - expected)[often] ** 2 / expected[often])
    assert scipy.stats.chi2.sf(square, often.sum()) > SMALLEST_P
    for level in (4, 5, 6):
        tail = total * scipy.stats.norm.sf(level)
        for found in (below[grid == -level].item(), total - below[grid == level].item()):
            assert abs(found - tail) < Z * np.sqrt(tail + 1)


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
    blocks = 50
    grid = np.concatenate([-np.geomspace(20, 1e-2, 100), np.geomspace(1e-2, 20, 100)])
    levels = np.array([10.0, 100.0, 1000.0])
    variates = laws.symmetric_stable(tail_index, jax.ShapeDtypeStruct((4,), jnp.float32))
    below, beyond, total = np.zeros(grid.size), np.zeros(levels.size), 0
    for index in range(blocks):
        key = jax.random.fold_in(jax.random.key(8), index)
        draws = np.sort(sample(variates, key, num_chains=5000, num_pairs=25))
        assert np.isfinite(draws[[0, -1]]).all()
        assert not np.isnan(draws).any()
        below += np.searchsorted(draws, grid)
        beyond += np.searchsorted(draws, -levels) + draws.size - np.searchsorted(draws, levels)
        total += draws.size
    assert total == 50_000_000
    law = scipy.stats.norm(scale=np.sqrt(2)) if tail_index == 2 else scipy.stats.levy_stable(tail_index, 0.0)
    assert np.abs(below / total - law.cdf(grid)).max() < Z * 0.5 / np.sqrt(total)
    for level, found in zip(levels, beyond, strict=True):
        expected = 2 * total * stable_tail_probability(tail_index, level)
        assert abs(found - expected) <= Z * np.sqrt(expected + 1)

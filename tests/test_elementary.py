"""Elementary functions against NumPy in extended precision; errors in eps, the spacing of numbers at 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.elementary import (
    angle,
    arctangent,
    cosine_of_radians,
    exponential,
    logarithm,
    logarithm_of_one_plus,
    minus_log_uniform,
    minus_log_word,
    sine,
    sine_of_radians,
)

PI = np.longdouble("3.14159265358979323846264338327950288")
COUNT = 200_001
"""every array has this many numbers: one compilation for all of them"""


def evaluated(function, points, dtype):
    """Once compiled, as every generator uses it, and once operation by operation, without contracted multiply-adds."""
    points = np.asarray(points, dtype)
    padded = jnp.asarray(np.resize(points, COUNT))
    with jax.disable_jit():
        eager = np.asarray(function(padded))
    found = [np.asarray(jax.jit(function)(padded)), eager]
    assert all(values.dtype == dtype for values in found)
    return points.astype(np.longdouble), np.stack(found)[:, : points.size].astype(np.longdouble)


def largest_error(found, exact, dtype):
    """The largest relative error in eps; where the exact value is 0 the found one is."""
    assert (found[:, exact == 0] == 0).all()
    found, exact = found[:, exact != 0], exact[exact != 0]
    return float(np.max(np.abs(found - exact) / np.abs(exact))) / np.finfo(dtype).eps


def all_magnitudes(dtype):
    """Positive normal numbers evenly spaced in their bits, from the smallest to the largest, and 1 with its nearest."""
    kind, one = np.finfo(dtype), np.ones((), dtype)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    first, last = (int(value.view(unsigned)) for value in (kind.tiny, kind.max))
    even = np.array([first + (last - first) * k // (COUNT - 4) for k in range(COUNT - 3)], unsigned).view(dtype)
    return np.concatenate([even, [np.nextafter(one, 0 * one), one, np.nextafter(one, 2 * one)]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_logarithm_is_right_to_two_roundings_at_every_magnitude(dtype):
    for points in (all_magnitudes(dtype), np.linspace(0.5, 2, COUNT)):
        x, found = evaluated(logarithm, points, dtype)
        assert largest_error(found, np.log(x), dtype) < 2


def test_the_logarithm_of_zero_is_below_every_other():
    assert logarithm(jnp.zeros((), jnp.float64)) == -np.inf
    assert -89 < logarithm(jnp.zeros((), jnp.float32)) < logarithm(jnp.asarray(np.finfo(np.float32).tiny)) < -87


def test_the_logarithm_of_one_plus_is_right_to_two_roundings_at_every_magnitude():
    dtype = np.float32
    magnitudes, next_to_minus_one = all_magnitudes(dtype), np.geomspace(np.finfo(dtype).eps, 0.5, COUNT) - 1
    for points in (magnitudes, -magnitudes[magnitudes < 1], next_to_minus_one, np.linspace(-0.6, 3, COUNT)):
        x, found = evaluated(logarithm_of_one_plus, points, dtype)
        assert largest_error(found, np.log1p(x), dtype) < 2
    _, special = evaluated(logarithm_of_one_plus, [0, np.inf, -1, -1.5, -np.inf, np.nan], dtype)
    np.testing.assert_array_equal(special, [[0, np.inf, -np.inf, np.nan, np.nan, np.nan]] * 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponential_is_right_to_two_roundings_in_its_range(dtype):
    lowest, highest = np.log(np.finfo(dtype).tiny), np.log(np.finfo(dtype).max)
    for points in (np.linspace(lowest * (1 - 1e-6), highest * (1 - 1e-6), COUNT), np.linspace(-1, 1, COUNT)):
        x, found = evaluated(exponential, points, dtype)
        assert largest_error(found, np.exp(x), dtype) < 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exponential_ends_in_zero_and_infinity(dtype):
    lowest, highest = np.log(np.finfo(dtype).tiny), np.log(np.finfo(dtype).max)
    _, below = evaluated(exponential, [-np.inf, -1e30, -1e4, 1.2 * lowest], dtype)
    assert (below == 0).all()
    _, above = evaluated(exponential, [np.inf, 1e30, 1e4, 1.1 * highest, highest + 0.01], dtype)
    assert (above == np.inf).all()
    _, between = evaluated(exponential, np.linspace(1.2 * lowest, lowest, 1000), dtype)  # subnormal, or flushed to 0
    assert (between >= 0).all()
    assert (between <= np.finfo(dtype).tiny * 1.00001).all()
    _, special = evaluated(exponential, [0, -0.0, np.nan], dtype)
    np.testing.assert_array_equal(special, [[1, 1, np.nan]] * 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sine_is_right_to_two_roundings_and_keeps_its_sign(dtype):
    small = np.geomspace(np.finfo(dtype).tiny, 0.5, COUNT).astype(dtype)
    for points in (np.linspace(-0.5, 0.5, COUNT), small, -small):
        y, found = evaluated(sine, points, dtype)
        assert largest_error(found, np.sin(PI * y), dtype) < 2
    _, special = evaluated(sine, [-0.5, -0.0, 0.0, 0.5, np.nan], dtype)
    np.testing.assert_array_equal(special, [[-1, 0, 0, 1, np.nan]] * 2)
    np.testing.assert_array_equal(np.signbit(special[:, 1:3]), [[True, False]] * 2)


def words_of_all_sizes():
    spread = np.linspace(0, 2**32 - 1, COUNT - 4000).astype(np.uint32)
    octaves = np.geomspace(1, 2**31, 1000).astype(np.uint32)
    return np.concatenate([spread, octaves, ~octaves, np.arange(2**31 - 1000, 2**31 + 1000, dtype=np.uint32)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_minus_log_word_is_right_to_the_rounding_of_its_uniform(dtype):
    """2 eps of the logarithm and, in float32, half an eps of u; 0 only where u rounds to 1, and never negative."""
    bits = words_of_all_sizes()
    exact = -np.log((bits | 1).astype(np.longdouble) / 2**32)
    eps = np.finfo(dtype).eps
    for function in (jax.jit(minus_log_word, static_argnums=1), minus_log_word):
        found = np.asarray(function(jnp.asarray(bits), dtype))
        assert found.dtype == dtype
        assert (np.abs(found - exact) <= 2 * eps * exact + (eps / 2 if dtype == np.float32 else 0)).all()
        assert (found >= 0).all()
        assert ((found == 0) == ((bits | 1).astype(dtype) == 2**32)).all()
        assert found.max() == found[bits == 0] == dtype(32 * np.log(2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_minus_log_uniform_keeps_both_tails(dtype):
    """Within 4 eps of the exact value: 2 of the logarithm and, in the middle, those of the float32 uniform (1.6 at
    u = 0.71). The smallest value is 2^-33, where -log of a float32 uniform is 0 in one of 3e7 draws."""
    bits = words_of_all_sizes()
    distance = (np.minimum(bits, ~bits).astype(np.longdouble) + 0.5) / 2**32
    exact = np.where(bits >= 2**31, -np.log1p(-distance), -np.log(distance))
    for function in (jax.jit(minus_log_uniform, static_argnums=1), minus_log_uniform):
        found = np.asarray(function(jnp.asarray(bits), dtype))
        assert found.dtype == dtype
        assert largest_error(found[None].astype(np.longdouble), exact, dtype) < 4
        assert found.min() == found[bits == 2**32 - 1] > 0
        assert found.max() == found[bits == 0]


WAVES = {sine_of_radians: (jnp.sin, np.sin), cosine_of_radians: (jnp.cos, np.cos)}


def digits_of_pi(bits):
    """The integer below pi 2^bits: 16 arctan(1/5) - 4 arctan(1/239) (Machin 1706)."""

    def arctangent_of_inverse(n):
        total, power, k = 0, (1 << bits + 64) // n, 1
        while power:
            total, power, k = total + (power // k if k % 4 == 1 else -(power // k)), power // n**2, k + 2
        return total

    return 4 * (4 * arctangent_of_inverse(5) - arctangent_of_inverse(239)) >> 64


def modulo_one_turn(points):
    """Angles between -pi and pi that differ from these by whole turns, exactly, in integers."""
    turn = 2 * digits_of_pi(400)

    def one(point):
        above, below = float(point).as_integer_ratio()
        rest = (above << 400) // below % turn
        return min(rest, rest - turn, key=abs) / 2**400

    return np.array([one(point) for point in points])


def closest_to_quarter_turns():
    """For every power of two from 2^7 on, the single-precision numbers that come closest to a multiple of pi/2: those
    whose integer is a denominator of the continued fraction of 2^k/(pi/2)."""
    found = []
    for exponent in range(7, 128):
        above, below = 1 << exponent + 400, digits_of_pi(400) << 22  # 2^(exponent - 23) over pi/2
        before, denominator = 1, 0
        while denominator < 2**24:
            found.append(denominator * 2.0 ** (exponent - 23))
            quotient, (above, below) = above // below, (below, above % below)
            before, denominator = denominator, quotient * denominator + before
    return np.array([point for point in found if point >= 128], np.float32)


@pytest.mark.parametrize("function", WAVES)
def test_sine_and_cosine_of_radians_are_right_to_two_roundings_below_128(function):
    zeros = (np.arange(1, 82) * (PI / 2)).astype(np.float32)
    near = np.concatenate([zeros, np.nextafter(zeros, np.float32(0)), np.nextafter(zeros, np.float32(1e9))])
    small = all_magnitudes(np.float32)
    for points in (np.linspace(-128, 128, COUNT)[1:-1], small[small < 128], near, -near):
        x, found = evaluated(function, points, np.float32)
        assert largest_error(found, WAVES[function][1](x), np.float32) < 2


@pytest.mark.parametrize("function", WAVES)
def test_sine_and_cosine_of_radians_know_every_angle(function):
    """Of any float32, within 1.5e-7; and where it is close to a zero, within the 5e-9 of its reduction."""
    any_bits = np.random.default_rng(3).integers(2**32, size=20_000, dtype=np.uint32).view(np.float32)
    closest = closest_to_quarter_turns()
    for points in (any_bits[np.isfinite(any_bits)], closest, -closest):
        _, found = evaluated(function, points, np.float32)
        exact = WAVES[function][1](modulo_one_turn(points))
        assert np.abs(found - exact).max() < 1.5e-7
        is_small = np.abs(exact) < 1e-3
        assert is_small.any()
        assert np.abs(found - exact)[:, is_small].max() < 5e-9


def test_sine_and_cosine_of_radians_are_odd_and_even_and_nan_at_infinity():
    points = np.concatenate([all_magnitudes(np.float32), [0, np.inf, np.nan]]).astype(np.float32)
    sines, cosines = (np.asarray(function(jnp.asarray(points))) for function in WAVES)
    negative_sines, same_cosines = (np.asarray(function(jnp.asarray(-points))) for function in WAVES)
    np.testing.assert_array_equal(negative_sines, -sines)
    np.testing.assert_array_equal(np.signbit(negative_sines[:-2]), ~np.signbit(sines[:-2]))
    np.testing.assert_array_equal(same_cosines, cosines)
    for values, at_zero in ((sines, 0), (cosines, 1)):
        np.testing.assert_array_equal(values[-3:], [at_zero, np.nan, np.nan])
        assert np.isfinite(values[:-2]).all()


def test_angles_are_right_to_two_roundings_in_all_directions():
    random = np.random.default_rng(4)
    directions = random.normal(size=(2, COUNT)).astype(np.float32)
    magnitudes = all_magnitudes(np.float32)
    signed = (random.permutation(magnitudes) * random.choice(np.array([-1, 1], np.float32), COUNT) for _ in range(2))
    y, x = map(np.concatenate, zip(directions, signed, strict=True))
    exact = np.arctan2(y.astype(np.longdouble), x.astype(np.longdouble))
    is_normal = np.abs(exact) > np.finfo(np.float32).tiny
    found = np.asarray(angle(jnp.asarray(y), jnp.asarray(x)))[None].astype(np.longdouble)
    assert found.shape == (1, 2 * COUNT)
    assert largest_error(found[:, is_normal], exact[is_normal], np.float32) < 2
    for points in (np.linspace(-20, 20, COUNT), magnitudes, -magnitudes):
        x, found = evaluated(arctangent, points, np.float32)
        assert largest_error(found, np.arctan(x), np.float32) < 2


def test_angles_at_zeros_and_infinities_are_those_of_the_standard():
    special = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan], np.float32)
    y, x = (grid.ravel() for grid in np.meshgrid(special, special))
    found, exact = np.asarray(angle(jnp.asarray(y), jnp.asarray(x))), np.arctan2(y, x)
    np.testing.assert_allclose(found, exact, rtol=2e-7)
    is_number = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(found)[is_number], np.signbit(exact)[is_number])
    np.testing.assert_allclose(arctangent(jnp.asarray(special)), np.arctan(special), rtol=2e-7)


def test_in_double_precision_they_are_jnps():
    x = jnp.linspace(-1e6, 1e6, 1001)
    pairs = {
        cosine_of_radians: jnp.cos,
        sine_of_radians: jnp.sin,
        arctangent: jnp.arctan,
        logarithm_of_one_plus: jnp.log1p,
    }
    for ours, own in pairs.items():
        np.testing.assert_array_equal(ours(x), jax.jit(own)(x))
    np.testing.assert_array_equal(angle(x, x + 1), jnp.arctan2(x, x + 1))

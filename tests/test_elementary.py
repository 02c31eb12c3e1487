"""Logarithm, exponential and sine against NumPy in extended precision; errors in eps, the spacing of numbers at 1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.elementary import exponential, logarithm, minus_log_uniform, minus_log_word, sine

PI = np.longdouble("3.14159265358979323846264338327950288")
COUNT = 200_001
"""every array has this many numbers: one compilation for all of them"""


def evaluated(function, points, dtype):
    """Once compiled, as every generator uses it, and once operation by operation, without contracted multiply-adds."""
    points = np.asarray(points, dtype)
    padded = jnp.asarray(np.resize(points, COUNT))
    found = [np.asarray(jax.jit(function)(padded)), np.asarray(function(padded))]
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

"""Elementary functions as polynomials, for loops over many numbers: in float32, right to two or three roundings.

XLA on the CPU calls `log`, `exp`, `sin` and `/` expensive: a value with two uses then becomes a kernel of its own that
draws its random numbers again. The first functions, for the generator, have neither a division nor a call. And for
sines, cosines and angles XLA calls a library number by number, so that nothing else in such a loop is done on vectors.

The reductions are those of Cephes (Moshier 1992) and of Payne and Hanek (1983). In float64 all are jnp's, but for the
sine of half turns. As everywhere on the CPU, a subnormal number may count as zero.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "angle",
    "arctangent",
    "cosine_of_radians",
    "exponential",
    "logarithm",
    "logarithm_of_one_plus",
    "minus_log_uniform",
    "minus_log_word",
    "sine",
    "sine_of_radians",
]

LOG_SERIES = (0.0876682698726654, -0.14199329912662506, 0.14858946204185486, -0.1658504754304886, 0.19969673454761505,
              -0.25001153349876404, 0.33333712816238403)  # fmt: skip
"""(log(1 + f) - f + f^2/2) / f^3, highest power first: a Chebyshev fit on sqrt(1/2) <= 1 + f <= sqrt(2)"""
EXP_SERIES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
SINE_SERIES = (0.0776576623, -0.598291278, 2.55007744, -5.1677103, 3.14159274)
"""sin(pi y)/y in powers of y^2, highest first: a Chebyshev fit on |y| <= 1/2"""
RADIAN_SERIES = (2.606095677037956e-6, -1.9809776858892292e-4, 8.333069272339344e-3, -0.16666659712791443)
"""(sin r - r)/r^3 in powers of r^2, highest first: least relative error of the sine, 6e-9, on |r| <= pi/2"""
ANGLE_SERIES = (-0.0017829136, 0.010869011, -0.031097416, 0.057881653, -0.08399314, 0.10950881, -0.14264016, 0.1999853,
                -0.333333)  # fmt: skip
"""(atan t - t)/t^3 in powers of t^2, highest first: least relative error of the angle, 3e-9, on 0 <= t <= 1"""
LOG_2_HIGH, LOG_2_LOW = 0.693359375, -2.12194440e-4
"""log 2 in two parts, the first exact in few bits"""
PI_PARTS = (3.141571044921875, 2.1608546376228333e-05, 1.215420125655342e-10)
"""pi to 58 bits; the first two have 17 each, so that their products with the half turns of LARGE are exact"""
LARGE = np.float32(128)
"""from here on an angle is reduced in integers"""
INVERSE_PI = (0x000000A2, 0xF9836E4E, 0x441529FC, 0x2757D1F5, 0x34DDC0DB, 0x6295993C)
"""2^9/pi in words of 32 bits, the first before the point"""


def logarithm(x: jax.Array) -> jax.Array:
    """log x for normal x > 0; at 0 it is below -87 (float32) or -inf (float64)."""
    if x.dtype != jnp.float32:
        return jnp.log(x)
    fraction, exponent = _parts(x)
    return _log(fraction, exponent)


@jax.jit  # traced once, whatever the number of uses
def logarithm_of_one_plus(x: jax.Array) -> jax.Array:
    """log(1 + x), as precise for small x as for large; -inf at -1, NaN below."""
    if x.dtype != jnp.float32:
        return jnp.log1p(x)
    sum_ = 1 + x
    fraction, exponent = _parts(sum_)
    scale = _power_of_two(-exponent)
    fraction = jnp.where(x < 2.0**24, x * scale + (scale - 1), fraction)  # of x itself, where the sum has lost digits
    value = jnp.where(sum_ > 0, _log(fraction, exponent), jnp.where(sum_ == 0, -np.float32(np.inf), np.float32(np.nan)))
    return jnp.where(x == np.float32(np.inf), x, value)


def exponential(x: jax.Array) -> jax.Array:
    """exp x; 0 below and inf above the range of the precision."""
    if x.dtype != jnp.float32:
        return jnp.exp(x)
    x = jnp.clip(x, -104.0, 90.0)
    n = jnp.round(x * np.float32(np.log2(np.e)))
    r = x - n * np.float32(LOG_2_HIGH) - n * np.float32(LOG_2_LOW)
    power = 1 + r + r * r * _polynomial(EXP_SERIES, r)
    n = n.astype(jnp.int32)
    return power * _power_of_two(n >> 1) * _power_of_two(n - (n >> 1))  # in two factors: each is a normal number


def sine(half_turns: jax.Array) -> jax.Array:
    """sin(pi y) for |y| <= 1/2, to rounding: a polynomial in float32, the Taylor series to y^21 in float64."""
    square = half_turns * half_turns
    if half_turns.dtype == jnp.float32:
        return half_turns * _polynomial(SINE_SERIES, square)
    square, series = square * np.pi**2, jnp.ones_like(square)
    for k in range(20, 0, -2):
        series = 1 - series * square * (1 / (k * (k + 1)))
    return half_turns * np.pi * series


@jax.jit
def sine_of_radians(x: jax.Array) -> jax.Array:
    """sin x of any float32, within 1.5e-7, and right to two roundings below 128; NaN where x is not finite.

    From 128 on the angle is reduced to within 5e-9, whatever its size: only next to a zero of the sine, between numbers
    that are 1.5e-5 or more apart, are digits lost.
    """
    if x.dtype != jnp.float32:
        return jnp.sin(x)
    value, flips = _wave(jnp.abs(x), quarter=0)
    return _with_sign(value, flips ^ _bits(x))


@jax.jit
def cosine_of_radians(x: jax.Array) -> jax.Array:
    """cos x, as precise as `sine_of_radians`."""
    if x.dtype != jnp.float32:
        return jnp.cos(x)
    return _with_sign(*_wave(jnp.abs(x), quarter=1))


@jax.jit
def angle(y: jax.Array, x: jax.Array) -> jax.Array:
    """atan2(y, x), from -pi to pi, with the signs of zeros and the infinities of the standard."""
    if x.dtype != jnp.float32:
        return jnp.arctan2(y, x)
    far, near = jnp.maximum(jnp.abs(x), jnp.abs(y)), jnp.minimum(jnp.abs(x), jnp.abs(y))
    slope = jnp.where(near == np.float32(np.inf), np.float32(1), near / jnp.where(far == 0, np.float32(1), far))
    square = slope * slope
    value = slope + slope * square * _polynomial(ANGLE_SERIES, square)
    value = jnp.where(jnp.abs(y) > jnp.abs(x), np.float32(np.pi / 2) - value, value)
    value = jnp.where(_bits(x) >> jnp.uint32(31) == 1, np.float32(np.pi) - value, value)
    return _with_sign(value, _bits(y))


def arctangent(x: jax.Array) -> jax.Array:
    """atan x."""
    return angle(x, jnp.ones_like(x)) if x.dtype == jnp.float32 else jnp.arctan(x)


def minus_log_word(bits: jax.Array, dtype: Any) -> jax.Array:
    """-log u of u = (bits | 1) 2^-32, never negative: the cheapest Exp(1) variate, coarse only below 2^-24."""
    x = (bits | jnp.uint32(1)).astype(dtype)
    if dtype != jnp.float32:
        return -jnp.log(x * 2.0**-32)
    fraction, exponent = _parts(x)
    return -_log(fraction, exponent - 32)


def minus_log_uniform(bits: jax.Array, dtype: Any) -> jax.Array:
    """-log u of the uniform u = (bits + 1/2) 2^-32, an Exp(1) variate, exact in both tails: in float32, near u = 1,
    through log(1 + f) of f = u - 1, whose bits are ~bits (in float64 u is exact)."""
    if dtype != jnp.float32:
        return -jnp.log((bits.astype(dtype) + 0.5) * 2.0**-32)
    near_one = bits >= jnp.uint32(2**31)
    small = (jnp.minimum(bits, ~bits).astype(dtype) + 0.5) * 2.0**-32  # u or 1 - u, whichever is below 1/2
    fraction, exponent = _parts(jnp.where(near_one, 1 - small, small))
    return -_log(jnp.where(near_one & (small < 0.29), -small, fraction), exponent)


def _parts(x):
    """f in [sqrt(1/2) - 1, sqrt(2) - 1) and the integer e with x = (1 + f) 2^e."""
    bits = _bits(x) + jnp.uint32(0x3F800000 - 0x3F3504F3)
    exponent = (bits >> 23).astype(jnp.int32) - 127
    mantissa = (bits & jnp.uint32(0x007FFFFF)) + jnp.uint32(0x3F3504F3)
    return jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1, exponent


def _log(fraction, exponent):
    square, exponent = fraction * fraction, exponent.astype(jnp.float32)
    return fraction + square * _polynomial((*LOG_SERIES, -0.5), fraction) + exponent * np.float32(np.log(2))


def _wave(x, quarter):
    """sin(x + quarter pi/2) of x >= 0, quarter 0 or 1, but for its sign, and bits whose highest says whether it flips.

    With x = (n + quarter/2) pi + r, |r| <= pi/2, it is sin r up to the sign (-1)^(n + quarter).
    """
    half_turns = jnp.round(x * np.float32(1 / np.pi) - np.float32(quarter / 2))
    rest = x
    for part in PI_PARTS:
        rest = rest - (half_turns + np.float32(quarter / 2)) * np.float32(part)
    parity = _bits(half_turns + np.float32(1.5 * 2**23 + quarter)) << jnp.uint32(31)  # the last bit of the integer
    phase = _half_turns_of_large(x) + jnp.uint32(quarter << 30)
    doubled = phase << jnp.uint32(1)  # from half turns modulo 2 to half turns modulo 1, at 2^-32
    rest_of_large = doubled.astype(jnp.int32).astype(jnp.float32) * np.float32(np.pi * 2.0**-32)
    is_large = _bits(x) - _bits(LARGE) < _bits(np.float32(np.inf)) - _bits(LARGE)  # and finite
    rest = jnp.where(is_large, rest_of_large, rest)
    square = rest * rest
    value = rest + rest * square * _polynomial(RADIAN_SERIES, square)
    return value, jnp.where(is_large, phase ^ doubled, parity)


def _half_turns_of_large(x):
    """x/pi modulo 2 in units of 2^-31, to three of them, for finite x >= 2: x is an integer of 24 bits times 2^e, and
    modulo 2 that integer meets only the 56 bits of 1/pi that begin where 2^e puts them (Payne and Hanek 1983)."""
    bits = _bits(x)
    far, middle = ((bits & jnp.uint32(1 << bit)) != 0 for bit in (29, 28))  # of the exponent: 64 and 32 places
    words = [jnp.where(far, *map(jnp.uint32, pair)) for pair in zip(INVERSE_PI[2:], INVERSE_PI)]
    words = [jnp.where(middle, *pair) for pair in zip(words[1:], words)]
    places = (bits >> jnp.uint32(23)) & jnp.uint32(31)
    first, second = (
        (word << places) | ((later >> jnp.uint32(1)) >> (places ^ jnp.uint32(31)))
        for word, later in itertools.pairwise(words)
    )
    mantissa = bits & jnp.uint32(0x007FFFFF)
    fraction = jax.lax.bitcast_convert_type(mantissa | jnp.uint32(0x3F000000), jnp.float32)  # the integer, at 2^-24
    carried = (second >> jnp.uint32(8)).astype(jnp.int32).astype(jnp.float32) * fraction + np.float32(2**24)
    carried = (_bits(carried) - _bits(np.float32(2**24))) << jnp.uint32(1)  # an integer without a conversion that clips
    return (mantissa | jnp.uint32(0x00800000)) * first + carried


def _with_sign(value, flips):
    return jax.lax.bitcast_convert_type(_bits(value) ^ (flips & jnp.uint32(0x80000000)), jnp.float32)


def _bits(x):
    return jax.lax.bitcast_convert_type(x, jnp.uint32)


def _polynomial(coefficients, x):
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + np.float32(coefficient)
    return value


def _power_of_two(n):
    return jax.lax.bitcast_convert_type((n + 127) << 23, jnp.float32)

"""Logarithm, exponential and sine without a division or a call, for the generator's hot loop.

XLA on the CPU calls `log`, `exp`, `sin` and `/` expensive: a value with two uses then becomes a kernel of its own that
draws its random numbers again. In float32 these are polynomials (the reductions are those of Cephes, Moshier 1992),
right to two roundings; in float64 the logarithm and the exponential are jnp's.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["exponential", "logarithm", "minus_log_uniform", "minus_log_word", "sine"]

LOG_SERIES = (0.0876682698726654, -0.14199329912662506, 0.14858946204185486, -0.1658504754304886, 0.19969673454761505,
              -0.25001153349876404, 0.33333712816238403)  # fmt: skip
"""(log(1 + f) - f + f^2/2) / f^3, highest power first: a Chebyshev fit on sqrt(1/2) <= 1 + f <= sqrt(2)"""
EXP_SERIES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
SINE_SERIES = (0.0776576623, -0.598291278, 2.55007744, -5.1677103, 3.14159274)
"""sin(pi y)/y in powers of y^2, highest first: a Chebyshev fit on |y| <= 1/2"""
LOG_2_HIGH, LOG_2_LOW = 0.693359375, -2.12194440e-4
"""log 2 in two parts, the first exact in few bits"""


def logarithm(x: jax.Array) -> jax.Array:
    """log x for normal x > 0; at 0 it is below -87 (float32) or -inf (float64)."""
    if x.dtype != jnp.float32:
        return jnp.log(x)
    fraction, exponent = _parts(x)
    return _log(fraction, exponent)


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
    """f in [sqrt(1/2) - 1, sqrt(2) - 1) and the integer e, as a float, with x = (1 + f) 2^e."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + jnp.uint32(0x3F800000 - 0x3F3504F3)
    exponent = (bits >> 23).astype(jnp.int32) - 127
    mantissa = (bits & jnp.uint32(0x007FFFFF)) + jnp.uint32(0x3F3504F3)
    return jax.lax.bitcast_convert_type(mantissa, jnp.float32) - 1, exponent.astype(jnp.float32)


def _log(fraction, exponent):
    square = fraction * fraction
    return fraction + square * _polynomial((*LOG_SERIES, -0.5), fraction) + exponent * np.float32(np.log(2))


def _polynomial(coefficients, x):
    value = jnp.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + np.float32(coefficient)
    return value


def _power_of_two(n):
    return jax.lax.bitcast_convert_type((n + 127) << 23, jnp.float32)

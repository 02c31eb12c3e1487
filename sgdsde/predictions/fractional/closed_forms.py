"""Closed forms for stable noise in U = a x^2/2 + b x^4/4; the Cauchy density itself is in `stable`.

`scale` is the SDE's: stable gradient noise of scale c at learning rate eta makes c eta^(1 - 1/tail_index).
"""

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gamma
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import array, require, require_broadcast
from sgdsde.predictions.stable import jump_rate


def cauchy_bimodality_switch(*, quartic: ArrayLike, scale: ArrayLike) -> Array:
    """The quadratic coefficient a below which `cauchy_density` has two modes: a = (b s^2 / 2)^(1/3).

    b = `quartic`, s = `scale`; traceable, elementwise. It is positive: two modes in a landscape with one minimum. For
    b = s = 1 it is 2^(-1/3) = 0.794. From R = z^2/2 in `cauchy_density`. Source: Chechkin et al. 2002, 2004.
    """
    b, s = array("quartic", quartic, above=0.0), array("scale", scale, above=0.0)
    require_broadcast(quartic=b, scale=s)
    return jnp.cbrt(b * s**2 / 2)


def levy_quartic_second_moment(*, quartic: ArrayLike, tail_index: ArrayLike, scale: ArrayLike) -> Array:
    """Stationary E x^2 of dx = -b x^3 dt + dL, L symmetric stable of index alpha in (0, 2], finite for every one:

        E x^2 = (c^alpha/b)^(2v) 2 (alpha + 2)^(-6v) G(1-v) G(1-2v)/(G(1+v) G(1+2v)),   v = 1/(alpha + 2), G = Gamma.

    b = `quartic`, alpha = `tail_index`, c = `scale`; traceable, elementwise. Source: Sliusarenko et al. 2013.
    """
    b, c = array("quartic", quartic, above=0.0), array("scale", scale, above=0.0)
    alpha = array("tail_index", tail_index, above=0.0, at_most=2.0)
    require_broadcast(quartic=b, tail_index=alpha, scale=c)
    v = 1 / (alpha + 2)
    gammas = gamma(1 - v) * gamma(1 - 2 * v) / (gamma(1 + v) * gamma(1 + 2 * v))
    return (c**alpha / b) ** (2 * v) * 2 * (alpha + 2) ** (-6 * v) * gammas


def levy_quartic_tail(position: ArrayLike, *, quartic: ArrayLike, tail_index: ArrayLike, scale: ArrayLike) -> Array:
    """The tail of the stationary density in a potential that grows like b x^4/4, |x| -> infinity:

        p(x) ~ c^alpha C_alpha/(2 b) |x|^(-alpha-3),   C_alpha = (2/pi) Gamma(alpha) sin(pi alpha/2),

    the rate of jumps beyond |x| over the drift that brings them back. b = `quartic`, alpha = `tail_index`, c = `scale`;
    traceable, elementwise; zero at tail index 2. Source: Chechkin et al. 2002.
    """
    b, c = array("quartic", quartic, above=0.0), array("scale", scale, above=0.0)
    alpha = array("tail_index", tail_index, above=0.0, at_most=2.0)
    position = require("position", position, lambda x: x != 0, "away from zero, in the tail")
    distance = jnp.abs(array("position", position))
    require_broadcast(position=distance, quartic=b, tail_index=alpha, scale=c)
    return jump_rate(distance, tail_index=alpha, scale=c) / (b * distance**3)

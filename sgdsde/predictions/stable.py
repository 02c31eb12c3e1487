"""Levy laws: scales of the stable Ornstein-Uhlenbeck process, Cauchy noise in a quartic well, stable densities.

Convention: a symmetric stable variable of tail index alpha and scale c has characteristic function exp(-|c k|^alpha),
so tail index 2 is variance 2 c^2. The scale given is that of the minibatch *gradient* noise; a microstep of length dt =
eta / substeps adds eta^(1 - 1/alpha) dt^(1/alpha) times such a variable, so the SDE's own scale is c eta^(1 - 1/alpha).
"""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import scipy.interpolate
import scipy.special
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import (
    array,
    count,
    is_finite,
    is_traced,
    on_host,
    one_on_host,
    require,
    require_broadcast,
    stationary,
    whole_number,
)


def sde_scale(curvature: ArrayLike, scale: ArrayLike, *, tail_index: ArrayLike, learning_rate: ArrayLike) -> Array:
    """Stationary scale of dx = -h x dt + c eta^(1 - 1/alpha) dL: c eta^(1 - 1/alpha) / (alpha h)^(1/alpha).

    h = `curvature`, c = `scale`, alpha = `tail_index`, eta = `learning_rate`. Traceable, elementwise. Needs h > 0, else
    ValueError (NaN under a trace). At tail index 2 twice its square is `sde_covariance` with noise variance 2 c^2.
    """
    return _scale(curvature, scale, tail_index, learning_rate, 0.0)


def euler_scale(
    curvature: ArrayLike, scale: ArrayLike, *, tail_index: ArrayLike, learning_rate: ArrayLike, substeps: int
) -> Array:
    """Exact scale of Euler-Maruyama: c eta^(1 - 1/alpha) [dt / (1 - |1 - h dt|^alpha)]^(1/alpha), dt = eta / substeps.

    Arguments as in `sde_scale`. Needs 0 < h dt < 2.
    """
    substeps = whole_number("substeps", substeps)
    return _scale(curvature, scale, tail_index, learning_rate, 1.0 / substeps)


def sgd_scale(curvature: ArrayLike, scale: ArrayLike, *, tail_index: ArrayLike, learning_rate: ArrayLike) -> Array:
    """Exact scale of SGD, x' = x - eta (h x + xi), xi stable: eta c / (1 - |1 - eta h|^alpha)^(1/alpha).

    Arguments as in `sde_scale`. Needs 0 < eta h < 2.
    """
    return _scale(curvature, scale, tail_index, learning_rate, 1.0)


def _scale(curvature, scale, tail_index, learning_rate, relative_step):
    h, c = array("curvature", curvature), array("scale", scale, above=0.0)
    alpha = array("tail_index", tail_index, above=0.0, at_most=2.0)
    eta = array("learning_rate", learning_rate, above=0.0)
    require_broadcast(curvature=h, scale=c, tail_index=alpha, learning_rate=eta)
    step = relative_step * h * eta
    if (
        is_traced(relative_step) or relative_step
    ):  # 1 - |1 - step|^alpha without cancellation; |1 - step| is symmetric about step = 1
        decay = -jnp.expm1(alpha * jnp.log1p(-jnp.minimum(step, 2 - step))) / step
    else:
        decay = alpha
    return stationary(
        (h > 0) & (step < 2),
        c * eta ** (1 - 1 / alpha) / (decay * h) ** (1 / alpha),
        lambda: f"no stationary law: expected curvature > 0 and step times curvature < 2, got {h} and {step}",
    )


@jax.jit
def jump_rate(distance: ArrayLike, *, tail_index: ArrayLike, scale: ArrayLike) -> Array:
    """Jumps farther than a distance r to one side, per unit time: c^alpha (C/2) r^-alpha, C = (2/pi) Gamma(alpha)
    sin(pi alpha/2). c = `scale` of the SDE; 0 at tail index 2. Traceable. Source: Samorodnitsky and Taqqu 1994, 1.2.15.
    """
    r, alpha, c = (jnp.asarray(value, float) for value in (distance, tail_index, scale))
    half = jax.scipy.special.gamma(alpha) * jnp.sinc(1 - alpha / 2) * (1 - alpha / 2)  # C/2, exactly 0 at alpha = 2
    return c**alpha * half * r**-alpha


def cauchy_density(position: ArrayLike, *, quadratic: ArrayLike, quartic: ArrayLike, scale: ArrayLike) -> Array:
    """Stationary density of dx = -U'(x) dt + s dL, L standard Cauchy, in U = a x^2 / 2 + b x^4 / 4:

        p(x) = (R z / pi) / (x^4 + (z^2 - 2 R) x^2 + R^2),  R = s / (b z),  z > 0 the root of b z^3 - a z - s = 0.

    a = `quadratic` (either sign), b = `quartic` > 0, s = `scale` (the gradient noise's, which at tail index 1 is the
    SDE's); `position` of any shape. Traceable. This is the SDE, not a finite step. Source: Sliusarenko et al. 2013.
    """
    z, square = _cauchy_root(quadratic, quartic, scale)
    x = array("position", position)
    require_broadcast(position=x, coefficients=z)
    is_far = jnp.abs(x) > 1e6  # where x^4 may overflow
    x, y = jnp.where(is_far, 1.0, x), jnp.where(is_far, 1 / jnp.where(is_far, x, 1.0), 1.0) ** 2
    near = square * z / jnp.pi / (x**4 + (z**2 - 2 * square) * x**2 + square**2)
    return jnp.where(is_far, square * z / jnp.pi * y**2 / (1 + (z**2 - 2 * square) * y + (square * y) ** 2), near)


def cauchy_second_moment(*, quadratic: ArrayLike, quartic: ArrayLike, scale: ArrayLike) -> Array:
    """E x^2 = R under `cauchy_density`; the fourth moment is infinite."""
    return _cauchy_root(quadratic, quartic, scale)[1]


def cauchy_mode(*, quadratic: ArrayLike, quartic: ArrayLike, scale: ArrayLike) -> Array:
    """The mode x >= 0 of `cauchy_density`: the modes are +-sqrt(R - z^2 / 2), or 0 where that is not positive."""
    z, square = _cauchy_root(quadratic, quartic, scale)
    return jnp.sqrt(jnp.maximum(square - z**2 / 2, 0))


def _cauchy_root(quadratic, quartic, scale):
    """z and R. Newton from sqrt(max(a, 0) / b) + (s / b)^(1/3), right of the root, where the cubic is convex."""
    quadratic = require("quadratic", quadratic, is_finite, "a finite number")
    a, b, s = array("quadratic", quadratic), array("quartic", quartic, above=0.0), array("scale", scale, above=0.0)
    require_broadcast(quadratic=a, quartic=b, scale=s)
    z = jnp.sqrt(jnp.maximum(a, 0) / b) + jnp.cbrt(s / b)
    for _ in range(30):
        z = (2 * b * z**3 + s) / (3 * b * z**2 - a)
    refusal = lambda: f"quadratic: expected one whose powers fit into {z.dtype} beside quartic and scale, got {a}"
    root = stationary(jnp.isfinite(z) & (z > 0), z, refusal)
    return root, s / (b * root)


def symmetric_stable_density(distance: ArrayLike, *, tail_index: float, scale: float, dimension: int = 1) -> np.ndarray:
    """Density of the rotation-invariant stable law with characteristic function exp(-(scale |k|)^tail_index).

    `distance` r is |x|, any shape (a signed position in one dimension); `dimension` d is 1 or 2, and in two the density
    is per area. Host, float64, relative error below 1e-6 out to the far tails, tail index 0.5 to 2: Fourier's integral

        p(r) = Re (2 pi)^(-d/2) r^(1 - d/2) int k^(d/2) H(k r) (exp(-k^alpha) - [r >= 1]) dk,

    H Hankel's H^(1)_(d/2 - 1), along a ray k = rho exp(i phi) on which both factors decay; the subtracted 1 integrates
    to an imaginary number and keeps the tails from cancelling. Tabulated once for each tail index and interpolated in
    asinh(r); at r = 0 a closed form. Raises ValueError outside these ranges.
    """
    tail_index = one_on_host("tail_index", tail_index, at_least=0.5, at_most=2.0)
    scale, dimension = one_on_host("scale", scale, above=0.0), count("dimension", dimension, at_most=2)
    radius = np.abs(on_host("distance", distance)) / scale
    if tail_index == 2:
        return np.asarray(np.exp(-(radius**2) / 4) / (4 * np.pi * scale**2) ** (dimension / 2))
    knots, logarithm = _stable_table(float(tail_index), dimension)
    depth = np.arcsinh(radius)
    beyond = np.maximum(depth - knots[-1], 0)  # a pure power of r from there on
    power = -(dimension + tail_index) * beyond
    return np.asarray(np.exp(logarithm(np.minimum(depth, knots[-1])) + power) / scale**dimension)


@lru_cache(maxsize=16)
def _stable_table(alpha, dimension):
    """Knots asinh(r) and the spline of log p on them, at scale 1; k r = ray beyond r = 1, k = ray before."""
    knots = np.arange(0, 24, 0.02)
    radius = np.sinh(knots[1:, None])
    inner, outer = radius[radius[:, 0] < 1], radius[radius[:, 0] >= 1]
    angle = min(np.pi / 2, np.pi / (4 * alpha))
    spacing, reach = 0.05, max(np.log(40 / np.cos(alpha * angle)) / alpha, 6)
    ray = np.exp(np.arange(-36 / dimension, reach, spacing) + 1j * angle)  # the trapezoid rule in log(rho)

    def wave(phase):
        return np.exp(1j * phase) / np.pi if dimension == 1 else scipy.special.hankel1(0, phase) / (2 * np.pi)

    near = np.sum((ray**dimension * wave(ray * inner) * np.exp(-(ray**alpha))).real, axis=1)
    far = np.sum(((ray / outer) ** dimension * wave(ray) * np.expm1(-((ray / outer) ** alpha))).real, axis=1)
    centre = scipy.special.gamma(1 + dimension / alpha) / (np.pi * dimension**2)
    logarithm = np.log(np.maximum(np.concatenate([[centre], near * spacing, far * spacing]), 1e-300))
    return knots, scipy.interpolate.CubicSpline(knots, logarithm, bc_type=((1, 0.0), "not-a-knot"))

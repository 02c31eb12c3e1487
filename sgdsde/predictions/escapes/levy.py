"""Escape by jumps: rates and times under stable noise, where width counts and height does not; clipped updates.

Scales are those of the *SDE*, dx = -grad L dt + c dL, characteristic function exp(-|c k|^alpha) at time 1. SGD with
stable gradient noise of scale g at learning rate eta is the SDE with c = g eta^(1 - 1/alpha), not sqrt(eta).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import array, count, on_host, one_on_host, require, require_broadcast
from sgdsde.predictions.stable import jump_rate

__all__ = ["clipped_exit_exponent", "free_levy_exit_time", "levy_escape_rate"]


def levy_escape_rate(*, tail_index: ArrayLike, scale: ArrayLike, left: ArrayLike, right: ArrayLike) -> Array:
    """Rate of escape from a well under small symmetric stable noise, per unit time:

        c^alpha (C/2) (left^-alpha + right^-alpha),    C = (2/pi) Gamma(alpha) sin(pi alpha/2)

    c = `scale` of the SDE, alpha = `tail_index`; `left` and `right`: distances from the minimum to the ends of its
    basin, infinite where there is none. It takes one jump: widths count, heights do not. This is the limit of small
    noise (slopes fitted at c > 0.05 are not alpha in wells of width 1), in which the exit time is exponential.
    Traceable. Raises ValueError for arguments outside their ranges.
    Source: Imkeller and Pavlyukevich 2006, theorem 1; C: Samorodnitsky and Taqqu 1994, property 1.2.15.
    """
    require("tail_index", tail_index, lambda number: (number > 0) & (number < 2), "0 < tail_index < 2 (2 has no jumps)")
    is_distance = lambda number: number > 0, "a distance > 0, infinite where there is no end"
    left, right = require("left", left, *is_distance), require("right", right, *is_distance)
    require_broadcast(tail_index=tail_index, scale=scale, left=left, right=right)
    alpha, c = array("tail_index", tail_index, above=0.0, below=2.0), array("scale", scale, above=0.0)
    return jump_rate(left, tail_index=alpha, scale=c) + jump_rate(right, tail_index=alpha, scale=c)


def free_levy_exit_time(
    start: ArrayLike, *, tail_index: ArrayLike, scale: ArrayLike, half_width: ArrayLike, dimension: int = 1
) -> Array:
    """Mean time at which a rotation-invariant stable process without drift leaves the ball |x| < r:

        (r^2 - |x|^2)^(alpha/2) Gamma(d/2) / (c^alpha 2^alpha Gamma(1 + alpha/2) Gamma((d + alpha)/2))

    x = `start`, a position or its distance from the centre; r = `half_width`; c = `scale` of the SDE; d = `dimension`.
    In one dimension the constants are 1/(c^alpha Gamma(1 + alpha)); at tail index 2 it is (r^2 - x^2)/(2 d c^2), a
    Brownian motion of diffusion c^2. 0 outside. Traceable. Source: Getoor 1961, theorem 5.2.
    """
    dimension = count("dimension", dimension, at_most=10**9)
    alpha, c = array("tail_index", tail_index, above=0.0, at_most=2.0), array("scale", scale, above=0.0)
    start, half_width = array("start", start), array("half_width", half_width, above=0.0)
    require_broadcast(start=start, tail_index=alpha, scale=c, half_width=half_width)
    room = jnp.maximum(half_width**2 - start**2, 0.0)
    logarithm = gammaln(jnp.asarray(dimension / 2)) - gammaln(1 + alpha / 2) - gammaln((dimension + alpha) / 2)
    return room ** (alpha / 2) * jnp.exp(logarithm) / (2 * c) ** alpha


def clipped_exit_exponent(*, tail_index: ArrayLike, half_width: ArrayLike, clip: ArrayLike) -> float:
    """The exponent k of the number of iterations ~ learning_rate^(-k) in which SGD leaves a well of this half width:

        k = alpha + (alpha - 1)(l - 1),    l = ceil(half_width/clip)

    alpha = `tail_index` of the gradient noise, between 1 and 2; `clip` bounds the *update*, learning_rate times the
    gradient, so that l jumps are needed, all within one relaxation time. (Clipping the gradient at b bounds the update
    by learning_rate b, another law: `sgd(..., clip=clip/learning_rate)` is the one meant here.) Without a clip, an
    infinite one, k = alpha. Raises ValueError where half_width/clip is a whole number: the limit is another one there.
    Source: Wang, Oh, Rhee 2022 (2102.04297), theorem 1.
    """
    alpha = one_on_host("tail_index", tail_index, above=1.0, below=2.0)
    half_width = one_on_host("half_width", half_width, above=0.0)
    clip = np.inf if np.array_equal(on_host("clip", clip), np.inf) else one_on_host("clip", clip, above=0.0)
    jumps = half_width / clip
    if jumps == np.round(jumps) and np.isfinite(clip):
        raise ValueError(f"clip: half_width/clip = {jumps:g} is a whole number; the exponent needs one that is not")
    return float(alpha + (alpha - 1) * (np.ceil(max(jumps, 1e-300)) - 1))

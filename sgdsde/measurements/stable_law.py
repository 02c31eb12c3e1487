"""The distribution function and quantiles of the standard symmetric stable law, exp(-|k|^a); host side."""

from functools import lru_cache

import numpy as np
from jax.typing import ArrayLike

__all__ = ["QUARTILES", "distribution_function", "quantile_table"]

QUARTILES = (0.05, 0.25, 0.75, 0.95)
"""the probabilities whose quantiles McCulloch's estimator reads"""

NEAR_CAUCHY = 0.03
"""within this of index 1 the integrand is nearly a step: the three indices 1 - .03, 1, 1 + .03 are joined"""


def distribution_function(position: ArrayLike, tail_index: float) -> np.ndarray:
    """P(X <= position) of the symmetric stable law of scale 1, tail_index in (0, 2]; absolute error below 1e-6.

    For x > 0 and a = tail_index, averaged over the angle U, uniform on (0, pi/2), of Chambers, Mallows and Stuck,

        P(X > x) = (1/pi) integral exp(-W) dU (a > 1)   or   (1/pi) integral (1 - exp(-W)) dU (a < 1),
        log W = (a/(a - 1)) (log x - log S),   log S = log sin(a U) - log cos(U)/a + ((1-a)/a) log cos((1-a) U).

    Source: Zolotarev (1986); Nolan (1997).
    """
    x = np.abs(np.asarray(position, float))
    if abs(tail_index - 1) < NEAR_CAUCHY:
        d = (tail_index - 1) / NEAR_CAUCHY
        below, above = (_upper_tail(x, 1 + side * NEAR_CAUCHY) for side in (-1, 1))
        tail = (1 - d**2) * np.arctan2(1, x) / np.pi + d * (d - 1) / 2 * below + d * (d + 1) / 2 * above
    else:
        tail = _upper_tail(x, tail_index)
    return np.where(np.asarray(position) > 0, 1 - tail, tail)


@lru_cache(maxsize=1)
def quantile_table() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices from 2 down to 0.3, their ratios (q95 - q05)/(q75 - q25), increasing, and their widths q75 - q25."""
    indices = np.concatenate([np.linspace(2, 1, 41), np.linspace(1, 0.3, 29)[1:]])
    q95, q75 = np.array([[_quantile(p, index) for index in indices] for p in (0.95, 0.75)])
    return indices, q95 / q75, 2 * q75


def _upper_tail(x, a):
    """P(X > x), x >= 0, by the trapezoid rule in a variable that crowds the points at both ends of the angle."""
    steps = np.linspace(-3.4, 3.4, 1201)
    stretched = np.pi / 2 * np.sinh(steps)
    fraction, rest = 1 / (1 + np.exp(-2 * stretched)), 1 / (1 + np.exp(2 * stretched))
    weights = np.pi * np.cosh(steps) * fraction * rest * np.pi / 2 * (steps[1] - steps[0])
    angle, cosine = np.pi / 2 * fraction, np.sin(np.pi / 2 * rest)
    sine = np.sin(np.minimum(a * angle, np.pi * (2 - a) / 2 + a * np.pi / 2 * rest))
    log_size = np.log(sine) - np.log(cosine) / a + (1 - a) / a * np.log(np.cos((1 - a) * angle))
    with np.errstate(divide="ignore", over="ignore"):
        w = np.exp(np.minimum(a / (a - 1) * (np.log(x)[..., None] - log_size), 700))
    return (np.exp(-w) if a > 1 else -np.expm1(-w)) @ weights / np.pi


def _quantile(probability, index):
    """By bisection in log x: between 0.01 and 1e6 at every index from 0.3."""
    low, high = np.log(1e-2), np.log(1e6)
    for _ in range(50):
        middle = (low + high) / 2
        below = distribution_function(np.exp(middle), index) < probability
        low, high = (middle, high) if below else (low, middle)
    return np.exp(low)

"""Noise balance at finite steps: the law of v = u w, and the decay of u^2 - w^2, that SGD and an Euler scheme have.

f = u w x, loss (u w x - y)^2 **without the half**, as in `noise_balance`, of which this is no small-rate limit. A step
u' = u - k w, w' = w - k u multiplies u^2 - w^2 by 1 - k^2 exactly, so that everything ends on u = w, where

    log v' = log v + 2 log|1 - k|,      k = eta G, G = dl/dv of one example at v        (SGD, batches of one)
                                        k = 2 h (b1 v - b2) + 2 sqrt(T h g(v)) N(0, 1)  (Euler's step h of the Ito SDE)

a Markov chain in one number, solved on a grid of log v: the mean over examples, or over Gauss-Hermite nodes, of a
cubic interpolation. Host side, float64.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from sgdsde.predictions.noise_balance import SlopeMoments, named_moments
from sgdsde.predictions.requirements import count, on_host, one_on_host, require

__all__ = ["BalancedLaw", "euler_balanced_law", "sgd_balanced_law"]

BELOW, ABOVE = 8.0, 3.0
"""the grid of log v, about log(b2/b1), where the mean slope is 0"""


class BalancedLaw(NamedTuple):
    """Stationary law of log v on u = w: `probabilities` (m,) of cells about the equidistant `log_strengths` (m,);
    `decay_rate`, -E log|1 - k^2| per unit of time (learning rate or h times steps), at which log|u^2 - w^2| falls;
    `error`, of the decay rate, its change from half as many points."""

    log_strengths: np.ndarray
    probabilities: np.ndarray
    decay_rate: float
    error: float


def sgd_balanced_law(
    inputs: ArrayLike, labels: ArrayLike, *, learning_rate: float, num_points: int = 501
) -> BalancedLaw:
    """The law that SGD with batches of one example, drawn with replacement, has of log v, and its decay of u^2 - w^2.

    inputs x and labels y, (n,), with E x y > 0; eta = `learning_rate`. As eta -> 0 the decay rate tends to 4 T E g of
    the SDE (`imbalance_decay_rate` over `balance_density`, T = eta), from which it differs in proportion to eta. A
    large rate lets v jump so far that SGD diverges at last: ValueError where more than 0.1 % of the law would be at
    the ends of the grid, e^-8 and e^3 times b2/b1, or where num_points is not odd or below 51.
    """
    x, y = on_host("inputs", inputs), on_host("labels", labels)
    if x.ndim != 1 or x.shape != y.shape or x.size == 0:
        raise ValueError(f"inputs and labels: expected the same shape (n,), got {x.shape} and {y.shape}")
    rate = one_on_host("learning_rate", learning_rate, above=0.0)
    squares, products = x**2, x * y
    kick = lambda v: 2 * rate * (v * squares - products)
    weights = np.full(x.size, 1 / x.size)
    return _law(kick, weights, products.mean() / squares.mean(), rate, num_points, "learning_rate")


def euler_balanced_law(
    moments: SlopeMoments, *, temperature: float, time_step: float, num_points: int = 501
) -> BalancedLaw:
    """The same of Euler's scheme for the Ito SDE of u and w, in steps of h = `time_step`; T = `temperature`, a rate
    over a batch. One microstep of a matched SDE has h = learning_rate / substeps. As h -> 0 it is the law of
    `balance_density` at depth 1 and its decay rate 4 T E g. Raises as `sgd_balanced_law`.
    """
    a1, a2, a3, b1, b2 = (one_on_host(f"moments.{name}", value) for name, value in named_moments(moments).items())
    temperature = one_on_host("temperature", temperature, above=0.0)
    step = one_on_host("time_step", time_step, above=0.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    spread = lambda v: 2 * np.sqrt(temperature * step * np.maximum(a1 * v**2 - 2 * a2 * v + a3, 0))
    kick = lambda v: 2 * step * (b1 * v - b2) + spread(v) * nodes
    return _law(kick, weights / weights.sum(), b2 / b1, step, num_points, "time_step")


def _law(kick: Callable, weights, centre: float, step: float, num_points: int, name: str) -> BalancedLaw:
    require("labels", centre, lambda number: number > 0, "a positive mean of inputs times labels")
    num_points = count("num_points", num_points, at_least=51)
    require("num_points", num_points, lambda number: number % 2 == 1, "an odd number, 51 or more")
    places, probabilities, rate = _stationary(kick, weights, centre, num_points)
    coarse = _stationary(kick, weights, centre, num_points // 2 + 1)[2]
    ends = abs(probabilities[0]) + abs(probabilities[-1])
    if not ends < 1e-3:
        raise ValueError(
            f"{name}: {ends:.2g} of the law would be at e^-{BELOW:g} or e^{ABOVE:g} times b2/b1, where the grid ends; "
            f"expected a smaller one, got {step}"
        )
    return BalancedLaw(places, probabilities, float(rate / step), float(abs(rate - coarse) / step))


def _stationary(kick: Callable, weights, centre: float, num_points: int):
    """(log v, their probabilities, -E log|1 - k^2|): what jumps beyond the grid stays at its end."""
    places = np.log(centre) + np.linspace(-BELOW, ABOVE, num_points)
    matrix, decay = np.zeros((num_points, num_points)), np.zeros(num_points)
    for row, place in enumerate(places):
        factor = kick(np.exp(place))
        decay[row] = -weights @ np.log(np.maximum(np.abs(1 - factor**2), 1e-300))
        reached = place + 2 * np.log(np.maximum(np.abs(1 - factor), 1e-300))
        position = np.clip((reached - places[0]) / (places[1] - places[0]), 0, num_points - 1)
        cell = np.clip(np.floor(position).astype(int), 1, num_points - 3)
        f = position - cell
        cubic = (
            -f * (f - 1) * (f - 2) / 6, (f + 1) * (f - 1) * (f - 2) / 2,
            -(f + 1) * f * (f - 2) / 2, (f + 1) * f * (f - 1) / 6,
        )  # fmt: skip
        for shift, share in enumerate(cubic, start=-1):
            matrix[row] += np.bincount(cell + shift, weights * share, minlength=num_points)
    uniform = np.full(num_points, 1 / num_points)
    probabilities = np.linalg.solve((np.eye(num_points) - matrix).T + uniform[:, None], uniform)
    return places, probabilities, probabilities @ decay

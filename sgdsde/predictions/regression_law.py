"""The exact law of SGD on linear regression in one dimension, fresh normal inputs: one step's kernel on cells of |x|.

A step is x' = (1 - r Y) x + c sqrt(Y) e about the solution: Y chi-square of B degrees, e ~ N(0, 1),

    r = eta m2 / B,    c = (eta/B) sqrt(m2 s^2),    m2 = `input_variance`, s^2 = `label_variance`,

eta = `learning_rate`, B = `batch_size`, loss (y - theta x)^2 / 2 **with the half**. For B = 1 its density is infinite
at x' = x, but the probability of a cell, an integral over sqrt(Y) of a normal distribution function, is smooth. A chain
is put in the middle of its cell, which errs by the square of the width: every answer is extrapolated from two
resolutions. Signs do not matter, as x and -x have mirrored laws. Host side, float64.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import count, one_on_host, require

NODES, RULE = np.polynomial.legendre.leggauss(96)


class RegressionLaw(NamedTuple):
    """`above` (m + 1,): the stationary P(|x| > distance) at the equidistant `distances`; `error`, an estimate of its
    largest error; `lost_mass`, the probability of jumping beyond the last distance in a step.

    E f(|x|) = f(0) + int f'(y) P(|x| > y) dy, by Simpson's rule over the distances, is as exact as the law."""

    distances: np.ndarray
    above: np.ndarray
    error: float
    lost_mass: float


class PassageSteps(NamedTuple):
    """`mean` number of steps to the first |x| beyond a distance, and its `error` (change from half as many cells)."""

    mean: float
    error: float


def gaussian_regression_law(
    *,
    largest: float,
    num_cells: int,
    input_variance: float,
    label_variance: float,
    learning_rate: float,
    batch_size: int,
) -> RegressionLaw:
    """Stationary law of the distance |x| from the solution, by num_cells (even) equal cells of [0, `largest`]; it comes
    at every second of their edges.

    What jumps beyond is put into the last cell: `largest` has to be far out, 8 standard deviations or more, farther for
    a heavy tail. 200 to 400 cells give four digits or more. Raises ValueError where 0.1 % a step goes beyond.
    """
    setting = _setting(num_cells, input_variance, label_variance, learning_rate, batch_size)
    largest = one_on_host("largest", largest, above=0.0)
    fine, lost = _stationary(np.linspace(0, largest, num_cells + 1), *setting)
    coarse, _ = _stationary(np.linspace(0, largest, num_cells // 2 + 1), *setting)
    require("largest", lost, lambda mass: mass < 1e-3, f"a distance rarely passed, not one of {lost:.2g} a step")
    change = (fine[::2] - coarse) / 3
    distances = np.linspace(0, largest, num_cells // 2 + 1)
    return RegressionLaw(distances, fine[::2] + change, float(np.abs(change).max()), lost)


def gaussian_regression_passage_steps(
    distance: ArrayLike,
    *,
    num_cells: int,
    input_variance: float,
    label_variance: float,
    learning_rate: float,
    batch_size: int,
) -> PassageSteps:
    """Mean number of steps of SGD, started at the solution, to the first |x| > `distance`: (I - K^T) T = 1 on cells.

    Exact for SGD, unlike `proportional_noise_passage_time`. In terms of the loss, distance^2 = (2/m2) (L - L_*),
    L_* = s^2 / 2. num_cells is even; 200 give five digits.
    """
    setting = _setting(num_cells, input_variance, label_variance, learning_rate, batch_size)
    distance = one_on_host("distance", distance, above=0.0)
    means = []
    for size in (num_cells, num_cells // 2):
        edges = np.linspace(0, distance, size + 1)
        steps = np.linalg.solve(np.eye(size) - _kernel(edges, *setting).T, np.ones(size))
        means.append(1 + _kernel(edges, *setting, at_solution=True)[:, 0] @ steps)
    change = (means[0] - means[1]) / 3
    return PassageSteps(float(means[0] + change), float(abs(change)))


def _setting(num_cells, input_variance, label_variance, learning_rate, batch_size):
    input_variance = one_on_host("input_variance", input_variance, above=0.0)
    label_variance = one_on_host("label_variance", label_variance, above=0.0)
    learning_rate = one_on_host("learning_rate", learning_rate, above=0.0)
    batch_size = count("batch_size", batch_size, at_most=2**31 - 1)
    if count("num_cells", num_cells, at_least=4, at_most=20_000) % 2:
        raise ValueError(f"num_cells: expected an even number, got {num_cells}")
    reach = learning_rate * input_variance / batch_size
    return reach, learning_rate / batch_size * np.sqrt(input_variance * label_variance), batch_size


def _kernel(edges, reach, kick, batch_size, at_solution=False):
    """(cell reached, cell left): the probability of |x'| in a cell, x in the middle of one (or at the solution)."""
    low = max(0.0, np.sqrt(batch_size) - 7)
    high = np.sqrt(batch_size) + 7
    share = (NODES + 1) / 2
    roots = low + (high - low) * share**2  # closer where sqrt(Y) is small: there the kernel is narrow
    weights = RULE / 2 * 2 * share * (high - low)
    log_density = np.log(2) * (1 - batch_size / 2) - scipy.special.gammaln(batch_size / 2) - roots**2 / 2
    weights = weights * np.exp(log_density + scipy.special.xlogy(batch_size - 1, roots))
    middles = np.zeros(1) if at_solution else (edges[1:] + edges[:-1]) / 2
    total = np.zeros((edges.size, middles.size))
    for root, weight in zip(roots, weights / weights.sum(), strict=True):
        if weight > 1e-18:
            centre, width = np.abs(middles * (1 - reach * root**2)), kick * root
            total += weight * scipy.special.ndtr((edges[:, None] - centre) / width)
            total -= weight * scipy.special.ndtr((-edges[:, None] - centre) / width)
    return np.diff(total, axis=0)


def _stationary(edges, reach, kick, batch_size):
    kernel = _kernel(edges, reach, kick, batch_size)
    size, beyond = kernel.shape[0], 1 - kernel.sum(axis=0)
    kernel[-1] += beyond
    uniform = np.full(size, 1 / size)
    probability = np.linalg.solve(np.eye(size) - kernel + uniform[:, None], uniform)
    above = np.append(np.cumsum(probability[::-1])[::-1], 0.0)
    return above, float(np.abs(beyond) @ probability)

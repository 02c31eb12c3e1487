"""Mean exit times of Levy processes in a potential from an interval."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jax.typing import ArrayLike

from sgdsde.predictions.fractional.jumps import jump_rates, levy_motion
from sgdsde.predictions.requirements import on_host


class LevyExitTime(NamedTuple):
    """`mean_time` from every point of the grid, (m,); `error`, an estimate of its largest absolute error."""

    mean_time: np.ndarray
    error: float


def levy_mean_exit_time(
    gradient: Callable[[np.ndarray], ArrayLike],
    grid: ArrayLike,
    *,
    interval: tuple[ArrayLike, ArrayLike],
    tail_index: float,
    scale: float,
) -> LevyExitTime:
    """Mean time tau(x) at which dx = -U'(x) dt + dL, started in x, first leaves `interval` = (left, right).

        -U' tau' - scale^alpha (-d^2/dx^2)^(alpha/2) tau = -1 inside,   tau = 0 outside,   alpha = `tail_index`.

    Arguments as in `levy_stationary_density`. Either end may be infinite: no exit there, and the grid, which then has
    to be wide enough, ends where the drift leads back. The grid ends at a finite end, where tau ~ distance^(alpha/2):
    it should crowd there like the square of the index (1 - cos does). The error, estimated by the largest difference
    from the solution on every second point, is that of the points next to an end: 1e-4 of the longest time on 200
    points at tail index 1.5, 2e-3 at 1; well inside it is a tenth of that or less. This is continuous time: a chain
    looked at every dt leaves later by O(dt^(1/alpha)). Jumps leave the interval without touching its end.
    Free process, (-1, 1), scale 1: (1 - x^2)^(alpha/2)/Gamma(1 + alpha). Source: Getoor 1961.
    """
    motion = levy_motion(gradient, grid, tail_index, scale)
    ends = tuple(on_host("interval", interval).ravel().tolist())
    if len(ends) != 2 or not ends[0] < ends[1] or not np.isfinite(ends).any():
        raise ValueError(f"interval: expected (left, right), left < right, one of them finite, got {interval}")
    for end, place in zip(ends, (0, -1)):
        if np.isfinite(end) and motion.grid[place] != end:
            raise ValueError(f"grid: expected to end where the interval does, at {end}, got {motion.grid[place]}")
    fine, coarse = (_mean_time(each, ends) for each in (motion, motion.on_every_second_point()))
    return LevyExitTime(fine, float(np.max(np.abs(fine[::2] - coarse))))


def _mean_time(motion, ends):
    size = motion.grid.size
    kept = slice(int(np.isfinite(ends[0])), size - int(np.isfinite(ends[1])))
    rates = _without_negative(jump_rates(motion), motion.grid)[kept, kept]
    own = -np.diag(rates)
    time = np.zeros(size)
    time[kept] = scipy.linalg.solve(rates / own[:, None], -1 / own, overwrite_a=True)
    return time


def _without_negative(rates, grid):
    """The rates with just so much diffusion added at each point that none to a neighbour is negative.

    Where a drift leads away from an end, time falls to 0 there within a layer of scale^(alpha/(alpha - 1)), thinner
    than any cell: central differences of the drift then swing, upwind ones (which these are) do not.
    """
    left, right = np.diff(grid)[:-1], np.diff(grid)[1:]
    inner = np.arange(1, grid.size - 1)
    lack = np.maximum(0, np.maximum(-rates[inner, inner - 1] * left, -rates[inner, inner + 1] * right))
    rates[inner, inner - 1] += lack / left
    rates[inner, inner + 1] += lack / right
    rates[inner, inner] -= lack / left + lack / right
    return rates

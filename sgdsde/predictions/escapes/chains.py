"""Exit times of a Markov chain in one dimension, exact at any finite step: Euler's scheme, SGD, clipped updates."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import count, one_on_host, require_function

__all__ = ["ChainExit", "chain_exit_steps"]


class ChainExit(NamedTuple):
    """`steps`, the mean number of steps until a chain is outside, and `error`: the size of the extrapolation to it."""

    steps: float
    error: float


def chain_exit_steps(
    transition: Callable, *, start: ArrayLike, lower: ArrayLike, upper: ArrayLike, num_cells: int
) -> ChainExit:
    """Mean number of steps after which a chain that begins at `start` is outside (lower, upper).

        m(x) = 1 + int_lower^upper P(x, dy) m(y),    P(x, (-inf, y]) = transition(x, y)

    transition: NumPy function of x (n, 1) and y (m,) -> (n, m), a distribution function in y: for an Euler step h of
    dx = f dt + sqrt(2 T) dW it is norm.cdf((y - x - h f(x))/sqrt(2 T h)); atoms, of a clipped update, are welcome. m is
    taken as constant on each of num_cells equal cells, and on each of half as many (num_cells is even); the error falls
    like the square of their width, by which the result is extrapolated. They should be a few times narrower than a
    step's spread. An end that is never reached (a steep wall) may lie anywhere beyond the law. Host, float64, dense:
    num_cells^2 numbers. Raises ValueError naming the argument.
    """
    require_function(transition=transition)
    start, lower, upper = (one_on_host(n, v) for n, v in (("start", start), ("lower", lower), ("upper", upper)))
    if not lower < start < upper:
        raise ValueError(f"start: expected between lower = {lower} and upper = {upper}, got {start}")
    if count("num_cells", num_cells, at_least=2, at_most=20_000) % 2:
        raise ValueError(f"num_cells: expected an even number, got {num_cells}")

    def steps(num_cells):
        edges = np.linspace(lower, upper, num_cells + 1)
        places = np.append((edges[1:] + edges[:-1]) / 2, start)[:, None]
        masses = np.diff(np.asarray(transition(places, edges), float), axis=1)
        if masses.shape != (num_cells + 1, num_cells) or not (masses > -1e-9).all():
            raise ValueError("transition: expected a distribution function, (n, 1) and (m,) -> (n, m), increasing in y")
        try:
            within = scipy.linalg.solve(np.eye(num_cells) - masses[:-1], np.ones(num_cells), overwrite_a=True)
        except np.linalg.LinAlgError as error:
            raise ValueError(
                f"lower, upper, num_cells: expected cells from which a step leaves, got {num_cells} from "
                f"{lower:.6g} to {upper:.6g}, some of which keep every chain; take a narrower interval or more cells"
            ) from error
        return 1 + float(masses[-1] @ within)

    fine = steps(num_cells)
    correction = (fine - steps(num_cells // 2)) / 3
    return ChainExit(fine + correction, abs(correction))

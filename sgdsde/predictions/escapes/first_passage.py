"""Exact mean first-passage times in one dimension: any drift, state-dependent diffusion, any convention.

With p ~ D^(q-1) exp(int f/D) and s = 1/(D p) ~ D^(-q) exp(-int f/D) (q = 0 Ito, 1/2 Stratonovich, 1
Haenggi-Klimontovich), the moments of the time are integrals of products of p and s, all positive. They are taken by
ten-point Gauss-Legendre panels, running integrals included, in logarithms: a barrier of hundreds of temperatures
overflows nothing, and panels are split until the exponent int f/D changes by 2 or less in each. Where int |f|/D is
262,144 (in a landscape of height one: temperatures near 4e-6) a smaller diffusion is refused. This is the SDE in
continuous time; of an Euler step see `moved_boundary`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from sgdsde.predictions.fokker_planck.coefficients import (
    POWER,
    Convention,
    check_diffusion,
    diffusion_matrix,
    require_convention,
    require_shapes,
)
from sgdsde.predictions.requirements import one_on_host, require, require_function

__all__ = ["IntervalExit", "PassageTime", "first_passage_time", "interval_exit"]

NUM_PANELS = 512
"""on each side of the start, before those are split that need it; the result on half of them gives the error"""
STEEPEST = 2.0
"""change of the exponent in a panel: what changes more is split, as ten nodes follow no steeper exponential"""
MOST_PANELS = 2**17
NODES, SHARES = np.polynomial.legendre.leggauss(10)
RUNNING = np.linalg.solve(
    np.polynomial.legendre.legvander(NODES, 9).T,
    np.stack([np.polynomial.legendre.legval(NODES, np.polynomial.legendre.legint(row, lbnd=-1)) for row in np.eye(10)]),
)
"""(node, node reached): the weights of an integral from -1 to a node"""
NEGLIGIBLE = -60.0
"""the logarithm of a mass that is left out, on a side without a wall"""


class PassageTime(NamedTuple):
    """`mean` and `second_moment` of a first-passage time, and the quadrature's absolute `error` of each (mean, second
    moment): the change from half as many panels. Times are sums of learning rates."""

    mean: float
    second_moment: float
    error: tuple[float, ...]


class IntervalExit(NamedTuple):
    """`mean` and `second_moment` of the time of leaving an interval at either end, the `upper_probability` of leaving
    at its upper end, and the quadrature's absolute `error` of the three, in this order."""

    mean: float
    second_moment: float
    upper_probability: float
    error: tuple[float, ...]


def first_passage_time(
    drift: Callable,
    diffusion: Callable,
    *,
    start: ArrayLike,
    boundary: ArrayLike,
    wall: ArrayLike | None,
    convention: Convention,
) -> PassageTime:
    """Time from `start` to `boundary`, exact for the SDE: mean = int_start^boundary dy s(y) int_wall^y p(z) dz.

    dx = f dt + sqrt(2 D) dW in the given `convention`, f = `drift` (params (1,)) -> (1,), D = `diffusion` (params (1,))
    -> a scalar or (1, 1): JAX functions, evaluated in JAX's default precision (use float64 for many digits). For SGD
    f = -L', D = learning_rate C(x)/2, "ito". The boundary lies on either side of the start; on the other is `wall`, a
    position that reflects, or None: none is needed because the drift turns back (a natural boundary), and the domain
    is cut where exp(-60) of the mass is left. Half of the second moment over the squared mean tends to 1 for an
    exponential time. Runs on the host. Raises ValueError naming the argument, also where no wall is given and the
    drift does not confine.
    Source: Gardiner, Stochastic Methods, 5.2.7; Haenggi, Talkner, Borkovec 1990, eq. 7.5.
    """
    require_convention(convention)
    start, boundary = (one_on_host(name, value) for name, value in (("start", start), ("boundary", boundary)))
    if start == boundary:
        raise ValueError(f"boundary: expected another position than start = {start}")
    direction = 1.0 if boundary > start else -1.0
    wall = None if wall is None else one_on_host("wall", wall)
    if wall is not None and direction * (start - wall) < 0:
        raise ValueError(f"wall: expected on the side of start = {start} away from boundary = {boundary}, got {wall}")
    laws = _laws(drift, diffusion, convention)

    def moments(num_panels, reach):
        if wall is not None:
            behind = np.linspace(wall, start, num_panels + 1) if wall != start else np.array([start])
        else:  # panels that widen with the distance cover a power law's tail too
            behind = start - (boundary - start) * np.sinh(np.linspace(reach, 0, num_panels + 1))
        knots = np.concatenate([behind, np.linspace(start, boundary, num_panels + 1)[1:]])
        law = laws(direction, knots)
        # Of what is behind the start only its mass counts: where that is negligible, nothing has to be resolved.
        first = behind.size - 1
        masses = law.log_p[:first].max(axis=1) + np.log(law.panels.widths[:first, 0])
        largest = masses.max(initial=-np.inf)
        if wall is None and not masses[0] < largest + NEGLIGIBLE:
            return None
        needed = np.append(masses > largest + NEGLIGIBLE, np.ones(num_panels, bool))
        (panels, log_p, log_s), first = _resolved(laws, direction, knots, law, needed, num_panels, first)
        inner = panels.up_to(log_p)
        times = panels.down_to(log_s + inner)
        second = panels.total(log_s + panels.up_to(log_p + times), beyond=first)
        return _exponentials(panels.total(log_s + inner, beyond=first), np.log(2) + second)

    for reach in 2.0 ** np.arange(8):
        found = moments(NUM_PANELS, reach)
        if found is not None:
            coarse = moments(NUM_PANELS // 2, reach)
            return PassageTime(found[0], found[1], _changes(found, coarse))
    raise ValueError(
        "wall: got None, but the drift does not confine on the side away from the boundary (the mean time may be "
        "infinite); give the position of a reflecting wall"
    )


def interval_exit(
    drift: Callable,
    diffusion: Callable,
    *,
    start: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    convention: Convention,
) -> IntervalExit:
    """Exit from the interval (lower, upper), exact for the SDE. With S(x) the integral of s from `lower` to x,

        upper_probability = S(start)/S(upper),
        mean = int p(z) S(min(start, z)) (S(upper) - S(max(start, z))) dz / S(upper).

    Everything else as `first_passage_time`. Source: Gardiner, Stochastic Methods, 5.2.7-8.
    """
    require_convention(convention)
    start, lower, upper = (one_on_host(n, v) for n, v in (("start", start), ("lower", lower), ("upper", upper)))
    if not lower < start < upper:
        raise ValueError(f"start: expected between lower = {lower} and upper = {upper}, got {start}")
    laws = _laws(drift, diffusion, convention)

    def results(num_panels):
        knots = np.concatenate(
            [np.linspace(lower, start, num_panels + 1), np.linspace(start, upper, num_panels + 1)[1:]]
        )
        needed = np.ones(knots.size - 1, bool)
        law = laws(1.0, knots)
        (panels, log_p, log_s), middle = _resolved(laws, 1.0, knots, law, needed, num_panels, num_panels)
        whole = panels.total(log_s)
        below, above = panels.up_to(log_s) - whole, panels.down_to(log_s)
        ends = panels.total(log_s, before=middle) - whole, panels.total(log_s, beyond=middle)

        def at_start(log_values):
            first = panels.total(below + log_p + log_values, before=middle) + ends[1]
            return np.logaddexp(first, ends[0] + panels.total(above + log_p + log_values, beyond=middle))

        mean = at_start(np.zeros_like(log_p))
        times = np.logaddexp(above + panels.up_to(below + log_p), below + panels.down_to(above + log_p))
        return _exponentials(mean, np.log(2) + at_start(times), ends[0])

    found = results(NUM_PANELS)
    return IntervalExit(found[0], found[1], found[2], _changes(found, results(NUM_PANELS // 2)))


class _Panels(NamedTuple):
    """Gauss-Legendre panels in increasing order: `nodes` (panel, 10), half `widths` (panel, 1)."""

    nodes: np.ndarray
    widths: np.ndarray

    @classmethod
    def between(cls, knots):
        widths = np.diff(knots)[:, None] / 2
        return cls(knots[:-1, None] + widths * (NODES + 1), widths)

    def up_to(self, log_values):
        """log of the integral of exp(log_values) from the first knot to every node."""
        return _running(log_values, self.widths)

    def down_to(self, log_values):
        """log of the integral from every node to the last knot."""
        return _running(log_values[::-1, ::-1], self.widths[::-1])[::-1, ::-1]

    def total(self, log_values, *, before=None, beyond=0):
        """log of the integral over the panels beyond, ..., before - 1."""
        part = slice(beyond, before)
        return np.logaddexp.reduce((log_values + np.log(SHARES * self.widths))[part].ravel())


def _running(log_values, widths):
    largest = log_values.max(axis=1, keepdims=True)
    partial = (np.exp(log_values - largest) @ RUNNING) * widths
    partial = largest + np.log(np.maximum(partial, 1e-300))
    panels = np.logaddexp.reduce(log_values + np.log(SHARES * widths), axis=1)
    before = np.concatenate([[-np.inf], np.logaddexp.accumulate(panels)[:-1]])
    return np.logaddexp(before[:, None], partial)


class _Law(NamedTuple):
    """log p and log s at the nodes of the panels, whose exponent is 0 at the first knot, and how much it changes in
    each panel."""

    panels: _Panels
    log_p: np.ndarray
    log_s: np.ndarray
    changes: np.ndarray


def _resolved(laws, direction, knots, law, needed, num_panels, place):
    """(panels, log p, log s) where no panel that is needed is too steep, and the place of the knot at `place` then."""
    pieces = np.where(needed, np.maximum(np.ceil(law.changes * num_panels / (STEEPEST * NUM_PANELS)), 1), 1)
    if pieces.sum() > MOST_PANELS * num_panels / NUM_PANELS:
        raise ValueError(
            f"diffusion: too small beside the drift: int |f|/D changes by {law.changes[needed].sum():.3g}, of which "
            f"{STEEPEST * MOST_PANELS:.3g} can be resolved; raise it, or take its limit, the time of the drift alone"
        )
    ends = np.concatenate([[0], np.cumsum(pieces.astype(int))])
    if ends[-1] > len(pieces):
        law = laws(direction, np.interp(np.arange(ends[-1] + 1), ends, knots))
    return law[:3], ends[place]


def _laws(drift, diffusion, convention):
    """(direction, knots) -> `_Law`; the panels run with the direction."""
    require_function(drift=drift, diffusion=diffusion)
    evaluate = jax.vmap(lambda params: (drift(params), diffusion_matrix(diffusion, params)))

    def laws(direction, knots):
        panels = _Panels.between(direction * knots)
        nodes = direction * panels.nodes
        points = jnp.asarray(nodes.reshape(-1, 1), float)
        require_shapes(drift, diffusion, 1, points.dtype)
        flow, spread = (np.asarray(value, float) for value in evaluate(points))
        require("drift", flow, np.isfinite, f"finite numbers between {knots.min():.6g} and {knots.max():.6g}")
        check_diffusion(spread, points)
        spread = spread.reshape(nodes.shape)
        force = flow.reshape(nodes.shape) / spread
        widths = np.diff(knots)[:, None] / 2  # negative where the panels run down
        exponent = (force @ RUNNING) * widths
        exponent += np.concatenate([[0.0], np.cumsum((force @ SHARES) * widths[:, 0])[:-1]])[:, None]
        power = POWER[convention]
        changes = 2 * np.abs(force * widths).max(axis=1)
        return _Law(panels, exponent + (power - 1) * np.log(spread), -exponent - power * np.log(spread), changes)

    return laws


def _exponentials(*logarithms):
    return tuple(float(np.exp(value)) if value < 709 else np.inf for value in logarithms)


def _changes(found, coarse):
    """Absolute changes; infinite where a moment is, or where half as many panels do not reach far enough."""
    coarse = (np.inf,) * len(found) if coarse is None else coarse
    return tuple(abs(fine - other) if np.isfinite(fine) else np.inf for fine, other in zip(found, coarse, strict=True))

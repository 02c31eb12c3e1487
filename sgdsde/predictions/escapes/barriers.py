"""Escape over a barrier at low temperature, what a finite step does to a boundary, and how wells are occupied."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jax import Array
from jax.typing import ArrayLike

from sgdsde.predictions.requirements import array, is_traced, number, require, require_broadcast, require_symmetric

__all__ = ["basin_occupations", "kramers_rate", "moved_boundary"]


def kramers_rate(
    hessian_minimum: ArrayLike, hessian_saddle: ArrayLike, *, barrier: ArrayLike, temperature: ArrayLike
) -> Array:
    """Rate of escape from one well over one saddle, per unit time, at low temperature:

        |lambda_-|/(2 pi) sqrt(det H_min/|det H_s|) exp(-barrier/temperature)

    for dx = -grad L dt + sqrt(2 T) dW (time = sum of learning rates). H_min = `hessian_minimum`, H_s =
    `hessian_saddle`, (d, d) or numbers for d = 1, lambda_- the one negative eigenvalue of H_s; `barrier` = L(saddle) -
    L(minimum). In one dimension sqrt(L''_min |L''_s|)/(2 pi) exp(-barrier/T).

    One-way: 1/rate is the mean time from this well to *the other minimum*; the time to the top is half of it. Rates
    over several saddles add. Between two wells the relaxation eigenvalue is the sum of both rates, twice this one where
    they are equal. Corrections are of relative order T/barrier (10 to 20 % at barrier/T = 5; `first_passage_time` has
    none). Traceable. Raises ValueError unless H_min is positive definite and H_s has one negative eigenvalue (NaN
    under a trace). Source: Kramers 1940; Langer 1969; Haenggi, Talkner, Borkovec 1990, eq. 4.56.
    """
    hessian_minimum = require_symmetric("hessian_minimum", hessian_minimum, semidefinite=False)
    hessian_saddle = require_symmetric("hessian_saddle", hessian_saddle, semidefinite=False)
    barrier = jnp.asarray(number("barrier", barrier, above=0.0), float)
    temperature = jnp.asarray(number("temperature", temperature, above=0.0), float)
    well = jnp.atleast_2d(array("hessian_minimum", hessian_minimum))
    saddle = jnp.atleast_2d(array("hessian_saddle", hessian_saddle))
    if well.shape != saddle.shape:
        raise ValueError(
            f"hessian_saddle: expected the shape of hessian_minimum, {len(well)} dimensions, got {len(saddle)}"
        )
    rate, bottom, top, is_well, is_saddle = _kramers(well, saddle, barrier, temperature)
    if not is_traced(is_well) and not bool(is_well):
        raise ValueError(f"hessian_minimum: expected positive eigenvalues, got {bottom}")
    if not is_traced(is_saddle) and not bool(is_saddle):
        raise ValueError(f"hessian_saddle: expected one negative eigenvalue and the others positive, got {top}")
    return rate


@jax.jit
def _kramers(well, saddle, barrier, temperature):
    """The rate or NaN, eigenvalues at the minimum and at the saddle, and whether they are such."""
    bottom, top = jnp.linalg.eigvalsh(well), jnp.linalg.eigvalsh(saddle)
    is_well, is_saddle = bottom[0] > 0, (top[0] < 0) & jnp.all(top[1:] > 0)
    logarithm = (jnp.sum(jnp.log(bottom)) - jnp.sum(jnp.log(jnp.abs(top)))) / 2 + jnp.log(-top[0] / (2 * np.pi))
    rate = jnp.where(is_well & is_saddle, jnp.exp(logarithm - barrier / temperature), jnp.nan)
    return rate, bottom, top, is_well, is_saddle


def moved_boundary(boundary: ArrayLike, *, start: ArrayLike, temperature: ArrayLike, time_step: ArrayLike) -> ArrayLike:
    """Where the boundary seems to be to a walk that is looked at only every `time_step`:

        boundary + a sqrt(2 T time_step),  away from `start`,    a = -zeta(1/2)/sqrt(2 pi) = 0.5826

    T = `temperature` at the boundary (D there, if the diffusion is not constant): a is the mean overshoot of a walk of
    standard normal steps over a distant level. With it the continuous-time exit time is that of Euler steps of this
    size, up to terms of order time_step; without it the error is of order sqrt(time_step) (6 % at 0.01). The time step
    is that of one microstep, learning_rate/substeps. Valid for Gaussian steps. Traceable.
    Source: Chernoff 1965; Siegmund 1985; Broadie, Glasserman, Kou 1997.
    """
    temperature, time_step = array("temperature", temperature, above=0.0), array("time_step", time_step, above=0.0)
    boundary, start = array("boundary", boundary), array("start", start)
    require_broadcast(boundary=boundary, start=start, temperature=temperature, time_step=time_step)
    overshoot = -float(scipy.special.zeta(0.5)) / (2 * np.pi) ** 0.5
    away = jnp.sign(boundary - start)
    if not is_traced(away) and not np.all(np.abs(away) == 1):
        raise ValueError(f"start: expected another position than the boundary {boundary}, both finite, got {start}")
    return boundary + away * overshoot * jnp.sqrt(2 * temperature * time_step)


def basin_occupations(density: ArrayLike, grid: ArrayLike, borders: ArrayLike) -> Array:
    """Share of a one-dimensional density in each basin between increasing `borders` (k,): (k + 1,), of sum 1.

    density (m,) on the increasing grid (m,), of any normalisation, is joined by straight lines, of which the integrals
    are exact, also where a border lies between two grid points. The borders are maxima of the potential. In density and
    borders traceable. Raises ValueError naming the argument.
    """
    points, values, borders = array("grid", grid), array("density", density), array("borders", borders)
    if points.ndim != 1 or values.shape != points.shape or borders.ndim != 1 or points.size < 2:
        raise ValueError(
            "density, grid, borders: expected shapes (m,), (m,) and (k,), m >= 2, got "
            f"{values.shape, points.shape, borders.shape}"
        )
    steps = require("grid", jnp.diff(points), lambda steps: steps > 0, "increasing points")
    values = require("density", values, lambda value: value >= 0, "0 or more")
    if not is_traced(borders) and not np.all((borders > points[0]) & (borders < points[-1])):
        raise ValueError(f"borders: expected positions inside the grid, {points[0]} to {points[-1]}, got {borders}")
    between = require("borders", jnp.diff(borders), lambda steps: steps > 0, "increasing positions")
    if is_traced(borders):
        is_right = jnp.all(between > 0) & jnp.all((borders > points[0]) & (borders < points[-1]))
        borders = jnp.where(is_right, borders, jnp.nan)
    whole = jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps * (values[1:] + values[:-1]) / 2)])
    cell = jnp.clip(jnp.searchsorted(points, borders, side="right") - 1, 0, points.size - 2)
    into, at_border = borders - points[cell], jnp.interp(borders, points, values)
    below = whole[cell] + into * (values[cell] + at_border) / 2
    return jnp.diff(jnp.concatenate([jnp.zeros(1), below, whole[-1:]])) / whole[-1]

"""Probability currents and entropy production from consecutive positions of independent chains.

A pair is a position and the same chain's position one lag later: `before` and `after`, (..., num_chains, d). Records of
a run at every=1, (num_records, num_chains, d), give them as records[:-1] and records[1:]. Displacements are counted at
the midpoint of their pair (Stratonovich), so that a reversible process has no current at any lag. Chains are
independent, the pairs of one chain are not: standard errors come from chains, or from equal groups of chains where the
field of every chain would not fit into memory. All of it is jnp and may run under jit or vmap; the dtype of the
positions is kept. A position that is not finite in any chain makes every result NaN.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sgdsde.arguments import count, number
from sgdsde.measurements.chains import enlargement_of_largest, floats

__all__ = ["CurrentField", "angular_momentum", "entropy_production", "probability_current"]


class CurrentField(NamedTuple):
    """A measured density and probability current on the cells of a grid; made by `probability_current`.

    density, density_error: (m1, m2), per area. current, current_error: (m1, m2, 2), per length and time.
    areas: (m1, m2) of the cells. density_of_groups (num_groups, m1, m2) and current_of_groups (num_groups, m1, m2, 2)
    are the same estimates from each group of chains alone; the first four are their means and standard errors.
    """

    density: jax.Array
    density_error: jax.Array
    current: jax.Array
    current_error: jax.Array
    areas: jax.Array
    density_of_groups: jax.Array
    current_of_groups: jax.Array


def probability_current(
    before: ArrayLike, after: ArrayLike, edges: tuple[ArrayLike, ArrayLike], *, lag: ArrayLike, num_groups: int = 16
) -> CurrentField:
    """Density and current of a two-dimensional process, cell by cell, from pairs of positions one lag apart.

        J(cell) = sum of (after - before) over pairs whose midpoint is in the cell / (num_pairs * area * lag)
        p(cell) = number of these pairs / (num_pairs * area)

    In the limit of small lags and cells J is the Fokker-Planck current of an Ito or Stratonovich process alike. At a
    finite lag of a discrete process J is defined by this formula, and its own prediction should stand beside it.

    before, after: (..., num_chains, 2). edges: increasing positions (m1 + 1,) and (m2 + 1,) that bound the cells along
    both coordinates; pairs with a midpoint outside count in num_pairs only. lag: the time between before and after.
    num_groups: equal groups of consecutive chains, whose spread gives the standard errors, enlarged where the groups
    are few (22 times at 4, 2.7 at 8, 1.34 at 16; 1 from 36 on) so that Student's t passes 5.9 of them once in a million
    times; z has the deviation 0.8 at 16 groups and 1.0 at 50. They presume pairs of every group in a cell, some ten
    each: without any pair density and current are 0 with an error of 0, which says nothing. Memory for temporaries is
    that of one leading index and of num_groups fields. Raises ValueError for other shapes, or if num_groups is below 2
    or does not divide num_chains.
    """
    before, after = _pairs(before, after, exactly=2)
    num_chains, lag = before.shape[-2], number("lag", lag, above=0.0)
    if count("num_groups", num_groups, at_least=2) and num_chains % num_groups:
        raise ValueError(
            f"num_groups: expected 2 or more equal groups of the {num_chains} chains, got {num_groups}; "
            "change num_chains to a multiple of it"
        )
    if not isinstance(edges, list | tuple) or len(edges) != 2:
        raise TypeError(f"edges: expected two sequences of positions, got {type(edges).__name__}")
    x_edges, y_edges = (floats("edges", edge).astype(before.dtype) for edge in edges)
    if x_edges.ndim != 1 or y_edges.ndim != 1 or min(x_edges.size, y_edges.size) < 2:
        raise ValueError(f"edges: expected two increasing sequences, got shapes {x_edges.shape} and {y_edges.shape}")
    return _probability_current(before, after, x_edges, y_edges, jnp.asarray(lag, before.dtype), num_groups)


def entropy_production(field: CurrentField, diffusion: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Entropy produced per unit time, with its standard error: the integral of J^T D^-1 J / p over the cells.

        sum over cells of area * mean over pairs of groups g != h of J_g^T D^-1 J_h / p

    The product of two independent groups of chains has no contribution of the squared noise, which would add about
    2 * (number of cells)/(lag * num_pairs) to the square of the pooled current; all pairs of groups are averaged. p is
    that of all chains, and cells without pairs count nothing. The field is the average over each cell, which lowers
    the result by an amount of second order in the cells' width: compare with a prediction averaged over the same cells.

    diffusion: D, (2, 2) or one for each cell (m1, m2, 2, 2), symmetric positive definite, in the convention
    dp/dt = -div J, J = -p grad L - div(D p); for SGD D = learning_rate * C / 2.
    Standard error: the jackknife over groups, enlarged as that of the field where these are few; z has the deviation
    0.8 at 16 groups and 1.0 at 50. Where there is no current at all it is 1.4 to 1.5 times too large beside (a
    degenerate U-statistic). Raises ValueError for another shape of D or fewer than 3 groups.
    """
    if not isinstance(field, CurrentField):
        raise TypeError(f"field: expected a CurrentField, as probability_current makes it, got {type(field).__name__}")
    shape = field.density.shape
    diffusion = floats("diffusion", diffusion).astype(field.density.dtype)
    if diffusion.shape not in ((2, 2), (*shape, 2, 2)):
        raise ValueError(f"diffusion: expected shape (2, 2) or {(*shape, 2, 2)}, got {diffusion.shape}")
    if len(field.density_of_groups) < 3:
        raise ValueError(f"field: expected 3 groups or more for an error, got {len(field.density_of_groups)}")
    return _entropy_production(field, diffusion)


def angular_momentum(before: ArrayLike, after: ArrayLike, *, lag: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Mean rate at which a process circulates in each plane, with its standard error from independent chains.

        A_ij = E[x_i o dx_j - x_j o dx_i] / lag = E[x_i x'_j - x_j x'_i] / lag,    x = before, x' = after

    (the midpoint rule: at any lag both forms are equal). About the origin; where the mean velocity is zero, as in any
    stationary law, the choice of the origin does not matter. Zero for a reversible process at every lag.

    before, after: (..., num_chains, d). Returns (A, standard_error), each (d, d), A antisymmetric. Raises ValueError
    for other shapes or fewer than 2 chains.
    """
    before, after = _pairs(before, after, exactly=None)
    lag = number("lag", lag, above=0.0)
    return _angular_momentum(before, after, jnp.asarray(lag, before.dtype))


def _pairs(before: ArrayLike, after: ArrayLike, exactly: int | None) -> tuple[jax.Array, jax.Array]:
    """Both as (num_leading, num_chains, d)."""
    before, after = floats("before", before), floats("after", after)
    if before.ndim < 2 or 0 in before.shape or before.shape[-2] < 2 or exactly not in (None, before.shape[-1]):
        coordinates = "d" if exactly is None else exactly
        raise ValueError(
            f"before: expected shape (..., num_chains, {coordinates}) with 2 chains or more, got {before.shape}"
        )
    if before.shape != after.shape or before.dtype != after.dtype:
        raise ValueError(
            f"after: expected the shape and dtype of before, {before.dtype}{list(before.shape)}, got "
            f"{after.dtype}{list(after.shape)}"
        )
    return before.reshape(-1, *before.shape[-2:]), after.reshape(-1, *before.shape[-2:])


@functools.partial(jax.jit, static_argnames="num_groups")
def _probability_current(before, after, x_edges, y_edges, lag, num_groups):
    num_leading, num_chains, _ = before.shape
    m1, m2 = x_edges.size - 1, y_edges.size - 1
    group = jnp.arange(num_chains, dtype=jnp.int32) // (num_chains // num_groups)

    def add(sums, pair):
        start, end = pair
        middle, moved = (start + end) / 2, end - start
        row = jnp.searchsorted(x_edges, middle[:, 0], side="right").astype(jnp.int32) - 1
        column = jnp.searchsorted(y_edges, middle[:, 1], side="right").astype(jnp.int32) - 1
        inside = (row >= 0) & (row < m1) & (column >= 0) & (column < m2)
        cell = jnp.where(inside, (group * m1 + row) * m2 + column, num_groups * m1 * m2)
        weights = jnp.concatenate([jnp.ones_like(moved[:, :1]), moved], axis=1)
        return sums + jax.ops.segment_sum(weights, cell, num_groups * m1 * m2 + 1)[:-1], None

    sums, _ = jax.lax.scan(add, jnp.zeros((num_groups * m1 * m2, 3), before.dtype), (before, after))
    areas = jnp.diff(x_edges)[:, None] * jnp.diff(y_edges)[None, :]
    sums = sums.reshape(num_groups, m1, m2, 3) * (num_groups / (num_leading * num_chains)) / areas[None, :, :, None]
    finite = jnp.all(jnp.isfinite(before)) & jnp.all(jnp.isfinite(after))
    sums = jnp.where(finite, sums, jnp.nan)
    densities, currents = sums[..., 0], sums[..., 1:] / lag
    few = enlargement_of_largest(num_groups, 1)
    error = lambda values: few * jnp.std(values, axis=0, ddof=1) / num_groups**0.5
    return CurrentField(
        densities.mean(0), error(densities), currents.mean(0), error(currents), areas, densities, currents
    )


@jax.jit
def _entropy_production(field, diffusion):
    densities, currents = field.density_of_groups, field.current_of_groups
    count = len(densities)
    inverse = jnp.broadcast_to(jnp.linalg.inv(diffusion), (*field.density.shape, 2, 2))
    form = lambda j: jnp.einsum("...i,...ij,...j->...", j, inverse, j, precision="highest")

    def estimate(density, current, squares, number):
        """From sums over `number` groups: of p_g, of J_g and of J_g^T D^-1 J_g."""
        products = (form(current) - squares) / (number * (number - 1))
        mean = density / number
        return jnp.sum(jnp.where(mean > 0, products / jnp.where(mean > 0, mean, 1), 0) * field.areas)

    sums = jnp.sum(densities, axis=0), jnp.sum(currents, axis=0), jnp.sum(jax.vmap(form)(currents), axis=0)
    whole = estimate(*sums, count)

    def without(density, current):
        return estimate(sums[0] - density, sums[1] - current, sums[2] - form(current), count - 1)

    left_out = jax.lax.map(lambda group: without(*group), (densities, currents))
    error = jnp.sqrt((count - 1) * jnp.mean((left_out - jnp.mean(left_out)) ** 2)) * enlargement_of_largest(count, 1)
    finite = jnp.all(jnp.isfinite(currents))
    return jnp.where(finite, whole, jnp.nan), jnp.where(finite, error, jnp.nan)


@jax.jit
def _angular_momentum(before, after, lag):
    num_leading, num_chains, _ = before.shape
    products = jnp.einsum("rni,rnj->nij", before, after, precision="highest") / (num_leading * lag)
    turning = products - jnp.swapaxes(products, 1, 2)
    turning = jnp.where(jnp.isfinite(turning).all(), turning, jnp.nan)
    return jnp.mean(turning, axis=0), jnp.std(turning, axis=0, ddof=1) / num_chains**0.5

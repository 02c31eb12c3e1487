"""Fluctuation-dissipation relations: what E|x'|^2 = E|x|^2 says of a stationary chain, whatever its loss and noise.

They hold exactly for SGD at a constant learning rate, far from the continuum too, in any stationary law with finite
second moments (finite fourth moments for the standard errors). Under epoch sampling they hold for averages over whole
epochs. Positions may be counted from any centre, where the mean gradient is zero, as stationarity demands: a centre
near the minimum gives the smallest errors. All of it is jnp and may run under jit or vmap.
Source: Yaida 2018 (arXiv 1810.00004).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sgdsde.arguments import number
from sgdsde.measurements.chains import floats

__all__ = ["euler_virial_ratio", "fluctuation_dissipation_ratio", "minibatch_gradients", "ratio_of_means"]


def ratio_of_means(numerators: ArrayLike, denominators: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """r = mean(a)/mean(b) over independent chains, with its standard error (delta method).

        standard error = sqrt( sum_i (a_i - r b_i)^2 / (N (N - 1)) ) / |mean(b)|

    numerators a, denominators b: (..., num_chains), N chains; leading axes are samples of one chain and are averaged
    first. NaN as soon as a number is not finite. Raises ValueError for different shapes or fewer than 2 chains.
    """
    a, b = floats("numerators", numerators), floats("denominators", denominators)
    if a.shape != b.shape or a.ndim < 1 or a.shape[-1] < 2 or 0 in a.shape:
        raise ValueError(
            f"numerators: expected numerators and denominators of one shape (..., num_chains) with 2 chains or more, "
            f"got {a.shape} and {b.shape}"
        )
    return _ratio_of_means(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]))


def minibatch_gradients(
    records: ArrayLike, *, learning_rate: ArrayLike, momentum: ArrayLike = 0.0
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(positions, gradients, buffers) of heavy-ball SGD, read off consecutive positions of each chain.

        m'_k = (x_k - x_(k+1)) / learning_rate,    g_k = m'_k - momentum m'_(k-1)

    records: (num_records, num_chains, d) at every=1, num_records >= 3. Each result: (num_records - 2, num_chains, d),
    at the records 1 to num_records - 2; g_k is the minibatch gradient at x_k and m'_k the momentum buffer it makes.
    """
    records, eta, mu = floats("records", records), _rate(learning_rate), _momentum(momentum)
    if records.ndim != 3 or records.shape[0] < 3:
        raise ValueError(f"records: expected (num_records, num_chains, d), 3 records or more, got {records.shape}")
    buffers = (records[:-1] - records[1:]) / jnp.asarray(eta, records.dtype)
    return records[1:-1], buffers[1:] - jnp.asarray(mu, records.dtype) * buffers[:-1], buffers[1:]


def fluctuation_dissipation_ratio(
    positions: ArrayLike,
    gradients: ArrayLike,
    *,
    learning_rate: ArrayLike,
    momentum: ArrayLike = 0.0,
    buffers: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Ratio of the two sides of the fluctuation-dissipation relation, 1 in a stationary law, with its standard error.

        E[x . g] / ( learning_rate (1 + momentum) E|m'|^2 / 2 ),    m' = momentum m + g,  x' = x - learning_rate m'

    positions x and gradients g (that of the minibatch at x, penalty included), (..., num_chains, d); buffers m' of the
    same step, needed where there is momentum (without it m' = g). All leading axes are averaged within a chain: for
    epoch sampling give the steps of whole epochs. Raises ValueError for different shapes, or momentum without buffers.
    """
    x, g = floats("positions", positions), floats("gradients", gradients)
    learning_rate, momentum = _rate(learning_rate), _momentum(momentum)
    if buffers is None and not (isinstance(momentum, int | float) and momentum == 0):
        raise ValueError(f"buffers: expected the momentum buffers m' of the same steps, with momentum = {momentum}")
    m = g if buffers is None else floats("buffers", buffers)
    if not x.shape == g.shape == m.shape or x.ndim < 2:
        raise ValueError(
            "gradients: expected positions, gradients and buffers of one shape (..., num_chains, d), got "
            f"{x.shape}, {g.shape} and {m.shape}"
        )
    scale = jnp.asarray(learning_rate, x.dtype) * (1 + jnp.asarray(momentum, x.dtype)) / 2
    return ratio_of_means(jnp.sum(x * g, axis=-1), scale * jnp.sum(m**2, axis=-1))


def euler_virial_ratio(
    positions: ArrayLike, potential_gradients: ArrayLike, *, temperature: ArrayLike, time_step: ArrayLike
) -> tuple[jax.Array, jax.Array]:
    """Ratio of the two sides of the virial identity of Euler-Maruyama, 1 in its stationary law at any step.

        E[x . grad V] / ( T d + (h/2) E|grad V|^2 ),    x' = x - h grad V(x) + sqrt(2 T h) N(0, I)

    positions x and potential_gradients grad V(x): (..., num_chains, d); temperature T, time_step h. With its standard
    error from chains. At h -> 0 it is equipartition, E[x . grad V] = T d.
    """
    x, g = floats("positions", positions), floats("potential_gradients", potential_gradients)
    temperature, time_step = number("temperature", temperature, above=0.0), number("time_step", time_step, at_least=0.0)
    if x.shape != g.shape or x.ndim < 2:
        raise ValueError(f"potential_gradients: expected the shape of positions, {x.shape}, got {g.shape}")
    thermal = jnp.asarray(temperature, x.dtype) * x.shape[-1]
    step = jnp.asarray(time_step, x.dtype)
    return ratio_of_means(jnp.sum(x * g, axis=-1), thermal + step / 2 * jnp.sum(g**2, axis=-1))


def _rate(learning_rate):
    return number("learning_rate", learning_rate, above=0.0)


def _momentum(momentum):
    return number("momentum", momentum, at_least=0.0, below=1.0)


@jax.jit
def _ratio_of_means(a, b):
    a, b = jnp.mean(a, axis=0), jnp.mean(b, axis=0)
    finite = jnp.all(jnp.isfinite(a)) & jnp.all(jnp.isfinite(b))
    below = jnp.where(finite, jnp.mean(b), jnp.nan)
    ratio = jnp.mean(a) / below
    return ratio, jnp.std(a - ratio * b, ddof=1) / (a.size**0.5 * jnp.abs(below))

"""The local learning coefficient, from losses sampled at a temperature around a point."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from sgdsde.arguments import count, number
from sgdsde.measurements.chains import floats

__all__ = ["learning_coefficient"]


def learning_coefficient(
    losses: ArrayLike,
    *,
    loss_at_point: ArrayLike,
    temperature: ArrayLike,
    multiplicity: int = 1,
    loss_scale: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Estimate of the learning coefficient at a point w0, with its standard error from independent chains.

        lambda_hat = (E L(w) - L(w0)) / T + (m - 1) / log(S / T),    w sampled from exp(-L/T) around w0

    losses L: (num_records, num_chains) as `simulate` records them (drop the records before stationarity), the *mean*
    loss, in its units. T = `temperature`, in the same units: 1/(n beta) in the notation of Lau et al., where the law is
    exp(-n beta L) over n examples (beta = 1/log n there). L(w0) = `loss_at_point`, taken as exact. A penalty or a
    localising term is part of L only if it is part of what was sampled.

    At a regular minimum of d parameters it is d/2 at every temperature at which L is quadratic. Where the leading
    pole has multiplicity m, the free energy -log Z = lambda log(1/T) - (m - 1) log log(S/T) makes the first term fall
    short by (m - 1)/log(S/T): for w1^2 w2^2 / 2 on the square (m = 2, S = 2 exp(0.577), lambda = 1/2) it is 0.33 at
    T = 0.01. multiplicity = m restores it; it is a property of the model that must be known, and so must
    S = `loss_scale`, the loss at which the logarithm would vanish (of the order of the loss at the border of the region
    sampled). Left at 1, the estimate is the published one. Compare several temperatures: only a value that does not
    move with T is a learning coefficient.

    A tether g |w - w0|^2 / 2 that is sampled, so that chains stay near w0, but is no part of the losses lowers the
    result: to sum_i h_i / (2 (h_i + g)) at a regular minimum of curvatures h_i, and in a direction where L = w^4 to
    3 T/g^2 instead of 1/4 once T is far below g^2. Near a singular point a loose tether lets the chains slide along the
    minima to where they are flatter, which is another stratum with a coefficient of its own. Compare several tethers.

    Traceable. The standard error is std over the chains' averages / sqrt(num_chains), over T, and z has the deviation
    1.0 (1.05 at 20 chains); NaN in both where a
    loss is not finite. Raises ValueError for a wrong shape, fewer than two chains, a temperature that is not positive,
    or a multiplicity above 1 without a loss_scale above the temperature. Source: Watanabe (2013); Lau et al. (2023),
    arXiv 2308.12108.
    """
    values = floats("losses", losses)
    if values.ndim != 2 or values.shape[1] < 2 or values.shape[0] == 0:
        raise ValueError(
            f"losses: expected (num_records, num_chains) with at least 2 independent chains, got shape {values.shape}"
        )
    loss_at_point = number("loss_at_point", loss_at_point)
    temperature = jnp.asarray(number("temperature", temperature, above=0.0), values.dtype)
    excess = jnp.mean(values, axis=0) - jnp.asarray(loss_at_point, values.dtype)
    excess = jnp.where(jnp.isfinite(excess).all(), excess, jnp.nan)
    estimate = jnp.mean(excess) / temperature + _logarithmic(multiplicity, loss_scale, temperature)
    return estimate, jnp.std(excess, ddof=1) / temperature / values.shape[1] ** 0.5


def _logarithmic(multiplicity, loss_scale, temperature):
    """(m - 1)/log(S/T)."""
    loss_scale = None if loss_scale is None else number("loss_scale", loss_scale, above=0.0)
    if count("multiplicity", multiplicity, at_most=1_000) == 1:
        return jnp.zeros_like(temperature)
    if loss_scale is None:
        raise ValueError("loss_scale: expected the loss at which the logarithm vanishes, needed for a multiplicity > 1")
    logarithm = jnp.log(jnp.asarray(loss_scale, temperature.dtype) / temperature)
    number("log(loss_scale / temperature)", logarithm, above=0.0)
    return (multiplicity - 1) / logarithm

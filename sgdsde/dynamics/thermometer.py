"""How hot a dynamics is: the temperatures of SGD's noise and of an SDE's, with every scaling derived here."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from sgdsde.arguments import is_traced
from sgdsde.dynamics.contract import Dynamics, rate_at
from sgdsde.dynamics.langevin import EulerMaruyama
from sgdsde.dynamics.matching import effective_rate, matchable
from sgdsde.noise import Noise, covariance_factor
from sgdsde.problem import check_params, gradient_covariance, gradient_covariance_trace
from sgdsde.pytrees import pytree

__all__ = ["Temperatures", "temperatures"]

LARGEST = 4_096
"""parameters up to which the dense covariance is taken apart into directions"""
ALIKE = 0.9
"""the part of all directions that must take part for one temperature to describe them: they differ by less than a third
of their mean then (the ratio is 1 / (1 + their relative variance))"""


@pytree()
class Temperatures:
    """The temperatures of a noise of covariance C in d parameters, T = learning_rate * C / 2, in units of the loss.

    trace_matched: learning_rate * tr C / (2 d), that of isotropic noise of the same trace.
    per_direction: (d,) hottest first, learning_rate * lambda_i / 2 of C's eigenvalues lambda_i; None above 4,096
        parameters. directions: (d, d), their unit vectors as columns, in the order of `ravel_pytree`; None likewise.
    participation_ratio: (sum lambda)^2 / sum lambda^2, the number of directions that are as hot as the hottest, from 1
        to d; d for isotropic noise, NaN where there is none or where per_direction is None.
    """

    trace_matched: Any
    per_direction: Any
    directions: Any
    participation_ratio: Any


def temperatures(dynamics: Dynamics, params: Any, *, step: int = 0) -> Temperatures:
    """The temperatures of this dynamics' noise at `params`: T = learning_rate * C / 2, so that noise of covariance
    C = v * identity, at a small rate, gives exp(-L / T) with T = learning_rate * v / 2 (Ito).

    C is the covariance of the *minibatch* gradient, learning_rate divided by 1 - momentum, a schedule is read at
    `step`: nothing is left to rescale. Of an SDE C is its own noise's. Where the temperatures of the directions spread
    by more than a third of their mean (participation_ratio below 0.9 d) a UserWarning says that no single one describes
    them: take `per_direction`, or the covariance of `predictions.sde_covariance`; full batches have no noise, T = 0 and
    the ratio NaN. Of sampling by epochs, whose noise is anti-correlated from step to step, they are those of a single
    step, as a warning says. Traceable, without the former warning. Costs every example's gradient and an eigenvalue
    problem of size d; above 4,096 parameters only the trace.

    Raises ValueError where a schedule is 0 at `step` (a warm-up at its first), and for dynamics without a temperature:
    an optimizer, clipped gradients, noise of infinite variance, a mixture.
    Source of T: Mandt, Hoffman, Blei (2017), 1704.04289.
    """
    if not isinstance(dynamics, Dynamics):
        raise TypeError(f"dynamics: expected what sgd, match or euler_maruyama make, got {dynamics!r}")
    check_params(dynamics.problem, params)
    size = ravel_pytree(params)[0].size
    if isinstance(dynamics, EulerMaruyama):
        rate, covariance = dynamics.learning_rate, _covariance_of(dynamics.noise, params)
        trace = jnp.trace(covariance)
    else:
        sgd = matchable(dynamics, "temperatures")
        if sgd.sampling == "epoch":
            warnings.warn(
                "temperatures: epoch sampling anti-correlates the noise of successive steps, so that the parameters "
                "are colder than this, which is a single step's; predictions.epoch_covariance is theirs on a quadratic",
                stacklevel=2,
            )
        factor = covariance_factor(sgd.problem.num_examples, sgd.batch_size, sgd.sampling)
        rate, covariance = effective_rate(sgd), None
        trace = factor * gradient_covariance_trace(sgd.problem, params)
        if size <= LARGEST:
            covariance = factor * gradient_covariance(sgd.problem, params)
    half = rate_at(rate, step) / 2
    if callable(rate) and not is_traced(half) and float(half) == 0:
        raise ValueError(
            f"temperatures: the schedule of the learning rate is 0 at step {step}, and with it every temperature; "
            "give the `step` of the run at which you want them"
        )
    if covariance is None:
        return Temperatures(half * trace / size, None, None, jnp.nan)
    values, directions = jnp.linalg.eigh(covariance)
    values = jnp.maximum(values[::-1], 0)
    found = Temperatures(half * trace / size, half * values, directions[:, ::-1], trace**2 / jnp.sum(values**2))
    if not is_traced(found):
        _warn_unless_one_describes_all(found)
    return found


def _covariance_of(noise: Noise, params: Any) -> jax.Array:
    """C (d, d) of a noise that is linear in standard normals."""
    if not noise.is_gaussian:
        reason = "its tail index is below 2, so that no variance exists" if _is_stable(noise) else "it is a mixture"
        raise ValueError(
            f"temperatures: expected Gaussian noise, got one that is not ({reason}); take the temperatures of the sgd, "
            "or of its SDE with noise.anisotropic"
        )
    draws = jax.eval_shape(lambda: noise.draw(jax.random.key(0)))
    normals, unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), draws))
    flat = lambda draws: ravel_pytree(noise.apply(params, unravel(draws)))[0]
    columns = jax.jacobian(flat)(normals)
    return jnp.matmul(columns, columns.T, precision="highest")


def _is_stable(noise: Noise) -> bool:
    return is_traced(noise.tail_index) or float(noise.tail_index) < 2


def _warn_unless_one_describes_all(found: Temperatures) -> None:
    heat, ratio = np.asarray(found.per_direction), float(found.participation_ratio)
    if ratio < ALIKE * heat.size:
        warnings.warn(
            f"temperatures: no single number describes this noise: {heat.size} directions from {heat[0]:.3g} down to "
            f"{heat[-1]:.3g}, of which {ratio:.3g} take part (trace-matched {float(found.trace_matched):.3g}); use "
            "per_direction, or the covariance itself (predictions.sde_covariance)",
            stacklevel=3,
        )

"""The stochastic differential equation that belongs to an SGD: every scaling between the two is derived here, once.

learning rate     eta / (1 - momentum)                                       (so does the clock)
covariance        C = Sigma/B, or Sigma (n - B)/(B (n - 1)) without replacement
isotropic         variance = tr C(at) / d                                    (the same trace)
Levy              scale = sqrt(variance / 2)                                 (at tail index 2: that variance)

Under momentum this is the overdamped equation. It has SGD's variances at a small rate, but its covariance between two
modes of curvatures h_i, h_j is 1 + excess times SGD's,

    excess = eta (h_i - h_j)^2 / (2 (1 - momentum)^2 (h_i + h_j)),

so that it holds while the excess is far below 1 for every pair of modes that C couples. (The ratio to the stationary
covariance of the kinetic equation, S_ij = sqrt(eta) C_ij / (g (h_i + h_j) + (h_i - h_j)^2 / (2 g)) with friction
g = (1 - momentum) / sqrt(eta); SGD's own is that one at a small rate.)
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial, tree_leaves

from sgdsde.arguments import is_traced
from sgdsde.dynamics.contract import Dynamics, probe
from sgdsde.dynamics.langevin import EulerMaruyama, euler_maruyama, explicit
from sgdsde.dynamics.minibatch import SGD, Optimizer
from sgdsde.noise import covariance_factor
from sgdsde.problem import Problem, check_params, gradient_covariance, gradient_covariance_trace, loss
from sgdsde.problems import landscapes

__all__ = ["effective_rate", "match", "matchable"]

FEW_PARAMETERS = 64
"""up to which a Hessian is computed to look at it once"""
LARGEST_EXCESS = 0.1
"""of a covariance between modes, before `match` warns of it"""
COUPLED = 0.01
"""the correlation of the noise in two modes, in absolute value, from which they count as coupled"""


def match(
    dynamics: Dynamics,
    noise_kind: Callable,
    *,
    substeps: int,
    at: Any = None,
    scheme: Callable = explicit,
    **kind_options: Any,
) -> EulerMaruyama:
    """The SDE of this SGD, with noise of the given kind.

    noise_kind: any of `sgdsde.noise`, or a function of one's own with the same keywords. What it takes decides what is
    derived: batch_size and sampling are the SGD's; variance, covariance and scale are those of its minibatch gradient
    at the parameters `at` (required for `isotropic`, `constant`, `levy` and `levy_coordinates`). kind_options: the rest
    (tail_index for Levy kinds, num_sampled for `anisotropic_sampled`).

    Epoch sampling has no white-noise SDE: the covariance of a single step is used, and a warning says so.

    Under momentum the SDE is the overdamped one, right only while
    eta (h_i - h_j)^2 / (2 (1 - momentum)^2 (h_i + h_j)) << 1 for every pair of curvatures whose modes C couples: the
    covariance between them is too large by one plus that. A warning names the worst pair where it exceeds 0.1 and the
    Hessian is known: on a quadratic landscape, and for up to 64 parameters at `at`. Elsewhere nobody looks.

    Raises TypeError or ValueError for params `at` that are not like problem.init's and for what has no such SDE: an
    adaptive optimizer, clipped gradients, an SDE itself.
    """
    sgd = matchable(dynamics, "match")
    if not callable(noise_kind):
        raise TypeError(f"noise_kind: expected a function such as noise.anisotropic, got {noise_kind!r}")
    if at is not None:
        check_params(sgd.problem, at, "at")
        for leaf in () if is_traced(at) else tree_leaves(at):
            if not np.isfinite(leaf).all():
                raise ValueError("at: contains NaN or inf; give finite parameters, such as a minimum or the start")
    if sgd.sampling == "epoch":
        warnings.warn(
            "match: epoch sampling anti-correlates the noise of successive steps, and no white-noise SDE has that; "
            "this SDE uses the covariance of a single step (sampling without replacement)",
            stacklevel=2,
        )
    keywords = _keywords(noise_kind, kind_options)
    problem, batch_size, sampling = sgd.problem, sgd.batch_size, sgd.sampling
    derived: dict[str, Any] = {}
    if "batch_size" in keywords:
        derived.update(batch_size=batch_size, sampling=sampling)
    wanted = {"variance", "covariance", "scale"} & set(keywords) - set(kind_options)
    if wanted and at is None:
        raise ValueError(
            f"match: {_name(noise_kind)} noise does not follow the parameters; give `at`, the parameters where its "
            f"{', '.join(sorted(wanted))} should equal the minibatch gradient's (a minimum, or the start)"
        )
    factor = covariance_factor(problem.num_examples, batch_size, sampling)
    if "covariance" in wanted:
        derived["covariance"] = factor * gradient_covariance(problem, at)
    if wanted & {"variance", "scale"}:
        variance = factor * gradient_covariance_trace(problem, at) / sum(jnp.size(leaf) for leaf in tree_leaves(at))
        derived.update({name: variance if name == "variance" else jnp.sqrt(variance / 2) for name in wanted})
    if sgd.momentum is not None and not is_traced((sgd, at)):
        _warn_of_coupled_modes(sgd, at)
    noise = noise_kind(problem, **derived, **kind_options)
    return euler_maruyama(problem, noise, learning_rate=effective_rate(sgd), substeps=substeps, scheme=scheme)


def _keywords(noise_kind: Callable, options: dict[str, Any]) -> list[str]:
    """The keywords that a kind of noise takes after its problem. Raises TypeError unless the options are some of those
    and with what `match` derives give it all that it needs."""
    accepted = list(inspect.signature(noise_kind).parameters.values())[1:]
    derived = {"batch_size", "sampling", "variance", "covariance", "scale"}
    names = [keyword.name for keyword in accepted if keyword.kind is not keyword.VAR_KEYWORD]
    own = {"batch_size", "sampling"} & set(options)
    if own:
        raise TypeError(f"match: {' and '.join(sorted(own))} is the SGD's own; leave it out, or match another sgd")
    unknown = set(options) - set(names)
    if unknown and len(names) == len(accepted):
        takes = ", ".join(name for name in names if name not in ("batch_size", "sampling")) or "no option"
        raise TypeError(f"match: {_name(noise_kind)} noise takes {takes}, got {', '.join(sorted(unknown))}")
    needed = {keyword.name for keyword in accepted if keyword.name in names and keyword.default is keyword.empty}
    missing = needed - derived - set(options)
    if missing:
        number = ", a number in (0, 2]" if missing == {"tail_index"} else ""
        raise TypeError(f"match: {_name(noise_kind)} noise needs {', '.join(sorted(missing))}{number}")
    return names


def _name(noise_kind: Callable) -> str:
    return getattr(noise_kind, "__name__", "this")


def effective_rate(sgd: SGD) -> Any:
    """eta / (1 - momentum), a number or a schedule: the learning rate and the clock of the SDE."""
    if sgd.momentum is None:
        return sgd.learning_rate
    if callable(sgd.learning_rate):
        return Partial(_scaled_schedule, sgd.learning_rate, 1 / (1 - sgd.momentum))
    return sgd.learning_rate / (1 - sgd.momentum)


def _scaled_schedule(schedule: Callable, factor: Any, step: Any) -> Any:
    return factor * schedule(step)


def matchable(dynamics: Dynamics, name: str) -> SGD:
    """The dynamics, if it is an SGD whose drift is -grad L; else ValueError with the reason and the caller's name."""
    if isinstance(dynamics, Optimizer):
        raise ValueError(
            f"{name}: an optimizer has no SDE of the form dx = -grad L dt + noise here: its step is not a learning "
            "rate times the gradient (adaptive methods rescale it by the noise itself). Take an `sgd` instead"
        )
    if not isinstance(dynamics, SGD):
        raise ValueError(
            f"{name}: expected dynamics made by `sgd`, got {type(dynamics).__name__}; match the sgd first, and put "
            "what wraps it (`first_exit`) around the SDE"
        )
    if dynamics.clip is not None:
        raise ValueError(
            f"{name}: clipping changes the mean of the step, so its drift is not -grad L and no SDE here matches it; "
            "take the same sgd without clip"
        )
    return dynamics


def _warn_of_coupled_modes(sgd: SGD, at: Any) -> None:
    """Where the Hessian is known: the pair of coupled modes whose covariance the overdamped SDE overstates most."""
    matrices = _hessian_and_covariance(sgd.problem, at)
    if matrices is None:
        return
    curvatures, modes = np.linalg.eigh(matrices[0])
    covariance = modes.T @ matrices[1] @ modes
    spread = np.sqrt(np.maximum(np.diag(covariance), 0))
    couples = np.abs(covariance) > COUPLED * np.outer(spread, spread)
    total = np.add.outer(curvatures, curvatures)
    excess = np.subtract.outer(curvatures, curvatures) ** 2 / np.where(total > 0, total, np.inf)
    rates = probe(sgd.learning_rate, np.array([0, 1, 10, 100, 1_000, 10_000]))
    excess *= np.max(0 if rates is None else rates) / (2 * (1 - float(sgd.momentum)) ** 2)
    i, j = np.unravel_index(np.argmax(np.where(couples, excess, 0)), excess.shape)
    if couples[i, j] and excess[i, j] > LARGEST_EXCESS:
        warnings.warn(
            "match: under momentum this SDE needs learning_rate (h_i - h_j)^2 / (2 (1 - momentum)^2 (h_i + h_j)) << 1 "
            f"for the curvatures h of modes that the noise couples; for {curvatures[i]:.3g} and {curvatures[j]:.3g} it "
            f"is {excess[i, j]:.3g}: its covariance between them is {1 + excess[i, j]:.3g} times SGD's (their "
            "variances are right); take a smaller learning rate or momentum",
            stacklevel=3,
        )


def _hessian_and_covariance(problem: Problem, at: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """(H, Sigma) as NumPy arrays, or None where finding them would not be cheap."""
    hessian = landscapes.hessian_of_quadratic(problem)
    if hessian is not None and problem.noise_factor is not None:
        factor = np.asarray(problem.noise_factor(at), float)
        return np.asarray(hessian, float), factor @ factor.T
    if at is None or ravel_pytree(at)[0].size > FEW_PARAMETERS:
        return None
    hessian, covariance = jax.device_get(_curvature_and_noise(problem, at))
    both = np.asarray(hessian, float), np.asarray(covariance, float)
    return both if np.isfinite(both).all() else None


@jax.jit
def _curvature_and_noise(problem, at):
    flat, unravel = ravel_pytree(at)
    return jax.hessian(lambda x: loss(problem, unravel(x)))(flat), gradient_covariance(problem, at)

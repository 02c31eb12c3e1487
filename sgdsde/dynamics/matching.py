"""The stochastic differential equation that belongs to an SGD: every scaling between the two is derived here, once.

learning rate     eta / (1 - momentum)                                       (so does the clock)
covariance        C = Sigma/B, or Sigma (n - B)/(B (n - 1)) without replacement
isotropic         variance = tr C(at) / d                                    (the same trace)
Levy              scale = sqrt(variance / 2)                                 (at tail index 2: that variance)
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial, tree_leaves

from sgdsde.dynamics.contract import Dynamics
from sgdsde.dynamics.langevin import EulerMaruyama, euler_maruyama, explicit
from sgdsde.dynamics.minibatch import SGD, Optimizer
from sgdsde.noise import covariance_factor
from sgdsde.problem import gradient_covariance, gradient_variance

__all__ = ["match"]


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

    Epoch sampling has no white-noise SDE: the covariance of a single step is used, and a warning says so. Raises
    ValueError for what has no such SDE: an adaptive optimizer, clipped gradients, an SDE itself.
    """
    sgd = _matchable(dynamics)
    if sgd.sampling == "epoch":
        warnings.warn(
            "match: epoch sampling anti-correlates the noise of successive steps, and no white-noise SDE has that; "
            "this SDE uses the covariance of a single step (sampling without replacement)",
            stacklevel=2,
        )
    keywords = inspect.signature(noise_kind).parameters
    problem, batch_size, sampling = sgd.problem, sgd.batch_size, sgd.sampling
    derived: dict[str, Any] = {}
    if "batch_size" in keywords:
        derived.update(batch_size=batch_size, sampling=sampling)
    wanted = {"variance", "covariance", "scale"} & set(keywords) - set(kind_options)
    if wanted and at is None:
        raise ValueError(
            f"match: {noise_kind.__name__} noise does not follow the parameters; give `at`, the parameters where its "
            f"{', '.join(sorted(wanted))} should equal the minibatch gradient's (a minimum, or the start)"
        )
    factor = covariance_factor(problem.num_examples, batch_size, sampling)
    if "covariance" in wanted:
        derived["covariance"] = factor * gradient_covariance(problem, at)
    if wanted & {"variance", "scale"}:
        variance = factor * gradient_variance(problem, at) / sum(jnp.size(leaf) for leaf in tree_leaves(at))
        derived.update({name: variance if name == "variance" else jnp.sqrt(variance / 2) for name in wanted})
    if "tail_index" in keywords and "tail_index" not in kind_options:
        raise TypeError(f"match: {noise_kind.__name__} noise needs tail_index, a number in (0, 2]")
    noise = noise_kind(problem, **derived, **kind_options)
    return euler_maruyama(problem, noise, learning_rate=_effective_rate(sgd), substeps=substeps, scheme=scheme)


def _effective_rate(sgd: SGD) -> Any:
    if sgd.momentum is None:
        return sgd.learning_rate
    if callable(sgd.learning_rate):
        return Partial(_scaled_schedule, sgd.learning_rate, 1 / (1 - sgd.momentum))
    return sgd.learning_rate / (1 - sgd.momentum)


def _scaled_schedule(schedule: Callable, factor: Any, step: Any) -> Any:
    return factor * schedule(step)


def _matchable(dynamics: Dynamics) -> SGD:
    if isinstance(dynamics, Optimizer):
        raise ValueError(
            "match: an optimizer has no SDE of the form dx = -grad L dt + noise here: its step is not a learning rate "
            "times the gradient (adaptive methods rescale it by the noise itself). Match an `sgd` instead"
        )
    if not isinstance(dynamics, SGD):
        raise ValueError(
            f"match: expected dynamics made by `sgd`, got {type(dynamics).__name__}; match the sgd first, and put what "
            "wraps it (`first_exit`) around the SDE"
        )
    if dynamics.clip is not None:
        raise ValueError(
            "match: clipping changes the mean of the step, so its drift is not -grad L and no SDE here matches it; "
            "match the same sgd without clip"
        )
    return dynamics

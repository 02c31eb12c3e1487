"""The law of (minibatch gradient - full gradient), as the noise of an SDE.

Every noise is in *gradient units*: it stands where SGD's own gradient noise stands, x' = x - eta (g + noise), and its
covariance is the minibatch covariance C = factor * Sigma(params), factor = 1/B with replacement and
(n - B)/(B (n - 1)) without. How it scales with the time step is written once, in `dynamics/langevin.py`.

Stable noise has characteristic function exp(-(scale |k|)^tail_index): tail index 2 is variance 2 scale^2.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial, tree_leaves, tree_map

from sgdsde.arguments import matrix, number, square_root
from sgdsde.laws import Sampling, check_tail_index, log_one_sided_stable, normals, symmetric_stable
from sgdsde.problem import Problem, example_gradients, weighted_gradient
from sgdsde.pytrees import as_float, as_partial, pytree
from sgdsde.randomness import draw

__all__ = [
    "Noise",
    "anisotropic",
    "anisotropic_levy",
    "check_batch",
    "constant",
    "covariance_factor",
    "diagonal",
    "isotropic",
    "levy",
    "levy_coordinates",
]


@pytree(static=("is_gaussian",))
class Noise:
    """A noise law in gradient units.

    variates: all its randomness, a pytree of independent `randomness.Variates` (`laws.normals(like)` and the like);
    apply(params, draws) -> a pytree like params, the noise itself, from an array for each of the variates.
    tail_index: 2 for Gaussian noise. is_gaussian: draws are standard normals and apply is linear in them, so that a
    solver of stochastic differential equations may feed it Brownian increments instead.
    example_weights(draws) -> (num_examples,): where the noise is sum_i weights_i grad example_loss_i of `problem`,
    those weights, so that a drift of the same problem may share its backward pass; else both are None.
    """

    variates: Any
    apply: Callable
    tail_index: Any = 2.0
    is_gaussian: bool = True
    example_weights: Callable | None = None
    problem: Problem | None = None

    def __post_init__(self):
        object.__setattr__(self, "apply", as_partial(self.apply))
        object.__setattr__(self, "example_weights", as_partial(self.example_weights))
        object.__setattr__(self, "tail_index", as_float(self.tail_index))
        check_tail_index(self.tail_index)

    def draw(self, key: jax.Array) -> Any:
        """The draws of one application, a pure function of the key."""
        return draw(self.variates, key, 0)


def isotropic(problem: Problem, *, variance: Any) -> Noise:
    """Gaussian noise of covariance variance * identity (variance of the *minibatch* gradient, per coordinate)."""
    variance = number("variance", variance, at_least=0.0)
    return Noise(normals(problem.params_like), Partial(_isotropic, variance))


def constant(problem: Problem, *, covariance: Any) -> Noise:
    """Gaussian noise of one constant (d, d) covariance of the *minibatch* gradient, d the number of parameters in the
    order of `ravel_pytree`. Raises ValueError if it is not symmetric positive semi-definite of that size."""
    leaves = tree_leaves(problem.params_like)
    size = sum(int(np.prod(leaf.shape)) for leaf in leaves)
    factor = square_root(matrix("covariance", covariance, leaves[0].dtype, size=size, semidefinite=True))
    return Noise(_normal_vector(problem, factor.shape[1]), Partial(_constant, factor))


def diagonal(problem: Problem, *, batch_size: int, sampling: Sampling) -> Noise:
    """Gaussian noise with independent coordinates of the variances diag(C(params)); a pass of per-example gradients a
    step (or the noise factor's rows, where the problem has one)."""
    check_batch(problem, batch_size, sampling)
    factor = covariance_factor(problem.num_examples, batch_size, sampling)
    return Noise(normals(problem.params_like), Partial(_diagonal, problem, factor))


def anisotropic(problem: Problem, *, batch_size: int, sampling: Sampling) -> Noise:
    """Gaussian noise of covariance exactly C(params), for any pytree, without a matrix square root.

    With w_i ~ N(0, 1), centred over the examples, the gradient of sum_i w_i example_loss_i has covariance n Sigma, so
    that sqrt(factor/n) times it has C = factor * Sigma: one weighted backward pass over the examples. A problem with a
    noise factor F, Sigma = F F^T, costs r normals instead: sqrt(factor) F w.
    """
    check_batch(problem, batch_size, sampling)
    factor = covariance_factor(problem.num_examples, batch_size, sampling)
    law, variates = Noise, _example_weights(problem)
    if problem.noise_factor is None:
        law = functools.partial(Noise, example_weights=Partial(_centred, factor), problem=problem)
    return law(variates, Partial(_anisotropic, problem, factor))


def levy(problem: Problem, *, tail_index: Any, scale: Any) -> Noise:
    """Rotation-invariant stable noise, characteristic function exp(-(scale |k|)^tail_index), as scale sqrt(2 A) G with
    A one-sided stable of index tail_index/2 and G standard normal."""
    tail_index, scale = _check_levy(problem, tail_index), number("scale", scale, at_least=0.0)
    variates = (_log_mixing(problem, tail_index), normals(problem.params_like))
    return Noise(variates, Partial(_levy, scale), tail_index, is_gaussian=False)


def levy_coordinates(problem: Problem, *, tail_index: Any, scale: Any) -> Noise:
    """Independent symmetric stable coordinates, characteristic function exp(-scale^tail_index sum_i |k_i|^tail_index):
    in more than one dimension another law than `levy`, with jumps along the axes."""
    tail_index, scale = _check_levy(problem, tail_index), number("scale", scale, at_least=0.0)
    variates = symmetric_stable(tail_index, problem.params_like)
    return Noise(variates, Partial(_scaled, scale), tail_index, is_gaussian=False)


def anisotropic_levy(problem: Problem, *, tail_index: Any, batch_size: int, sampling: Sampling) -> Noise:
    """Elliptically contoured stable noise sqrt(A) N(0, C(params)), characteristic function
    exp(-(k^T C k / 2)^(tail_index/2)): at tail index 2 it is N(0, C)."""
    tail_index = _check_levy(problem, tail_index)
    gaussian = anisotropic(problem, batch_size=batch_size, sampling=sampling)
    variates = (_log_mixing(problem, tail_index), gaussian.variates)
    weights = None if gaussian.example_weights is None else Partial(_centred_mixed, gaussian.example_weights)
    return Noise(variates, Partial(_mixed, gaussian.apply), tail_index, False, weights, gaussian.problem)


def covariance_factor(num_examples: int, batch_size: int, sampling: Sampling) -> float:
    """C/Sigma of a minibatch: 1/B with replacement, (n - B)/(B (n - 1)) without; the latter for a step of an epoch."""
    if sampling == "with_replacement":
        return 1.0 / batch_size
    return (num_examples - batch_size) / (batch_size * max(num_examples - 1, 1))


def check_batch(problem: Problem, batch_size: int, sampling: Sampling) -> None:
    """Raise TypeError or ValueError unless batch_size is an integer from 1 to num_examples and sampling is known."""
    known = Sampling.__args__
    if sampling not in known:
        raise ValueError(f"sampling: expected one of {', '.join(map(repr, known))}, got {sampling!r}")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise TypeError(f"batch_size: expected an integer (it is a shape, not a traced number), got {batch_size!r}")
    if not 1 <= batch_size <= problem.num_examples:
        raise ValueError(
            f"batch_size: expected 1 to num_examples = {problem.num_examples}, got {batch_size}; "
            "take a smaller batch or a problem with more examples"
        )


def _normal_vector(problem, size):
    return normals(jax.ShapeDtypeStruct((size,), tree_leaves(problem.params_like)[0].dtype))


def _example_weights(problem):
    like = problem.params_like
    size = problem.num_examples
    if problem.noise_factor is not None:
        size = tree_leaves(jax.eval_shape(problem.noise_factor, like))[0].shape[-1]
    return _normal_vector(problem, size)


def _log_mixing(problem, tail_index):
    return log_one_sided_stable(tail_index / 2, tree_leaves(problem.params_like)[0].dtype)


def _isotropic(variance, params, normals):
    return _scaled(jnp.sqrt(variance), params, normals)


def _scaled(scale, params, draws):
    return tree_map(lambda z: jnp.asarray(scale, z.dtype) * z, draws)


def _constant(factor, params, normals):
    unravel = ravel_pytree(params)[1]
    return unravel(jnp.matmul(factor, normals, precision="highest"))


def _diagonal(problem, factor, params, normals):
    if problem.noise_factor is not None:
        variances = tree_map(lambda leaf: jnp.sum(leaf**2, axis=-1), problem.noise_factor(params))
    else:
        variances = tree_map(lambda leaf: jnp.var(leaf, axis=0), example_gradients(problem, params))
    return tree_map(lambda variance, z: jnp.sqrt(factor * variance) * z, variances, normals)


def _anisotropic(problem, factor, params, weights):
    if problem.noise_factor is not None:
        weights = weights * jnp.asarray(jnp.sqrt(factor), weights.dtype)
        return tree_map(lambda leaf: _combined(leaf, weights), problem.noise_factor(params))
    return weighted_gradient(problem, params, _centred(factor, weights))


def _centred(factor, weights):
    """Weights of the examples whose gradients then sum to the noise."""
    return (weights - jnp.mean(weights)) * jnp.asarray(jnp.sqrt(factor / weights.shape[0]), weights.dtype)


def _centred_mixed(centred, draws):
    log_mixing, weights = draws
    return _root(log_mixing, weights) * centred(weights)


def _combined(leaf, weights):
    """leaf @ weights; a few columns are summed one by one, which fuses with the step where a matrix product cannot."""
    if weights.shape[0] > 8:
        return jnp.matmul(leaf, weights, precision="highest")
    return sum(leaf[..., k] * weights[k] for k in range(weights.shape[0]))


def _levy(scale, params, draws):
    log_mixing, normals = draws
    return tree_map(lambda z: jnp.asarray(scale, z.dtype) * math.sqrt(2.0) * _root(log_mixing, z) * z, normals)


def _mixed(apply, params, draws):
    log_mixing, normals = draws
    return tree_map(lambda z: _root(log_mixing, z) * z, apply(params, normals))


def _root(log_mixing, like):
    """sqrt(A) in the precision of `like`, from log A."""
    return jnp.exp(0.5 * log_mixing).astype(like.dtype)


def _check_levy(problem, tail_index):
    tail_index = as_float(tail_index)
    for leaf in tree_leaves(problem.params_like):
        check_tail_index(tail_index, leaf.dtype)
    return tail_index

"""Gaussian noise: isotropic, constant, diagonal and, exactly with the minibatch covariance, anisotropic."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial, tree_leaves, tree_map

from sgdsde.arguments import matrix, number, square_root
from sgdsde.laws import Sampling, normals
from sgdsde.noise.contract import Noise, check_batch, check_problem, covariance_factor, normal_vector
from sgdsde.problem import Problem, coordinate_variances, weighted_gradient

__all__ = ["anisotropic", "constant", "diagonal", "isotropic"]


def isotropic(problem: Problem, *, variance: Any) -> Noise:
    """Gaussian noise of covariance variance * identity (variance of the *minibatch* gradient, per coordinate)."""
    check_problem(problem)
    variance = number("variance", variance, at_least=0.0)
    return Noise(normals(problem.params_like), Partial(_isotropic, variance))


def constant(problem: Problem, *, covariance: Any) -> Noise:
    """Gaussian noise of one constant (d, d) covariance of the *minibatch* gradient, d the number of parameters in the
    order of `ravel_pytree`. Raises ValueError if it is not symmetric positive semi-definite of that size."""
    check_problem(problem)
    leaves = tree_leaves(problem.params_like)
    size = sum(int(np.prod(leaf.shape)) for leaf in leaves)
    factor = square_root(matrix("covariance", covariance, leaves[0].dtype, size=size, semidefinite=True))
    return Noise(normal_vector(problem, factor.shape[1]), Partial(_constant, factor))


def diagonal(problem: Problem, *, batch_size: int, sampling: Sampling) -> Noise:
    """Gaussian noise with independent coordinates of the variances diag(C(params)); a pass of per-example gradients a
    step (or the noise factor's rows, where the problem has one)."""
    batch_size = check_batch(problem, batch_size, sampling)
    factor = covariance_factor(problem.num_examples, batch_size, sampling)
    return Noise(normals(problem.params_like), Partial(_diagonal, problem, factor))


def anisotropic(problem: Problem, *, batch_size: int, sampling: Sampling) -> Noise:
    """Gaussian noise of covariance exactly C(params), for any pytree, without a matrix square root.

    With w_i ~ N(0, 1), centred over the examples, the gradient of sum_i w_i example_loss_i has covariance n Sigma, so
    that sqrt(factor/n) times it has C = factor * Sigma: one weighted backward pass over the examples, which the drift
    of an explicit step shares (add 1/n to every weight): together they cost one full-batch gradient. A problem with a
    noise factor F, Sigma = F F^T, costs r normals instead: sqrt(factor) F w.
    """
    batch_size = check_batch(problem, batch_size, sampling)
    factor = covariance_factor(problem.num_examples, batch_size, sampling)
    if problem.noise_factor is not None:
        rank = tree_leaves(jax.eval_shape(problem.noise_factor, problem.params_like))[0].shape[-1]
        return Noise(normal_vector(problem, rank), Partial(_factored, problem, factor))
    variates = normal_vector(problem, problem.num_examples)
    weights = Partial(_weights_of_all, factor)
    return Noise(variates, Partial(_anisotropic, problem, factor), example_weights=weights, problem=problem)


def _isotropic(variance, params, normals):
    return tree_map(lambda z: jnp.asarray(jnp.sqrt(variance), z.dtype) * z, normals)


def _constant(factor, params, normals):
    unravel = ravel_pytree(params)[1]
    return unravel(jnp.matmul(factor, normals, precision="highest"))


def _diagonal(problem, factor, params, normals):
    return tree_map(lambda v, z: jnp.sqrt(factor * v) * z, coordinate_variances(problem, params), normals)


def _anisotropic(problem, factor, params, normals):
    return weighted_gradient(problem, params, _centred(factor, normals))


def _weights_of_all(factor, normals, substeps):
    return None, _centred(factor, normals)


def _centred(factor, normals):
    """Weights of the examples whose gradients then sum to the noise."""
    return (normals - jnp.mean(normals)) * jnp.asarray(jnp.sqrt(factor / normals.shape[0]), normals.dtype)


def _factored(problem, factor, params, normals):
    weights = normals * jnp.asarray(jnp.sqrt(factor), normals.dtype)
    return tree_map(lambda leaf: _combined(leaf, weights), problem.noise_factor(params))


def _combined(leaf, weights):
    """leaf @ weights; a few columns are summed one by one, which fuses with the step where a matrix product cannot."""
    if weights.shape[0] > 8:
        return jnp.matmul(leaf, weights, precision="highest")
    return sum(leaf[..., k] * weights[k] for k in range(weights.shape[0]))

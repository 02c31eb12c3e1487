"""Stable (Levy) noise, as sqrt(A) times a Gaussian, or coordinate by coordinate."""

import math
from typing import Any

import jax.numpy as jnp
from jax.tree_util import Partial, tree_leaves, tree_map

from sgdsde.arguments import number
from sgdsde.laws import Sampling, check_tail_index, log_one_sided_stable, normals, symmetric_stable
from sgdsde.noise.contract import Noise, check_batch, check_problem, covariance_factor
from sgdsde.noise.gaussian import anisotropic
from sgdsde.problem import Problem, gradient_covariance_trace

__all__ = ["anisotropic_levy", "levy", "levy_coordinates", "trace_matched_levy"]


def levy(problem: Problem, *, tail_index: Any, scale: Any) -> Noise:
    """Rotation-invariant stable noise, characteristic function exp(-(scale |k|)^tail_index), as scale sqrt(2 A) G with
    A one-sided stable of index tail_index/2 and G standard normal."""
    tail_index, scale = _check_levy(problem, tail_index), number("scale", scale, at_least=0.0)
    return Noise(_rotation_invariant(problem, tail_index), Partial(_levy, scale), tail_index, is_gaussian=False)


def levy_coordinates(problem: Problem, *, tail_index: Any, scale: Any) -> Noise:
    """Independent symmetric stable coordinates, characteristic function exp(-scale^tail_index sum_i |k_i|^tail_index):
    in more than one dimension another law than `levy`, with jumps along the axes."""
    tail_index, scale = _check_levy(problem, tail_index), number("scale", scale, at_least=0.0)
    variates = symmetric_stable(tail_index, problem.params_like)
    return Noise(variates, Partial(_scaled, scale), tail_index, is_gaussian=False)


def anisotropic_levy(problem: Problem, *, tail_index: Any, batch_size: int, sampling: Sampling) -> Noise:
    """Elliptically contoured stable noise sqrt(A) N(0, C(params)), characteristic function
    exp(-(k^T C k / 2)^(tail_index/2)): at tail index 2 it is N(0, C). It costs what `anisotropic` noise costs, and
    shares the drift's backward pass like it."""
    tail_index = _check_levy(problem, tail_index)
    gaussian = anisotropic(problem, batch_size=batch_size, sampling=sampling)
    variates = (_log_mixing(problem, tail_index), gaussian.variates)
    weights = None if gaussian.example_weights is None else Partial(_mixed_weights, gaussian.example_weights)
    return Noise(variates, Partial(_mixed, gaussian.apply), tail_index, False, weights, gaussian.problem)


def trace_matched_levy(problem: Problem, *, tail_index: Any, batch_size: int, sampling: Sampling) -> Noise:
    """Rotation-invariant stable noise (`levy`) whose scale follows the parameters, sqrt(tr C(params) / (2 d)), d the
    number of parameters. At tail index 2 it is exactly Gaussian, N(0, tr C / d * identity).

    The trace takes every example's gradient (`gradient_covariance_trace`) a step. A random estimate of it would not do:
    the sum of many small kicks of scale s is stable of scale (E s^tail_index)^(1/tail_index), which no unbiased
    variance gives.
    """
    batch_size = check_batch(problem, batch_size, sampling)
    tail_index = _check_levy(problem, tail_index)
    size = sum(math.prod(leaf.shape) for leaf in tree_leaves(problem.params_like))
    factor = covariance_factor(problem.num_examples, batch_size, sampling) / (2 * size)
    following = Partial(_levy_following, problem, factor)
    return Noise(_rotation_invariant(problem, tail_index), following, tail_index, is_gaussian=False)


def _rotation_invariant(problem, tail_index):
    return _log_mixing(problem, tail_index), normals(problem.params_like)


def _log_mixing(problem, tail_index):
    return log_one_sided_stable(tail_index / 2, tree_leaves(problem.params_like)[0].dtype)


def _scaled(scale, params, draws):
    return tree_map(lambda z: jnp.asarray(scale, z.dtype) * z, draws)


def _levy(scale, params, draws):
    log_mixing, normals = draws
    return tree_map(lambda z: jnp.asarray(scale, z.dtype) * math.sqrt(2.0) * _root(log_mixing, z) * z, normals)


def _levy_following(problem, factor, params, draws):
    return _levy(jnp.sqrt(factor * gradient_covariance_trace(problem, params)), params, draws)


def _mixed(apply, params, draws):
    log_mixing, normals = draws
    return tree_map(lambda z: _root(log_mixing, z) * z, apply(params, normals))


def _mixed_weights(example_weights, draws, substeps):
    log_mixing, normals = draws
    indices, weights = example_weights(normals, substeps)
    return indices, _root(log_mixing, weights) * weights


def _root(log_mixing, like):
    """sqrt(A) in the precision of `like`, from log A."""
    return jnp.exp(0.5 * log_mixing).astype(like.dtype)


def _check_levy(problem, tail_index):
    check_problem(problem)
    for leaf in tree_leaves(problem.params_like):
        tail_index = check_tail_index(tail_index, leaf.dtype)
    return tail_index

"""Modes of a deep linear network: what its product has learnt, how balanced its layers are, and each mode's noise.

params is a tuple (W_1, ..., W_N), the first layer first, as in `problems/deep_linear.py`: f(x) = W_N ... W_1 x.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import tree_leaves, tree_map

from sgdsde.observables.losses import over_examples
from sgdsde.problem import Problem
from sgdsde.problems.linear_layers import matmul, product

__all__ = ["balances", "mode_noise", "mode_strengths", "singular_values"]


def singular_values(params: Any) -> jax.Array:
    """Singular values of the product W_N ... W_1, decreasing, (min(m, d),): strengths of its own modes."""
    return jnp.linalg.svd(product(params), compute_uv=False)


def mode_strengths(left: jax.Array, right: jax.Array, params: Any) -> jax.Array:
    """u_i = left_i^T W_N ... W_1 right_i along given directions, such as a teacher's: left (m, k), right (d, k) with
    unit columns; (k,). A strength may be negative, and differs from a singular value where modes mix."""
    return jnp.sum(left * matmul(product(params), right), axis=0)


def balances(params: Any) -> tuple[jax.Array, ...]:
    """W_(l+1)^T W_(l+1) - W_l W_l^T of neighbouring layers, N - 1 matrices: conserved by gradient flow, and changed by
    a step of gradient descent or SGD exactly as `predictions.balance_changes` says."""
    return tuple(matmul(above.T, above) - matmul(below, below.T) for below, above in itertools.pairwise(params))


def mode_noise(problem: Problem, left: jax.Array, right: jax.Array, params: Any) -> dict[str, jax.Array]:
    """Variances over the examples of what one example's gradient g does to each mode, {"gradient", "strength"}: (k,).

        "strength": Var(a_i . g),    "gradient": Var(a_i . g) / |a_i|^2 = a_i^T Sigma a_i / |a_i|^2

    a_i the gradient of mode_strengths[i] with respect to all parameters. "strength" is the noise in the rate of u_i,
    "gradient" the noise along the unit direction of parameters in which u_i grows fastest, 0 where there is none (a
    saddle). Divided by n, exact over the problem's examples: from its noise_factor, or else by a forward derivative of
    every example loss for each mode; for a cheaper estimate pass a problem of fewer examples. A minibatch has
    `noise.covariance_factor` times as much. Predicted by `predictions.mode_noise`.
    """
    _, pull_back = jax.vjp(lambda p: mode_strengths(left, right, p), params)
    count = left.shape[1]
    growth = jax.vmap(pull_back)(jnp.eye(count, dtype=left.dtype))[0]  # a_i, modes first
    rows = lambda tree: [leaf.reshape(count, -1) for leaf in tree_leaves(tree)]
    squared_length = sum(jnp.sum(row**2, axis=1) for row in rows(growth))
    if problem.noise_factor is not None:
        columns = tree_map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), tree_leaves(problem.noise_factor(params)))
        slopes = sum(matmul(row, column) for row, column in zip(rows(growth), columns, strict=True))
        variance = jnp.sum(slopes**2, axis=1)
    else:
        variance = jax.vmap(lambda direction: _slope_variance(problem, params, direction))(growth)
    along = jnp.where(squared_length > 0, variance / jnp.where(squared_length > 0, squared_length, 1), 0)
    return {"gradient": along, "strength": variance}


def _slope_variance(problem, params, direction):
    """Variance over the examples of the derivative of the example losses in one direction."""

    def slope(example):
        return jax.jvp(lambda p: problem.example_loss(p, example), (params,), (direction,))[1]

    return jnp.var(over_examples(problem, slope, problem.examples))

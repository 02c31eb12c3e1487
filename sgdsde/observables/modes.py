"""Modes of a deep linear network: what its product has learnt, how balanced its layers are, and each mode's noise.

params is a tuple (W_1, ..., W_N), the first layer first, as in `problems/deep_linear.py`: f(x) = W_N ... W_1 x.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from sgdsde.arguments import shaped
from sgdsde.observables.losses import over_examples
from sgdsde.problem import Problem, check_params
from sgdsde.problems.linear_layers import as_layers, matmul, product

__all__ = ["balances", "mode_noise", "mode_strengths", "singular_values"]


def singular_values(params: Any) -> jax.Array:
    """Singular values of the product W_N ... W_1, decreasing, (min(m, d),): strengths of its own modes."""
    return jnp.linalg.svd(product(params), compute_uv=False)


def mode_strengths(left: jax.Array, right: jax.Array, params: Any) -> jax.Array:
    """u_i = left_i^T W_N ... W_1 right_i along given directions, such as a teacher's: left (m, k), right (d, k) with
    unit columns; (k,). A strength may be negative, and differs from a singular value where modes mix."""
    taught = product(params)
    sizes = {"m": taught.shape[0], "d": taught.shape[1]}
    left, right = shaped("left", left, "(m, k)", sizes=sizes), shaped("right", right, "(d, k)", sizes=sizes)
    return jnp.sum(left * matmul(taught, right), axis=0)


def balances(params: Any) -> tuple[jax.Array, ...]:
    """W_(l+1)^T W_(l+1) - W_l W_l^T of neighbouring layers, N - 1 matrices: conserved by gradient flow, and changed by
    a step of gradient descent or SGD exactly as `predictions.balance_changes` says."""
    layers = as_layers("params", params)
    return tuple(matmul(above.T, above) - matmul(below, below.T) for below, above in itertools.pairwise(layers))


def mode_noise(problem: Problem, bases: Sequence[jax.Array], params: Any) -> dict[str, jax.Array]:
    """Variances over the examples of what one example's gradient does to each mode, {"weights", "strength"}: (k,).

        "weights": sum_l Var(b_(l,i)^T g_l b_(l-1,i)),        "strength": Var(sum_l <a_l, g_l>)

    g_l an example's gradient in layer l; bases = (b_0, ..., b_N) the modes' directions at each width, matrices
    (width, k) with orthonormal columns, such as `deep_linear.balanced_bases`; a_l the gradient in layer l of the
    strength u_i = b_(N,i)^T W_N ... W_1 b_(0,i). So "weights" is the trace of Sigma restricted to the mode's own N
    weights, one a layer, and "strength" the noise in the rate of u_i. (Along the direction in which u_i grows fastest
    the noise says little while a mode is asleep: that direction is soon one which noise has mixed with a mode that is
    awake.)

    Divided by n, exact over the problem's examples: from its noise_factor, or else by a forward derivative of every
    example loss in N + 1 directions for each mode; for a cheaper estimate pass a problem of fewer examples. A minibatch
    has `noise.covariance_factor` times as much. Predicted by `predictions.mode_noise`.
    """
    check_params(problem, params)
    bases = _checked_bases(bases, as_layers("params", params))
    _, pull_back = jax.vjp(lambda p: mode_strengths(bases[-1], bases[0], p), params)
    growth = list(jax.vmap(pull_back)(jnp.eye(bases[0].shape[1], dtype=bases[0].dtype))[0])  # a_l, modes first
    own = [jnp.einsum("ai,bi->iab", above, below) for below, above in itertools.pairwise(bases)]
    if problem.noise_factor is not None:
        factor = list(problem.noise_factor(params))
        project = lambda directions, columns: jnp.einsum("iab,abr->ir", directions, columns, precision="highest")
        weights = jnp.stack([project(*pair) for pair in zip(own, factor, strict=True)])  # (layer, mode, r)
        slopes = jnp.stack([project(*pair) for pair in zip(growth, factor, strict=True)]).sum(axis=0)
        return {"weights": jnp.sum(weights**2, axis=(0, 2)), "strength": jnp.sum(slopes**2, axis=1)}
    variances = jax.vmap(lambda *layers: _slope_variance(problem, params, layers))
    blank = [jnp.zeros_like(layer) for layer in own]
    weights = [variances(*blank[:layer], own[layer], *blank[layer + 1 :]) for layer in range(len(own))]
    return {"weights": jnp.stack(weights).sum(axis=0), "strength": variances(*growth)}


def _checked_bases(bases, layers):
    widths = [layers[0].shape[1], *(len(layer) for layer in layers)]
    if not isinstance(bases, list | tuple) or len(bases) != len(widths):
        got = len(bases) if isinstance(bases, list | tuple) else type(bases).__name__
        raise TypeError(f"bases: expected {len(widths)} matrices, one a width {tuple(widths)}, got {got}")
    sizes: dict[str, int] = {}
    return [
        shaped(f"bases[{place}]", basis, f"({width}, k)", "floating-point numbers", sizes)
        for place, (basis, width) in enumerate(zip(bases, widths, strict=True))
    ]


def _slope_variance(problem, params, direction):
    """Variance over the examples of the derivative of the example losses in one direction."""
    tangent = jax.tree.unflatten(jax.tree.structure(params), direction)

    def slope(example):
        return jax.jvp(lambda p: problem.example_loss(p, example), (params,), (tangent,))[1]

    return jnp.var(over_examples(problem, slope, problem.examples))

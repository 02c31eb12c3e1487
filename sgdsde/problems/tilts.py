"""Tilts: what turns a potential into a finite sum with gradient noise of exactly the asked covariance.

    example_loss(x, z) = potential(x) + z . x,      sum_i z_i = 0,      (1/n) sum_i z_i z_i^T = Sigma

The mean loss is the potential, the gradient of example i is grad potential(x) + z_i, and Sigma (divide by n) is the
same at every x. A law of tilts is a *standardised* sample, (n, d) with mean zero and identity covariance to rounding,
times a square root of Sigma; the sample depends on n, d and the law alone, not on Sigma or a key.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import is_traced, known, matrix, number, precision, square_root
from sgdsde.problem import Problem

__all__ = ["finite_sum", "gaussian_tilts", "heavy_tailed_tilts", "with_tilts"]


def gaussian_tilts(covariance: Any, num_examples: int) -> jax.Array:
    """Tilts (num_examples, d) of exactly this (d, d) covariance: a fixed normal sample, centred and whitened.

    covariance: symmetric positive semi-definite, singular allowed; a number for d = 1; it may be traced. The sample's
    third and fourth cumulants are those of n normal draws, of order 1/sqrt(n). Raises ValueError naming the argument
    (num_examples must be at least d + 1).
    """
    factor = _factor("covariance", covariance)
    return _coloured(_gaussian_sample(num_examples, len(factor)), factor)


def heavy_tailed_tilts(covariance: Any, num_examples: int, *, tail_index: Any) -> jax.Array:
    """Tilts (num_examples, d) of exactly this (d, d) covariance, with a power tail P(|z| > t) ~ t^(-tail_index).

    The law is the multivariate slash distribution, elliptical and unimodal: G u^(-1/tail_index), G standard normal and
    u uniform in (0, 1), here the n midpoints (i + 1/2)/n in a fixed order; the sample is then centred and whitened. In
    the limit of a large tail_index it is `gaussian_tilts`; above 4 the excess kurtosis of a coordinate is
    12 / (tail_index (tail_index - 4)). A finite sample has a largest tilt: the power law ends near u = 1/n. At
    tail_index <= 2 the law has no variance, so that the asked covariance sits in the few largest tilts and the bulk
    shrinks as n grows. Arguments and errors as `gaussian_tilts`; tail_index > 0 may be traced.
    Source: Rogers and Tukey (1972), Understanding some long-tailed symmetrical distributions.
    """
    factor = _factor("covariance", covariance)
    tail_index = number("tail_index", tail_index, above=0.0)
    normals = _normals(num_examples, len(factor))
    uniforms = (np.random.default_rng(1).permutation(num_examples)[:, None] + 0.5) / num_examples
    if is_traced(tail_index):
        normals, uniforms = jnp.asarray(normals, factor.dtype), jnp.asarray(uniforms, factor.dtype)
        sample = _standardised(normals * uniforms ** (-1 / tail_index.astype(factor.dtype)), jnp)
    else:
        sample = _standardised(normals * uniforms ** (-1 / np.asarray(tail_index, float)), np)
    return _coloured(sample, factor)


def with_tilts(problem: Problem, tilts: Any) -> Problem:
    """The same landscape with other tilts, (n, d) with mean zero: new examples, and the noise factor that fits them.

    Raises ValueError if the problem is no tilted landscape or the tilts do not sum to zero, TypeError if their
    precision is not that of the problem.
    """
    if not isinstance(problem, Problem) or getattr(problem.example_loss, "func", None) is not _tilted_loss:
        raise ValueError(
            "problem: expected a landscape of this module, whose example loss is potential(x) + z . x; the noise of "
            "any other problem (state_dependent, regressions) is not a tilt"
        )
    dtype, size = problem.examples.dtype, problem.examples.shape[1]
    precision(problem=problem.examples, tilts=tilts)
    array = known("tilts", tilts)
    tilts = jnp.asarray(tilts, dtype)
    if tilts.ndim != 2 or tilts.shape[1] != size or tilts.shape[0] == 0:
        raise ValueError(f"tilts: expected shape (num_examples, {size}) for {size} parameters, got {tilts.shape}")
    if array is not None and np.abs(array.mean(axis=0)).max() > 1e3 * jnp.finfo(dtype).eps * np.abs(array).max():
        raise ValueError(f"tilts: expected to sum to zero, got the mean {array.mean(axis=0)}; subtract it first")
    factor = square_root(jnp.matmul(tilts.T, tilts, precision="highest") / len(tilts))
    return dataclasses.replace(problem, examples=tilts, noise_factor=Partial(_constant_factor, factor))


def finite_sum(
    potential: Callable, init: Callable, *, size: int, gradient_covariance: Any, num_examples: int, dtype: Any
) -> Problem:
    """The Problem of a potential(params (size,)) -> scalar with Gaussian tilts; potential and init are Partials."""
    factor = _factor("gradient_covariance", gradient_covariance, size, dtype)
    return Problem(
        example_loss=Partial(_tilted_loss, potential),
        examples=_coloured(_gaussian_sample(num_examples, size), factor),
        init=init,
        mean_loss=potential,
        noise_factor=Partial(_constant_factor, factor),
    )


def _tilted_loss(potential, params, tilt):
    return potential(params) + jnp.sum(tilt * params)


def _constant_factor(factor, params):
    return factor


def _factor(name, covariance, size=None, dtype=None):
    dtype = precision(**{name: covariance}) if dtype is None else dtype
    return square_root(matrix(name, covariance, dtype, size=size, semidefinite=True))


@jax.jit
def _coloured(sample, factor):
    return jnp.matmul(sample.astype(factor.dtype), factor.T, precision="highest")


def _gaussian_sample(num_examples: int, size: int) -> np.ndarray:
    return _standardised(_normals(num_examples, size), np)


def _normals(num_examples: int, size: int) -> np.ndarray:
    if isinstance(num_examples, bool) or not isinstance(num_examples, int | np.integer):
        raise TypeError(f"num_examples: expected an integer (it is a shape, not a traced number), got {num_examples!r}")
    if num_examples < size + 1:
        raise ValueError(
            f"num_examples: expected at least {size + 1} for a mean of zero and {size} parameters, got {num_examples}"
        )
    return np.random.default_rng(0).standard_normal((int(num_examples), size))


def _standardised(sample: Any, xp: ModuleType) -> Any:
    """The sample moved as little as possible to mean zero and identity covariance; twice, so that rounding is not
    amplified by its condition number."""
    for _ in range(2):
        sample = sample / xp.max(xp.abs(sample))
        left, _, right = xp.linalg.svd(sample - sample.mean(axis=0, keepdims=True), full_matrices=False)
        sample = np.sqrt(len(sample)).item() * (left @ right)
    return sample

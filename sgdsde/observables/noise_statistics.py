"""Statistics of the gradient noise: its trace, the gradient noise scale, and the index of its tails.

    tr Sigma      of one example's gradient, exact: `gradient_covariance_trace(problem, params)`, itself an observable
    B_simple      tr Sigma / |grad L|^2, the batch at which noise and gradient are equal in size

Minibatches are drawn from the key that an observer holds: an observable knows no step, so the *same* minibatches probe
the parameters at every record and in every chain. Each estimate is unbiased over keys, but averaging over records or
chains does not average the probes away: take num_batches large enough, or observe again with another key.
Sampling "epoch" means here one step of an epoch, a uniform subset. Arguments that are counts or strings must be
compiled constants: hold them with `observer`.
"""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import tree_leaves, tree_map

from sgdsde.arguments import count
from sgdsde.laws import Sampling, minibatch, minibatch_indices, normals
from sgdsde.measurements.tails import FEWEST, block_tail_index, characteristic_tail_index
from sgdsde.noise import check_batch, covariance_factor
from sgdsde.observables.losses import over_examples
from sgdsde.problem import Problem, check_params, gradient, gradient_covariance_trace, weighted_gradient
from sgdsde.randomness import draw, same_key

__all__ = [
    "gradient_noise_scale",
    "noise_tail_index",
    "projected_noise",
    "sampled_gradient_covariance_trace",
    "sampled_gradient_variance",
    "two_batch_moments",
]

NUM_DIRECTIONS = 8


def gradient_noise_scale(problem: Problem, params: Any) -> jax.Array:
    """B_simple = tr Sigma / |G|^2, exact, in examples: G = grad L (penalty included), Sigma of one example's gradient.

    At this batch size with replacement the noise is as large as the gradient, E|g_B - G|^2 = |G|^2. It costs every
    example's gradient; infinite at a minimum. Source: McCandlish, Kaplan, Amodei et al. (2018), eq. 2.9.
    """
    return gradient_covariance_trace(problem, params) / _squared_norm(gradient(problem, params))


def sampled_gradient_covariance_trace(
    problem: Problem, batch_size: int, sampling: Sampling, num_batches: int, key: jax.Array, params: Any
) -> jax.Array:
    """tr Sigma of one example, estimated from m = num_batches minibatch gradients g_j, in one pass over them.

        (1/f) sum_j |g_j - mean|^2 / (m - 1),   f = 1/B with replacement, (n - B)/(B (n - 1)) without

    Unbiased for both kinds of sampling. Raises ValueError for fewer than two batches, or batches of all n examples
    without replacement, which are all the same.
    """
    num_batches = count("num_batches", num_batches, at_least=2, mend="a variance needs two")
    check_params(problem, params)
    factor = _factor(problem, batch_size, sampling)
    if factor == 0:
        raise ValueError(f"batch_size: {batch_size} without replacement is every example, which shows no noise")
    return _sum_of_squares(problem, _batches(problem, batch_size, sampling, num_batches, key), params) / (
        factor * (num_batches - 1)
    )


def sampled_gradient_variance(
    problem: Problem, batch_size: int, sampling: Sampling, num_batches: int, key: jax.Array, params: Any
) -> jax.Array:
    """The former name of `sampled_gradient_covariance_trace`."""
    warnings.warn(
        "sampled_gradient_variance estimates tr Sigma, a sum over all parameters, and no variance of one coordinate; "
        "it is now called sampled_gradient_covariance_trace",
        DeprecationWarning,
        stacklevel=2,
    )
    return sampled_gradient_covariance_trace(problem, batch_size, sampling, num_batches, key, params)


def two_batch_moments(
    problem: Problem,
    small_batch_size: int,
    large_batch_size: int,
    sampling: Sampling,
    num_batches: int,
    key: jax.Array,
    params: Any,
) -> dict[str, jax.Array]:
    """Unbiased {"gradient_covariance_trace": tr Sigma, "squared_gradient": |G|^2} from minibatches b, s of two sizes.

        tr Sigma = (|g_s|^2 - |g_b|^2)/(f_s - f_b),   |G|^2 = (f_s |g_b|^2 - f_b |g_s|^2)/(f_s - f_b)

    each square averaged over num_batches, f as in `sampled_gradient_covariance_trace` (1/B with replacement:
    McCandlish et al. 2018, appendix A.1), G with the penalty. Either may come out negative. The gradient noise scale is
    the ratio of the two *averaged apart*, over keys or records: an average of ratios is biased, and has no mean where
    |G|^2 is near zero. Raises ValueError unless small_batch_size < large_batch_size.
    """
    small_batch_size = check_batch(problem, small_batch_size, sampling, "small_batch_size")
    large_batch_size = check_batch(problem, large_batch_size, sampling, "large_batch_size")
    num_batches = count("num_batches", num_batches)
    check_params(problem, params)
    if not small_batch_size < large_batch_size:
        raise ValueError(
            f"small_batch_size, large_batch_size: expected the first below the second, got {small_batch_size} and "
            f"{large_batch_size}"
        )
    squares, factors = [], []
    for size, own_key in zip((small_batch_size, large_batch_size), jax.random.split(same_key(key)), strict=True):
        factors.append(_factor(problem, size, sampling))
        squares.append(_mean_square(problem, _batches(problem, size, sampling, num_batches, own_key), params))
    (small, large), (wide, narrow) = squares, factors
    return {
        "gradient_covariance_trace": (small - large) / (wide - narrow),
        "squared_gradient": (wide * large - narrow * small) / (wide - narrow),
    }


def projected_noise(
    problem: Problem, batch_size: int, sampling: Sampling, num_batches: int, key: jax.Array, params: Any
) -> dict[str, jax.Array]:
    """Gradient noise along 8 random directions u, and Gaussian noise of the same covariance:
    {"noise", "gaussian"}, each (8, num_batches).

    noise: u . (g_B - g) of independent minibatches, g the mean of all examples; gaussian: the same of
    `noise.anisotropic`'s draws, N(0, C) with the exact minibatch covariance C. Along a row the samples are independent,
    centred at exactly 0 and of one scale, so a row may be given to `tail_report` as it is, and Gaussian noise is
    Gaussian along every direction, whatever C.

    Directions, not coordinates: the coordinates of a network's gradient have unequal scales (some are always 0), and a
    row of them taken for samples of one law looks heavy-tailed when it is Gaussian. A direction drawn at random weighs
    all coordinates, and if any has a power tail then so has the projection, with the heaviest one's index. What it
    hides: with finitely many batches, a heavy tail of a few coordinates under the Gaussian noise of many.
    The directions, unit vectors, are drawn from the key and the same at every record. Costs 8 forward passes with
    tangents over the examples, and no example gradients.
    """
    batch_size, num_batches = check_batch(problem, batch_size, sampling), count("num_batches", num_batches)
    check_params(problem, params)
    direction_key, batch_key, gaussian_key = jax.random.split(same_key(key), 3)
    slopes = _projections(problem, direction_key, params)
    slopes = slopes - jnp.mean(slopes, axis=0, keepdims=True)
    batches = _batches(problem, batch_size, sampling, num_batches, batch_key)
    # The draws of `noise.anisotropic`: weights of the examples, independent normals of variance f/n (the slopes are
    # centred already).
    weights = jax.vmap(lambda slot: draw(normals(slopes[:, 0]), gaussian_key, slot))(_slots(num_batches))
    weights = weights * np.sqrt(_factor(problem, batch_size, sampling) / problem.num_examples).item()
    return {
        "noise": jnp.mean(slopes[batches], axis=1).T,
        "gaussian": jnp.matmul(weights, slopes, precision="highest").T,
    }


def noise_tail_index(
    problem: Problem, batch_size: int, sampling: Sampling, num_batches: int, key: jax.Array, params: Any
) -> dict[str, jax.Array]:
    """Tail index of the minibatch gradient noise beside the same estimate on Gaussian noise of the same covariance.

    {"index", "null"}: `characteristic_tail_index`, averaged over the directions of `projected_noise`;
    {"block_index", "block_null"}: the published block estimator, in blocks of sqrt(num_batches), 1/index averaged.
    What counts is index against null, over several keys or chains: the null is what Gaussian noise gives here, 2 but
    for the finite number of batches. For 100 batches the first scatters by about 0.05 (its null), the second by some
    tenths. Neither says that the noise is stable: for that give `projected_noise` to `tail_report`.
    Raises ValueError for fewer than 100 batches, of which `characteristic_tail_index` now and then makes no index.
    """
    num_batches = count("num_batches", num_batches, at_least=FEWEST, mend="fewer give no index, now and then")
    rows = projected_noise(problem, batch_size, sampling, num_batches, key, params)
    both = jnp.stack([rows["noise"], rows["gaussian"]])
    index, null = jnp.mean(characteristic_tail_index(both)[0], axis=1)
    block_index, block_null = 1 / jnp.mean(1 / block_tail_index(both, int(np.sqrt(num_batches))), axis=1)
    return {"index": index, "null": null, "block_index": block_index, "block_null": block_null}


def _projections(problem, key, params):
    """u . grad example_loss_i for 8 unit vectors u, (num_examples, 8), by forward differentiation."""
    flat, unravel = ravel_pytree(params)
    directions = jax.random.normal(key, (NUM_DIRECTIONS, flat.size), flat.dtype)
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)

    def slopes(example):
        along = lambda u: jax.jvp(lambda p: problem.example_loss(p, example), (params,), (unravel(u),))[1]
        return jax.vmap(along)(directions)

    return over_examples(problem, slopes, problem.examples)


def _batches(problem, batch_size, sampling, num_batches, key):
    """Indices of independent minibatches, (num_batches, batch_size)."""
    kind = "with_replacement" if sampling == "with_replacement" else "without_replacement"
    variates = minibatch(problem.num_examples, batch_size, kind)
    one = lambda slot: minibatch_indices(draw(variates, key, slot), problem.num_examples, batch_size, kind)
    return jax.vmap(one)(_slots(num_batches))


def _slots(count):
    return jnp.arange(count, dtype=jnp.uint32)


def _factor(problem, batch_size, sampling):
    check_batch(problem, batch_size, sampling)
    return covariance_factor(problem.num_examples, batch_size, sampling)


def _batch_gradient(problem, params, indices):
    equal = jnp.full(indices.shape, 1 / indices.size, tree_leaves(params)[0].dtype)
    mean = weighted_gradient(problem, params, equal, indices)
    return mean if problem.penalty is None else tree_map(jnp.add, mean, jax.grad(problem.penalty)(params))


def _sum_of_squares(problem, batches, params):
    """sum_j |g_j - mean|^2 over minibatches (num_batches, batch_size): Welford's recursion, one gradient at a time."""

    def add(carry, batch):
        mean, total, count = carry
        away = tree_map(jnp.subtract, _batch_gradient(problem, params, batch), mean)
        mean = tree_map(lambda m, a: m + a / (count + 1).astype(a.dtype), mean, away)
        return (mean, total + _squared_norm(away) * count / (count + 1), count + 1), None

    zero = jnp.zeros_like(_squared_norm(params))
    return jax.lax.scan(add, (tree_map(jnp.zeros_like, params), zero, zero), batches)[0][1]


def _mean_square(problem, batches, params):
    """Mean of |g_B|^2 over minibatches (num_batches, batch_size)."""
    return jnp.mean(jax.lax.map(lambda batch: _squared_norm(_batch_gradient(problem, params, batch)), batches))


def _squared_norm(tree):
    return sum(jnp.sum(leaf**2) for leaf in tree_leaves(tree))

"""Noise of exact mean and covariance whose law is a mixture of Gaussians: cheaper than a Gaussian would be."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial, tree_leaves, tree_map

from sgdsde.laws import Sampling, minibatch, minibatch_indices, normals
from sgdsde.noise.contract import Noise, check_batch, check_count, covariance_factor, normal_vector
from sgdsde.noise.gaussian import anisotropic
from sgdsde.problem import Problem, weighted_gradient
from sgdsde.pytrees import pytree

__all__ = ["anisotropic_sampled", "trace_matched"]


def trace_matched(problem: Problem, *, batch_size: int, sampling: Sampling) -> Noise:
    """Rotation-invariant noise that follows the parameters, of covariance exactly (tr C(params) / d) * identity.

    noise = |xi| z / |z|: the length of a draw xi of `anisotropic` noise, E |xi|^2 = tr C, in an independent, uniformly
    random direction of the d parameters. One weighted backward pass, where the trace itself would take every
    example's gradient. Its law is a scale mixture of Gaussians: along any direction the excess kurtosis is
    3 (d / (d + 2)) (1 + 2 / r) - 3, r = (tr C)^2 / tr C^2 the effective rank of C, about 6/r - 6/d; Gaussian if C is
    isotropic, and in the limit of many substeps, as its variance is finite. `trace_matched_levy` at tail index 2 is
    exactly Gaussian, at the higher cost.
    """
    gaussian = anisotropic(problem, batch_size=batch_size, sampling=sampling)
    length_like = jax.ShapeDtypeStruct(gaussian.variates.shape, gaussian.variates.dtype)
    variates = normals((length_like, problem.params_like))  # of one call, so that they share no numbers
    return Noise(variates, Partial(_turned, gaussian.apply), is_gaussian=False)


def anisotropic_sampled(problem: Problem, *, num_sampled: int, batch_size: int, sampling: Sampling) -> Noise:
    """Noise of covariance exactly C(params) from m = num_sampled examples, drawn afresh for every microstep; an
    explicit step takes its drift from the same examples: it costs one backward pass over m, not over all.

        x' = x - dt mean_j g_{i_j} - sqrt(learning_rate dt) sum_j w_j g_{i_j},      g_i = grad example_loss_i(x)
        w_j = c (z_j - mean z),  z_j ~ N(0, 1),      c^2 = (f - h / substeps) / (m (1 - h))

    i_j: examples drawn as `sampling` says (an epoch as without replacement). f = C/Sigma at batch_size and h = C/Sigma
    at m are `covariance_factor`s: the sampled drift fluctuates with dt^2 h Sigma, and the weights supply the rest of
    learning_rate dt f Sigma. Mean and covariance of every microstep are therefore exact, for every m with
    h <= substeps f; with replacement, m >= batch_size / substeps. At that bound the weights vanish and the step *is*
    minibatch SGD, of batch m at rate dt; at m = num_examples without replacement it is exactly `anisotropic`.

    What is biased are the higher cumulants of a microstep. Along a direction in which the gradient of one example has
    skewness k3 and excess kurtosis k4, for draws with replacement and with r = batch_size / (substeps m), the drift's
    share of the covariance,

        skewness = k3 sqrt(r / m) (3 - 2 r),      excess kurtosis = 6 (1 - r)^2 / (m - 1) + k4 (3 - 2 r^2) / m

    (SGD: k3 / sqrt(batch_size) and k4 / batch_size; `anisotropic`: 0). Both vanish for large m, and from the sum of
    many microsteps. Where the drift has no part in this pass (a mean_loss, schemes other than explicit) r = 0.

    Raises ValueError for m < 2, and `euler_maruyama` (or `match`) for an m below the bound.
    """
    batch_size = check_batch(problem, batch_size, sampling)
    num_sampled = check_count("num_sampled", num_sampled, problem, at_least=2)
    sample = Sample(problem.num_examples, num_sampled, batch_size, sampling)
    variates = minibatch(problem.num_examples, num_sampled, sample.subsets), normal_vector(problem, num_sampled)
    weights = Partial(_weights_of_sample, sample)
    return Noise(variates, Partial(_sampled, problem, sample), 2.0, False, weights, problem)


@pytree(static=("num_examples", "num_sampled", "batch_size", "sampling"))
class Sample:
    """How many examples are drawn, for which minibatch's covariance: all static, so that it can always be checked."""

    num_examples: int
    num_sampled: int
    batch_size: int
    sampling: Sampling

    @property
    def subsets(self) -> Sampling:
        return "with_replacement" if self.sampling == "with_replacement" else "without_replacement"

    def indices(self, numbers: jax.Array) -> jax.Array:
        """The sampled examples (num_sampled,)."""
        return minibatch_indices(numbers, self.num_examples, self.num_sampled, self.subsets)

    def weights(self, normals: jax.Array, substeps: int | None) -> jax.Array:
        """Centred weights (num_sampled,), whose noise and the sampled drift at this many substeps have covariance C
        together; or alone, for substeps None. Raises ValueError where the drift alone has more."""
        f = covariance_factor(self.num_examples, self.batch_size, self.sampling)
        h = covariance_factor(self.num_examples, self.num_sampled, self.sampling)
        rest = f if substeps is None else f - h / substeps
        if rest < -1e-9 * h:
            fewest = math.ceil(self._fewest(substeps * f) - 1e-9)
            raise ValueError(
                f"num_sampled: a drift from {self.num_sampled} examples fluctuates more than a minibatch of "
                f"{self.batch_size} at substeps = {substeps}; expected at least {fewest} examples, or more substeps"
            )
        scale = math.sqrt(max(rest, 0.0) / (self.num_sampled * (1 - h)))
        return (normals - jnp.mean(normals)) * jnp.asarray(scale, normals.dtype)

    def _fewest(self, largest: float) -> float:
        """The size, as a real number, whose covariance factor is `largest`."""
        if self.sampling == "with_replacement":
            return 1 / largest
        return self.num_examples / (1 + largest * (self.num_examples - 1))


def _weights_of_sample(sample, draws, substeps):
    numbers, normals = draws
    return sample.indices(numbers), sample.weights(normals, substeps)


def _sampled(problem, sample, params, draws):
    numbers, normals = draws
    return weighted_gradient(problem, params, sample.weights(normals, None), sample.indices(numbers))


def _turned(apply, params, draws):
    normals, direction = draws
    length, norm = _length(apply(params, normals)), _length(direction)
    stretch = jnp.where(norm > 0, length / jnp.where(norm > 0, norm, 1), 0)
    return tree_map(lambda z: stretch.astype(z.dtype) * z, direction)


def _length(tree: Any) -> jax.Array:
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in tree_leaves(tree)))

"""What a noise is, and the covariance of a minibatch that the kinds of noise have in common."""

from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import tree_leaves

from sgdsde.arguments import count
from sgdsde.laws import Sampling, check_tail_index, normals
from sgdsde.problem import Problem, check_problem
from sgdsde.pytrees import as_partial, pytree
from sgdsde.randomness import Variates, draw

__all__ = ["Noise", "check_batch", "check_count", "check_problem", "covariance_factor", "normal_vector"]


@pytree(static=("is_gaussian",))
class Noise:
    """A noise law in gradient units.

    variates: all its randomness, a pytree of independent `randomness.Variates` (`laws.normals(like)` and the like);
    apply(params, draws) -> a pytree like params, the noise itself, from an array for each of the variates.
    tail_index: 2 for a finite variance. is_gaussian: draws are standard normals and apply is linear in them, so that a
    solver of stochastic differential equations may feed it Brownian increments instead.
    example_weights(draws, substeps) -> (indices, weights): where the noise is a sum of example gradients of `problem`,
    sum_j weights_j grad example_loss_{indices_j} (indices None: of all examples in order), so that a drift of the same
    problem, the mean over these very examples, may share its backward pass; else both are None. Weights (m,) are such
    that the law is right *with* that drift's own fluctuation, if the examples are drawn.
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
        object.__setattr__(self, "tail_index", check_tail_index(self.tail_index))

    def draw(self, key: jax.Array) -> Any:
        """The draws of one application, a pure function of the key."""
        return draw(self.variates, key, 0)


def covariance_factor(num_examples: int, batch_size: int, sampling: Sampling) -> float:
    """C/Sigma of a minibatch: 1/B with replacement, (n - B)/(B (n - 1)) without; the latter for a step of an epoch.
    Raises TypeError or ValueError for counts that are none and for another sampling."""
    _check_sampling(sampling)
    num_examples, batch_size = count("num_examples", num_examples), count("batch_size", batch_size)
    if sampling == "with_replacement":
        return 1.0 / batch_size
    return (num_examples - batch_size) / (batch_size * max(num_examples - 1, 1))


def check_batch(problem: Problem, batch_size: int, sampling: Sampling, name: str = "batch_size") -> int:
    """The batch size as an int. Raises TypeError or ValueError unless it is an integer from 1 to num_examples and
    sampling is known."""
    check_problem(problem)
    _check_sampling(sampling)
    return check_count(name, batch_size, problem, at_least=1)


def _check_sampling(sampling: Any) -> None:
    choices = Sampling.__args__
    if not isinstance(sampling, str) or sampling not in choices:
        raise ValueError(f"sampling: expected one of {', '.join(map(repr, choices))}, got {sampling!r}")


def check_count(name: str, value: int, problem: Problem, *, at_least: int) -> int:
    """A number of examples of the problem, as an int. Raises TypeError or ValueError unless it is an integer from
    at_least to num_examples."""
    smaller = "batch" if name.endswith("batch_size") else "sample"
    is_large = isinstance(value, int) and value > problem.num_examples
    mend = f"take a {smaller} of at most num_examples, or a problem with more examples" if is_large else ""
    return count(name, value, at_least=at_least, at_most=problem.num_examples, mend=mend)


def normal_vector(problem: Problem, size: int) -> Variates:
    """Independent standard normals (size,) in the precision of the parameters."""
    return normals(jax.ShapeDtypeStruct((size,), tree_leaves(problem.params_like)[0].dtype))

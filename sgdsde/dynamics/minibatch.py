"""Discrete stochastic gradient descent, and any optax optimizer beside it, on exact minibatch laws.

    m' = momentum m + g_B(params),      params' = params - learning_rate m'

g_B is the gradient of the mean loss of one minibatch plus that of the penalty. Nothing here is tamed: a diverging run
diverges, and `simulate` reports the step at which it did.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import keystr, tree_leaves_with_path, tree_map

from sgdsde.arguments import number
from sgdsde.dynamics.contract import State, check_learning_rate, derived_draw, rate_at
from sgdsde.laws import Sampling, minibatch, minibatch_indices
from sgdsde.noise import check_batch
from sgdsde.problem import Problem
from sgdsde.pytrees import pytree
from sgdsde.tracing import shapes_of

__all__ = ["SGD", "Optimizer", "minibatch_gradient", "optimizer", "sgd"]


def sgd(
    problem: Problem,
    *,
    learning_rate: Any,
    batch_size: int,
    sampling: Sampling,
    momentum: Any = 0.0,
    clip: Any = None,
) -> "SGD":
    """Stochastic gradient descent with heavy-ball momentum (as `optax.sgd(learning_rate, momentum)`).

    sampling: "with_replacement" | "without_replacement" | "epoch" (random reshuffling, n // B batches an epoch; the
    remainder of each permutation sits out). learning_rate: a number or a schedule of the integer step. clip: a bound
    on the norm of the minibatch gradient (an update bound b is clip = b/learning_rate). Time advances by
    learning_rate/(1 - momentum) a step.

    In float32 a parameter x moves by nothing once its step falls below 6e-8 |x|, half the spacing of numbers there, and
    not as it should from a few spacings down: keep minima near zero, or use float64. Raises TypeError or ValueError
    naming the argument, for a rate that is 0 in the parameters' precision too.
    """
    batch_size = check_batch(problem, batch_size, sampling)
    momentum = number("momentum", momentum, at_least=0.0, below=1.0)
    if clip is not None:
        clip = number("clip", clip, above=0.0, mend="it bounds the gradient's norm, and None means no bound")
    has_momentum = not (isinstance(momentum, float) and momentum == 0)
    return SGD(
        problem,
        check_learning_rate(learning_rate, problem),
        momentum if has_momentum else None,
        clip,
        batch_size,
        sampling,
    )


def optimizer(
    problem: Problem, transformation: optax.GradientTransformation, *, batch_size: int, sampling: Sampling
) -> "Optimizer":
    """Any optax transformation fed with the same minibatch gradients; it has no SDE clock, so its time is NaN.

    Rates to be swept without recompiling belong in the state (`optax.inject_hyperparams`). A transformation that draws
    (`optax.noisy_sgd`, `optax.add_noise`) holds a key in its state: `simulate` makes every chain its own, from that key
    and the chain's. Raises TypeError or ValueError naming the argument, for a key of the raw kind too, which nothing
    tells from a pair of numbers.
    """
    batch_size = check_batch(problem, batch_size, sampling)
    if not (callable(getattr(transformation, "init", None)) and callable(getattr(transformation, "update", None))):
        raise TypeError(f"transformation: expected an optax.GradientTransformation, got {transformation!r}")
    state = _checked_state(transformation, problem.params_like)
    for path, leaf in tree_leaves_with_path(state):
        if leaf.dtype == jnp.uint32 and leaf.shape[-1:] == (2,):
            raise TypeError(
                f"transformation: its state{keystr(path)} is a raw random key (uint32[2]), which every chain would "
                "share; make it with jax.random.key instead of jax.random.PRNGKey, and each chain gets one of its own"
            )
    return Optimizer(problem, transformation, batch_size, sampling)


def _checked_state(transformation: optax.GradientTransformation, params: Any) -> Any:
    """The shapes of a transformation's state, once it has turned a gradient into real updates of these params."""
    wanted = "functions init(params) and update(gradient, state, params) -> (updates, state)"
    with jax.numpy_dtype_promotion("standard"):
        state = shapes_of("transformation", transformation.init, params, expected=wanted)
        after = shapes_of("transformation", transformation.update, params, state, params, expected=wanted)
    if not (isinstance(after, tuple) and len(after) == 2):
        raise TypeError(f"transformation: expected {wanted}, got {type(after).__name__} from update")
    for path, leaf in tree_leaves_with_path(after[0]):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):  # a rate 0.1j would become the rate 0
            raise TypeError(f"transformation: its updates{keystr(path)} are {leaf.dtype}; give it real numbers")
    return state


@pytree(static=("batch_size", "sampling"))
class SGD:
    """Minibatch SGD as a Dynamics; make it with `sgd`. momentum None means none (no buffer is carried)."""

    problem: Problem
    learning_rate: Any
    momentum: Any
    clip: Any
    batch_size: int
    sampling: Sampling

    @property
    def period(self) -> int:
        return _period(self)

    @property
    def substeps(self) -> int:
        return 1

    def init(self, params):
        return State(params, () if self.momentum is None else tree_map(jnp.zeros_like, params))

    @property
    def variates(self) -> Any:
        return _variates(self)

    def arrange(self, numbers):
        return _indices(self, numbers)

    draw = derived_draw

    def advance(self, state, draws, step):
        direction = minibatch_gradient(self.problem, state.params, draws)
        if self.clip is not None:
            norm = optax.tree.norm(direction)
            shrink = jnp.minimum(1, jnp.asarray(self.clip, norm.dtype) / jnp.where(norm > 0, norm, 1))
            direction = tree_map(lambda g: shrink.astype(g.dtype) * g, direction)
        if self.momentum is not None:
            direction = tree_map(lambda m, g: jnp.asarray(self.momentum, m.dtype) * m + g, state.memory, direction)
        rate = rate_at(self.learning_rate, step)
        params = tree_map(lambda x, m: x - jnp.asarray(rate, x.dtype) * m, state.params, direction)
        return State(params, () if self.momentum is None else direction)

    def duration(self, step):
        return rate_at(self.learning_rate, step) / (1 - (0.0 if self.momentum is None else self.momentum))


@pytree(static=("transformation", "batch_size", "sampling"))
class Optimizer:
    """An optax transformation as a Dynamics; make it with `optimizer`."""

    problem: Problem
    transformation: optax.GradientTransformation
    batch_size: int
    sampling: Sampling

    @property
    def period(self) -> int:
        return _period(self)

    @property
    def substeps(self) -> int:
        return 1

    def init(self, params):
        with jax.numpy_dtype_promotion("standard"):
            return State(params, self.transformation.init(params))

    @property
    def variates(self) -> Any:
        return _variates(self)

    def arrange(self, numbers):
        return _indices(self, numbers)

    draw = derived_draw

    def advance(self, state, draws, step):
        direction = minibatch_gradient(self.problem, state.params, draws)
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = self.transformation.update(direction, state.memory, state.params)
            return State(optax.apply_updates(state.params, updates), memory)

    def duration(self, step):
        return np.nan


def minibatch_gradient(problem: Problem, params: Any, indices: jax.Array) -> Any:
    """g_B: the gradient of the mean example loss over `indices` (batch_size,), plus the penalty's."""
    rows = indices.astype(jnp.uint32)  # without a sign none of them has to be looked at for counting from the end
    batch = tree_map(lambda leaf: jnp.take(leaf, rows, axis=0, mode="clip"), problem.examples)

    def batch_loss(p):
        value = jnp.mean(jax.vmap(problem.example_loss, in_axes=(None, 0))(p, batch))
        return value if problem.penalty is None else value + problem.penalty(p)

    return jax.grad(batch_loss)(params)


def _period(dynamics):
    return dynamics.problem.num_examples // dynamics.batch_size if dynamics.sampling == "epoch" else 1


def _variates(dynamics):
    return minibatch(dynamics.problem.num_examples, dynamics.batch_size, dynamics.sampling)


def _indices(dynamics, numbers):
    """Minibatch indices (batch_size,); for epoch sampling those of a whole epoch, on a leading axis of length `period`
    (dropped if the period is 1)."""
    indices = minibatch_indices(numbers, dynamics.problem.num_examples, dynamics.batch_size, dynamics.sampling)
    return indices[0] if indices.ndim == 2 and len(indices) == 1 else indices

"""Losses, accuracy and the size of the weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from sgdsde.arguments import check_floating, shaped
from sgdsde.problem import Problem, check_params
from sgdsde.tracing import shapes_of

__all__ = ["accuracy", "mean_example_loss", "over_examples", "weight_norm"]


def mean_example_loss(problem: Problem, examples: Any, params: Any) -> jax.Array:
    """Mean of the problem's example_loss over any examples, such as test ones; the penalty is left out.

    examples: the structure of problem.examples, any number of them on the leading axis. They are taken
    problem.microbatch at a time where the problem has one. Raises ValueError for another structure or shape.
    """
    check_params(problem, params)
    _check_alike(problem, examples)
    return jnp.mean(over_examples(problem, lambda example: problem.example_loss(params, example), examples))


def accuracy(logits: Callable, inputs: Any, labels: Any, params: Any) -> jax.Array:
    """Fraction of the inputs whose largest logit is that of their label.

    logits(params, inputs) -> (n, num_classes), or (n,) for two classes (label 1 where it is positive, else 0);
    labels (n,) whole numbers from 0. A tie counts for the first class. NaN where a logit is NaN: a network that has
    diverged is not one that guesses. Raises ValueError for other shapes.
    """
    check_floating("params", params)
    wanted = "a function (params, inputs) -> (n, num_classes) or (n,)"
    scores = shapes_of("logits", logits, params, inputs, expected=wanted)
    labels = jnp.asarray(shaped("labels", labels, "(...)"))
    if labels.ndim != 1 or scores.shape[:1] != labels.shape or scores.ndim not in (1, 2):
        raise ValueError(
            f"accuracy: expected logits of shape (n, num_classes) or (n,) and labels (n,), got {scores.shape} and "
            f"{labels.shape}; logits takes (params, inputs) of all the inputs at once"
        )
    scores = logits(params, inputs)
    chosen = jnp.argmax(scores, axis=1) if scores.ndim == 2 else scores > 0
    fraction = jnp.mean((chosen.astype(jnp.float32) == labels.astype(jnp.float32)).astype(scores.dtype))
    return jnp.where(jnp.isnan(scores).any(), jnp.nan, fraction)


def weight_norm(params: Any) -> jax.Array:
    """Euclidean norm of all parameters together, sqrt(sum of squares). Raises TypeError unless they are in floating
    point."""
    check_floating("params", params)
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in tree_leaves(params)))


def over_examples(problem: Problem, function: Callable, examples: Any) -> Any:
    """function(example) of every example on a leading axis: at once, or problem.microbatch of them at a time."""
    size = problem.microbatch
    if size is None or size >= tree_leaves(examples)[0].shape[0]:
        return jax.vmap(function)(examples)
    return jax.lax.map(function, examples, batch_size=size)


def _check_alike(problem, examples):
    shape = lambda leaf: (jnp.shape(leaf)[1:], jnp.ndim(leaf) > 0)
    for leaf in tree_leaves(examples):
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.dtype(type(leaf))
        is_real = any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
        if not is_real and dtype not in {like.dtype for like in tree_leaves(problem.examples)}:
            raise TypeError(f"examples: expected arrays of real numbers as the problem's, got {dtype}")
    wanted, given = tree_map(shape, problem.examples), tree_map(shape, examples)
    if wanted != given:
        raise ValueError(
            "examples: expected those of the problem but for their number, "
            f"{tree_map(jnp.shape, problem.examples)}, got {tree_map(jnp.shape, examples)}"
        )

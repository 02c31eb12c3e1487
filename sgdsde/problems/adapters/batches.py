"""Whether a loss of a whole batch is the mean of a loss of its examples."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial, tree_leaves, tree_map

from sgdsde.arguments import is_traced
from sgdsde.problem import Problem

__all__ = ["check_batch_loss"]

BATCH_SIZES = (16, 24)


def check_batch_loss(name: str, problem: Problem, batch_loss: Partial) -> None:
    """Raise ValueError unless batch_loss(params, examples) -> scalar is the mean of problem.example_loss: in value and
    along three random directions, near a start, on two batches of different size, to 1000 roundings of the terms.
    Values known only to a trace are not checked. name: of the adapter, for messages."""
    sizes = [min(size, problem.num_examples) for size in BATCH_SIZES]
    sizes[0] = sizes[0] if sizes[0] < sizes[1] else (sizes[1] + 1) // 2
    shuffled = np.random.default_rng(0).permutation(problem.num_examples)
    for size in sizes:
        batch = tree_map(lambda leaf, chosen=shuffled[:size]: leaf[chosen], problem.examples)
        out = jax.eval_shape(batch_loss, problem.params_like, batch)
        if getattr(out, "shape", None) != ():
            raise ValueError(f"{name}: batch_loss: expected a scalar, got {out}; reduce it with .mean()")
        if not is_traced((problem, batch_loss)):
            _check_one(name, problem, batch_loss, batch, size)


def _check_one(name, problem, batch_loss, batch, size):
    start = problem.init(jax.random.key(0))
    num_params, dtype = sum(leaf.size for leaf in tree_leaves(start)), tree_leaves(start)[0].dtype
    draws = np.random.default_rng(1).normal(size=(4, num_params)).astype(dtype)
    with jax.default_matmul_precision("highest"):
        rows = jax.device_get(_audit(problem.example_loss, batch_loss, batch, start, draws))
    for meaning, (given, expected, magnitude) in rows.items():
        excess = np.abs(given - expected) - 1000 * float(jnp.finfo(dtype).eps) * magnitude
        if np.isfinite(expected).all() and not (excess <= 0).all():
            worst = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
            raise ValueError(
                f"{name}: batch_loss: on {size} examples at a test point its {meaning} is {given[worst]:.6g}, but that "
                f"of the mean of example_loss is {expected[worst]:.6g} (they differ by "
                f"{abs(given[worst] - expected[worst]):.3g}): its examples interact (normalisation over the batch, "
                "contrastive pairs), or it is not their mean (a sum, a penalty inside). SGD's noise is then not the "
                "mean of independent example gradients; normalise within an example, or give the penalty apart"
            )


@jax.jit
def _audit(example_loss, batch_loss, batch, start, draws):
    """value and derivatives of the batch loss, of the mean example loss, and the mean magnitude of the terms."""
    flat, unravel = ravel_pytree(start)
    params = unravel(flat + jnp.asarray(0.1, flat.dtype) * draws[0])

    def along(function):
        return jax.vmap(lambda v: jax.jvp(function, (params,), (unravel(v),)))(draws[1:])

    given = along(lambda p: batch_loss(p, batch))
    terms = along(lambda p: jax.vmap(example_loss, in_axes=(None, 0))(p, batch))
    rows = [(own, term.mean(1), jnp.abs(term).mean(1) + jnp.abs(own)) for own, term in zip(given, terms, strict=True)]
    return dict(zip(("value", "derivative along a random direction"), rows, strict=True))

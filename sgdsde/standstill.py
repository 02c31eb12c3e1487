"""Chains that do not move because their steps round to nothing: said after the first stretch of a run."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from sgdsde.dynamics.contract import Dynamics, probe
from sgdsde.ensemble import Chains
from sgdsde.problem import gradient

__all__ = ["warn_where_nothing_moves"]

LARGEST = 2**22
"""bytes of an array that are fetched from an accelerator to be looked at"""


def warn_where_nothing_moves(
    dynamics: Dynamics, before: Chains, after: Chains, first_step: int, num_steps: int
) -> None:
    """Warn where some steps, drift and noise included, have left every parameter of these chains as it was, although
    the gradient is not 0, and the largest learning rate of the run explains it: it is 0, or it times the gradient is
    less than half the spacing of floating-point numbers in every coordinate. Where chains move, one row is compared.
    """
    pairs = zip(tree_leaves(before.state.params), tree_leaves(after.state.params), strict=True)
    if not all(_is_same(*pair) for pair in pairs):
        return
    schedule = getattr(dynamics, "learning_rate", None)
    steps = first_step + np.unique(np.linspace(0, num_steps - 1, 9).astype(np.int32))
    rates = probe(schedule, steps) if callable(schedule) else np.full(len(steps), schedule, float)  # None gives NaN
    if rates is None or not np.isfinite(rates).all():
        return
    largest = int(np.argmax(rates))
    one = tree_map(lambda leaf: leaf[0], before.state.params)
    slopes = np.concatenate([np.ravel(leaf).astype(float) for leaf in tree_leaves(gradient(dynamics.problem, one))])
    sizes = np.abs(np.concatenate([np.ravel(leaf).astype(float) for leaf in tree_leaves(one)]))
    gaps = np.concatenate([np.ravel(np.spacing(np.abs(np.asarray(leaf)))).astype(float) for leaf in tree_leaves(one)])
    moves = float(dynamics.duration(jnp.int32(steps[largest]))) * np.abs(slopes)
    place = int(np.argmax(moves))
    if (not moves[place] > 0 and rates[largest] > 0) or not (moves < gaps / 2).all() or not slopes.any():
        return
    why = (
        f"a step of learning_rate * |gradient| = {moves[place]:.2g} rounds to nothing beside {sizes[place]:.3g}, where "
        f"neighbouring numbers of {tree_leaves(one)[0].dtype} are {gaps[place]:.2g} apart; compute in float64 "
        "(jax_enable_x64), take a larger learning rate, or shift the parameters so that they lie near 0"
    )
    if rates[largest] == 0:
        why = "the learning rate is 0 at every step looked at; give a schedule that is positive where the run is"
    warnings.warn(f"simulate: no parameter of any chain has moved: {why}", stacklevel=4)


def _is_same(before: Any, after: Any) -> bool:
    """Whether the first chains' arrays are those after, bit by bit; not asked where looking would be dear. Bytes: a
    comparison of arrays takes 30 us longer."""
    if not (after.is_fully_addressable and (after.nbytes <= LARGEST or jax.default_backend() == "cpu")):
        return False
    old, new = np.asarray(before), np.asarray(after)
    return old[0].tobytes() == new[0].tobytes() and np.array_equal(old[: len(new)], new)

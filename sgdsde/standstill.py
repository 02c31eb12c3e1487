"""Steps that are lost in the rounding of numbers: said after the first stretch of a run."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves, tree_map

from sgdsde.dynamics.contract import Dynamics, derived_draw, probe
from sgdsde.ensemble import Chains
from sgdsde.problem import example_gradients, gradient

__all__ = ["warn_where_steps_round"]

LARGEST = 2**22
"""bytes of an array that are fetched from an accelerator to be looked at"""
FEW = 16
"""spacings of numbers: two examples whose gradients differ in sign alone make steps of so many, and the pull back to
the minimum, which is smaller, is rounded away until chains are too far out"""
MOST_GRADIENTS = 10**6
NUM_TRIED = 8


def warn_where_steps_round(
    dynamics: Dynamics, before: Chains, after: Chains, first_step: int, num_steps: int, num_microsteps: int
) -> None:
    """Warn where the first `num_microsteps` have moved no parameter of the first chain by more than 16 spacings of
    floating-point numbers each, and the largest learning rate of the run explains it: it is 0; or a step with it, drift
    and noise included, is 0 although no example's gradient alone would make one of half a spacing; or it is a few
    spacings only, so that steps are rounded to whole ones. Where a chain moves, one row of numbers is compared.
    """
    pairs = list(zip(tree_leaves(before.state.params), tree_leaves(after.state.params), strict=True))
    if not all(_is_near(*pair, FEW * num_microsteps) for pair in pairs):
        return
    schedule = getattr(dynamics, "learning_rate", None)
    steps = first_step + np.unique(np.linspace(0, num_steps - 1, 9).astype(np.int32))
    rates = probe(schedule, steps) if callable(schedule) else np.full(len(steps), schedule, float)  # None gives NaN
    if rates is None or not np.isfinite(rates).all():
        return
    largest = int(np.argmax(rates))
    hottest = jnp.int32(steps[largest])
    state = tree_map(lambda leaf: leaf[0], before.state)
    one = tree_map(np.asarray, state.params)
    sizes, gaps = _flat(tree_map(np.abs, one)), _flat(tree_map(lambda leaf: np.spacing(np.abs(leaf)), one))
    taken = np.max(_steps_taken(dynamics, state, hottest) / gaps, axis=0) if rates[largest] > 0 else np.zeros(1)
    if taken.any():
        place = int(np.argmax(taken))
        if taken[place] <= FEW:
            _warn(
                f"a step moves no parameter by more than {taken[place]:.0f} spacings of {_flat(one).dtype} numbers "
                f"(beside {sizes[place]:.3g} they are {gaps[place]:.2g} apart), so that steps are rounded to whole "
                "ones and the law of the chains may be another"
            )
        return
    slopes = _largest_slopes(dynamics, one)
    moves = float(dynamics.duration(hottest)) * slopes
    place = int(np.argmax(moves))
    if (not moves[place] > 0 and rates[largest] > 0) or not (moves < gaps / 2).all() or not slopes.any():
        return
    if rates[largest] == 0:
        why = "the learning rate is 0 at every step looked at; give a schedule that is positive where the run is"
        warnings.warn(f"simulate: no parameter of any chain has moved: {why}", stacklevel=4)
        return
    _warn(
        f"no parameter of any chain has moved: a step of learning_rate * |gradient of an example| = {moves[place]:.2g} "
        f"at most rounds to nothing beside {sizes[place]:.3g}, where neighbouring numbers of {_flat(one).dtype} are "
        f"{gaps[place]:.2g} apart"
    )


def _warn(why: str) -> None:
    mend = "compute in float64 (jax_enable_x64), take a larger learning rate, or shift the parameters to lie near 0"
    warnings.warn(f"simulate: {why}; {mend}", stacklevel=5)


def _is_near(before: Any, after: Any, most: int) -> bool:
    """Whether the first chain is within `most` spacings of where it was, in every number; not asked where looking
    would be dear."""
    if not (after.is_fully_addressable and (after.nbytes <= LARGEST or jax.default_backend() == "cpu")):
        return False
    old, new = np.asarray(before)[0], np.asarray(after)[0]
    return bool((np.abs(new - old) <= most * np.spacing(np.abs(old))).all())


def _steps_taken(dynamics: Dynamics, state: Any, step: Any) -> np.ndarray:
    """By how much each parameter moves in a microstep of this state, (8, d), with eight draws."""
    keys = jax.random.split(jax.random.key(0), NUM_TRIED)
    moved = [dynamics.advance(state, derived_draw(dynamics, key, step, 0), step).params for key in keys]
    return np.stack([_flat(tree_map(lambda new, old: np.abs(np.asarray(new) - old), m, state.params)) for m in moved])


def _largest_slopes(dynamics: Dynamics, params: Any) -> np.ndarray:
    """The largest |gradient of an example| in each parameter, (d,); of many examples of many parameters |gradient|."""
    problem = dynamics.problem
    slopes = np.abs(_flat(gradient(problem, params)))
    if problem.num_examples * slopes.size > MOST_GRADIENTS:
        return slopes
    each = [np.abs(np.asarray(leaf)).max(axis=0) for leaf in tree_leaves(example_gradients(problem, params))]
    return np.maximum(slopes, np.concatenate([leaf.ravel() for leaf in each]))


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in tree_leaves(tree)])

"""Observers of a run: an observable with what it holds, and several of them at once."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.tree_util import Partial, tree_flatten, tree_unflatten

__all__ = ["all_of", "observer"]


def observer(function: Callable, *held: Any) -> Partial:
    """`function` with its first arguments held: an observer params -> pytree for `simulate`.

    As `jax.tree_util.Partial(function, *held)`, but whole numbers, strings and functions anywhere in `held` (a count, a
    kind of sampling, a network) are compiled constants instead of numbers given to the compiled loop; arrays, keys,
    floats and what is inside a Problem stay leaves. Two observers of equal constants share one compilation.

    Example: observer(all_of, {"test": observer(mean_example_loss, problem, test), "norm": weight_norm}).
    Raises TypeError if `function` is not callable.
    """
    if not callable(function):
        raise TypeError(f"function: expected an observable f(held..., params), got {function!r}")
    leaves, structure = tree_flatten(held)
    constants = tuple((place, type(leaf), leaf) for place, leaf in enumerate(leaves) if _is_constant(leaf))
    arrays = [leaf for leaf in leaves if not _is_constant(leaf)]
    return Partial(_Held(function, structure, constants), *arrays)


def all_of(observers: Mapping[str, Callable], params: Any) -> dict[str, Any]:
    """What each of several observers sees, under its name: {name: observers[name](params)}. Raises TypeError unless
    they are functions in a dict."""
    if not (isinstance(observers, Mapping) and all(callable(observe) for observe in observers.values())):
        raise TypeError(f"observers: expected a dict {{name: function of params}}, got {observers!r}")
    return {name: observe(params) for name, observe in observers.items()}


@dataclass(frozen=True)
class _Held:
    """A function of arrays and params, with the rest of its arguments in their places."""

    function: Callable
    structure: Any
    constants: tuple[tuple[int, type, Any], ...]

    def __call__(self, *arguments: Any) -> Any:
        *arrays, params = arguments
        return _evaluated(self, arrays, params)


@functools.partial(jax.jit, static_argnums=0)
def _evaluated(held, arrays, params):
    """Compiled by itself, so that a loop which asks for the shapes of its records traces the observable once."""
    leaves = list(arrays)
    for place, _, constant in held.constants:
        leaves.insert(place, constant)
    return held.function(*tree_unflatten(held.structure, leaves), params)


def _is_constant(leaf: Any) -> bool:
    if isinstance(leaf, jax.Array | np.ndarray | Tracer):
        return False
    return isinstance(leaf, int | np.integer | str) or callable(leaf)

"""Frozen dataclasses that are pytrees: numbers and arrays are leaves, strings and functions are static."""

import dataclasses
from collections.abc import Callable
from typing import Any, dataclass_transform

import jax
import numpy as np
from jax.core import Tracer

__all__ = ["as_float", "as_partial", "concrete", "pytree"]


@dataclass_transform(frozen_default=True)
def pytree(*, static: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Class decorator: a frozen dataclass registered as a pytree; the fields named in `static` are compiled constants.

    Unflattening never calls the constructor, so `__post_init__` may check values that a user gave: a transformation
    of JAX that rebuilds the object from tracers pays nothing for the checks and cannot fail in them.
    """

    def register(cls: type) -> type:
        cls = dataclasses.dataclass(frozen=True)(cls)
        names = tuple(field.name for field in dataclasses.fields(cls))
        leaves = tuple(name for name in names if name not in static)

        def flatten_with_keys(self):
            children = tuple((jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in leaves)
            return children, tuple(getattr(self, name) for name in static)

        def flatten(self):
            return tuple(getattr(self, name) for name in leaves), tuple(getattr(self, name) for name in static)

        def unflatten(constants, children):
            self = object.__new__(cls)
            for name, value in (*zip(leaves, children, strict=True), *zip(static, constants, strict=True)):
                object.__setattr__(self, name, value)
            return self

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return cls

    return register


def as_partial(function: Callable | None) -> Any:
    """`function` as a pytree node: a plain callable becomes `jax.tree_util.Partial(function)`; None stays None."""
    if function is None or isinstance(function, jax.tree_util.Partial):
        return function
    return jax.tree_util.Partial(function)


def as_float(value: Any) -> Any:
    """A number as a Python float, so that it takes the precision of whatever it meets; arrays and tracers unchanged."""
    is_number = isinstance(value, int | float | np.generic) and not isinstance(value, bool)
    return float(value) if is_number else value


def concrete(value: Any) -> np.ndarray | None:
    """`value` as a NumPy array where its numbers are known; None under a trace, where no check is possible."""
    return None if isinstance(value, Tracer) else np.asarray(value)

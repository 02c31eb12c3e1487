"""Boxes: the scalars of one chain's array in its shape, a NumPy array of objects.

While a function is interpreted a value is one of three: a box; a NumPy array, known while tracing; a `jax.Array`, which
all chains share. An element of a box is a `jax.Array` without axes, or a NumPy scalar where it is known.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.tree_util import tree_leaves, tree_map

__all__ = [
    "arrays_of",
    "box_of",
    "boxed",
    "boxes_like",
    "converted",
    "each",
    "is_box",
    "is_known",
    "known_if_small",
    "scalars_of",
    "stacked",
    "vectors_of",
]

SMALL = 1024  # elements: up to this size an array that is known is read while tracing, a shared one element by element


def boxes_like(like: Any, scalars: Iterable) -> Any:
    """The pytree `like` (of arrays or shapes) with boxes for leaves, filled in the order of `ravel_pytree`."""
    remaining = iter(scalars)
    boxes = tree_map(lambda leaf: box_of(itertools.islice(remaining, int(np.prod(leaf.shape))), leaf.shape), like)
    if next(remaining, None) is not None:
        raise ValueError("scalars: more of them than the pytree has elements")
    return boxes


def scalars_of(boxes: Any) -> tuple:
    """The elements of a pytree of boxes (or of arrays), in the order of `ravel_pytree`."""
    return tuple(scalar for leaf in tree_leaves(boxes) for scalar in boxed(leaf).ravel())


def vectors_of(tree: Any) -> tuple:
    """One vector over chains for each number of a chain, from arrays (num_chains, ...); order of `ravel_pytree`."""
    return tuple(vector for leaf in tree_leaves(tree) for vector in leaf.reshape(leaf.shape[0], -1).T)


def arrays_of(like: Any, vectors: Iterable) -> Any:
    """The arrays (num_chains, ...) from which `vectors_of` made the vectors; like: shapes of one chain's."""
    boxes = boxes_like(like, vectors)
    return tree_map(lambda box, leaf: jnp.stack(list(box.ravel()), -1).reshape(-1, *leaf.shape), boxes, like)


def box_of(scalars: Iterable, shape: Iterable[int]) -> np.ndarray:
    """The box of these scalars in this shape."""
    scalars = list(scalars)
    box = np.empty(len(scalars), object)
    for place, scalar in enumerate(scalars):  # one by one: NumPy would read an array without axes as a number
        box[place] = scalar
    return box.reshape(tuple(shape))


def boxed(value: Any) -> np.ndarray:
    """Any value as a box."""
    if is_box(value):
        return value
    if isinstance(value, jax.Array):
        flat = jnp.reshape(value, -1)
        return box_of((lax.index_in_dim(flat, place, keepdims=False) for place in range(flat.size)), value.shape)
    value = np.asarray(value)
    return box_of(value.ravel(), value.shape)


def stacked(value: Any, dtype: Any) -> Any:
    """Any value as an array."""
    if not is_box(value):
        return value
    if value.size == 0:
        return jnp.zeros(value.shape, dtype)
    return jnp.stack([jnp.asarray(scalar, dtype) for scalar in value.ravel()]).reshape(value.shape)


def each(operation: Callable, shape: tuple, *values: Any) -> np.ndarray:
    """A scalar operation on each element of values that broadcast to `shape`."""
    return box_of(map(operation, *(np.broadcast_to(boxed(value), shape).ravel() for value in values)), shape)


def converted(scalar: Any, dtype: Any) -> Any:
    """The scalar in this precision."""
    if not isinstance(scalar, jax.Array):
        return np.asarray(scalar, dtype)[()]
    return scalar if scalar.dtype == dtype else lax.convert_element_type(scalar, dtype)


def is_box(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == object


def is_known(value: Any) -> bool:
    """Whether every element is known while tracing."""
    return isinstance(value, np.ndarray) and all(isinstance(scalar, np.generic) for scalar in boxed(value).ravel())


def known_if_small(value: Any) -> Any:
    """A constant of a jaxpr: read now if it can be and is small."""
    is_opaque = isinstance(value, Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended)
    return value if is_opaque or value.size > SMALL else np.asarray(value)

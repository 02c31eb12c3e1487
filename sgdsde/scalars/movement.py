"""Primitives that move elements: indexing done while tracing, and look-ups where the place is a chain's own."""

import functools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sgdsde.scalars.arithmetic import add, multiply
from sgdsde.scalars.boxes import box_of, boxed, is_box, is_known

__all__ = ["LOOKUPS", "MOVES", "scatter"]


def _broadcast(params: dict, operand: np.ndarray, *_: Any) -> np.ndarray:
    sizes = [1] * len(params["shape"])
    for axis, size in zip(params["broadcast_dimensions"], operand.shape):
        sizes[axis] = size
    return np.broadcast_to(operand.reshape(sizes), params["shape"])


def _pad(params: dict, operand: np.ndarray, padding: np.ndarray) -> np.ndarray:
    config = [tuple(map(int, sizes)) for sizes in params["padding_config"]]
    shape = [low + high + n + max(n - 1, 0) * gap for n, (low, high, gap) in zip(operand.shape, config)]
    result = np.broadcast_to(padding, shape).copy()
    for place in np.ndindex(*operand.shape):
        target = tuple(low + axis * (gap + 1) for axis, (low, _, gap) in zip(place, config))
        if _inside(target, shape):
            result[target] = operand[place]
    return result


def _reshape(params: dict, operand: np.ndarray) -> np.ndarray:
    order = params["dimensions"]
    return (operand if order is None else operand.transpose(order)).reshape(params["new_sizes"])


def _slice(params: dict, operand: np.ndarray) -> np.ndarray:
    strides = params["strides"] or (1,) * operand.ndim
    return operand[tuple(map(slice, params["start_indices"], params["limit_indices"], strides))]


def _unstack(params: dict, operand: np.ndarray) -> list[np.ndarray]:
    rows = np.moveaxis(operand, params["axis"], 0)
    return [rows[k : k + 1].reshape(rows.shape[1:]) for k in range(len(rows))]


MOVES: dict[str, Callable] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda params, *operands: np.concatenate(operands, params["dimension"]),
    "expand_dims": lambda params, operand: np.expand_dims(operand, params["dimensions"]),
    "pad": _pad,
    "reshape": _reshape,
    "rev": lambda params, operand: np.flip(operand, params["dimensions"]),
    "slice": _slice,
    "split": lambda params, operand: np.split(operand, np.cumsum(params["sizes"])[:-1], params["axis"]),
    "squeeze": lambda params, operand: np.squeeze(operand, params["dimensions"]),
    "stack": lambda params, *operands: np.stack(operands, params["axis"]),
    "tile": lambda params, operand: np.tile(operand, params["reps"]),
    "transpose": lambda params, operand: operand.transpose(params["permutation"]),
    "unstack": _unstack,
}
"""primitive -> rule(params, *arrays), which never looks at an element: boxes and numbers alike"""


def _gather(equation: Any, operand: Any, indices: Any) -> np.ndarray | None:
    numbers, params = equation.params["dimension_numbers"], equation.params
    fills = params["mode"] == lax.GatherScatterMode.FILL_OR_DROP
    if fills and not is_known(indices):
        return None
    windows = numbers.offset_dims, numbers.collapsed_slice_dims, numbers.start_index_map
    batching = numbers.operand_batching_dims, numbers.start_indices_batching_dims
    shape = _result(equation).shape
    places = _places(shape, indices, *windows, *batching, params["slice_sizes"], operand.shape, clips=not fills)
    return _read(operand, list(places), shape)


def _dynamic_slice(equation: Any, operand: Any, *starts: Any) -> np.ndarray | None:
    shape = _result(equation).shape
    return _read(operand, _window(operand, shape, starts), shape)


def _dynamic_update_slice(equation: Any, operand: Any, update: Any, *starts: Any) -> np.ndarray:
    return _updated(lambda _, update: update, operand, _window(operand, update.shape, starts), update)


def scatter(combine: Callable, equation: Any, operand: Any, indices: Any, updates: Any) -> np.ndarray | None:
    """The operand with combine(its element, the update) at every place, one update after another."""
    numbers, clips = equation.params["dimension_numbers"], equation.params["mode"] == lax.GatherScatterMode.CLIP
    inserted = (*numbers.inserted_window_dims, *numbers.operand_batching_dims)
    sizes = iter([updates.shape[axis] for axis in numbers.update_window_dims])
    window = [1 if axis in inserted else next(sizes) for axis in range(operand.ndim)]
    windows = numbers.update_window_dims, numbers.inserted_window_dims, numbers.scatter_dims_to_operand_dims
    batching = numbers.operand_batching_dims, numbers.scatter_indices_batching_dims
    places = list(_places(updates.shape, indices, *windows, *batching, window, operand.shape, clips=clips))
    moves_window = any(window[axis] > 1 for axis in numbers.scatter_dims_to_operand_dims)
    if moves_window and not all(_is_fixed(place) and _inside(place, operand.shape) for place in places):
        return None  # a window that sticks out is dropped as a whole
    return _updated(combine, operand, places, updates)


def _window(operand: Any, shape: tuple, starts: Iterable) -> list[tuple]:
    """The places of a window of this shape that is moved into the operand where it would stick out."""
    first, axes = box_of((boxed(start)[()] for start in starts), (operand.ndim,)), tuple(range(operand.ndim))
    return list(_places(shape, first, axes, (), axes, (), (), shape, operand.shape, clips=True))


def _places(
    shape, indices, offset_dims, collapsed, start_map, operand_batching, indices_batching, window, bounds, *, clips
) -> Iterator[tuple]:
    """Where in an operand of shape `bounds` each element of a gather's result (a scatter's update) lies: integers, or
    scalars of the chain. The names are those of `jax.lax.GatherDimensionNumbers`."""
    indices = boxed(indices)
    inner = [axis for axis in range(len(bounds)) if axis not in (*collapsed, *operand_batching)]
    for element in np.ndindex(*shape):
        batch = tuple(element[axis] for axis in range(len(shape)) if axis not in offset_dims)
        place: list = [0] * len(bounds)
        for k, axis in enumerate(start_map):
            start = _integer(indices[(*batch, k)])
            place[axis] = _clipped(start, bounds[axis] - window[axis]) if clips else start
        for axis, batch_axis in zip(operand_batching, indices_batching):
            place[axis] = batch[batch_axis]
        for axis, offset in zip(inner, (element[axis] for axis in offset_dims)):
            place[axis] = place[axis] + offset if offset else place[axis]
        yield tuple(place)


def _integer(start: Any) -> Any:
    if isinstance(start, np.generic):
        return int(start)
    return start if start.dtype.itemsize >= 4 else lax.convert_element_type(start, jnp.int32)


def _clipped(start: Any, largest: int) -> Any:
    if isinstance(start, int):
        return min(max(start, 0), largest)
    return lax.clamp(start.dtype.type(0), start, start.dtype.type(largest))


def _read(operand: Any, places: list[tuple], shape: tuple) -> np.ndarray | None:
    """The operand's elements at these places. A shared array is read at a chain's own place, one number a chain; of a
    chain's own few scalars one is selected."""
    fixed = [place for place in places if _is_fixed(place)]
    if operand.size > np.iinfo(np.int32).max or not all(_inside(place, operand.shape) for place in fixed):
        return None
    if len(fixed) == len(places) and not isinstance(operand, jax.Array):
        return box_of((boxed(operand)[place] for place in places), shape)
    if is_box(operand):
        return box_of((_selected(operand, place) for place in places), shape)
    flat, strides = jnp.reshape(operand, -1), np.cumprod([1, *operand.shape[:0:-1]])[::-1].tolist()
    one = lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))

    def element(place):
        place = [axis if isinstance(axis, int) else lax.convert_element_type(axis, jnp.int32) for axis in place]
        terms = (axis if stride == 1 else axis * stride for axis, stride in zip(place, strides))
        index = functools.reduce(operator.add, terms)
        if isinstance(index, int):
            return lax.index_in_dim(flat, index, keepdims=False)
        return lax.gather(flat, index[None], one, (1,), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS)

    return box_of(map(element, places), shape)


def _selected(box: np.ndarray, place: tuple) -> Any:
    first, *others = [index for index in np.ndindex(*box.shape) if _may_be(place, index)]
    return functools.reduce(lambda kept, index: _where(_is_at(place, index), box[index], kept), others, box[first])


def _updated(combine: Callable, operand: Any, places: Iterable[tuple], updates: Any) -> np.ndarray:
    """The operand with an update at each place; what lies outside of it is dropped."""
    box = boxed(operand).copy()
    for place, update in zip(places, boxed(updates).ravel()):
        for index in [index for index in np.ndindex(*box.shape) if _may_be(place, index)]:
            box[index] = _where(_is_at(place, index), combine(box[index], update), box[index])
    return box


def _is_fixed(place: tuple) -> bool:
    return all(isinstance(axis, int) for axis in place)


def _inside(place: tuple, bounds: Any) -> bool:
    return all(0 <= axis < bound for axis, bound in zip(place, bounds))


def _may_be(place: tuple, index: tuple) -> bool:
    return all(axis == at for axis, at in zip(place, index) if isinstance(axis, int))


def _is_at(place: tuple, index: tuple) -> Any:
    """Whether the place, as far as it is the chain's own, is `index`; None where it is known."""
    hits = [lax.eq(axis, axis.dtype.type(at)) for axis, at in zip(place, index) if not isinstance(axis, int)]
    return functools.reduce(lax.bitwise_and, hits) if hits else None


def _where(condition: Any, value: Any, otherwise: Any) -> Any:
    return value if condition is None else lax.select(condition, value, otherwise)


def _result(equation: Any) -> Any:
    return equation.outvars[0].aval


LOOKUPS: dict[str, Callable] = {
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "gather": _gather,
    "scatter-add": functools.partial(scatter, add),
    "scatter-mul": functools.partial(scatter, multiply),
}
"""primitive -> rule(equation, *values): a box, or None where only the primitive itself can tell"""

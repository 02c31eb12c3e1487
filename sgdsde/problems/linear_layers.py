"""Layers of deep linear networks: the linear teacher that they learn from, where they start, and their product.

params is the tuple (W_1, ..., W_N), the first layer first: the network computes W_N ... W_1 x.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from sgdsde.arguments import is_number, number, precision, shaped, vector
from sgdsde.pytrees import pytree
from sgdsde.randomness import same_key

__all__ = [
    "Teacher",
    "as_layers",
    "balanced_bases",
    "balanced_start",
    "check_count",
    "check_teacher",
    "matmul",
    "product",
    "random_start",
    "small_start",
    "teacher",
]


@pytree()
class Teacher:
    """M = left diag(singular_values) right^T: left (m, k) and right (d, k) with orthonormal columns; make it with
    `teacher`."""

    left: jax.Array
    singular_values: jax.Array
    right: jax.Array

    @property
    def matrix(self) -> jax.Array:
        """M (m, d)."""
        return matmul(self.left * self.singular_values[None, :], self.right.T)


def teacher(singular_values: Any, *, num_inputs: int, num_outputs: int, key: jax.Array | None = None) -> Teacher:
    """A linear map of these singular values (k,), each >= 0, k <= min(num_inputs, num_outputs).

    Without a key its singular vectors are the first k coordinate axes; with one they are uniformly random orthonormal
    vectors. Raises ValueError naming the argument.
    """
    dtype = precision(singular_values=singular_values)
    values = vector("singular_values", singular_values, dtype, at_least=0.0)
    for name, size in (("num_inputs", num_inputs), ("num_outputs", num_outputs)):
        check_count(name, size, least=len(values), why=f", as many as singular_values, {len(values)}")
    if key is None:
        left, right = (jnp.eye(size, len(values), dtype=dtype) for size in (num_outputs, num_inputs))
        return Teacher(left, values, right)
    keys = jax.random.split(same_key(key))
    left, right = (
        _random_directions(keys[i], size, len(values), dtype) for i, size in enumerate((num_outputs, num_inputs))
    )
    return Teacher(left, values, right)


def balanced_bases(teacher: Teacher, *, hidden_widths: Sequence[int]) -> tuple[jax.Array, ...]:
    """The directions of every mode at each width of a `balanced_start`, N + 1 matrices (width, k): the teacher's right
    vectors, the first k coordinates of every hidden layer, its left vectors. hidden_widths: N - 1 of them, each at
    least k, else ValueError."""
    check_teacher(teacher)
    count, dtype = len(teacher.singular_values), teacher.singular_values.dtype
    for width in _as_sequence("hidden_widths", hidden_widths):
        check_count("hidden_widths", width, least=count, why=f", as many as the teacher has modes, {count}")
    return (teacher.right, *(jnp.eye(width, count, dtype=dtype) for width in hidden_widths), teacher.left)


def balanced_start(teacher: Teacher, *, hidden_widths: Sequence[int], strengths: Any) -> Partial:
    """A start aligned with the teacher and exactly balanced, W_(l+1)^T W_(l+1) = W_l W_l^T; the same for every key.

    strengths: of the product's modes, one number or (k,), >= 0. W_l is the sum over the modes of the N-th root of their
    strength from one direction of `balanced_bases` to the next. hidden_widths: N - 1 of them, each at least k; () is a
    single layer. Raises ValueError naming the argument.
    """
    bases = balanced_bases(teacher, hidden_widths=hidden_widths)
    count, dtype = len(teacher.singular_values), teacher.singular_values.dtype
    strengths = [strengths] * count if is_number(strengths) else strengths
    strengths = vector("strengths", strengths, dtype, at_least=0.0)
    if len(strengths) != count:
        raise ValueError(f"strengths: expected one number or {count}, one for each mode, got {len(strengths)}")
    root = strengths ** (1 / (len(hidden_widths) + 1))
    layers = (matmul(after * root[None, :], before.T) for before, after in itertools.pairwise(bases))
    return Partial(_constant, tuple(layers))


def small_start(widths: Sequence[int], *, gain: Any, dtype: Any = None) -> Partial:
    """Gaussian layers that shrink what they carry: the entries of W_l are N(0, gain^2 / widths[l - 1]), so that
    |W_l x|^2 / widths[l] = gain^2 |x|^2 / widths[l - 1] on average; gain >= 0, well below 1 for saddle-to-saddle
    learning. widths: all N + 1 of them. dtype: JAX's default if None."""
    like, gain = _zeros(widths, dtype), number("gain", gain, at_least=0.0)
    return Partial(_gaussian, [gain / np.sqrt(layer.shape[1]).item() for layer in like], like)


def random_start(widths: Sequence[int], *, standard_deviation: Any, dtype: Any = None) -> Partial:
    """Gaussian layers, every entry N(0, standard_deviation^2). widths: all N + 1 of them. dtype: JAX's default if
    None."""
    deviation = number("standard_deviation", standard_deviation, at_least=0.0)
    like = _zeros(widths, dtype)
    return Partial(_gaussian, [deviation] * len(like), like)


def product(params: Any) -> jax.Array:
    """W_N ... W_1 (m, d), the map that the network computes; multiplied from its narrower end."""
    layers = as_layers("params", params)
    if layers[0].shape[1] <= layers[-1].shape[0]:
        result = jnp.asarray(layers[0])
        for layer in layers[1:]:
            result = matmul(layer, result)
        return result
    result = jnp.asarray(layers[-1])
    for layer in layers[-2::-1]:
        result = matmul(result, layer)
    return result


def _random_directions(key, size, count, dtype):
    """Uniform among the (size, count) matrices with orthonormal columns."""
    vectors, upper = jnp.linalg.qr(jax.random.normal(key, (size, count), dtype))
    return vectors * jnp.where(jnp.diagonal(upper) < 0, -1, 1).astype(dtype)[None, :]  # without the signs not uniform


def _constant(params, key):
    return params


def _gaussian(deviations, like, key):
    keys = jax.random.split(key, len(like))
    normals = (jax.random.normal(keys[i], layer.shape, layer.dtype) for i, layer in enumerate(like))
    return tuple(jnp.asarray(deviation, z.dtype) * z for deviation, z in zip(deviations, normals, strict=True))


def _zeros(widths, dtype):
    """Layers of these widths, whose shapes and precision `_gaussian` takes."""
    if len(_as_sequence("widths", widths)) < 2:
        raise ValueError(f"widths: expected those of the inputs, of the hidden layers and of the outputs, got {widths}")
    for width in widths:
        check_count("widths", width, least=1)
    return tuple(jnp.zeros((after, before), dtype) for before, after in itertools.pairwise(widths))


def as_layers(name: str, params: Any) -> list:
    """The matrices (W_1, ..., W_N), each as wide as the one before is high. Raises TypeError or ValueError."""
    if not isinstance(params, list | tuple) or not params:
        raise TypeError(f"{name}: expected layers (W_1, ..., W_N), the first layer first, got {type(params).__name__}")
    sizes: dict[str, int] = {}
    shapes = (f"(width_{place + 1}, width_{place})" for place in range(len(params)))
    return [
        shaped(f"{name}[{place}]", layer, shape, "floating-point numbers", sizes)
        for place, (layer, shape) in enumerate(zip(params, shapes))
    ]


def check_teacher(teacher: Any) -> None:
    """Raise TypeError unless it is a Teacher."""
    if not isinstance(teacher, Teacher):
        raise TypeError(f"teacher: expected a Teacher, got {type(teacher).__name__}; make it with deep_linear.teacher")


def _as_sequence(name, value):
    if not isinstance(value, list | tuple) and not (isinstance(value, np.ndarray) and value.ndim == 1):
        raise TypeError(f"{name}: expected a sequence of integers, got {value!r}")
    return value


def check_count(name: str, value: Any, *, least: int, why: str = "") -> None:
    """Raise ValueError unless value is an integer, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: expected an integer >= {least}{why}, got {value!r}")


def matmul(first: Any, second: Any) -> jax.Array:
    """The matrix product at full precision on every device."""
    return jnp.matmul(first, second, precision="highest")

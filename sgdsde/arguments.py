"""The gate for arguments: a real finite number in a range, a vector or a matrix of them, a whole number.

Known values are checked by name before any compute: TypeError for what is no number of the asked kind (a string, a
truth value, a complex number, None), ValueError for one of the wrong size, shape or range. NumPy's and JAX's scalars
and arrays are numbers like any; an array of truth values, such as labels, is one of zeros and ones. A traced value has
a kind and a shape, which are checked; its size is not known, and where it turns out to be outside of the range it
becomes NaN, so that a sweep never returns a number for it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.tree_util import tree_leaves

from sgdsde.casting import as_array
from sgdsde.pytrees import as_float

__all__ = [
    "array",
    "check_floating",
    "count",
    "is_floating",
    "is_number",
    "is_traced",
    "known",
    "matrix",
    "number",
    "parts",
    "precision",
    "real",
    "shaped",
    "square_root",
    "vector",
]

KINDS = {
    "real numbers": (jnp.floating, jnp.integer, jnp.bool_),
    "floating-point numbers": (jnp.floating,),
    "whole numbers": (jnp.integer,),
}


def known(name: str, value: Any) -> np.ndarray | None:
    """`value` as a finite float64 NumPy array, None if any part of it is traced. Raises TypeError for what is not a
    real number, ValueError for NaN or inf."""
    array = real(name, value, "real numbers")
    if array is not None and not np.isfinite(array).all():
        raise ValueError(f"{name}: contains NaN or inf; expected finite numbers, got {value}")
    return array


def real(name: str, value: Any, wanted: str = "real numbers", mend: str = "") -> np.ndarray | None:
    """`value` as a float64 array, None under a trace; NaN and inf pass. Raises TypeError unless all of it is real
    numbers."""
    leaves = tree_leaves(value, is_leaf=lambda leaf: leaf is None)
    for leaf in leaves:
        if not _is_real(leaf):
            raise TypeError(f"{name}: expected {wanted}, got {_shown(leaf)}{_advice(leaf) or _mend(mend)}")
    if is_traced(leaves):
        return None
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}: expected {wanted}, got {_shown(value)}{_mend(mend)}") from error


def precision(**arrays: Any) -> Any:
    """The floating-point type that the given arrays share; numbers and lists follow it, and alone they mean JAX's
    default. Raises TypeError, naming the arguments, if two arrays differ."""
    found = {
        name: jnp.result_type(value)
        for name, value in arrays.items()
        if jnp.issubdtype(getattr(value, "dtype", np.int32), jnp.floating) and value.ndim > 0
    }
    if len(set(found.values())) > 1:
        given = ", ".join(f"{name} is {dtype}" for name, dtype in found.items())
        raise TypeError(f"{given}: expected one precision; cast one of them with .astype so that they agree")
    return next(iter(found.values()), jnp.result_type(float))


def is_traced(value: Any) -> bool:
    """Whether any part of `value`, an array, a number or a sequence of them, is known only to a trace."""
    return any(isinstance(leaf, Tracer) for leaf in tree_leaves(value))


def is_number(value: Any) -> bool:
    """Whether `value` is one number, known or traced, rather than a sequence or an array with axes."""
    return not isinstance(value, list | tuple) and np.ndim(value) == 0


def number(
    name: str,
    value: Any,
    *,
    above: float = -np.inf,
    at_least: float = -np.inf,
    below: float = np.inf,
    at_most: float = np.inf,
    mend: str = "",
) -> Any:
    """One finite real number in a range: Python's and NumPy's as a float, an array without axes as it is (whole ones
    in floating point), a traced one as NaN where it is outside of the range. Raises TypeError or ValueError."""
    bounds = (above, at_least, below, at_most)
    array = real(name, value, f"a number{_range(*bounds)}", mend)
    if not is_number(value):
        shape = "an array of shape " + str(np.shape(value)) if hasattr(value, "shape") else repr(value)
        raise ValueError(f"{name}: expected one number, got {shape}; {mend or 'sweep it with jax.vmap'}")
    if array is None:
        return _nan_outside(_floating(value), *bounds)
    if not (np.isfinite(array) and _holds(array, *bounds)):
        finite = "" if np.isfinite(array) else "finite "
        raise ValueError(f"{name}: expected a {finite}number{_range(*bounds)}, got {value}{_mend(mend)}")
    return _floating(as_float(value))


def array(
    name: str,
    value: Any,
    *,
    above: float = -np.inf,
    at_least: float = -np.inf,
    below: float = np.inf,
    at_most: float = np.inf,
    mend: str = "",
) -> jax.Array:
    """Real numbers of any shape, all in a range, in JAX's default floating-point type, traced ones as NaN where they
    are outside. Without a range NaN and inf pass, with one only what is finite. Raises TypeError or ValueError."""
    bounds = (above, at_least, below, at_most)
    known = real(name, value, f"real numbers{_range(*bounds)}", mend)
    if known is None:
        return _nan_outside(jnp.asarray(value, float), *bounds)
    if np.isfinite(bounds).any() and not np.all(_holds(known, *bounds) & np.isfinite(known)):
        one = "a finite number" if known.ndim == 0 else "finite numbers"
        raise ValueError(f"{name}: expected {one}{_range(*bounds)}, got {_shown(value)}{_mend(mend)}")
    return jnp.asarray(as_array(name, value if isinstance(value, jax.Array) else known), float)


def vector(
    name: str,
    value: Any,
    dtype: Any,
    *,
    above: float = -np.inf,
    at_least: float = -np.inf,
    below: float = np.inf,
    at_most: float = np.inf,
) -> jax.Array:
    """A (k,) array of finite numbers in a range, k may be 0; traced ones outside of it become NaN. Raises TypeError or
    ValueError."""
    bounds = (above, at_least, below, at_most)
    array = known(name, value)
    result = jnp.asarray(value, dtype)
    if result.ndim != 1:
        raise ValueError(f"{name}: expected a sequence of numbers, one for each direction, got shape {result.shape}")
    if array is None:
        return _nan_outside(result, *bounds)
    if not _holds(array, *bounds).all():
        raise ValueError(f"{name}: expected numbers{_range(*bounds)}, got {value}")
    return result


def matrix(name: str, value: Any, dtype: Any, *, size: int | None = None, semidefinite: bool = False) -> jax.Array:
    """A symmetric (d, d) array; a number is the (1, 1) matrix. Raises TypeError for what is not real, ValueError if it
    is not square, not of the asked size, not symmetric, or (where asked) not positive semi-definite, to 100 roundings
    of its largest entry; a traced one that is neither becomes NaN."""
    array = known(name, value)
    result = jnp.asarray(value, dtype)
    if result.ndim == 0:
        result = result.reshape(1, 1)
    d = result.shape[0] if size is None else size
    if d == 0 or result.shape != (d, d):
        wanted = f"({d}, {d}) for {d} parameters" if size is not None else "(d, d)"
        raise ValueError(f"{name}: expected a matrix of shape {wanted}, got {result.shape}")
    if array is None:
        rounding = 100 * jnp.finfo(result.dtype).eps * jnp.abs(result).max()
        is_such = (jnp.abs(result - result.T) <= rounding).all()
        if semidefinite:
            is_such &= jnp.linalg.eigvalsh(result)[0] >= -rounding
        return jnp.where(is_such, result, jnp.nan)
    array = array.reshape(d, d)
    given = getattr(value, "dtype", np.float64)
    given = given if jnp.issubdtype(given, jnp.floating) else np.float64
    rounding = 100 * float(jnp.finfo(given).eps) * np.abs(array).max()
    if np.abs(array - array.T).max() > rounding:
        raise ValueError(f"{name}: expected a symmetric matrix, got {array.tolist()}; symmetrise it with (A + A.T) / 2")
    if semidefinite and (smallest := np.linalg.eigvalsh(array)[0]) < -rounding:
        raise ValueError(f"{name}: expected a positive semi-definite matrix, got one with eigenvalue {smallest:.6g}")
    return result


def shaped(name: str, value: Any, shape: str, kind: str = "real numbers", sizes: dict[str, int] | None = None) -> Any:
    """An array whose axes are those of `shape`, such as "(..., num_bits)": as it is, a list as JAX's.

    sizes: of the axes known so far, which others' are added to, so that arrays fit to each other. Only kind and shape
    are looked at, which a trace has too. Raises TypeError for another kind of number, ValueError for another shape.
    """
    if not hasattr(value, "dtype"):
        real(name, value, f"{kind} of shape {shape}")
        value = jnp.asarray(value)
    if not _is_of(value, KINDS[kind]):
        raise TypeError(f"{name}: expected {kind} of shape {shape}, got {_shown(value)}{_advice(value)}")
    sizes = {} if sizes is None else sizes
    axes, given, known = shape.strip("()").replace(",", " ").split(), np.shape(value), dict(sizes)
    if axes[:1] == ["..."]:
        axes, given = axes[1:], given[max(len(given) - len(axes) + 1, 0) :]
    fits = (size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size)) for axis, size in zip(axes, given))
    if len(given) != len(axes) or not all(fits):
        fixed = ", ".join(f"{axis} = {known[axis]}" for axis in axes if axis in known)
        raise ValueError(f"{name}: expected shape {shape}{f' with {fixed}' if fixed else ''}, got {np.shape(value)}")
    return value


def parts(
    name: str, value: Any, shapes: Mapping[str, str], kind: str = "floating-point numbers", like: str = "problem.init"
) -> dict[str, Any]:
    """The arrays of a dict that `shapes` names, each `shaped`, axes of one name of one size. Raises TypeError or
    ValueError."""
    if not (isinstance(value, Mapping) and shapes.keys() <= value.keys()):
        wanted = ", ".join(f"{part!r}: {shape}" for part, shape in shapes.items())
        got = f"a dict of {', '.join(map(repr, value))}" if isinstance(value, Mapping) else _shown(value)
        raise TypeError(f"{name}: expected {{{wanted}}} as {like} gives, got {got}")
    sizes: dict[str, int] = {}
    return {part: shaped(f"{name}[{part!r}]", value[part], shape, kind, sizes) for part, shape in shapes.items()}


def is_floating(leaf: Any) -> bool:
    """Whether `leaf` is a number or an array in floating point."""
    return isinstance(leaf, float) or (hasattr(leaf, "dtype") and _is_of(leaf, (jnp.floating,)))


def check_floating(name: str, value: Any) -> None:
    """Raise TypeError unless `value` is a pytree of arrays in floating point, at least one."""
    for leaf in tree_leaves(value) or [value]:
        if not is_floating(leaf):
            raise TypeError(f"{name}: expected arrays in floating point, got {_shown(leaf)}{_advice(leaf)}")


def count(name: str, value: Any, *, at_least: int = 1, at_most: int | None = None, mend: str = "") -> int:
    """A whole number known to Python, as an int: a shape or a number of repetitions. Raises TypeError for what is not
    an integer (2.0, a truth value, a traced number), ValueError outside of the range."""
    wanted = f"an integer >= {at_least}" if at_most is None else f"an integer from {at_least} to {at_most}"
    if isinstance(value, Tracer):
        raise TypeError(f"{name}: expected {wanted}, got a traced number; it is a shape, not a number to be swept")
    is_array = hasattr(value, "dtype") and np.ndim(value) == 0 and _is_of(value, (jnp.integer,))
    is_whole = is_array or isinstance(value, int)
    if isinstance(value, bool) or not is_whole:
        rounded = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise TypeError(f"{name}: expected {wanted}, got {_shown(value)}{rounded or _mend(mend)}")
    if value < at_least or (at_most is not None and value > at_most):
        raise ValueError(f"{name}: expected {wanted}, got {value}{_mend(mend)}")
    return int(value)


@jax.jit
def square_root(covariance: jax.Array) -> jax.Array:
    """F (d, d) with F F^T = covariance, symmetric positive semi-definite (singular and traced ones too); NaN where an
    eigenvalue is negative by more than a thousand roundings of the largest."""
    values, vectors = jnp.linalg.eigh(covariance)
    slack = 1e3 * jnp.finfo(values.dtype).eps.item() * jnp.max(jnp.abs(values))
    return vectors * jnp.where(values < -slack, jnp.nan, jnp.sqrt(jnp.maximum(values, 0)))[None, :]


def _is_real(leaf: Any) -> bool:
    if not hasattr(leaf, "dtype"):
        return isinstance(leaf, int | float) and not isinstance(leaf, bool)
    return _is_of(leaf, KINDS["real numbers"][: 2 if np.ndim(leaf) == 0 else 3])  # truth values: labels


def _is_of(leaf: Any, kinds: tuple) -> bool:
    try:
        return any(jnp.issubdtype(leaf.dtype, kind) for kind in kinds)
    except TypeError:  # a type of another library
        return False


def _floating(value: Any) -> Any:
    """An array of integers in JAX's default floating-point type, all else as it is."""
    if jnp.issubdtype(getattr(value, "dtype", np.float64), jnp.integer):
        return jnp.asarray(value, float)
    return value


def _nan_outside(value: jax.Array, *bounds: float) -> jax.Array:
    if not np.isfinite(bounds).any():
        return value
    return jnp.where(_holds(value, *bounds) & jnp.isfinite(value), value, jnp.nan)


def _holds(value: Any, above: float, at_least: float, below: float, at_most: float) -> Any:
    return (value > above) & (value >= at_least) & (value < below) & (value <= at_most)


def _range(above: float, at_least: float, below: float, at_most: float) -> str:
    lower = f"> {above:g}" if above > -np.inf else f">= {at_least:g}" if at_least > -np.inf else ""
    upper = f"< {below:g}" if below < np.inf else f"<= {at_most:g}" if at_most < np.inf else ""
    if lower and upper:
        opening, least = ("(", above) if above > -np.inf else ("[", at_least)
        largest, closing = (below, ")") if below < np.inf else (at_most, "]")
        return f" in {opening}{least:g}, {largest:g}{closing}"
    return f" {lower or upper}" if lower or upper else ""


def _shown(value: Any) -> str:
    """Short enough for one sentence."""
    if isinstance(value, Tracer):
        return f"a traced {value.dtype}"
    if hasattr(value, "dtype") and np.shape(value):
        return f"an array of {value.dtype} and shape {np.shape(value)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _advice(value: Any) -> str:
    if isinstance(value, str):
        return "; write the number without quotes"
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) == "bool":
        return "; write 1.0 or 0.0 if that is meant"
    if isinstance(value, complex) or str(getattr(value, "dtype", "")).startswith("complex"):
        return "; take its real part with .real"
    return ""


def _mend(mend: str) -> str:
    return f"; {mend}" if mend else ""

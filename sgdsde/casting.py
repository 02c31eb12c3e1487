"""Numbers of 64 bits where JAX is set to 32: what does not fit is refused, and what rounding takes is said."""

import sys
import warnings
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_map_with_path

__all__ = ["as_array", "as_examples"]

LOSS_WORTH_SAYING = 1e-4
"""of the spread of a number over the first axis"""
MACHINERY = ("sgdsde", "jax", "jaxtyping", "beartype", "dataclasses")
"""packages whose lines a warning does not point at"""


def as_examples(examples: Any) -> Any:
    """A pytree of arrays in the precision that JAX is set to. Raises TypeError for what is no array of numbers,
    ValueError where numbers of 64 bits do not fit into 32; warns where rounding takes more than 1e-4 of their spread.
    """
    return tree_map_with_path(lambda path, leaf: _as_leaf(f"Problem.examples{keystr(path)}", leaf), examples)


def as_array(name: str, value: Any) -> jax.Array:
    """Real numbers, NumPy's or a list's, as a JAX array in the precision that JAX is set to; JAX's own as they are.

    Raises ValueError where numbers of 64 bits do not fit into 32 (only infinity becomes infinite); warns where
    rounding takes more than 1e-4 of their spread over the first axis (examples, chains, points).
    """
    if isinstance(value, jax.Array):
        return value
    wide = np.asarray(value)
    narrow = jax.dtypes.canonicalize_dtype(wide.dtype)
    if wide.dtype == narrow or wide.size == 0:
        return jnp.asarray(wide)
    with np.errstate(over="ignore"):
        cast = wide.astype(narrow)
    is_lost = np.isfinite(wide) & ~np.isfinite(cast) if np.issubdtype(wide.dtype, np.inexact) else cast != wide
    said = f"{name}: {wide.dtype} is cast to {narrow}, because jax_enable_x64 is off"
    if is_lost.any():
        raise ValueError(
            f"{said}, and numbers like {wide[is_lost][0]:.6g} do not fit; rescale them, or set "
            'jax.config.update("jax_enable_x64", True)'
        )
    if np.issubdtype(wide.dtype, np.floating) and wide.ndim:
        _say_what_rounding_takes(said, wide, cast)
    return jnp.asarray(cast)


def _as_leaf(name: str, leaf: Any) -> jax.Array:
    if jnp.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key):
        raise TypeError(f"{name}: expected an array of numbers, got keys of JAX; hold jax.random.key_data of them")
    try:
        jax.dtypes.canonicalize_dtype(getattr(leaf, "dtype", np.float64))
        return as_array(name, leaf) if isinstance(leaf, np.ndarray) else jnp.asarray(leaf)
    except TypeError as error:
        raise TypeError(f"{name}: expected an array of numbers, got {type(leaf).__name__}") from error


def _say_what_rounding_takes(said: str, wide: np.ndarray, cast: np.ndarray) -> None:
    finite = np.isfinite(wide)
    least = np.where(finite, wide, np.inf).min(axis=0)
    most = np.where(finite, wide, -np.inf).max(axis=0)
    error = np.abs(np.where(finite, cast, 0).astype(wide.dtype) - np.where(finite, wide, 0)).max(axis=0)
    spread = most - least
    # a constant, or one that its own rounding moves, has nothing to lose
    varies = spread > 100 * np.finfo(wide.dtype).eps * np.maximum(np.abs(least), np.abs(most))
    share = np.where(varies, error / np.where(varies, spread, 1), 0)
    worst = np.argmax(share)
    if share.flat[worst] > LOSS_WORTH_SAYING:
        warnings.warn(
            f"{said}, which rounds numbers by up to {error.flat[worst]:.2g} where they spread over "
            f"{spread.flat[worst]:.2g}; subtract their mean first, or enable 64-bit numbers",
            stacklevel=_level_of_caller(sys._getframe()),
        )


def _level_of_caller(frame: FrameType) -> int:
    """The `stacklevel` with which a warning raised in `frame` points at the first line outside of the machinery."""
    level = 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in MACHINERY:
        frame, level = frame.f_back, level + 1
    return level

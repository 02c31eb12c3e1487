"""Examples of 64 bits where JAX is set to 32: what does not fit is refused, and what rounding takes is said."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_map_with_path

__all__ = ["as_examples"]

LOSS_WORTH_SAYING = 1e-4
"""of the spread of a number over the examples"""


def as_examples(examples: Any) -> Any:
    """A pytree of arrays in the precision that JAX is set to. Raises TypeError for what is no array of numbers,
    ValueError where numbers of 64 bits do not fit into 32; warns where rounding takes more than 1e-4 of their spread.
    """
    return tree_map_with_path(lambda path, leaf: _as_array(f"Problem.examples{keystr(path)}", leaf), examples)


def _as_array(name: str, leaf: Any) -> jax.Array:
    try:
        narrow = jax.dtypes.canonicalize_dtype(getattr(leaf, "dtype", np.float64))
        if not isinstance(leaf, np.ndarray) or leaf.dtype == narrow or leaf.size == 0:
            return jnp.asarray(leaf)
    except TypeError as error:
        raise TypeError(f"{name}: expected an array of numbers, got {type(leaf).__name__}") from error
    with np.errstate(over="ignore"):
        cast = leaf.astype(narrow)
    is_lost = np.isfinite(leaf) & ~np.isfinite(cast) if np.issubdtype(leaf.dtype, np.inexact) else cast != leaf
    said = f"{name}: {leaf.dtype} is cast to {narrow}, because jax_enable_x64 is off"
    if is_lost.any():
        raise ValueError(
            f"{said}, and numbers like {leaf[is_lost][0]:.6g} do not fit; rescale them, or set "
            'jax.config.update("jax_enable_x64", True)'
        )
    if np.issubdtype(leaf.dtype, np.floating) and leaf.ndim:
        error, spread = np.abs(cast.astype(leaf.dtype) - leaf).max(axis=0), np.ptp(leaf, axis=0)
        share = np.where(spread > 0, error / np.where(spread > 0, spread, 1), 0)  # a constant has nothing to lose
        worst = np.argmax(share)
        if share.flat[worst] > LOSS_WORTH_SAYING:
            warnings.warn(
                f"{said}, which rounds numbers by up to {error.flat[worst]:.2g} where they spread over "
                f"{spread.flat[worst]:.2g}; subtract their mean first, or enable 64-bit numbers",
                stacklevel=6,
            )
    return jnp.asarray(cast)

"""Where the chains of a run begin: one point, a point for each chain, a draw for each chain, or where a run ended."""

import dataclasses
import functools
import warnings
import zlib
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_map, tree_structure

from sgdsde.arguments import is_traced
from sgdsde.casting import LOSS_WORTH_SAYING
from sgdsde.dynamics.contract import Dynamics
from sgdsde.ensemble import Chains, Trajectory, chain_keys, with_own_keys
from sgdsde.memory import check_chains
from sgdsde.tracing import shapes_of, traced

__all__ = ["description", "start_chains"]

NUMBERS = {"learning_rate", "batch_size", "microbatch", "init"}
"""fields of a dynamics and its problem that may differ where a run goes on"""


def start_chains(
    dynamics: Dynamics, start: Any, key: jax.Array, num_chains: int
) -> tuple[Chains, jax.Array, jax.Array]:
    """The chains before the first step of a run, with the steps and the time already done. `start` as for `simulate`.

    Raises TypeError or ValueError where a start has not the structure, shapes and precision of problem.init's params,
    or is not finite; where a trajectory is another dynamics' or has another number of chains.
    """
    like = dynamics.problem.params_like
    check_chains(like, num_chains)
    if isinstance(start, Trajectory):
        return _going_on(dynamics, start, num_chains)
    if tree_structure(start) == tree_structure(like) and not any(callable(leaf) for leaf in tree_leaves(start)):
        params = _each_chains(start, like, num_chains)
    elif callable(start):
        _check_drawn(shapes_of("start", start, key, expected="a function key -> params"), like)
        params = jax.vmap(start)(chain_keys(key, num_chains))
    else:
        raise TypeError(
            "start: expected params with the structure that problem.init gives, a function key -> params, or a "
            f"Trajectory; got {_kind(start)} instead of {_kind(like)}"
        )
    for path, leaf in tree_leaves_with_path(params):
        if not is_traced(leaf) and not bool(jnp.isfinite(leaf).all()):
            raise ValueError(
                f"start{keystr(path)}: contains NaN or inf; start from finite parameters (of an ensemble, from those "
                "chains alone that have not diverged)"
            )
    with traced("dynamics.init"):
        state = with_own_keys(jax.vmap(dynamics.init)(params), chain_keys(key, num_chains))
    return Chains(state, jnp.full((num_chains,), -1, jnp.int32)), jnp.int32(0), jnp.zeros(())


def _each_chains(start: Any, like: Any, num_chains: int) -> Any:
    """Params on a leading axis num_chains: those of one point repeated, or those of an ensemble as they are."""
    params = tree_map(_given, start, like)
    pairs = list(zip(tree_leaves_with_path(params), tree_leaves(like), strict=True))
    extra = {leaf.ndim - want.ndim for (_, leaf), want in pairs}
    is_ensemble = extra == {1}
    for (path, leaf), want in pairs:
        name, shape = f"start{keystr(path)}", leaf.shape[1:] if is_ensemble else leaf.shape
        if shape != want.shape or leaf.dtype != want.dtype:
            raise TypeError(
                f"{name}: expected {want.dtype}{list(want.shape)} as problem.init gives, got {leaf.dtype}"
                f"{list(leaf.shape)}; cast or reshape it, or make the problem in that precision (an ensemble has one "
                f"axis more, num_chains = {num_chains} in front of every array)"
            )
        if is_ensemble and leaf.shape[0] != num_chains:
            raise ValueError(f"{name}: holds {leaf.shape[0]} chains, but num_chains is {num_chains}")
    return params if is_ensemble else tree_map(lambda leaf: jnp.broadcast_to(leaf, (num_chains, *leaf.shape)), params)


def _given(leaf: Any, like: Any) -> jax.Array:
    """A start's leaf: Python numbers and lists take the precision of init's parameters, arrays keep their own."""
    try:
        with np.errstate(over="ignore"):  # said below
            array = jnp.asarray(leaf) if hasattr(leaf, "dtype") else jnp.asarray(leaf, like.dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"start: expected arrays of numbers, got {_kind(leaf)}") from error
    if isinstance(leaf, np.ndarray | np.generic) and leaf.dtype == np.float64 and array.dtype == np.float32:
        _say_what_rounding_takes(np.asarray(leaf), np.asarray(array), like)
    return array


def _say_what_rounding_takes(given: np.ndarray, cast: np.ndarray, like: Any) -> None:
    """Of a start in float64 where JAX is set to 32 bits; of an ensemble, beside the spread of its chains."""
    said = "start: float64 is cast to float32, because jax_enable_x64 is off"
    is_lost = np.isfinite(given) & ~np.isfinite(cast)
    if is_lost.any():
        raise ValueError(
            f"{said}, and numbers like {given[is_lost].flat[0]:.6g} do not fit; rescale the parameters, or set "
            'jax.config.update("jax_enable_x64", True)'
        )
    if given.ndim == like.ndim + 1 and given.size and np.isfinite(given).all():
        error, spread = np.abs(cast - given).max(axis=0), np.ptp(given, axis=0)
        share = np.where(spread > 0, error / np.where(spread > 0, spread, 1), 0)
        worst = np.argmax(share)
        if share.flat[worst] > LOSS_WORTH_SAYING:
            warnings.warn(
                f"{said}, which rounds numbers by up to {error.flat[worst]:.2g} where chains spread over "
                f"{spread.flat[worst]:.2g}; shift the parameters towards 0, or enable 64-bit numbers",
                stacklevel=6,
            )


def _kind(value: Any) -> str:
    if isinstance(value, jax.Array | np.ndarray | jax.ShapeDtypeStruct):
        return "one array"
    structure = tree_structure(value)
    is_plain = value is None or structure == tree_structure(0)
    return f"{type(value).__name__} {value!r}"[:60] if is_plain else f"a {type(value).__name__}, {structure}"


def _check_drawn(params: Any, like: Any) -> None:
    if tree_structure(params) != tree_structure(like):
        raise TypeError(f"start: returns {tree_structure(params)}, but problem.init gives {tree_structure(like)}")
    for (path, leaf), want in zip(tree_leaves_with_path(params), tree_leaves(like), strict=True):
        if leaf.shape != want.shape or leaf.dtype != want.dtype:
            raise TypeError(
                f"start{keystr(path)}: expected {want.dtype}{list(want.shape)} as problem.init gives, got "
                f"{leaf.dtype}{list(leaf.shape)}; cast or reshape it, or make the problem in that precision"
            )


def _going_on(dynamics: Dynamics, start: Trajectory, num_chains: int) -> tuple[Chains, jax.Array, jax.Array]:
    if start.diverged_at.shape != (num_chains,):
        raise ValueError(
            f"num_chains: {num_chains}, but the trajectory to go on from has "
            f"{(*start.diverged_at.shape, 'no')[0]} chains"
        )
    before, now = dict(start.made_by), dict(description(dynamics))
    changed = next((name for name in now if before and before.get(name) != now[name]), None)
    with traced("dynamics.init"):
        like = jax.eval_shape(jax.vmap(dynamics.init), start.params)
    shape = lambda leaf: (leaf.shape, leaf.dtype)
    is_like = tree_structure(start.state) == tree_structure(like) and all(
        shape(leaf) == shape(want) for leaf, want in zip(tree_leaves(start.state), tree_leaves(like), strict=True)
    )
    if changed is None and is_like:
        return Chains(start.state, start.diverged_at), start.step[-1], start.time[-1]
    difference = {
        None: "its memory has another form",
        "dynamics": f"it was made by {before.get('dynamics')}, and this is {now['dynamics']}",
        "functions": "its loss, noise, scheme or an option was another" if is_like else "its memory has another form",
    }.get(changed, f"{changed}: {before.get(changed)} there and {now.get(changed)} here")
    raise ValueError(
        f"start: the trajectory is another dynamics' ({difference}), whose memory and count of random numbers this one "
        "cannot go on with; start=trajectory.params begins where its parameters stand, with fresh memory (momentum, "
        "optimizer state), step and time 0, and needs another key, or random numbers would come again"
    )


def description(dynamics: Dynamics) -> tuple[tuple[str, str], ...]:
    """Which dynamics this is, without its numbers: what has to be the same where a run goes on, as words that outlive
    the process."""
    return (
        ("dynamics", " of ".join(_classes(dynamics))),
        ("microsteps in a step", str(dynamics.substeps)),
        ("steps in an epoch", str(dynamics.period)),
        ("functions", f"{zlib.crc32(' '.join(_functions(dynamics, ())).encode()):08x}"),
    )


def _classes(dynamics: Any) -> list[str]:
    inner = [value for value in getattr(dynamics, "__dict__", {}).values() if hasattr(value, "advance")]
    return [type(dynamics).__name__, *(_classes(inner[0]) if inner else [])]


def _functions(value: Any, around: tuple) -> Iterator[str]:
    """Names and code of all functions that a dynamics holds, and the words and switches beside them. `around`: what
    holds the value, for functions that hold themselves."""
    inside = ()
    if isinstance(value, str | bool):
        yield repr(value)
    elif isinstance(value, int | float | np.generic | np.ndarray | jax.Array) or any(value is each for each in around):
        pass
    elif isinstance(value, functools.partial):
        inside = value.func, *value.args, *value.keywords.values()
    elif isinstance(value, FunctionType):
        yield f"{value.__module__}.{value.__qualname__} {_digest(value.__code__)}"
        inside = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield type(value).__qualname__
        inside = [getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in NUMBERS]
    elif isinstance(value, tuple | list) and len(value) < 100:
        inside = value
    else:
        yield getattr(value, "__qualname__", type(value).__qualname__)
    for each in inside:
        yield from _functions(each, (*around, value))


@functools.lru_cache(maxsize=256)
def _digest(code: CodeType) -> int:
    """Of what a function does: the same where its definition is run again."""
    inner = [_digest(constant) if isinstance(constant, CodeType) else repr(constant) for constant in code.co_consts]
    return zlib.crc32(repr((code.co_code, code.co_names, inner)).encode())


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False

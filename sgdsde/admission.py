"""What `simulate` asks of its arguments before anything is compiled."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_leaves, tree_leaves_with_path, tree_map

from sgdsde.arguments import is_traced
from sgdsde.dynamics.contract import Dynamics, check_schedule, derived_draw
from sgdsde.ensemble import Chains
from sgdsde.tracing import shapes_of, traced

__all__ = ["check_dynamics", "check_length", "check_step", "checked_counts"]

PARTS = ("problem", "period", "substeps", "variates", "arrange", "init", "advance", "duration")
"""of a dynamics, that the loop uses"""


def check_dynamics(dynamics: Any, observe: Any) -> None:
    """Of the right kind: a dynamics has all its parts and is a pytree, an observer can be called; and JAX compiles."""
    settings: Any = jax.config
    if settings.jax_disable_jit:
        raise RuntimeError(
            "simulate: JAX_DISABLE_JIT is set, under which the loop, which is compiled as a whole, cannot run; unset "
            "it, and look at single steps with dynamics.draw and dynamics.advance under jax.disable_jit()"
        )
    missing = [part for part in PARTS if not hasattr(dynamics, part)]
    if missing or isinstance(dynamics, type):
        lacks = f", which has no {', '.join(missing)}" if missing else ""
        raise TypeError(
            "dynamics: expected what sgd, optimizer, match, euler_maruyama or first_exit make, or a dataclass of one's "
            f"own with the parts of sgdsde.dynamics.contract.Dynamics, got {_kind(dynamics)}{lacks}"
        )
    if any(leaf is dynamics for leaf in tree_leaves(dynamics)):
        raise TypeError(
            f"dynamics: {_kind(dynamics)} is no pytree; make it a frozen dataclass with sgdsde.pytrees.pytree() or "
            "jax.tree_util.register_dataclass"
        )
    if not callable(observe):
        raise TypeError(f"observe: expected a function params -> pytree, got {observe!r}")


def checked_counts(num_steps: Any, num_chains: Any, every: Any) -> tuple[int, int, int]:
    """Whole positive numbers below 2**31, and a cadence that divides the number of steps."""
    counts = {"num_steps": num_steps, "num_chains": num_chains, "every": every}
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: expected an integer >= 1, got {value!r}")
        if name != "every" and value >= 2**31:
            raise ValueError(
                f"{name}: expected less than 2**31, the range of the counters of random numbers, got {value}"
            )
    num_steps, num_chains, every = (int(value) for value in counts.values())
    if num_steps % every:
        small = [d for d in range(1, math.isqrt(num_steps) + 1) if num_steps % d == 0]
        divisors = sorted({*small, *(num_steps // d for d in small)})
        near = [max(d for d in divisors if d < every or d == 1), *[d for d in divisors if d > every][:1]]
        raise ValueError(
            f"every: {every} does not divide num_steps = {num_steps}; try every = {' or '.join(map(str, near))}"
        )
    return num_steps, num_chains, every


def check_length(dynamics: Dynamics, first_step: Any, num_steps: int) -> None:
    """Microsteps are counted in 31 bits over a whole run, those before a Trajectory included."""
    done = 0 if is_traced(first_step) else int(first_step)
    if (done + num_steps) * dynamics.substeps >= 2**31:
        raise ValueError(
            f"num_steps: {num_steps} steps of {dynamics.substeps} microsteps after {done} steps come to 2**31 "
            "microsteps or more, which is all that the counter of random numbers holds; begin another run, with "
            "another key"
        )
    check_schedule(getattr(dynamics, "learning_rate", None), done, num_steps, dynamics.problem)


def check_step(dynamics: Dynamics, observe: Callable, keys: jax.Array, chains: Chains) -> None:
    """Precision and shapes of one step and one record, by `jax.eval_shape`: nothing is computed."""
    precisions = {leaf.dtype for leaf in tree_leaves(chains.state.params)}
    for path, leaf in tree_leaves_with_path(dynamics):
        is_real_array = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating) and jnp.ndim(leaf) > 0
        if is_real_array and not any(np.promote_types(leaf.dtype, precision) == precision for precision in precisions):
            raise TypeError(
                f"dynamics{keystr(path)} is {leaf.dtype}, but the parameters are "
                f"{' and '.join(sorted(p.name for p in precisions))}, which it would promote; cast one with .astype so "
                "that the parameters keep their precision"
            )
    key, before = tree_map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (keys, chains.state))
    with traced("dynamics"):
        after = jax.eval_shape(_one_step, dynamics, key, before)
    if jax.tree.structure(after) != jax.tree.structure(before):
        raise TypeError(
            f"dynamics: one step turns a state {jax.tree.structure(before)} into {jax.tree.structure(after)}; advance "
            "must give back what init made"
        )
    for (path, old), new in zip(tree_leaves_with_path(before), tree_leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"state{keystr(path)}: one step turns {old.dtype}{list(old.shape)} into "
                f"{new.dtype}{list(new.shape)}; the loss and the optimizer must keep the parameters' precision"
            )
    seen = shapes_of(
        "observe", observe, before.params, expected="a function of one chain's params alone that gives arrays"
    )
    for path, leaf in tree_leaves_with_path(seen):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            raise TypeError(
                f"observe{keystr(path)}: returns a random key, which has no place in a record; return "
                "jax.random.key_data of it, or leave it out"
            )


@jax.jit
def _one_step(dynamics, key, state):
    """Jitted so that its shapes are found once for every dynamics of the same structure; it never runs."""
    _check_draw(dynamics, key)
    draws = derived_draw(dynamics, key, 0, 0)
    if dynamics.period > 1:
        draws = tree_map(lambda leaf: leaf[0], draws)
    return dynamics.advance(state, draws, jnp.int32(0))


def _check_draw(dynamics, key):
    """A class's own `draw` must be the derived one, computation for computation."""
    own = getattr(type(dynamics), "draw", None)
    if own is None or own is derived_draw:
        return
    counters = jnp.int32(0), jnp.int32(0)
    found, expected = (str(jax.make_jaxpr(each)(key, *counters)) for each in (
        dynamics.draw, lambda key, step, substep: derived_draw(dynamics, key, step, substep)))  # fmt: skip
    if found != expected:
        raise TypeError(
            f"dynamics: {type(dynamics).__name__} has a draw of its own, which the loop would not call: it draws "
            "arrange(the variates' numbers). Say all its randomness in `variates` and `arrange`, and write "
            "`draw = derived_draw` (sgdsde.dynamics.contract)"
        )


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__

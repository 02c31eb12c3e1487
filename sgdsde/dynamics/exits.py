"""A dynamics stopped where it leaves a region: exit times of SGD and of SDEs, exact to the microstep."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.tree_util import tree_leaves, tree_map

from sgdsde.dynamics.contract import Dynamics, State, derived_draw
from sgdsde.problem import Problem
from sgdsde.pytrees import as_partial, pytree
from sgdsde.tracing import shapes_of

__all__ = ["ExitMemory", "FirstExit", "first_exit"]


class ExitMemory(NamedTuple):
    """What a stopped dynamics remembers, each with a leading axis num_chains in `trajectory.state.memory`.

    memory: that of the dynamics itself (momentum, optimizer state, or ()); microsteps: int32, those done inside, the
    one that left included; exited: int32, 1 where the chain has left and 0 where it has not.
    """

    memory: Any
    microsteps: Any
    exited: Any


def first_exit(dynamics: Dynamics, inside: Callable) -> "FirstExit":
    """The same dynamics, on the same random numbers, stopped by the first microstep that ends outside a region.

    inside(params) -> bool scalar, looked at after every microstep: an SDE's crossings between two of them go unseen,
    which lengthens its exit times by O(sqrt(time step)). From the exit on the params stand still where that microstep
    led, overshoot included. After `simulate`,

        trajectory.state.memory.exited       1 where a chain has left, 0 where the run ended before (a censored time)
        trajectory.state.memory.microsteps   microsteps done inside, the one that left included; exit time =
                                             time step * microsteps, time step = dynamics.duration(0)/substeps

    A start outside has left after 0 microsteps. A parameter that is not finite is no exit: it stays so, `simulate`
    reports the chain in `diverged_at`, and the count ends with the microstep at which it happened. Match an SGD first
    and wrap the SDE that comes of it: `match` refuses what is stopped. Raises TypeError unless inside is such a
    function.
    """
    if not callable(inside):
        raise TypeError(f"inside: expected a function params -> bool, got {inside!r}")
    if not isinstance(dynamics, Dynamics):
        raise TypeError(f"dynamics: expected what sgd, optimizer, match or euler_maruyama make, got {dynamics!r}")
    inside = as_partial(inside)
    like = dynamics.problem.params_like
    found = shapes_of("inside", inside, like, expected="a function params -> bool of one chain's params alone")
    if getattr(found, "shape", None) != () or found.dtype != jnp.bool_:
        raise TypeError(f"inside: expected one truth value for the params of one chain, got {found}; use jnp.all")
    return FirstExit(dynamics, inside)


@pytree()
class FirstExit:
    """A stopped dynamics as a Dynamics; make it with `first_exit`."""

    dynamics: Any
    inside: Callable

    @property
    def problem(self) -> Problem:
        return self.dynamics.problem

    @property
    def period(self) -> int:
        return self.dynamics.period

    @property
    def substeps(self) -> int:
        return self.dynamics.substeps

    @property
    def learning_rate(self) -> Any:
        """That of the dynamics, None where it has none."""
        return getattr(self.dynamics, "learning_rate", None)

    @property
    def batch_size(self) -> int | None:
        """That of the dynamics, None where it has none."""
        return getattr(self.dynamics, "batch_size", None)

    @property
    def variates(self) -> Any:
        return self.dynamics.variates

    def arrange(self, numbers):
        return self.dynamics.arrange(numbers)

    def init(self, params):
        exited = ~self.inside(params)
        return State(params, ExitMemory(self.dynamics.init(params).memory, jnp.int32(0), exited.astype(jnp.int32)))

    draw = derived_draw

    def advance(self, state, draws, step):
        memory, microsteps, exited = state.memory
        moved = self.dynamics.advance(State(state.params, memory), draws, step)
        is_out = exited > 0
        params, memory = tree_map(
            lambda old, new: jnp.where(is_out, old, new), (state.params, memory), (moved.params, moved.memory)
        )
        # The count looks at the params before: what depends on those after the microstep is computed with it once more.
        microsteps = microsteps + (~is_out & _is_finite(state.params)).astype(jnp.int32)
        exited = _is_finite(params) & ~self.inside(params)
        return State(params, ExitMemory(memory, microsteps, exited.astype(jnp.int32)))

    def duration(self, step):
        return self.dynamics.duration(step)


def _is_finite(params):
    return functools.reduce(jnp.logical_and, [jnp.all(jnp.isfinite(leaf)) for leaf in tree_leaves(params)])

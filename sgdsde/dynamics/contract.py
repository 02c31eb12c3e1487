"""What a dynamics is: three pure functions and a clock. Discrete SGD and every SDE have this one signature."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde.arguments import number
from sgdsde.problem import Problem
from sgdsde.pytrees import as_partial

__all__ = ["Dynamics", "State", "check_learning_rate", "rate_at", "slot_of"]


class State(NamedTuple):
    """What a dynamics carries from step to step: the parameters and its memory (momentum, optimizer state, or ())."""

    params: Any
    memory: Any = ()


@runtime_checkable
class Dynamics(Protocol):
    """One step of something that moves parameters; a frozen dataclass that is a pytree.

    init(params) -> State
    variates, arrange: all the randomness of one microstep, as a pytree of independent `randomness.Variates`, and what
        makes the draws of an array for each of them.
    draw(key, step, substep) -> draws: `arrange` of the variates' numbers at that microstep, a pure function of the key
        and the integer counters. A dynamics of period > 1 (an epoch) draws a whole period at its first step, on a
        leading axis: minibatches of its `batch_size`.
    advance(state, draws, step) -> State: one microstep, deterministic. A step is `substeps` microsteps. It adds to
        every parameter, so that one which is not finite stays so.
    duration(step): the physical time of one step (the learning rate over 1 - momentum), NaN where there is none.
    """

    @property
    def problem(self) -> Problem: ...
    @property
    def period(self) -> int: ...
    @property
    def substeps(self) -> int: ...
    @property
    def variates(self) -> Any: ...
    def arrange(self, numbers: Any) -> Any: ...
    def init(self, params: Any) -> State: ...
    def draw(self, key: jax.Array, step: Any, substep: Any) -> Any: ...
    def advance(self, state: State, draws: Any, step: Any) -> State: ...
    def duration(self, step: Any) -> Any: ...


def slot_of(dynamics: Dynamics, step: Any, substep: Any) -> jax.Array:
    """The number of a microstep in the whole run, step * substeps + substep: the counter of its randomness."""
    return jnp.asarray(step).astype(jnp.uint32) * np.uint32(dynamics.substeps) + jnp.asarray(substep).astype(jnp.uint32)


def rate_at(learning_rate: Any, step: Any) -> Any:
    """The learning rate of an integer step: a number, or a schedule evaluated there."""
    if not callable(learning_rate):
        return learning_rate
    with jax.numpy_dtype_promotion("standard"):  # schedules of other libraries mix integers and floats
        return learning_rate(step)


def check_learning_rate(learning_rate: Any) -> Any:
    """A learning rate as it is stored: a float or a schedule as a Partial. Raises unless a known number is positive."""
    if callable(learning_rate):
        return as_partial(learning_rate)
    mend = "give one number or a schedule of the integer step, and sweep rates with jax.vmap over the dynamics"
    return number("learning_rate", learning_rate, above=0.0, mend=mend)

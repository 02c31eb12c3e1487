"""What a dynamics is: three pure functions and a clock. Discrete SGD and every SDE have this one signature."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_leaves

from sgdsde.arguments import is_number, is_traced, number
from sgdsde.problem import Problem
from sgdsde.pytrees import as_partial
from sgdsde.randomness import draw
from sgdsde.tracing import shapes_of

__all__ = ["Dynamics", "State", "check_learning_rate", "check_schedule", "derived_draw", "probe", "rate_at", "slot_of"]


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
    draw = derived_draw, where a class has it: draw(key, step, substep) -> draws, `arrange` of the variates' numbers at
        that microstep, a pure function of the key and the integer counters. The loop draws in this way whatever `draw`
        says: `simulate` refuses another. A dynamics of period > 1 (an epoch) draws a whole period at its first step,
        on a leading axis: minibatches of its `batch_size`.
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
    def advance(self, state: State, draws: Any, step: Any) -> State: ...
    def duration(self, step: Any) -> Any: ...


def slot_of(dynamics: Dynamics, step: Any, substep: Any) -> jax.Array:
    """The number of a microstep in the whole run, step * substeps + substep: the counter of its randomness."""
    return jnp.asarray(step).astype(jnp.uint32) * np.uint32(dynamics.substeps) + jnp.asarray(substep).astype(jnp.uint32)


def derived_draw(dynamics: Any, key: jax.Array, step: Any, substep: Any) -> Any:
    """The draws of one microstep, arrange(the variates' numbers): the method `draw` of every dynamics."""
    return dynamics.arrange(draw(dynamics.variates, key, slot_of(dynamics, step, substep)))


def rate_at(learning_rate: Any, step: Any) -> Any:
    """The learning rate of an integer step: a number, or a schedule evaluated there (whole ones in floating point): 0
    where it is negative by rounding, NaN where it is negative, at whatever step."""
    rate = _scheduled(learning_rate, step)
    return jnp.where(rate < -1e-6, jnp.nan, jnp.maximum(rate, 0)) if callable(learning_rate) else rate


def _scheduled(learning_rate: Any, step: Any) -> Any:
    if not callable(learning_rate):
        return learning_rate
    with jax.numpy_dtype_promotion("standard"):  # schedules of other libraries mix integers and floats
        rate = learning_rate(step)
    return jnp.asarray(rate, float) if jnp.issubdtype(jnp.result_type(rate), jnp.integer) else rate


def check_learning_rate(learning_rate: Any, problem: Problem) -> Any:
    """A learning rate as it is stored: a float > 0 or a schedule as a Partial, which is looked at here for its kind and
    at step 0, where it may be 0 (a warm-up); `check_schedule` does it for the steps of a run. Raises TypeError or
    ValueError."""
    if callable(learning_rate):
        learning_rate = as_partial(learning_rate)
        check_schedule(learning_rate, 0, 1)
        return learning_rate
    mend = "" if is_number(learning_rate) else "give one number or a schedule, and sweep rates with jax.vmap"
    rate = number("learning_rate", learning_rate, above=0.0, mend=mend)
    if not is_traced(rate):
        _check_underflow(float(rate), problem)
    return rate


def _check_underflow(rate: float, problem: Problem) -> None:
    if rate >= 1e-30:
        return
    precisions = {leaf.dtype for leaf in tree_leaves(problem.params_like)}
    for dtype in (dtype for dtype in precisions if rate < jnp.finfo(dtype).tiny):
        raise ValueError(
            f"learning_rate: {rate:.6g} is 0 in {dtype}, the precision of the parameters, so that nothing "
            "would move; scale the loss, or make the parameters float64 (jax_enable_x64)"
        )


def check_schedule(learning_rate: Any, first_step: int, num_steps: int, problem: Problem | None = None) -> None:
    """Look at a schedule at nine of these steps. Raises TypeError unless it gives one real number and can be traced,
    ValueError where it raises, or gives what is negative, NaN or infinite, or for a problem at most a rate that is 0
    in its parameters' precision. A number is no schedule; of a traced one the kind is checked."""
    if not callable(learning_rate):
        return
    learning_rate = as_partial(learning_rate)
    name = getattr(learning_rate.func, "__name__", "the schedule")
    wanted = "a number, or a schedule that gives one real number at an integer step"
    with jax.numpy_dtype_promotion("standard"):
        found = shapes_of("learning_rate", learning_rate, jnp.int32(0), expected=wanted)
    is_real = any(jnp.issubdtype(getattr(found, "dtype", None), kind) for kind in (jnp.floating, jnp.integer))
    if getattr(found, "shape", None) != () or not is_real:
        given = f"{found.dtype}{list(found.shape)}" if hasattr(found, "shape") else type(found).__name__
        raise TypeError(f"learning_rate: expected {name} to give one real number at a step, got {given}")
    steps = np.unique(np.append(0, first_step + np.linspace(0, num_steps - 1, 9).astype(np.int32)))
    rates = probe(learning_rate, steps)
    if rates is None:
        return
    rounding = 1e-6 * np.max(np.abs(rates[np.isfinite(rates)]), initial=0)  # a linear schedule ends at -1e-9 or at 0
    wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= -rounding)))
    if wrong.size:
        raise ValueError(
            f"learning_rate: expected {name} to give a finite number >= 0 at every step, got {rates[wrong[0]]:.6g} at "
            f"step {steps[wrong[0]]}"
        )
    if problem is not None and np.max(rates) > 0:  # a schedule may be 0, in a warm-up or after its end
        _check_underflow(float(np.max(rates)), problem)


def probe(learning_rate: Any, steps: np.ndarray) -> np.ndarray | None:
    """What a schedule gives at these steps (k,), also where something else is being traced; None if it is traced."""
    steps = np.asarray(steps, np.int32)
    with jax.ensure_compile_time_eval():
        one_by_one = len(steps) == 1  # without compiling
        found = _scheduled(learning_rate, jnp.int32(steps[0])) if one_by_one else _rates(learning_rate, steps)
        return None if is_traced(found) else np.asarray(found, float).reshape(-1)


@jax.jit
def _rates(learning_rate, steps):
    return jax.vmap(lambda step: jnp.asarray(_scheduled(learning_rate, step), float))(steps)

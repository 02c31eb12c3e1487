"""The clock of a run: the physical time at each record."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sgdsde.arguments import is_traced
from sgdsde.dynamics.contract import Dynamics
from sgdsde.tracing import traced

__all__ = ["record_times"]


def record_times(dynamics: Dynamics, first_step: Any, first_time: Any, every: int, num_records: int) -> jax.Array:
    """first_time + the durations of all steps from first_step on, at steps every, 2 every, ... further: (num_records,).

    Steps of one duration are counted, not summed: step * duration, from where the clock has gone at another rate
    first_time + (step - first_step) * duration.
    """
    real = jnp.result_type(float)
    if not callable(getattr(dynamics, "learning_rate", None)):
        duration = _constant_duration(dynamics)
        if duration is not None:
            counted = first_step, first_time, duration
            xp: Any = jnp if is_traced(counted) else np  # known numbers on the host: no call of a device for each
            first, gone, duration = (xp.asarray(each).astype(real) for each in counted)
            done = every * xp.arange(1, num_records + 1, dtype=np.int32)
            whole = (xp.asarray(first_step) + done).astype(real) * duration
            return jnp.asarray(xp.where(gone == first * duration, whole, gone + done.astype(real) * duration))

    with traced("dynamics.duration"):
        return _summed(dynamics, first_step, jnp.asarray(first_time, real), every, num_records)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _summed(dynamics, first_step, first_time, every, num_records):
    def add(time, record):
        steps = first_step + record * every + jnp.arange(every, dtype=jnp.int32)
        time = time + jnp.sum(jax.vmap(dynamics.duration)(steps).astype(first_time.dtype))
        return time, time

    return jax.lax.scan(add, first_time, jnp.arange(num_records, dtype=jnp.int32))[1]


def _constant_duration(dynamics):
    """The duration of every step, None where it depends on the step."""
    try:
        return dynamics.duration(_Unseen())
    except Exception:
        return None


class _Unseen:
    """A step that may not be looked at: whatever is done with it raises."""

    def _refuse(self, *_):
        raise TypeError("depends on the step")

    __bool__ = __int__ = __float__ = __index__ = __hash__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = (
        _refuse
    )
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __array__ = __jax_array__ = __getattr__ = _refuse

"""How much memory a computation takes, estimated from its trace: nothing is compiled, nothing runs."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxprs_in_params

from sgdsde.memory import free_memory

FILLING = {"cpu": 2**24, "gpu": 2**28, "tpu": 2**28}
"""bytes of live arrays with which a device is busy: more items at once make it no faster"""
SHARE = 0.5
"""of the free memory that is planned with: the estimate knows nothing of what the compiler adds or saves"""


PROBE = 13
"""items in the trace: an unusual number, by which what depends on items is told from what they share"""


def footprint(vectorised: Callable, arguments: tuple) -> tuple[float, float]:
    """(bytes that all items share, bytes per item).

    vectorised: a function with a leading axis of items, traced at `arguments` for PROBE items.
    """
    traced = jax.make_jaxpr(vectorised)(*arguments).jaxpr
    of_items = peak_bytes(traced, lambda shape: PROBE in shape)
    return float(peak_bytes(traced, lambda shape: PROBE not in shape)), max(1.0, of_items / PROBE)


def items_at_once(fixed: float, each: float, total: int) -> int:
    """How many items fill the devices and fit into their free memory; at least one."""
    devices = jax.devices()
    filling = math.ceil(FILLING.get(devices[0].platform, FILLING["gpu"]) / each) * len(devices)
    free = free_memory()
    fitting = total if free is None else int((SHARE * free * _num_memories(devices) - fixed) / each)
    return max(1, min(total, filling, fitting))


def _num_memories(devices: list) -> int:
    """Several devices of a CPU share its memory."""
    return 1 if devices[0].platform == "cpu" else len(devices)


def peak_bytes(jaxpr: Any, counts: Callable[[tuple], bool] = lambda shape: True) -> int:
    """Most bytes alive at one time in arrays whose shape counts, if all are stored and freed after their last use."""

    def size(variables):
        sized = [(getattr(var.aval, "shape", ()), getattr(var.aval, "dtype", None)) for var in variables]
        return sum(math.prod(shape) * getattr(dtype, "itemsize", 4) for shape, dtype in sized if counts(shape))

    stored = lambda variables: [var for var in variables if not hasattr(var, "val")]  # the others are literals
    last_use = {var: i for i, equation in enumerate(jaxpr.eqns) for var in stored(equation.invars)}
    last_use |= dict.fromkeys(stored(jaxpr.outvars), len(jaxpr.eqns))
    alive = peak = size([*jaxpr.invars, *jaxpr.constvars])
    for i, equation in enumerate(jaxpr.eqns):
        inside = [peak_bytes(inner, counts) - size(inner.invars) for inner in jaxprs_in_params(equation.params)]
        peak = max(peak, alive + size(equation.outvars) + max([0, *inside]))
        alive += size([var for var in equation.outvars if last_use.get(var, -1) > i])
        alive -= size({var for var in stored(equation.invars) if last_use[var] == i})
    return peak

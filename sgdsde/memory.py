"""Whether a simulation, its chains, its program and its records, fits into memory: said before it runs."""

import contextlib
from pathlib import Path
from typing import Any

import jax
from jax.tree_util import tree_leaves

from sgdsde.dynamics.contract import Dynamics

__all__ = ["bytes_of", "check_chains", "check_memory", "check_records", "free_memory", "shortage"]

WORTH_A_LOOK = 2**28
"""bytes below which nobody asks the machine what is free"""
BYTES_OF_A_CHAIN = 16
"""its key and its mark of divergence"""
BYTES_OF_A_CLOCK = 12
"""the step and the time of a record"""


def bytes_of(like: Any) -> int:
    """What the arrays of a pytree (or of their shapes) take."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in tree_leaves(like))


def check_chains(params_like: Any, num_chains: int) -> None:
    """Raise MemoryError where the parameters of so many chains, before and after a step, are more than is free."""
    one = bytes_of(params_like) + BYTES_OF_A_CHAIN
    if 2 * one * num_chains < WORTH_A_LOOK:
        return
    free = free_memory()
    if free is not None and 2 * one * num_chains > free:
        raise MemoryError(
            f"num_chains: {num_chains} chains of {_size(params_like):,} parameters need {_gib(2 * one * num_chains)} "
            f"at least, but {_gib(free)} are free; take at most {int(free / (2 * one) * 0.8)}, in several runs with "
            "keys of their own"
        )


def check_records(record_like: Any, num_records: int, num_chains: int) -> None:
    """Raise MemoryError where the records, twice while they are put together, do not fit into the host's memory."""
    record_bytes = bytes_of(record_like) + BYTES_OF_A_CLOCK
    needed = 2 * record_bytes * num_records
    free = free_memory_of_host() if needed >= WORTH_A_LOOK else None
    if free is None or needed <= free:
        return
    fitting = int(free * 0.8) // (2 * record_bytes)
    fewer = f"at most {fitting} records, by a larger `every`; or " if fitting else ""
    raise MemoryError(
        f"simulate: {num_records} records of {num_chains} chains, {_gib(record_bytes)} each, need {_gib(needed)} while "
        f"they are put together, but {_gib(free)} are free; keep {fewer}their means alone "
        "(average=True), or observe less"
    )


def check_memory(compiled: Any, num_at_once: int, dynamics: Dynamics, num_chains: int, *, kept: int = 0) -> None:
    """Raise MemoryError if a compiled function, run `num_at_once` times side by side, needs more than is free when
    `kept` bytes of records lie on the device too (on a CPU twice while they are put together).

    The message names the largest microbatch of examples that would fit, or fewer chains where there is none.
    """
    lacking = shortage(compiled, num_at_once, kept=2 * kept if jax.default_backend() == "cpu" else kept)
    if lacking is None:
        return
    temporary, needed, free = lacking
    problem = dynamics.problem
    now = getattr(problem, "microbatch", None) or problem.num_examples
    fitting = int(now * max(0.0, free - (needed - temporary)) / max(temporary, 1) * 0.8)
    if fitting >= 1 and now > 1:
        size = 2 ** (min(fitting, now - 1).bit_length() - 1)
        advice = f"take the examples in microbatches: dataclasses.replace(problem, microbatch={size})"
    else:
        fewer = max(1, int(num_chains * free / needed * 0.8))
        advice = f"run about {fewer} chains at once" if fewer < num_chains else "a smaller model or observer is needed"
    raise MemoryError(
        f"simulate: {num_chains} chains of {_size(problem.params_like):,} parameters need {_gib(needed)} beside what "
        f"is there, but {_gib(free)} are free; {advice}"
    )


def _size(params_like: Any) -> int:
    return sum(leaf.size for leaf in tree_leaves(params_like))


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB"


def shortage(compiled: Any, num_at_once: int, *, kept: int = 0) -> tuple[int, int, int] | None:
    """(bytes of temporary arrays, bytes needed, bytes free) of a compiled function, run `num_at_once` times side by
    side, where more is needed than is free; None where it fits, or nothing is known.

    Counted: temporary arrays and results as the compiler laid them out, and `kept` bytes that it leaves behind; what it
    is given lies in memory already.
    """
    analysis, free = compiled.memory_analysis(), free_memory()
    if analysis is None or free is None:
        return None
    temporary = analysis.temp_size_in_bytes * num_at_once
    needed = temporary + (analysis.output_size_in_bytes - analysis.alias_size_in_bytes) * num_at_once + kept
    return None if needed <= free else (temporary, needed, free)


def free_memory() -> int | None:
    """Bytes that the first device can still give; None where that is not known."""
    statistics = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    if jax.default_backend() != "cpu":
        return None
    return free_memory_of_host()


def free_memory_of_host() -> int | None:
    """Bytes that this process may still take of the machine's memory; None where that is not known."""
    return min((free for free in (_free_of_machine(), _free_of_group()) if free is not None), default=None)


def _free_of_machine() -> int | None:
    with contextlib.suppress(OSError, KeyError, ValueError), open("/proc/meminfo") as lines:
        table = dict(line.split(":", 1) for line in lines)
        return int(table["MemAvailable"].split()[0]) * 1024
    return None


def _free_of_group() -> int | None:
    """What a container or a job may still take (control groups, version 2)."""
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    return None

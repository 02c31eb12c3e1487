"""Whether a compiled simulation fits into memory, said before it runs."""

import contextlib
from pathlib import Path
from typing import Any

import jax
from jax.tree_util import tree_leaves

from sgdsde.dynamics.contract import Dynamics

__all__ = ["check_memory", "free_memory", "shortage"]


def check_memory(compiled: Any, num_at_once: int, dynamics: Dynamics, num_chains: int) -> None:
    """Raise MemoryError if a compiled function, run `num_at_once` times side by side, needs more than is free.

    The message names the largest microbatch of examples that would fit, or fewer chains where there is none.
    """
    lacking = shortage(compiled, num_at_once)
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
    size = sum(leaf.size for leaf in tree_leaves(problem.params_like))
    raise MemoryError(
        f"simulate: {num_chains} chains of {size:,} parameters need {needed / 2**30:.3g} GiB beside what is there, "
        f"but {free / 2**30:.3g} GiB are free; {advice}"
    )


def shortage(compiled: Any, num_at_once: int) -> tuple[int, int, int] | None:
    """(bytes of temporary arrays, bytes needed, bytes free) of a compiled function, run `num_at_once` times side by
    side, where more is needed than is free; None where it fits, or nothing is known.

    Counted: temporary arrays and results as the compiler laid them out; what it is given lies in memory already.
    """
    analysis, free = compiled.memory_analysis(), free_memory()
    if analysis is None or free is None:
        return None
    temporary = analysis.temp_size_in_bytes * num_at_once
    needed = temporary + (analysis.output_size_in_bytes - analysis.alias_size_in_bytes) * num_at_once
    return None if needed <= free else (temporary, needed, free)


def free_memory() -> int | None:
    """Bytes that the first device can still give; None where that is not known."""
    statistics = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics.get("bytes_in_use", 0)
    if jax.default_backend() != "cpu":
        return None
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

"""One long run, in a process of its own so that its peak memory is its own: 1e6 chains x 1e5 steps of the double well,
with 1,000 records of 20 moments. Prints one line of JSON.

    python -m scripts.benchmarking.long_run [num_chains num_steps num_records]
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

LENGTHS = 1_000_000, 100_000, 1_000
"""chains, steps, records"""
NUM_MOMENTS = 20


def long_run(num_chains: int, num_steps: int, num_records: int) -> dict[str, Any]:
    """Wall seconds, compilation included, and the peak resident memory of this whole process, 1e6 bytes."""
    import jax
    import numpy as np

    from scripts.benchmarking.workloads import double_well
    from sgdsde import simulate

    work = double_well()
    begun = time.perf_counter()
    run = simulate(
        work.dynamics(),
        work.start(),
        jax.random.key(0),
        num_steps=num_steps,
        num_chains=num_chains,
        observe=moments,
        every=num_steps // num_records,
        average=True,
    )
    mean, error = jax.block_until_ready(run.observed)
    seconds = time.perf_counter() - begun
    return {
        "num_chains": num_chains,
        "num_steps": num_steps,
        "num_records": num_records,
        "num_moments": NUM_MOMENTS,
        "seconds": seconds,
        "chain_steps_per_second": num_chains * num_steps / seconds,
        "peak_memory_mb": peak_memory_mb(),
        "last_second_moment": [float(mean[-1, 1]), float(error[-1, 1])],
        "is_finite": bool(np.isfinite(mean).all() and np.isfinite(error).all()),
    }


def moments(params):
    """x, x^2, ..., x^20."""
    import jax.numpy as jnp

    return jnp.stack([params[0] ** power for power in range(1, NUM_MOMENTS + 1)])


def peak_memory_mb() -> float:
    """Peak resident memory. From /proc where there is one: the portable counter begins at the parent's size."""
    status = Path("/proc/self/status")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE) if status.is_file() else None
    if found:
        return int(found[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


if __name__ == "__main__":
    sizes = [int(argument) for argument in sys.argv[1:]] or LENGTHS
    print(json.dumps(long_run(*sizes)))

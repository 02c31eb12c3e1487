"""Seconds from the call of `simulate` to its result the first time, compilation included, in every experiment.

Each experiment runs at smoke size in this fresh process with its `simulate` timed, and nothing comes from a cache of
compiled programs. Prints one line of JSON: {experiment: {"slowest_loop", "all_loops", "whole_run", "num_loops"}}.

    python -m scripts.benchmarking.first_run [EXPERIMENT.py ...]
"""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def imported(file: Path) -> Any:
    """An experiment's file as a module."""
    specification = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(specification)
    sys.modules[file.stem] = module
    specification.loader.exec_module(module)
    return module


def first_run(file: Path) -> dict[str, Any]:
    import jax

    experiment = imported(file)
    simulate, loops = experiment.simulate, []

    def timed(*arguments, **options):
        begun = time.perf_counter()
        trajectory = jax.block_until_ready(simulate(*arguments, **options))
        loops.append(time.perf_counter() - begun)
        return trajectory

    experiment.simulate = timed
    begun = time.perf_counter()
    jax.block_until_ready(experiment.run(experiment.SMOKE, jax.random.key(0)))
    whole = time.perf_counter() - begun
    return {"slowest_loop": max(loops), "all_loops": sum(loops), "whole_run": whole, "num_loops": len(loops)}


def main(files: list[Path]) -> dict[str, Any]:
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    jax.block_until_ready(jax.numpy.zeros(1) + 1)  # starting the device is not the experiment's time
    return {file.stem: first_run(file) for file in files}


if __name__ == "__main__":
    named = [Path(argument) for argument in sys.argv[1:]]
    print(json.dumps(main(named or sorted((ROOT / "experiments").glob("[!_]*.py")))))

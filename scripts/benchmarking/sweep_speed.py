"""A sweep beside a loop of calls: 4 learning rates x 4 batch sizes x 64 seeds of a small experiment.

The loop calls the experiment's `run` 1,024 times in one warm process, every program compiled before. The sweep starts
with nothing compiled: its time includes planning, compilation, writing its chunks, the summary and the figure. Writes
sweep.md and prints it; the numbers of both must agree.

    scripts/benchmark sweep              into results/benchmark
    scripts/benchmark sweep --quick      fewer seeds, into runs/benchmark
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scripts.benchmarking.machine import ROOT, machine
from sgdsde import load
from sgdsde.devices import num_cores
from sgdsde.experiment.config import changed, load_experiment
from sgdsde.sweeps.axes import axes_of
from sgdsde.sweeps.execution import run_sweep
from sgdsde.sweeps.folder import read_plan
from sgdsde.sweeps.plan import Sweep

ASKED = 10.0
OVER = {"learning_rate": (0.05, 0.1, 0.2, 0.4), "batch_size": (1, 2, 4, 8)}


def small_sweep(num_seeds: int) -> Sweep:
    experiment = load_experiment(Path(__file__).with_name("small_sweep.py"))
    config = experiment.config_class()
    return Sweep(experiment, config, axes_of(config, OVER), num_seeds, False, asks_checks=False)


def by_calls(sweep: Sweep) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds of one call after another, and what they return, (rates, batch sizes, seeds)."""
    places = list(np.ndindex(*sweep.shape))
    call = lambda place, seed: sweep.experiment.run(
        changed(sweep.config_at(place), {"seed": seed}), jax.random.key(seed)
    )
    for place in places[: sweep.shape[1]]:
        jax.block_until_ready(call(place, 0))  # each batch size is compiled here
    began = time.perf_counter()
    rows = [jax.block_until_ready(call(place, seed)) for place in places for seed in sweep.seeds]
    seconds = time.perf_counter() - began
    shape = (*sweep.shape, sweep.num_seeds)
    return seconds, {name: np.array([row[name] for row in rows]).reshape(shape) for name in rows[0]}


def by_sweep(sweep: Sweep) -> tuple[float, int, Any]:
    """Seconds from nothing to the finished folder, compilations, and its dataset."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        place = run_sweep(sweep, Path(folder), size=None, fresh=False, command="", say=lambda line: None)
        seconds = time.perf_counter() - began
        return seconds, len(read_plan(place).groups), load(place)


def measured(num_seeds: int, num_repetitions: int) -> dict[str, Any]:
    jax.config.update("jax_enable_compilation_cache", False)
    sweep = small_sweep(num_seeds)
    calls, expected = by_calls(sweep)
    repetitions = [by_sweep(sweep) for _ in range(num_repetitions)]
    for name, array in expected.items():
        for *_, dataset in repetitions:
            np.testing.assert_allclose(dataset[name].values, array, rtol=1e-3, err_msg=name)
    seconds = statistics.median(seconds for seconds, *_ in repetitions)
    return {
        "num_runs": sweep.num_points * num_seeds,
        "calls": calls,
        "sweep": seconds,
        "compilations": max(count for _, count, _ in repetitions),
        "ratio": calls / seconds,
    }


def table(found: dict[str, Any], described: dict[str, Any]) -> str:
    """The numbers in words, Markdown."""
    commit = (described["commit"] or "none")[:10] + (" with uncommitted changes" if described["dirty"] else "")
    return f"""# A sweep beside a loop of calls

4 learning rates x 4 batch sizes x {found["num_runs"] // 16} seeds of `scripts/benchmarking/small_sweep.py` on
{num_cores()} cores ({described["processor"]}, JAX {jax.__version__}), float32, {described["date"]}, commit {commit}.

| {found["num_runs"]:,} runs | seconds |
| --- | --- |
| calls of `run` in one warm process | {found["calls"]:.1f} |
| a sweep from nothing: planning, {found["compilations"]} compilations, files, figure | {found["sweep"]:.1f} |
| ratio, asked {ASKED:g} | **{found["ratio"]:.1f}** |

The arrays agree to rounding (relative 1e-3 in float32). `scripts/benchmark sweep` made this page.
"""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 seeds instead of 64, once, into runs/benchmark")
    given = parser.parse_args(arguments)
    found = measured(4, 1) if given.quick else measured(64, 3)
    folder = ROOT / ("runs" if given.quick else "results") / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    text = table(found, machine())
    (folder / "sweep.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

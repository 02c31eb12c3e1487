"""A sweep from beginning to end: into a folder of its own, or as the stacked arrays of an experiment with a SWEEP."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sgdsde.devices import agreed
from sgdsde.experiment.config import Experiment
from sgdsde.experiment.folders import shown
from sgdsde.sweeps.chunks import finished
from sgdsde.sweeps.dataset import DamagedChunk
from sgdsde.sweeps.folder import begin, finish, place_of, whole_dataset
from sgdsde.sweeps.plan import Sweep
from sgdsde.sweeps.planning import Plan
from sgdsde.sweeps.specification import axes_of_file
from sgdsde.sweeps.work import compute_missing


def run_sweep(
    sweep: Sweep, runs: Path, *, size: int | None, fresh: bool, command: str, say: Callable[[str], None] = print
) -> Path:
    """Compute what is missing of a sweep, share the work with other processes that do the same, and put the result
    together; its folder.

    Raises:
        ExperimentError: values with which the experiment cannot run.
        KeyboardInterrupt: Ctrl-C or SIGTERM; what was computed is kept.
        OSError: a file cannot be written; what was computed is kept.
    """
    folder = place_of(sweep, runs)
    plan = begun(sweep, folder, size=size, fresh=fresh, command=command, say=say)
    if plan is None:
        return folder
    _computed(sweep, plan, folder, lambda: finish(sweep, plan, folder, command) if jax.process_index() == 0 else None)
    agreed(0)  # no host goes on before the result is there
    return folder


def _computed(sweep: Sweep, plan: Plan, folder: Path, put_together: Callable[[], Any]) -> Any:
    """What is made of the chunks, once all are there; one that turns out to be damaged is computed again."""
    while True:
        if not compute_missing(sweep, plan.groups, plan.chunks, folder / "chunks"):
            raise KeyboardInterrupt
        try:
            return put_together()
        except DamagedChunk as error:
            print(error)


def begun(
    sweep: Sweep, folder: Path, *, size: int | None, fresh: bool, command: str, say: Callable[[str], None]
) -> Plan | None:
    """`begin`, with a line that says what there is to compute, or that there is nothing."""
    plan = begin(sweep, folder, size=size, fresh=fresh, command=command)
    name = sweep.experiment.name
    if plan is None:
        say(f"{name}: already computed with this code and these values, shown again; --fresh computes anew")
        return None
    num_runs = sweep.num_points * sweep.num_seeds
    num_done = sum(len(plan.chunks[number]) for number in finished(folder / "chunks"))
    say(
        f"{name}: {sweep.num_points} points x {sweep.num_seeds} seeds = {num_runs} runs, "
        f"{len(plan.groups)} to compile, {len(plan.chunks)} chunks, {jax.device_count()} {jax.default_backend()} -> "
        f"{shown(folder)}" + (f"; {num_done} runs are done already" if num_done else "")
    )
    return plan


def stacked_arrays(
    experiment: Experiment, config: Any, smoke: bool, folder: Path | None
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """The arrays of an experiment's own SWEEP, (axes, seed, own dimensions), one for every swept field and `seed`
    among them, and the names of their dimensions.

    folder: where finished chunks are kept until the result is safe; None for nowhere.

    Raises:
        ExperimentError: a point failed, or points have arrays of different shapes.
        KeyboardInterrupt, OSError: as `run_sweep`.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as elsewhere:
            return stacked_arrays(experiment, config, smoke, Path(elsewhere))
    axes, num_seeds = axes_of_file(experiment, config, smoke=smoke)
    sweep = Sweep(experiment, config, axes, num_seeds, smoke, asks_checks=False)
    place = folder / "chunks" / "sweep"  # not in the folder itself, which the caller has locked
    plan = begin(sweep, place, size=None, fresh=False, command=f"sgdsde run {experiment.name}")
    assert plan is not None  # a result is never put together there
    whole = _computed(sweep, plan, place, lambda: whole_dataset(sweep, plan, place)[0])
    failures = json.loads(whole.attrs["failures"])
    if failures:
        raise RuntimeError(f"{len(failures)} runs failed, the first at {failures[0]['point']}: {failures[0]['reason']}")
    names = [str(name) for name in whole.variables if name != "failed"]
    arrays = {name: np.asarray(whole[name].values) for name in names}
    return arrays, {name: tuple(map(str, whole[name].dims)) for name in names}

"""A sweep as jobs: processes on this machine, or an array of jobs on a Slurm cluster, both through submitit.

A job is given paths, numbers of chunks and flags, never objects: it reads what to compute from `sweep.json` and refuses
if the code has changed since. Whatever ends it, preemption, a time limit or a crash, costs the chunk under way alone:
it is queued again, or the same command is.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from sgdsde.experiment.config import load_experiment
from sgdsde.experiment.device import choose_device
from sgdsde.experiment.folders import ExperimentError, shown
from sgdsde.interruption import stopping
from sgdsde.sweeps.chunks import finished
from sgdsde.sweeps.execution import begun
from sgdsde.sweeps.folder import finish, place_of, read_description, read_plan
from sgdsde.sweeps.plan import Sweep
from sgdsde.sweeps.planning import Plan
from sgdsde.sweeps.specification import sweep_again
from sgdsde.sweeps.work import compute_missing

MOST_RETRIES = 3
"""times that local jobs are started again without a chunk done in between"""
AN_HOUR, A_WEEK = 60, 7 * 24 * 60


@dataclass(frozen=True)
class Cluster:
    """Where jobs run: `workers` at a time, each with a group or a chunk; partition, minutes and GPUs are Slurm's."""

    launcher: Literal["local", "slurm"]
    workers: int | None
    per: Literal["group", "chunk"]
    partition: str | None
    minutes: float | None
    gpus: int | None


def launch(
    sweep: Sweep, runs: Path, cluster: Cluster, *, size: int | None, fresh: bool, command: str, float64: bool,
    device: str | None, say: Callable[[str], None] = print,
) -> Path:  # fmt: skip
    """Start the jobs of what is missing. Local ones are waited for, and started again if they end early; those of a
    cluster are left to it, and the last to end puts the result together. Returns the folder.

    Raises:
        ExperimentError: values with which the experiment cannot run; no submitit; no Slurm; jobs that fail.
    """
    folder = place_of(sweep, runs)
    plan = begun(sweep, folder, size=size, fresh=fresh, command=command, say=say)
    if plan is None:
        return folder
    jobs = folder.with_name(f".{folder.name}.jobs")
    executor = _executor(cluster, jobs)
    shares = [(str(sweep.experiment.file), str(folder), share, float64, device) for share in _shares(plan, cluster)]
    submit = lambda: executor.map_array(run_job, *map(list, zip(*shares)))
    if cluster.launcher == "slurm":
        started = submit()
        ids = f"{started[0].job_id} to {started[-1].job_id}" if len(started) > 1 else started[0].job_id
        say(f"{len(started)} jobs submitted: {ids}; what they print is in {shown(jobs)}")
        return folder
    _wait(submit, plan, folder, jobs, say)
    finish(sweep, plan, folder, command)
    shutil.rmtree(jobs, ignore_errors=True)
    return folder


def _executor(cluster: Cluster, jobs: Path) -> Any:
    try:
        import submitit
    except ImportError as error:
        message = '--launcher needs submitit, which is not installed; in the project: pip install -e ".[slurm]".'
        raise ExperimentError(message) from error
    try:
        executor = submitit.AutoExecutor(folder=jobs, cluster=cluster.launcher)
    except RuntimeError as error:
        raise ExperimentError(f"--launcher {cluster.launcher}: {error}") from error
    longest = AN_HOUR if cluster.launcher == "slurm" else A_WEEK
    settings: dict[str, Any] = {"name": "sgdsde", "timeout_min": int(cluster.minutes or longest)}
    if cluster.launcher == "slurm":
        settings |= {"slurm_partition": cluster.partition} if cluster.partition else {}
        settings |= {"slurm_array_parallelism": cluster.workers} if cluster.workers else {}
    settings |= {"gpus_per_node": cluster.gpus} if cluster.gpus else {}
    executor.update_parameters(**settings)
    return executor


def _shares(plan: Plan, cluster: Cluster) -> list[tuple[int, ...]]:
    """The chunks of each job: on a cluster a group's or a single one; local processes share all of them as they go."""
    every = tuple(chunk.number for chunk in plan.chunks)
    if cluster.launcher == "local":
        return [every] * min(cluster.workers or 1, len(every))
    if cluster.per == "chunk":
        return [(number,) for number in every]
    return [tuple(chunk.number for chunk in plan.chunks if chunk.group == group.number) for group in plan.groups]


def run_job(file: str, folder: str, chunks: tuple[int, ...], float64: bool, device: str | None) -> bool:
    """One job: compute those of the chunks that are missing; the job that finds all of them done puts the result
    together. Whether its own are done.

    Raises:
        ExperimentError: the code or the experiment has changed since the sweep was begun.
    """
    choose_device(float64=float64, device=device)
    place = Path(folder)
    if not (place / "chunks").is_dir():  # somebody else has finished
        return True
    described = read_description(place)
    sweep = sweep_again(load_experiment(Path(file)), described)
    if place_of(sweep, place.parents[1]).name != place.name:
        raise ExperimentError(f"The code has changed since {shown(place)} was begun; run the command again.")
    plan = read_plan(place)
    is_done = compute_missing(sweep, plan.groups, plan.chunks, place / "chunks", only=chunks, waits=False)
    if len(finished(place / "chunks")) == len(plan.chunks):
        finish(sweep, plan, place, described["command"])
    return is_done


def _queue_again(*arguments: Any) -> Any:
    """What submitit asks of a job that is preempted or out of time: the same job, since finished chunks are kept."""
    import submitit

    return submitit.helpers.DelayedSubmission(run_job, *arguments)


run_job.checkpoint = _queue_again  # type: ignore[attr-defined]


def _wait(submit: Callable[[], list], plan: Plan, folder: Path, jobs: Path, say: Callable[[str], None]) -> None:
    """Until every chunk is there; jobs that end before are started again."""
    total, chunks = sum(map(len, plan.chunks)), folder / "chunks"
    num_done = lambda: sum(len(plan.chunks[number]) for number in finished(chunks)) if chunks.is_dir() else total
    started, retries, before = submit(), 0, num_done()
    with stopping() as stop, tqdm(total=total, unit=" runs", disable=None, leave=False) as bar:
        while num_done() < total:
            bar.n = num_done()
            bar.set_postfix_str(f"{sum(not job.done() for job in started)} processes")
            if stop.requested:
                for job in started:
                    job.cancel()
                while not all(job.done() for job in started):
                    time.sleep(0.2)
                raise KeyboardInterrupt
            if all(job.done() for job in started) and num_done() < total:
                retries = 0 if num_done() > before else retries + 1
                if retries == MOST_RETRIES:
                    raise ExperimentError(
                        f"The jobs end before their work is done; what they printed is in {shown(jobs)}."
                    )
                say("the jobs ended early; those chunks that are missing are computed by new ones")
                started, before = submit(), num_done()
            time.sleep(0.2)
        for job in started:
            job.wait()

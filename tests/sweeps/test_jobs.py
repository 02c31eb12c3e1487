"""A sweep as jobs, through submitit's local executor: shared, preempted, and what they are given."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sgdsde import load
from sgdsde.experiment.config import changed, load_experiment
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps import jobs
from sgdsde.sweeps.axes import axes_of
from sgdsde.sweeps.chunks import finished
from sgdsde.sweeps.folder import begin, place_of
from sgdsde.sweeps.jobs import Cluster, launch, run_job
from sgdsde.sweeps.plan import Sweep

ROOT = Path(__file__).parents[2]
HERE = Cluster("local", 2, "group", None, None, None)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "experiments").mkdir()
    shutil.copyfile(ROOT / "tests" / "experiment" / "toy.py", tmp_path / "experiments" / "toy.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    return load_experiment(tmp_path / "experiments" / "toy.py")


def sweep_of(experiment, over, num_seeds=2, **values):
    config = changed(experiment.config_class(), {"num_draws": 50} | values)
    return Sweep(experiment, config, axes_of(config, over), num_seeds, False)


def start(sweep, cluster, **options):
    options = {"size": 2, "fresh": False, "command": "sgdsde sweep toy", "float64": True, "device": "cpu"} | options
    return launch(sweep, Path("runs"), cluster, say=lambda line: None, **options)


def test_a_cluster_gets_an_array_of_jobs_with_paths_and_numbers(toy, monkeypatch):
    """Slurm's own part is submitit's: what it is asked for is recorded, and the job is then run in this process."""
    import submitit

    asked = {}

    class Executor:
        def __init__(self, folder, cluster):
            asked["cluster"] = cluster

        def update_parameters(self, **settings):
            asked["settings"] = settings

        def map_array(self, function, *columns):
            asked["jobs"] = [(function, arguments) for arguments in zip(*columns, strict=True)]
            return [type("Job", (), {"job_id": f"7_{i}"}) for i in range(len(asked["jobs"]))]

    monkeypatch.setattr(submitit, "AutoExecutor", Executor)
    sweep = sweep_of(toy, {"mean": "1,2,3", "num_draws": "50,60"})
    folder = start(sweep, Cluster("slurm", 5, "group", "gpu", 90.0, 2))
    assert asked["cluster"] == "slurm"
    settings = {"timeout_min": 90, "slurm_partition": "gpu", "slurm_array_parallelism": 5, "gpus_per_node": 2}
    assert settings.items() <= asked["settings"].items()
    assert [arguments[2] for _, arguments in asked["jobs"]] == [(0, 1, 2), (3, 4, 5)], "one group a job"
    for function, arguments in asked["jobs"]:
        assert function is run_job
        assert json.loads(json.dumps(arguments)) == [*arguments[:2], list(arguments[2]), *arguments[3:]]
    first, second = asked["jobs"]
    assert run_job(*first[1])
    assert set(finished(folder / "chunks")) == {0, 1, 2}
    assert run_job(*second[1]), "the last one puts the result together"
    assert load(folder).sizes["num_draws"] == 2
    start(sweep_of(toy, {"mean": "1,2,3"}), Cluster("slurm", None, "chunk", None, None, None))
    assert [arguments[2] for _, arguments in asked["jobs"]] == [(0,), (1,), (2,)], "one chunk a job"
    assert asked["settings"]["timeout_min"] == 60


def test_a_job_refuses_changed_code(toy):
    sweep = sweep_of(toy, {"mean": "1,2,3"})
    folder = place_of(sweep, Path("runs").absolute())
    begin(sweep, folder, size=2, fresh=False, command="")
    toy.file.write_text(toy.file.read_text() + "\n")
    with pytest.raises(ExperimentError, match="has changed"):
        run_job(str(toy.file), str(folder), (0,), True, "cpu")


def descendants(pid):
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(each) for each in children] + [pid for child in children for pid in descendants(child)]


SLOW = """
import os, time
from sgdsde.sweeps import work
real = work._computed
def slowly(program, chunk):
    time.sleep(1.0)
    return real(program, chunk)
work._computed = slowly
real_write = work.write_part
def told(folder, number, part):
    file = real_write(folder, number, part)
    with open("written", "a") as log:
        log.write(f"{number}\\n")
    return file
work.write_part = told
"""


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_goes_on(toy, monkeypatch, tmp_path):
    import submitit

    (tmp_path / "slowly").mkdir()
    (tmp_path / "slowly" / "sitecustomize.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'slowly'}{os.pathsep}{ROOT}")
    sweep = sweep_of(toy, {"mean": "1:8:8"})
    folder = place_of(sweep, Path("runs").absolute())
    plan = begin(sweep, folder, size=2, fresh=False, command="")
    executor = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="local")
    executor.update_parameters(timeout_min=60)
    every = tuple(range(len(plan.chunks)))
    job = executor.submit(run_job, str(toy.file), str(folder), every, True, "cpu")
    while len(finished(folder / "chunks")) < 2:
        assert not job.done(), job.stderr()
        time.sleep(0.1)
    (task,) = descendants(job.job_id)
    os.kill(task, signal.SIGUSR2)  # what Slurm sends before it takes the nodes away
    while not job.done():
        time.sleep(0.1)
    assert "Requeued job" in job.stderr() + job.stdout()
    assert job.result()
    assert sorted(map(int, Path("written").read_text().split())) == list(every), "each chunk once"
    assert load(folder).sizes["mean"] == 8


@pytest.mark.slow
def test_jobs_that_end_early_are_started_again(toy, monkeypatch):
    sweep, submitted = sweep_of(toy, {"mean": "1:8:8"}), []
    real = jobs._wait

    def wait(submit, *arguments):
        def submit_and_kill():
            started = submit()
            submitted.append(started)
            if len(submitted) == 1:
                time.sleep(1)
                for job in started:
                    for pid in descendants(job.job_id):
                        os.kill(pid, signal.SIGKILL)
            return started

        return real(submit_and_kill, *arguments)

    monkeypatch.setattr(jobs, "_wait", wait)
    folder = start(sweep, HERE)
    assert len(submitted) == 2
    assert load(folder).sizes["mean"] == 8
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    assert start(sweep, HERE) == folder, "a second time there is nothing to do"
    assert len(submitted) == 2


def test_no_cluster_is_one_paragraph(toy):
    if shutil.which("srun"):
        pytest.skip("there is a Slurm here")
    with pytest.raises(ExperimentError, match="slurm"):
        start(sweep_of(toy, {"mean": "1,2"}), Cluster("slurm", None, "group", None, None, None))

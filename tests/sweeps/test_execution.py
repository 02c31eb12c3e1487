"""A sweep from beginning to end: what is computed, what is kept, what is done twice (nothing)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from sgdsde import load, style
from sgdsde.experiment.config import changed, load_experiment
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps import folder as folder_module
from sgdsde.sweeps import work
from sgdsde.sweeps.axes import axes_of
from sgdsde.sweeps.chunks import finished
from sgdsde.sweeps.execution import run_sweep, stacked_arrays
from sgdsde.sweeps.folder import begin, finish, place_of, read_plan
from sgdsde.sweeps.plan import Sweep
from sgdsde.sweeps.program import Program

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def ordinary_promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(autouse=True)
def stand_in_for_the_figure(request, monkeypatch):
    """A figure takes a second: one test draws it."""
    if "says_where_it_comes_from" in request.node.name:
        return
    monkeypatch.setattr(folder_module, "sweep_figure", lambda dataset: "figure")
    save = lambda drawn, folder: [(folder / name).write_text(drawn) for name in ("figure.pdf", "figure.png")]
    monkeypatch.setattr(style, "save", save)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The experiment without a simulation, in a project of its own."""
    (tmp_path / "experiments").mkdir()
    shutil.copyfile(ROOT / "tests" / "experiment" / "toy.py", tmp_path / "experiments" / "toy.py")
    monkeypatch.chdir(tmp_path)
    return load_experiment(tmp_path / "experiments" / "toy.py")


def sweep_of(experiment, over, num_seeds=2, zipped=(), **options):
    config = changed(experiment.config_class(), {"num_draws": 50} | options.pop("config", {}))
    return Sweep(experiment, config, axes_of(config, over, zipped), num_seeds, False, **options)


def compute(sweep, **options):
    options = {"size": 3, "fresh": False, "command": "sgdsde sweep toy", "say": lambda line: None} | options
    return run_sweep(sweep, Path("runs"), **options)


def test_the_result_is_labelled_and_says_where_it_comes_from(toy):
    sweep = sweep_of(toy, {"mean": "1,2,3", "num_draws": "50,60"})
    folder = compute(sweep)
    names = {"sweep.json", "provenance.json", "summary.csv", "figure.pdf", "figure.png", "group-000.nc", "group-001.nc"}
    assert {file.name for file in folder.iterdir()} == names
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    dataset = load(folder)
    assert "check_failure" not in dataset.attrs
    assert dict(dataset.sizes) == {"mean": 3, "num_draws": 2, "seed": 2, "scale": 2, "check": 2}
    assert json.loads(dataset.attrs["config"])["num_draws"] == 50
    assert json.loads(dataset.attrs["provenance"])["status"] == "done"
    for mean in (1.0, 3.0):
        for seed in (0, 1):
            config = changed(sweep.config, {"mean": mean, "num_draws": 60, "seed": seed})
            alone = toy.run(config, jax.random.key(seed))
            found = dataset.sel(mean=mean, num_draws=60, seed=seed)
            np.testing.assert_allclose(found["means"], alone["means"], rtol=1e-12)
            check = toy.checks(config, {name: np.asarray(value) for name, value in alone.items()})[1]
            assert float(found["check_measured"][1]) == pytest.approx(check.measured)
            assert bool(found["check_passed"][1]) == check.passed
            assert (float(found["check_tolerance"][1]), int(found["check_expect"][1])) == (check.tolerance, 0)
    assert list(dataset["check"].values) == ["mean at scale 1", "mean at scale 2"]


def test_a_second_time_nothing_is_computed_and_fresh_computes_all(toy, monkeypatch):
    sweep, calls = sweep_of(toy, {"mean": "1,2,3"}), []
    real = Program.__call__
    monkeypatch.setattr(Program, "__call__", lambda self, items: calls.append(len(items)) or real(self, items))
    folder = compute(sweep)
    assert sum(calls) == 6
    before = load(folder)
    lines = []
    assert compute(sweep, say=lines.append) == folder
    assert sum(calls) == 6
    assert "already computed" in lines[0]
    compute(sweep, fresh=True)
    assert sum(calls) == 12
    assert load(folder).equals(before)


def test_values_that_the_experiment_refuses_end_the_command_before_any_compute(toy):
    walk = load_experiment(Path(__file__).with_name("walk.py"))
    config = walk.config_class()
    for over, message in (
        ({"learning_rate": "-0.1,0.1"}, "learning_rate=-0.1.*learning_rate"),
        ({"batch_size": "1,200"}, "batch_size=200.*batch"),
        ({"num_steps": "10,15"}, "multiple of 10, got 15"),
    ):
        with pytest.raises(ExperimentError, match=message):
            compute(Sweep(walk, config, axes_of(config, over), 1, False))
    with pytest.raises(ExperimentError, match="cannot be swept"):
        compute(sweep_of(toy, {"mean": "1,2"}, config={"trouble": "untraceable"}))
    assert not Path("runs").exists()


def test_divergence_is_counted_and_an_impossible_point_is_recorded_and_the_rest_goes_on(toy, monkeypatch):
    walk = load_experiment(Path(__file__).with_name("walk.py"))
    config = walk.config_class()
    real = Program.__call__

    def limited(self, items):
        if self.group.static["batch_size"] == 1:
            raise RuntimeError("the device is lost")
        return real(self, items)

    monkeypatch.setattr(Program, "__call__", limited)
    dataset = load(compute(Sweep(walk, config, axes_of(config, {"explodes": "0,2", "batch_size": "1,2"}), 2, False)))
    assert dataset["failed"].sel(batch_size=1).values.all()
    assert not dataset["failed"].sel(batch_size=2).values.any()
    assert np.isnan(dataset["total"].sel(batch_size=1)).all()
    assert np.isfinite(dataset["total"].sel(batch_size=2, explodes=0.0)).all()
    assert np.isnan(dataset["total"].sel(batch_size=2, explodes=2.0)).all()
    failures = json.loads(dataset.attrs["failures"])
    assert len(failures) == 4
    assert failures[0]["reason"] == "RuntimeError: the device is lost"
    assert list(dataset["step"].values) == [10, 20], "a coordinate, equal for all"


@pytest.mark.slow
def test_other_lengths_end_in_nan_and_are_not_taken_for_divergence(toy):
    from sgdsde.sweeps.reading.averages import seed_averages

    walk = load_experiment(Path(__file__).with_name("walk.py"))
    config = walk.config_class()
    dataset = load(compute(Sweep(walk, config, axes_of(config, {"num_steps": "10,30"}), 2, False)))
    assert dataset.sizes["step_index" if "step_index" in dataset.sizes else "step"] == 3
    assert np.isnan(dataset["square"].sel(num_steps=10).values[:, 1:]).all()
    assert np.isfinite(dataset["square"].sel(num_steps=30)).all()
    assert all((average.num_diverged == 0).all() for average in seed_averages(dataset))


def test_an_interrupted_sweep_goes_on_and_no_finished_chunk_is_computed_again(toy, monkeypatch):
    sweep = sweep_of(toy, {"mean": "1,2,3", "num_draws": "50,60"})
    whole, calls, real = load(compute(sweep)), [], work._computed
    shutil.rmtree("runs")

    def interrupted(program, chunk):
        calls.append(chunk.number)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(program, chunk)

    monkeypatch.setattr(work, "_computed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compute(sweep)
    folder = place_of(sweep, Path("runs"))
    assert set(finished(folder / "chunks")) == set(calls), "the chunk under way was finished"
    with pytest.raises(ExperimentError, match="2 of 4 chunks are done"):
        load(folder)
    compute(sweep)
    assert sorted(calls) == [0, 1, 2, 3]
    assert load(folder).equals(whole)


def test_a_damaged_chunk_is_computed_again(toy, capsys):
    sweep = sweep_of(toy, {"mean": "1,2,3"})
    whole = load(compute(sweep))
    shutil.rmtree("runs")
    folder = place_of(sweep, Path("runs"))
    plan = begin(sweep, folder, size=2, fresh=False, command="")
    work.compute_missing(sweep, plan.groups, plan.chunks, folder / "chunks")
    file = finished(folder / "chunks")[1]
    file.write_bytes(file.read_bytes()[::-1])
    compute(sweep)
    assert "was damaged" in capsys.readouterr().out
    assert load(folder).equals(whole)


def test_flipped_bytes_of_the_result_are_noticed_and_say_so(toy):
    folder = compute(sweep_of(toy, {"mean": "1,2"}))
    rng = np.random.default_rng(1)
    files = list(folder.iterdir())
    for _ in range(100):
        file = files[rng.integers(len(files))]
        content = file.read_bytes()
        place = int(rng.integers(len(content)))
        file.write_bytes(content[:place] + bytes([content[place] ^ (1 << int(rng.integers(8)))]) + content[place + 1 :])
        with pytest.raises(ExperimentError):
            load(folder)
        file.write_bytes(content)
    load(folder)
    described = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(described | {"schema": 99}))
    with pytest.raises(ExperimentError, match="schema"):
        load(folder)


def test_a_full_disk_is_an_error_and_what_was_there_stays(toy, monkeypatch):
    done = compute(sweep_of(toy, {"mean": "1,2"}))
    before = load(done)
    real, calls = work.write_part, []

    def full(folder, number, part):
        calls.append(number)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(folder, number, part)

    monkeypatch.setattr(work, "write_part", full)
    sweep = sweep_of(toy, {"mean": "1,2,3"})
    with pytest.raises(OSError, match="No space"):
        compute(sweep)
    assert load(done).equals(before)
    assert len(finished(place_of(sweep, Path("runs")) / "chunks")) == 1
    monkeypatch.undo()
    compute(sweep)


def test_a_plan_survives_and_the_processes_share_it(toy):
    sweep = sweep_of(toy, {"mean": "1,2,3"})
    folder = place_of(sweep, Path("runs"))
    first = begin(sweep, folder, size=2, fresh=False, command="")
    second = begin(sweep, folder, size=5, fresh=False, command="")
    assert first == second == read_plan(folder)
    work.compute_missing(sweep, first.groups, first.chunks, folder / "chunks", only=[1])
    assert set(finished(folder / "chunks")) == {1}
    work.compute_missing(sweep, first.groups, first.chunks, folder / "chunks")
    finish(sweep, first, folder, "")
    finish(sweep, first, folder, "")
    assert begin(sweep, folder, size=2, fresh=False, command="") is None


SWEPT = """
SWEEP = {"over": {"mean": (1.0, 2.0, 4.0), "num_draws": (50, 60)}, "seeds": 3}
"""


def test_an_experiment_with_a_sweep_gets_stacked_arrays(toy, tmp_path):
    file = tmp_path / "experiments" / "swept.py"
    file.write_text((tmp_path / "experiments" / "toy.py").read_text() + SWEPT)
    swept = load_experiment(file)
    arrays, dimensions = stacked_arrays(swept, swept.config_class(), False, tmp_path / "part")
    assert arrays["means"].shape == (3, 2, 3, 2)
    assert dimensions["means"] == ("mean", "num_draws", "seed", "scale")
    np.testing.assert_array_equal(arrays["mean"], [1, 2, 4])
    np.testing.assert_array_equal(arrays["seed"], [0, 1, 2])
    small, _ = stacked_arrays(swept, swept.smoke, True, None)
    assert small["means"].shape == (2, 2, 2, 2)
    np.testing.assert_array_equal(small["mean"], [1, 4])
    assert (tmp_path / "part" / "chunks" / "sweep" / "chunks").is_dir()


PROGRAM = """
import sys
from sgdsde.cli import main
from sgdsde.sweeps import folder as folder_module
from sgdsde.sweeps import work
real = work._computed
def told(program, chunk):
    with open("computed", "a") as file:
        file.write(f"{chunk.number}\\n")
    return real(program, chunk)
work._computed = told
sys.exit(main(sys.argv[1:]))
"""


def start(*arguments):
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_six_processes_share_forty_points(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    arguments = ["sweep", "toy", "--over", "mean=1:40:40", "--num_draws", "200", "--chunk", "1"]
    processes = [start(*arguments) for _ in range(6)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, outputs
    computed = sorted(map(int, Path("computed").read_text().split()))
    assert computed == list(range(40)), "every point once, none missing"
    (folder,) = Path("runs/toy").iterdir()
    assert load(folder).sizes["mean"] == 40


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once_and_loses_the_chunk_under_way_alone(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    arguments = ["sweep", "toy", "--over", "mean=1:40:40", "num_draws=20000000", "--chunk", "2"]
    process = start(*arguments)
    try:
        for _ in range(600):
            if list(Path("runs").glob("toy/*/chunks/*.nc")):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (130, -signal.SIGINT)  # the latter where the chunk has just ended
    (folder,) = Path("runs/toy").iterdir()
    assert {file.name for file in folder.iterdir()} == {"sweep.json", "chunks"}
    assert not [file for file in (folder / "chunks").iterdir() if file.name.startswith(".")]

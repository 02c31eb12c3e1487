"""A run from Config to result folder, and everything that may go wrong on the way."""

import contextlib
import errno
import json
import signal
from dataclasses import replace

import jax
import numpy as np
import pytest

from sgdsde.experiment import ExperimentError, files, results
from sgdsde.experiment.config import changed
from sgdsde.experiment.runner import RunError, publish_result, redraw

FILES = {"config.json", "provenance.json", "data.nc", "summary.csv", "verdict.json", "figure.pdf", "figure.png"}

LONG = '''"""SGD on a parabola, long enough to be interrupted."""
from dataclasses import dataclass
import jax.numpy as jnp
from sgdsde import Check, Problem, sgd, simulate, style

@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.01
    """step size"""
    seed: int = 0

SMOKE, DIMENSIONS = Config(), {"mean": ("record",)}

def run(config, key):
    problem = Problem(lambda x, z: (x - z) ** 2 / 2, jnp.arange(4.0), lambda key: jnp.zeros(()))
    dynamics = sgd(problem, learning_rate=config.learning_rate, batch_size=2, sampling="with_replacement")
    found = simulate(dynamics, problem.init, key, num_steps=6000, num_chains=4, observe=jnp.square, every=300)
    return {"mean": found.observed.mean(axis=1)}

def checks(config, arrays):
    return [Check("square", arrays["mean"][-1], 2.25, 0.1, 0.9, "agree", "definition")]

def plot(config, arrays):
    return style.figure()[0]
'''


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_result_folder_holds_everything(compute, project):
    folder = compute(mean=2, seed=3, figure=True)
    assert folder.parent == project / "runs" / "toy"
    assert names(folder.parent) == {folder.name}, "no stray files"
    assert names(folder) == FILES
    result = results.load_result(folder)
    assert result.config == {
        "mean": 2.0,
        "scales": [1.0, 2.0],
        "num_draws": 100_000,
        "is_shifted": False,
        "trouble": "none",
        "seed": 3,
    }
    draws = 2 + np.asarray(jax.random.normal(jax.random.key(3), (100_000, 1)))
    np.testing.assert_allclose(result.arrays["means"][0], draws.mean(), rtol=1e-6)
    verdict = result.verdict
    assert verdict["experiment"] == "toy"
    assert verdict["passed"] is True
    assert verdict["smoke"] is False
    assert verdict["config"] == result.config
    assert {"name", "measured", "predicted", "standard_error", "z", "tolerance", "expect", "verdict", "source"} == set(
        verdict["checks"][0]
    )
    assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_provenance_says_how_and_not_where(compute, project):
    text = (compute() / "provenance.json").read_text()
    provenance = json.loads(text)
    assert provenance["status"] == "done"
    assert provenance["reason"] is None
    assert provenance["command"] == "sgdsde run toy"
    assert provenance["seed"] == 0
    assert provenance["dtype"] == ("float64" if jax.config.jax_enable_x64 else "float32")
    assert provenance["platform"] == "cpu"
    assert {"python", "jax", "jaxlib", "numpy", "optax", "diffrax"} <= provenance["versions"].keys()
    assert provenance["wall_seconds"] >= 0
    assert provenance["peak_memory_mib"] > 10
    assert provenance["start"] <= provenance["end"]
    assert {"commit", "dirty", "hash", "source", "num_cores", "device"} <= provenance.keys()
    assert str(project) not in text
    assert set(provenance["checksums"]) == FILES


def test_a_complete_result_is_reused_and_fresh_computes(compute):
    lines = []
    first = compute(say=lines.append)
    stamp = (first / "provenance.json").stat().st_ino
    assert compute(say=lines.append) == first
    assert (first / "provenance.json").stat().st_ino == stamp
    assert "already computed" in lines[-1]
    assert compute(fresh=True) == first
    assert (first / "provenance.json").stat().st_ino != stamp
    assert compute(seed=1) != first
    assert names(first) == FILES


def test_the_same_run_gives_the_same_bytes(compute):
    folder = compute(figure=True)
    before = {name: (folder / name).read_bytes() for name in FILES - {"provenance.json"}}
    compute(fresh=True, figure=True)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_changed_code_does_not_reuse(compute, toy):
    first = compute()
    toy.file.write_text(toy.file.read_text() + "\n# changed\n")
    assert compute() != first


def test_a_damaged_result_is_computed_anew(compute):
    folder, lines = compute(), []
    (folder / "data.nc").write_bytes(b"damaged")
    assert compute(say=lines.append) == folder
    assert "data.nc is damaged" in lines[0]
    assert results.load_result(folder).provenance["status"] == "done"


def test_a_failed_check_saves_everything(compute):
    result = results.load_result(compute(is_shifted=True))
    assert result.verdict["passed"] is False
    assert result.provenance["status"] == "done"
    assert names(result.folder) == FILES


def test_smoke_never_judges(compute):
    verdict = results.read_verdict(compute(smoke=True, is_shifted=True))
    assert verdict["passed"] is None
    assert [check["verdict"] for check in verdict["checks"]] == [None, None]
    assert verdict["smoke"] is True


@pytest.mark.parametrize(
    ("trouble", "reason", "kept"),
    [
        ("compute", "run: RuntimeError: the computation is broken (toy.py, line ", set()),
        ("missing", "run: FileNotFoundError: the input is missing (toy.py, line ", set()),
        ("checks", "checks: ZeroDivisionError: the checks are broken", {"data.nc"}),
        ("plot", "plot: ZeroDivisionError: the plot is broken", {"data.nc", "summary.csv", "verdict.json"}),
    ],
)
def test_a_failure_is_recorded_with_its_reason(compute, project, trouble, reason, kept):
    with pytest.raises(RunError) as caught:
        compute(trouble=trouble)
    assert reason in str(caught.value)
    assert caught.value.is_mistake is False
    (folder,) = (project / "runs" / "toy").iterdir()
    provenance = results.verified(folder)
    assert provenance["status"] == "failed"
    assert provenance["reason"].startswith(reason.split(" (")[0])
    assert names(folder) == {"config.json", "provenance.json"} | kept
    with pytest.raises(RunError):
        compute(trouble=trouble)  # a failure is never reused


@pytest.mark.parametrize(
    ("trouble", "reason", "is_mistake"),
    [
        ("run", "run, before computing: RuntimeError: the run is broken (toy.py, line ", False),
        ("mistake", "run, before computing: ValueError: Check 'name': standard_error must not be", True),
    ],
)
def test_a_failure_before_any_computation_leaves_nothing(compute, project, trouble, reason, is_mistake):
    with pytest.raises(RunError) as caught:
        compute(trouble=trouble)
    assert reason in str(caught.value)
    assert caught.value.is_mistake is is_mistake
    assert list((project / "runs" / "toy").iterdir()) == []


def test_an_interruption_is_recorded(compute, project):
    with pytest.raises(KeyboardInterrupt):
        compute(trouble="interrupt")
    (folder,) = (project / "runs" / "toy").iterdir()
    assert results.verified(folder)["status"] == "interrupted"


def test_an_interrupted_simulation_goes_on_where_it_stopped(project, monkeypatch):
    """Checkpoints lie beside the result's place until its arrays are saved."""
    from sgdsde import simulation
    from sgdsde.experiment.config import load_experiment
    from sgdsde.experiment.runner import run_experiment

    file = project / "experiments" / "long.py"
    file.write_text(LONG)
    long, lines = load_experiment(file), []
    run = lambda runs, **options: run_experiment(
        long, long.config_class(), smoke=False, runs=project / runs, command="", say=lines.append, **options
    )
    whole = results.load_result(run("quiet", fresh=False)).arrays
    stretches, run_all = [], simulation.run_all

    def interrupted(calls):
        stretches.append(1)
        if len(stretches) == 3:
            signal.raise_signal(signal.SIGTERM)
        return run_all(calls)

    monkeypatch.setattr(simulation, "run_all", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("runs", fresh=False)
    monkeypatch.undo()
    assert len(list((project / "runs" / "long").glob(".*.checkpoints/001-*"))) == 1
    lines.clear()
    folder = run("runs", fresh=False)
    assert any("going on from the checkpoints" in line for line in lines)
    np.testing.assert_array_equal(results.load_result(folder).arrays["mean"], whole["mean"])
    assert names(folder.parent) == {folder.name}


def test_the_smoke_size_is_one_program_with_the_same_numbers(project, monkeypatch):
    from sgdsde import simulation
    from sgdsde.experiment.config import changed, load_experiment
    from sgdsde.experiment.runner import run_experiment

    file = project / "experiments" / "long.py"
    file.write_text(LONG)
    long = load_experiment(file)

    def mean(config, smoke):
        folder = run_experiment(long, config, smoke=smoke, fresh=False, runs=project / "runs", command="")
        return results.load_result(folder).arrays["mean"]

    step_by_step = mean(long.smoke, False)
    with monkeypatch.context() as patch:
        patch.setattr(simulation, "_from_host", None)  # what shows progress and can be interrupted
        np.testing.assert_allclose(mean(long.smoke, True), step_by_step, rtol=1e-5)
    other = changed(long.smoke, {"learning_rate": 0.02})
    np.testing.assert_allclose(mean(other, True), mean(other, False), rtol=0)


def test_a_failure_spares_the_earlier_result(compute, monkeypatch):
    folder = compute()
    before = {name: (folder / name).read_bytes() for name in FILES}

    def broken(*arguments, **keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results, "write_arrays", broken)
    with pytest.raises(OSError, match="No space left"):
        compute(fresh=True)
    assert {name: (folder / name).read_bytes() for name in FILES} == before
    assert names(folder.parent) == {folder.name}


@pytest.mark.parametrize("call", range(1, 12))
def test_a_disk_that_fills_up_spares_the_earlier_result(compute, monkeypatch, call):
    folder = compute(smoke=True)
    before = {name: (folder / name).read_bytes() for name in FILES}
    fsync, calls = files.os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with contextlib.suppress(OSError):
        compute(smoke=True, fresh=True)
    monkeypatch.setattr(files.os, "fsync", fsync)
    provenance = results.verified(folder)
    assert provenance["status"] == "done"
    if call <= len(FILES) + 1:  # before the renames
        assert len(calls) == call
        assert {name: (folder / name).read_bytes() for name in FILES} == before
    assert names(folder.parent) == {folder.name}


def test_run_that_cannot_be_traced_is_said(compute):
    lines = []
    compute(smoke=True, trouble="untraceable", say=lines.append)
    assert any("cannot be traced" in line for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("arrays | (", "list(arrays) or (", "must return a dictionary of named arrays, got list"),
        ('"means": draws', '"the means": draws', "an array named 'the means'"),
        ('"count": jnp.array(config.num_draws)', '"count": {"n": 1}', "returned dict as `count`"),
        ('"count": jnp.array(config.num_draws)', '"count": jnp.array(1j)', "dtype complex"),
        ('{"means": ("scale",)', '{"mean": ("scale",)', "DIMENSIONS names `mean`"),
        ('{"means": ("scale",)', '{"means": ("scale", "draw")', "DIMENSIONS of `means`"),
        ("    return [\n", "    return [] and [\n", "must return a list of Check"),
        ('f"mean at scale {scale:g}"', '"mean"', "two checks of one name: 'mean'"),
        ("    return figure", "    return axes", "must return one matplotlib Figure, got Axes"),
    ],
)
def test_a_part_that_breaks_the_contract_is_explained(project, old, new, message):
    from sgdsde.experiment.config import load_experiment
    from sgdsde.experiment.runner import run_experiment

    file = project / "experiments" / "toy.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    broken = load_experiment(file)
    with pytest.raises(ExperimentError, match=message):
        run_experiment(broken, broken.smoke, smoke=True, fresh=False, runs=project / "runs", command="", say=str)


def test_redraw_uses_the_saved_arrays(compute, toy):
    folder = compute(scales=(1, 2, 3), figure=True)
    figure = (folder / "figure.png").read_bytes()
    (folder / "figure.png").write_bytes(b"")
    with pytest.raises(ExperimentError, match=r"figure\.png is damaged"):
        redraw(toy, folder)
    (folder / "figure.png").write_bytes(figure)
    seen = []

    def plot(config, arrays):
        seen.append((config, arrays))
        return toy.plot(config, arrays)

    redraw(replace(toy, plot=plot, run=print, checks=print), folder)
    (config, arrays), provenance = seen[0], results.verified(folder)
    assert config == changed(toy.config_class(), {"scales": (1, 2, 3)})
    assert arrays["means"].shape == (3,)
    assert (folder / "figure.png").read_bytes() == figure
    assert provenance["status"] == "done"
    assert names(folder) == FILES


def test_redraw_refuses_a_config_that_has_changed(compute, toy, project):
    from sgdsde.experiment.config import load_experiment

    folder = compute()
    toy.file.write_text(toy.file.read_text().replace("is_shifted", "is_moved"))
    with pytest.raises(ExperimentError, match="no field `is_shifted`"):
        redraw(load_experiment(toy.file), folder)


def test_publish_copies_and_refuses_what_is_too_large(compute, project):
    target = project / "results" / "toy"
    folder = compute()
    publish_result(folder, target)
    assert results.load_result(target).provenance == results.load_result(folder).provenance
    with pytest.raises(ExperimentError, match="and results/ takes less than 1 MB"):
        publish_result(compute(trouble="large"), target)
    assert results.verified(target)["hash"] == folder.name
    (project / "results" / "other").mkdir()
    (project / "results" / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ExperimentError, match="is no result folder"):
        publish_result(folder, project / "results" / "other")
    assert names(project / "results") == {"toy", "other"}

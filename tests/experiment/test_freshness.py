"""A committed result is fresh, or said to be stale."""

import json

import numpy as np
import pytest

from sgdsde.experiment import ExperimentError, freshness, results
from sgdsde.experiment.config import load_experiment
from sgdsde.experiment.runner import confirm, judge_again, publish_result, redraw


@pytest.fixture
def published(compute, toy, project):
    target = project / "results" / "toy"
    publish_result(compute(), target, toy)
    return target


def changed(project, old, new):
    file = project / "experiments" / "toy.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return load_experiment(file)


def test_a_result_is_fresh_until_its_code_changes(published, toy):
    assert freshness.stale(published, toy.file) is None
    assert confirm(toy, published) == []


def test_a_change_that_moves_no_number_is_confirmed(published, toy, project):
    again = changed(project, "config.mean + scale", "0.0 + config.mean + scale")
    assert freshness.stale(published, toy.file) == "the code of run has changed: `sgdsde confirm toy`"
    assert confirm(again, published) == []
    assert freshness.stale(published, toy.file) is None
    assert json.loads((published / "provenance.json").read_text())["confirmed"]["commit"] is None, "no repository here"


def test_a_change_that_moves_a_number_is_not(published, toy, project):
    again = changed(project, "draws.mean(0)", "1.01 * draws.mean(0)")
    assert confirm(again, published) == ["`means` is off by 0.01 of its size"]
    assert "sgdsde confirm toy" in freshness.stale(published, toy.file)
    again = changed(project, "num_draws: int = 100_000", "num_draws: int = 200_000")
    assert "Config has other values" in confirm(again, published)[0]


def test_a_change_of_the_checks_is_judged(published, toy, project, capsys):
    again = changed(project, 'error, 0.1, "agree"', 'error, 0.2, "agree"')
    assert freshness.stale(published, toy.file) == "the code of checks has changed: `sgdsde judge toy`"
    judge_again(again, published)
    assert freshness.stale(published, toy.file) is None


def test_a_result_without_a_record_is_stale(compute, toy, project):
    publish_result(compute(), project / "results" / "toy")
    assert "run and of checks" in freshness.stale(project / "results" / "toy", toy.file)
    with pytest.raises(ExperimentError, match="holds no sample"):
        confirm(toy, project / "results" / "toy")


def test_samples_are_compared_as_numbers():
    sample = freshness.sample_of(
        {
            "a": np.arange(1000.0).reshape(10, 100),
            "b": np.array([1.0, np.nan]),
            "c": np.array(3),
            "words": np.array(["a"]),
        }
    )
    assert len(sample["a"]["numbers"]) == 64
    assert sample.keys() == {"a", "b", "c"}
    assert not freshness.differences(sample, json.loads(json.dumps(sample)))
    for change, said in (
        ({"a": np.arange(1000.0)}, "shape"),
        ({"a": np.arange(1000.0).reshape(10, 100) * 1.002}, "0.002"),
        ({"b": np.array([1.0, 1.0])}, "inf"),
        ({"c": np.array(3.002)}, None),
        ({"d": np.array(3.0)}, "one of the two"),
    ):
        now = sample | freshness.sample_of(change)
        found = freshness.differences(sample, now)
        assert bool(found) is (said is not None), change
        assert said is None or said in found[0]


def test_an_array_that_is_not_there_is_a_fault_of_the_folder(published, toy):
    arrays = results.load_result(published).arrays
    kept = {name: array for name, array in arrays.items() if name != "means"}
    shapes = {name: array.shape for name, array in kept.items()}
    results.write_arrays(published / "data.nc", kept, results.named_dimensions(shapes, {}), {"title": "toy"})
    results.write_provenance(published, results.read_provenance(published), seal=True)
    for again in (judge_again, redraw):
        with pytest.raises(ExperimentError, match=r"data\.nc holds no array 'means', which .* ask for, only .*--fresh"):
            again(toy, published)

"""The search: its space, its objective, its trials kept through every kind of end, and what it says."""

import csv
import json
import math
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

from sgdsde import style
from sgdsde.commands import searching
from sgdsde.experiment import results
from sgdsde.experiment.config import changed, load_experiment
from sgdsde.experiment.folders import ExperimentError
from sgdsde.searches import evaluation
from sgdsde.searches import journal as journals
from sgdsde.searches import running as searches
from sgdsde.searches.journal import Outcome
from sgdsde.searches.space import Choices, Interval, end_points, space_of, values_of

ROOT = Path(__file__).parents[2]
RATE = {"rate": "0.001:10:log"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose only experiment is `hill`, as the current folder; figures are a stand-in, which saves seconds."""
    (tmp_path / "experiments").mkdir()
    shutil.copyfile(Path(__file__).with_name("hill.py"), tmp_path / "experiments" / "hill.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    monkeypatch.setattr(style, "save", lambda drawn, folder: (folder / "figure.png").write_text("drawn"))
    monkeypatch.setattr(searches, "PAUSE", 0.05)
    cache = jax.config.jax_compilation_cache_dir
    yield tmp_path
    jax.config.update("jax_compilation_cache_dir", cache)


@pytest.fixture
def hill(project):
    return load_experiment(project / "experiments" / "hill.py")


@pytest.fixture
def search(hill, project):
    """Search the hill; returns the result's folder and the Search."""

    def search(over=RATE, name="loss", *, is_maximised=False, num_seeds=1, num_trials=8, fresh=False, **rest):
        values = {key: rest.pop(key) for key in list(rest) if hasattr(hill.smoke, key)}
        config = changed(hill.config_class(), values)
        sizes = {"num_seeds": num_seeds, "smoke": False}
        asked = searches.search_of(hill, config, space_of(config, over), name, is_maximised=is_maximised, **sizes)
        told = {"num_trials": num_trials, "fresh": fresh, "command": "sgdsde search hill", "say": lambda line: None}
        return searches.run_search(asked, project / "runs", **told | rest), asked

    return search


def rows_of(folder):
    with open(folder / "trials.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def best_of(folder):
    return json.loads((folder / "search.json").read_text())["best"][0]


def test_the_space_of_each_kind_of_field(hill):
    texts = {"rate": "0.001:1:log", "noise": "-1:2", "size": "1:64:log"}
    assert space_of(hill.smoke, texts) == (
        Interval("rate", 0.001, 1.0, is_log=True, is_whole=False),
        Interval("noise", -1.0, 2.0, is_log=False, is_whole=False),
        Interval("size", 1, 64, is_log=True, is_whole=True),
    )
    texts = {"size": "1:8:log2", "kind": "plain,worse", "scales": "(1,2),(3,4,5)", "is_odd": "true,false"}
    choices = space_of(hill.smoke, texts)
    assert choices == (
        Choices("size", (1, 2, 4, 8)),
        Choices("kind", ("plain", "worse")),
        Choices("scales", ((1.0, 2.0), (3.0, 4.0, 5.0))),
        Choices("is_odd", (True, False)),
    )
    drawn = {part.field: part.distribution().choices[-1] for part in choices}
    expected = {"size": 8, "kind": "worse", "scales": (3.0, 4.0, 5.0), "is_odd": False}
    assert values_of(choices, drawn) == expected
    ends = end_points(space_of(hill.smoke, {"rate": "1:2", "kind": "plain,worse"}))
    assert ends == [{"rate": 1, "kind": "plain"}, {"rate": 2, "kind": "plain"}, {"rate": 1, "kind": "worse"}]


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "names no field"),
        ({"raet": "1:2"}, "no field `raet`. Did you mean `rate`?"),
        ({"seed": "1:2"}, "seed is not searched"),
        ({"rate": "2:1"}, "the smaller one first"),
        ({"rate": "1:1"}, "the smaller one first"),
        ({"rate": "0:1:log"}, "needs 0 < a < b"),
        ({"rate": "a:1"}, "cannot read the interval"),
        ({"rate": "1:inf"}, "finite"),
        ({"rate": "1:2:lag"}, "cannot read the range"),
        ({"rate": "0.1"}, "a single value; set it with --rate 0.1"),
        ({"size": "1.5:3"}, "whole numbers"),
        ({"kind": "plain,wrose"}, "Did you mean `worse`?"),
    ],
)
def test_a_space_that_is_none(hill, over, message):
    with pytest.raises(ExperimentError) as raised:
        space_of(hill.smoke, over)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("over", "name", "message"),
    [
        (RATE, "lsos", "hill has no value `lsos`. Did you mean `loss`? Valid: broken, loss, loss at size 8"),
        (RATE, "profile[3]", "shape (3,)"),
        (RATE, "profile[0,0]", "shape (3,)"),
        (RATE, "profil[0]", "Did you mean `profile`?"),
        (RATE, "check:loss at siez 8", "no check `loss at siez 8`. Did you mean `loss at size 8`?"),
        ({"size": "60:70"}, "loss", "reaches size=70, where Config: size must be at most 64"),
        ({"size": "7,13"}, "loss", "an unlucky size"),
    ],
)
def test_what_cannot_be_searched_is_said_before_computing(search, project, monkeypatch, over, name, message):
    def compute(*arguments):
        raise AssertionError("computed")

    monkeypatch.setattr(evaluation.Program, "__call__", compute)
    with pytest.raises(ExperimentError) as raised:
        search(over, name)
    assert message in str(raised.value)
    assert not (project / "runs").exists()


def test_the_bottom_is_found_and_written_down(search, hill):
    folder, _ = search(num_trials=40, at_once=8)
    best = best_of(folder)
    assert 0.05 < best["values"]["rate"] < 0.2, (
        "within log 2 of 0.1, 15 % of the interval; 40 random ones miss once in 600"
    )
    assert best["value"] == pytest.approx(math.log(best["values"]["rate"] / 0.1) ** 2, rel=1e-9)
    assert best["command"] == f"sgdsde run experiments/hill.py --float64 --rate {best['values']['rate']}"
    rows = rows_of(folder)
    assert [int(row["trial"]) for row in rows] == list(range(40))
    assert min(float(row["objective"]) for row in rows) == best["value"]
    assert len({row["rate"] for row in rows}) == 40
    record = results.verified(folder)
    assert (record["status"], record["hash"]) == ("done", folder.name)
    assert {"search.json", "trials.csv", "journal.log", "figure.png"} <= record["checksums"].keys()


def test_large_is_good_when_asked(search):
    folder, _ = search(is_maximised=True, num_trials=8)
    assert best_of(folder)["value"] == max(float(row["objective"]) for row in rows_of(folder))


@pytest.mark.parametrize(
    ("name", "offset"), [("profile", 1.0), ("profile[2]", 2.0), ("profile[-3]", 0.0), ("check:loss at size 8", 0.0)]
)
def test_every_kind_of_objective(search, name, offset):
    folder, asked = search(name=name, num_trials=2, at_once=2)
    for row in rows_of(folder):
        assert float(row["objective"]) == pytest.approx(math.log(float(row["rate"]) / 0.1) ** 2 + offset, rel=1e-9)
    assert asked.objective.check == (name.removeprefix("check:").replace("8", "#") if "check" in name else None)


def test_a_check_whose_name_holds_a_swept_number(search):
    folder, _ = search({"size": "4,8"}, "loss at size 4", num_trials=3, at_once=3)
    assert {row["state"] for row in rows_of(folder)} == {"done"}


def test_a_trial_is_the_mean_over_its_seeds(search, hill):
    folder, _ = search(noise=0.5, seed=3, num_seeds=5, num_trials=2, at_once=2)
    for row in rows_of(folder):
        config = changed(hill.config_class(), {"rate": float(row["rate"]), "noise": 0.5})
        losses = [float(hill.run(config, jax.random.key(seed))["loss"]) for seed in range(3, 8)]
        assert float(row["objective"]) == pytest.approx(np.mean(losses), rel=1e-9)
        assert float(row["standard_error"]) == pytest.approx(np.std(losses, ddof=1) / 5**0.5, rel=1e-9)
    folder, _ = search(name="seed_seen", seed=3, num_seeds=5, num_trials=1)
    assert float(rows_of(folder)[0]["objective"]) == 5
    folder, _ = search(name="odd", seed=3, num_seeds=5, num_trials=1)
    assert float(rows_of(folder)[0]["objective"]) == 5, "the checks of a seed get its Config"


def test_what_is_not_finite_is_never_best(search):
    folder, _ = search(name="broken", is_maximised=True, num_trials=16, at_once=8)
    rows = rows_of(folder)
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed
    assert all(float(row["rate"]) > 1 and row["objective"] == "" for row in failed)
    assert {row["reason"] for row in failed} == {"broken is not finite"}
    assert all(float(row["rate"]) <= 1 for row in rows if row["state"] == "done")
    described = json.loads((folder / "search.json").read_text())
    assert described["num_failed"] == len(failed)
    assert max(float(row["objective"]) for row in rows if row["objective"]) == described["best"][0]["value"]


def test_the_search_keeps_away_from_where_runs_diverge(search):
    """Where four fifths of an interval diverge: ten or fewer of twenty random points would, once in 400 times."""
    import optuna

    folder, _ = search({"rate": "0.01:5"}, "broken", num_trials=40, at_once=4)
    rows = rows_of(folder)
    assert sum(row["state"] == "failed" for row in rows[20:]) <= 10
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "journal.log")))
    trials = optuna.load_study(study_name="search", storage=storage).trials
    assert [trial.state.name for trial in trials] == [
        {"failed": "FAIL", "done": "COMPLETE"}[row["state"]] for row in rows
    ]
    assert [trial.params["rate"] for trial in trials] == [float(row["rate"]) for row in rows]


def test_one_bad_point_fails_alone(search):
    folder, _ = search({"size": "12:14"}, num_trials=3, at_once=8)
    folder, _ = search({"size": "12:14"}, num_trials=12, at_once=8)
    states = {(row["size"], row["state"]) for row in rows_of(folder)}
    assert ("13", "failed") in states
    assert states <= {("12", "done"), ("13", "failed"), ("14", "done")}
    assert all("an unlucky size" in row["reason"] for row in rows_of(folder) if row["size"] == "13")


def test_floats_do_not_compile_again(hill):
    objective = searches.Objective("loss", False, array="loss")
    kept = {"num_seeds": 3, "smoke": False, "in_background": lambda function: function()}
    evaluator = evaluation.Evaluator(hill, hill.config_class(), objective, **kept)
    rates = iter(np.geomspace(0.01, 1, 40).tolist())
    points = lambda count, **fields: [{"rate": next(rates), **fields} for _ in range(count)]
    told = {}
    for number, batch in enumerate([points(4), points(4), points(2), points(3), points(1)]):
        for point, outcome in zip(batch, evaluator(batch), strict=True):
            told[point["rate"]] = outcome.value
        assert evaluator.num_compilations == 1, number
    for rate, value in told.items():
        assert value == pytest.approx(math.log(rate / 0.1) ** 2, rel=1e-9)
    evaluator = evaluation.Evaluator(hill, hill.config_class(), objective, **kept)
    for batch, total in [
        (points(1, size=4), 1),
        (points(2, size=4), 2),
        (points(1, size=4), 2),
        (points(2, size=5), 3),
    ]:
        for point, outcome in zip(batch, evaluator(batch), strict=True):
            expected = math.log(point["rate"] / 0.1) ** 2 + (point["size"] - 8) ** 2 / 64
            assert outcome.value == pytest.approx(expected, rel=1e-9)
        assert evaluator.num_compilations == total
    mixed = [*points(1, size=4), *points(1, size=5), *points(1, size=4), {"rate": 1.0, "size": 65}]
    *outcomes, wrong = evaluator(mixed)
    for point, outcome in zip(mixed, outcomes):
        expected = math.log(point["rate"] / 0.1) ** 2 + (point["size"] - 8) ** 2 / 64
        assert outcome.value == pytest.approx(expected, rel=1e-9)
    assert wrong.reason == "Config: size must be at most 64"
    evaluator = evaluation.Evaluator(hill, hill.config_class(), objective, **kept)
    tuples = [{"scales": (1.0, 2.0)}, {"scales": (3.0,)}, {"scales": (4.0, 5.0)}]
    objective = searches.Objective("total", False, array="total")
    evaluator = evaluation.Evaluator(hill, hill.config_class(), objective, **kept)
    assert [outcome.value for outcome in evaluator(tuples)] == [3.0, 3.0, 9.0]
    assert [outcome.value for outcome in evaluator(tuples[::-1])] == [9.0, 3.0, 3.0]
    assert evaluator.num_compilations == 2


def test_a_point_is_computed_once(search, monkeypatch):
    seen = []
    original = evaluation.Evaluator.__call__

    def counted(self, points):
        seen.extend(point["kind"] for point in points)
        return original(self, points)

    monkeypatch.setattr(evaluation.Evaluator, "__call__", counted)
    folder, _ = search({"kind": "plain,worse"}, num_trials=9)
    assert len(rows_of(folder)) == 9
    assert sorted(seen) == ["plain", "worse"]


def test_more_trials_go_on_from_those_that_are_there(search, monkeypatch):
    folder, _ = search(num_trials=3)
    first = rows_of(folder)
    shutil.rmtree(journals.journal_folder(folder))
    again, _ = search(num_trials=6)
    assert again == folder
    rows = rows_of(folder)
    assert rows[:3] == first
    assert len({row["rate"] for row in rows}) == 6, "a resumed search does not repeat what its sampler drew"
    monkeypatch.setattr(evaluation.Program, "__call__", None)
    assert search(num_trials=6)[0] == folder
    monkeypatch.undo()


def test_fresh_begins_anew(search):
    folder, _ = search(num_trials=3)
    search(num_trials=2, fresh=True)
    assert len(rows_of(folder)) == 2


def test_interrupted_or_not_the_trials_are_the_same(search, monkeypatch):
    """Batches are proposed from the seed and the trials before, whichever process computes them."""
    folder, _ = search(num_trials=8, at_once=4)
    whole = rows_of(folder)
    shutil.rmtree(folder.parent)
    tell, told = journals.Journal.tell, []

    def failing(self, asked, outcome):
        if len(told) == 2:
            raise OSError("the disk is full")
        told.append(asked)
        tell(self, asked, outcome)

    monkeypatch.setattr(journals.Journal, "tell", failing)
    with pytest.raises(OSError, match="full"):
        search(num_trials=8, at_once=4)
    monkeypatch.setattr(journals.Journal, "tell", tell)
    search(num_trials=4, at_once=4)
    kept = lambda rows: [(row["rate"], row["objective"]) for row in rows]
    assert sorted(kept(rows_of(folder))) == sorted(kept(whole[:4])), "two trials that were left behind are asked again"
    search(num_trials=8, at_once=4)
    assert len(rows_of(folder)) == len({row["rate"] for row in rows_of(folder)}) == 8


def test_ctrl_c_ends_after_the_batch_under_way(search, monkeypatch):
    original = evaluation.Evaluator.__call__

    def interrupted(self, points):
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, points)

    monkeypatch.setattr(evaluation.Evaluator, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(num_trials=8, at_once=3)
    monkeypatch.setattr(evaluation.Evaluator, "__call__", original)
    folder, _ = search(num_trials=3)
    assert results.verified(folder)["status"] == "done"
    assert len(rows_of(folder)) == 3


def test_the_journal_outlives_a_torn_line_and_a_told_trial(tmp_path):
    distributions = {"rate": Interval("rate", 0.1, 1.0, is_log=False, is_whole=False).distribution()}
    settings = {"is_maximised": False, "seed": 0}
    folder = tmp_path / "search-0"
    journals.check_optuna()
    with journals.opened(folder, distributions, **settings) as journal:
        first, second, third = journal.ask(3, 9)[0]
        journal.tell(first, Outcome(1.0))
        second.trial.set_user_attr("told", vars(Outcome(2.0, seconds=3.0)))
    with open(journals.journal_folder(folder) / "journal.log", "ab") as file:
        file.write(b'{"op_code": 4, "wor')
    with journals.opened(folder, distributions, **settings) as journal:
        (again,), others_work = journal.ask(1, 9)
        assert again.drawn == third.drawn
        assert again.number == 3
        assert not others_work
        journal.tell(again, Outcome(None, reason="diverged"))
        assert [(number, outcome.value) for number, _, outcome in journal.told()] == [(0, 1.0), (1, 2.0), (3, None)]
        assert journal.ask(4, 3) == ([], False)
        assert len(journal.ask(4, 5)[0]) == 2


def test_the_command(project, hill, capsys, monkeypatch):
    with pytest.raises(ExperimentError, match="either --minimise NAME or --maximise NAME"):
        searching.search(["hill", "--over", "rate=0.01:1", "--trials", "2"])
    with pytest.raises(ExperimentError, match="searched by --over and set by --rate"):
        searching.search(["hill", "--over", "rate=0.01:1", "--trials", "2", "--minimise", "loss", "--rate=3"])
    with pytest.raises(ExperimentError, match="--trials: expected at least 1"):
        searching.search(["hill", "--over", "rate=0.01:1", "--trials", "0", "--minimise", "loss"])
    words = [
        "hill",
        "--over",
        "rate=0.01:1:log",
        "size=7,8",
        "--minimize",
        "loss",
        "--trials",
        "6",
        "--smoke",
        "--noise",
        "0.1",
    ]
    assert searching.search([*words, "--scales", "1", "3", "--is_odd"]) == 0
    printed = capsys.readouterr().out
    (folder,) = (project / "runs" / "hill").glob("search-*")
    best = best_of(folder)
    assert f"best: {best['command']}" in printed.splitlines()
    assert "hill: the best 5 of 6 trials to minimise loss" in printed
    expected = f"--smoke --float64 --rate {best['values']['rate']} --size {best['values']['size']} --scales 1.0 3.0 "
    assert best["command"] == f"sgdsde run experiments/hill.py {expected}--noise 0.1 --is_odd"
    assert searching.search(["--help"]) == 0
    assert "--minimise" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ExperimentError, match="pip install"):
        searching.search(words)


def test_a_search_without_any_value_says_so(project, hill, capsys):
    words = ["hill", "--over", "rate=2:3", "--minimise", "broken", "--trials", "2"]
    assert searching.search(words) == 3
    assert "No trial has a value" in capsys.readouterr().err


def test_the_figure(project, search, hill, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(style, "save", lambda figure, folder: drawn.append(figure))
    search({"rate": "0.01:10:log", "kind": "plain,worse"}, "broken", num_seeds=2, num_trials=8)
    (figure,) = drawn
    panels = figure.axes
    assert [panel.get_xlabel() for panel in panels] == ["trial", "rate", "kind"]
    assert {panel.get_ylabel() for panel in panels} == {"broken"}
    best = panels[0].lines[-1] if panels[0].lines else None
    assert best is not None
    figure.canvas.draw()


def program(words):
    return [
        sys.executable,
        "-c",
        f"import sys; from sgdsde.commands import searching; sys.exit(searching.search({words}))",
    ]


@pytest.mark.slow
def test_killed_in_a_batch_nothing_is_lost_and_nothing_twice(project):
    words = ["hill", "--over", "rate=0.01:1:log", "--minimise", "odd", "--trials", "7", "--at-once", "3"]
    start = lambda: subprocess.Popen(program(words), env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    Path("hang").touch()
    killed = start()
    limit = time.monotonic() + 90
    while not Path("waiting").exists():
        assert killed.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    Path("hang").unlink()
    both = [start(), start()]
    for process in both:  # they cannot have the trials of the one that hangs, and wait for it
        time.sleep(1)
        assert process.poll() is None
    killed.kill()
    killed.communicate()
    for process in both:
        _, error = process.communicate()
        assert process.returncode == 0, error
    (folder,) = (project / "runs" / "hill").glob("search-*")
    rows = rows_of(folder)
    assert len(rows) == len({row["rate"] for row in rows}) == 7
    assert max(int(row["trial"]) for row in rows) == 9, "three were left behind"
    assert results.verified(folder)["status"] == "done"

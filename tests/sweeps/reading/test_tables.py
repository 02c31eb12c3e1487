"""What is printed of sweeps: every point, nothing dropped without a word."""

import json
import re

import numpy as np
import pytest
from rich.console import Console

from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.reading import tables
from sgdsde.sweeps.reading.averages import seed_averages
from sgdsde.sweeps.reading.tables import print_comparison, print_sweep

AXES = [{"learning_rate": [0.1, 0.2]}, {"noise": ["sgd", "levy"]}]


def test_a_row_a_point_with_what_was_left_out_and_totals(dataset_of, capsys):
    loss = np.array([[[1.0, 3.0], [2.0, np.nan]], [[np.nan, np.nan], [8.0, 8.0]]])
    failed = np.zeros((2, 2, 2))
    failed[1, 0, 1] = 1
    passed = [[[1, 1], [1, 0]], [[0, -1], [-1, -1]]]
    failures = [{"point": {"learning_rate": 0.2, "noise": "sgd"}, "seed": i, "reason": f"reason {i}"} for i in range(7)]
    dataset = dataset_of(
        AXES, {"loss": loss}, failed=failed, failures=json.dumps(failures), checks={"law": (3.0, 3.0, 0.1, passed)}
    )
    print_sweep(dataset)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "0.1 sgd 3 2 ± 1 0 0 1 of 1" in lines
    assert "0.1 levy 3 2 (1/2) 1 0 1 of 1" in lines  # its check did not diverge, and agrees over both seeds
    assert "0.2 sgd 3 ± 0.1 (1/2) - 1 1 0 of 1" in lines  # one seed is left: the error that its check gave
    assert "0.2 levy 3 8 0 0" in lines  # its checks were not judged
    total = "toy: 4 points x 2 seeds; 2 not finite (loss), 1 failed; 2 of 3 verdicts pass over seeds;"
    assert any(line.startswith(total) for line in lines)
    assert any(line.endswith("of single runs 3 of 5") for line in lines)
    assert "failed: learning_rate = 0.2, noise = sgd, seed 4: reason 4" in lines
    assert "... and 2 more failed" in lines
    assert not any("reason 5" in line for line in lines)


def test_verdicts_over_seeds_are_coloured_and_counted_beside_those_of_single_runs(dataset_of, capsys, monkeypatch):
    far = [[1.0, 1.0], [0.9, 1.1], [3.0, 3.0], [1.0, np.nan]]
    checks = {"law": (far, 1.0, 0.5, [[0, 0], [0, 0], [0, 0], [0, 0]]), "sign": (1.0, 0.0, 0.0, 1, 0.0, "above")}
    dataset = dataset_of([{"learning_rate": [0.1, 0.2, 0.3, 0.4]}], {}, checks=checks)
    monkeypatch.setattr(tables, "console", lambda: Console(force_terminal=True, width=80, color_system="standard"))
    print_sweep(dataset)
    text = capsys.readouterr().out
    rows = [line for line in text.splitlines() if " of 2" in line]
    green, yellow, red = "\x1b[32m", "\x1b[1;33m", "\x1b[1;31m"
    expected = [
        (green, "2 of 2", "", " 1 "), (yellow, "1 of 2", yellow, "1 ± 0.1"),
        (red, "1 of 2", red, "3"), (red, "1 of 2", red, "1 ± 0.5 (1/2)"),
    ]  # fmt: skip
    for row, (colour, count, marked, mean) in zip(rows, expected, strict=True):
        assert f"{colour}{count}" in row
        assert f"{marked}{mean}" in re.sub("m +", "m", row)
        assert row.count("\x1b[1;3") == 2 * bool(marked), "the other check passed, it has no colour"
    assert "5 of 8 verdicts pass over seeds; of single runs 8 of 16" in " ".join(text.split())
    print_sweep(dataset.isel(seed=[0]))
    told = capsys.readouterr().out
    assert "4 points x 1 seed; 0 not finite, 0 failed; 4 of 8 checks passed" in " ".join(told.split())
    assert "over seeds" not in told


def test_a_verdict_that_rests_on_a_smaller_error_than_the_one_shown_says_so(dataset_of, capsys):
    """1 ± 0.03 over two seeds, tolerance 0.1: 5.9 * 0.03 > 0.1, but the check's own errors are 0.014 together."""
    rates = {"learning_rate": [0.1]}
    told = []
    for deviation in (0.03, 0.001):
        measured = [[1 - deviation, 1 + deviation]]
        print_sweep(dataset_of([rates], {}, checks={"law": (measured, 1.0, 0.02, 0)}))
        told.append(" ".join(capsys.readouterr().out.split()))
    assert all("1 of 1 verdicts pass over seeds" in each for each in told)
    assert [tables.OWN_ERROR in each for each in told] == [True, False], "0.001 is below the check's own"


def test_smoke_is_not_judged_and_single_runs_without_a_common_tolerance_are_counted_alone(dataset_of, capsys):
    print_sweep(dataset_of(AXES, {}, checks={"law": (3.0, 3.0, 0.1, -1)}))
    told = capsys.readouterr().out
    assert "checks not judged" in told
    assert "checks passed" not in told
    print_sweep(dataset_of(AXES, {}, checks={"law": (3.0, 3.0, 0.0, 1, [0.1, 0.2], "agree")}))
    assert "0 failed; 8 of 8 checks passed in single runs" in capsys.readouterr().out


def test_columns_that_do_not_fit_are_named(dataset_of, capsys):
    arrays = {f"quite_a_long_name_of_value_{i}": np.ones((2, 2, 2)) for i in range(12)}
    dataset = dataset_of(AXES, arrays)
    print_sweep(dataset)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines()[:8])) <= 160
    assert "more values, ask by name: `quite_a_long" in text
    print_sweep(dataset, values=["quite_a_long_name_of_value_11"])
    text = capsys.readouterr().out
    assert "ask by name" not in text
    assert "value_0" not in text
    with pytest.raises(ExperimentError, match="Did you mean"):
        print_sweep(dataset, values=["quite_a_long_name"])


def test_counts_of_nothing_give_way_to_values(dataset_of, capsys, monkeypatch):
    monkeypatch.setattr(tables, "console", lambda: Console(width=80))
    loss = {"quite_a_long_name_of_value": np.full((2, 2, 2), -1.234e-100) + [-1e-101, 1e-101]}
    print_sweep(dataset_of(AXES, loss | {"other": np.ones((2, 2, 2))}))
    header = " ".join(capsys.readouterr().out.split("━")[0].split())
    assert ("not finite" in header, "failed" in header, "other" in header) == (True, True, True)
    wide = {f"value_{i}": array for i, array in enumerate([*loss.values()] * 4)}
    print_sweep(dataset_of(AXES, wide, failed=np.array([[[0, 1], [0, 0]]] * 2)))
    text = capsys.readouterr().out
    assert ("not finite" in text.split("━")[0], "failed" in text.split("━")[0]) == (False, True)
    assert "0 not finite, 2 failed" in text


def test_the_reason_why_checks_were_not_judged_is_told(dataset_of, capsys):
    print_sweep(dataset_of(AXES, {"loss": np.ones((2, 2, 2))}, check_failure="ValueError: unstable"))
    assert "some checks could not be judged: ValueError: unstable" in capsys.readouterr().out


def test_many_points_are_cut_with_a_word(dataset_of, capsys):
    rates = {"learning_rate": (1 + np.arange(300)) / 1000}
    print_sweep(dataset_of([rates], {"loss": np.ones((300, 2))}))
    assert "100 more points are in the summary" in capsys.readouterr().out


@pytest.mark.parametrize("arrays", [{}, {"loss": [np.nan, 1.0]}])
def test_a_single_point_is_a_table_too(dataset_of, capsys, arrays):
    print_sweep(dataset_of([], arrays))
    assert (
        f"toy: 1 point x 2 seeds; {'1 not finite (loss)' if arrays else '0 not finite'}, 0 failed"
        in capsys.readouterr().out
    )


def test_a_comparison_marks_what_differs_and_tells_what_is_alone(dataset_of, capsys):
    first = dataset_of([{"learning_rate": [0.1, 0.2]}], {"loss": [[1.0, 3.0], [1.0, np.nan]]})
    second = dataset_of(
        [{"learning_rate": [0.1, 0.2, 0.3]}],
        {"loss": [[21.0, 23.0], [1.0, np.nan], [0.0, 0.0]], "new": np.ones((3, 2))},
    )
    print_comparison(first, second)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "0.1 loss 2 ± 1 22 ± 1 20 14.1 differs" in lines
    assert "0.2 loss 1 (1/2) 1 (1/2) 0 - equal" in lines
    assert "0 points only in the first, 1 point only in the second" in lines
    assert "only in the second: new" in lines
    assert any(line.startswith("2 values compared: 1 differ") and "1 equal" in line for line in lines)


def test_a_long_comparison_shows_what_differs(dataset_of, capsys):
    rates = {"learning_rate": (1 + np.arange(300)) / 1000}
    loss = np.ones((300, 2))
    other = loss.copy()
    other[7] = 2
    print_comparison(dataset_of([rates], {"loss": loss}), dataset_of([rates], {"loss": other}))
    text = capsys.readouterr().out
    assert text.count("differs") == 1
    assert "300 values compared: 1 differ" in text
    assert "only those that differ or cannot be judged are shown" in text


def test_a_check_that_a_point_does_not_have_is_no_divergence(dataset_of, capsys):
    """Points with fewer checks than others have NaN in their places; their arrays are whole."""
    there = np.array([[True], [False]])
    numbers = (np.where(there, value, np.nan) for value in (1.0, 1.0, 0.1))
    checks = {"law": (*numbers, np.where(there, 1, -1), np.where(there, 0.1, np.nan), "agree")}
    dataset = dataset_of([{"learning_rate": [0.1, 0.2]}], {"loss": np.ones((2, 2))}, checks=checks)
    (row,) = (average for average in seed_averages(dataset) if average.kind == "check")
    np.testing.assert_array_equal(row.num_diverged, [0, 0])
    assert row.verdict.tolist() == ["pass", None]
    print_sweep(dataset)
    assert "2 points x 2 seeds; 0 not finite, 0 failed; 1 of 1 verdicts pass" in " ".join(
        capsys.readouterr().out.split()
    )
    gone = dataset.assign(check_measured=dataset["check_measured"] * np.nan)
    (row,) = (average for average in seed_averages(gone) if average.kind == "check")
    np.testing.assert_array_equal(row.num_diverged, [2, 0])  # a check that is made, and is no number


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("sgd_sharp[temperature=0.4, learning_rate=0.1]", ["sgd_sharp", "[temperature=0.4,", "learning_rate=", "0.1]"]),
        ("means[scale=2]", ["means[scale=2]"]),
        ("SGD: sharp basin at T = 1", ["SGD: sharp basin", "at T = 1"]),
        ("quite_a_long_name_of_value", ["quite_a_long_", "name_of_value"]),
    ],
)
def test_heads_are_cut_between_words(name, lines):
    head = tables._head(name, 16).split("\n")
    assert "".join(head).replace(" ", "") == name.replace(" ", "")
    assert head[:2] == lines[:2]

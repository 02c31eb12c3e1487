"""Two sweeps side by side: the arithmetic, the verdicts, and what is refused."""

import json

import numpy as np
import pytest

from sgdsde.experiment.check import STANDARD_ERRORS
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.reading.differences import (
    DIFFERENCE_COLUMNS,
    changed_fields,
    comparison_rows,
    num_unmatched_points,
    unmatched_names,
)

RATES = {"learning_rate": [0.1, 0.2]}


def test_differences_are_counted_in_standard_errors(dataset_of):
    first = dataset_of([RATES], {"loss": [[1.0, 3.0], [1.0, 3.0]]})  # 2 +- 1 at both
    second = dataset_of([{"learning_rate": [0.2, 0.1]}], {"loss": [[50.0, 52.0], [4.0, 6.0]]})  # 51 +- 1, 5 +- 1
    rows = comparison_rows(first, second)
    assert [row["learning_rate"] for row in rows] == [0.1, 0.2]
    assert list(rows[0]) == ["learning_rate", *DIFFERENCE_COLUMNS]
    np.testing.assert_allclose([row["difference"] for row in rows], [3.0, 49.0])
    np.testing.assert_allclose([row["z"] for row in rows], np.array([3.0, 49.0]) / np.sqrt(2))
    assert [row["verdict"] for row in rows] == ["within", "differs"]


@pytest.mark.parametrize(("factor", "verdict"), [(0.999, "within"), (1.001, "differs")])
def test_the_limit_is_that_of_the_checks(dataset_of, factor, verdict):
    first = dataset_of([], {"loss": [-1.0, 1.0]})
    second = dataset_of([], {"loss": np.array([-1.0, 1.0]) + factor * STANDARD_ERRORS * np.sqrt(2)})
    assert comparison_rows(first, second)[0]["verdict"] == verdict


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ([2.0, 2.0], [2.0, 2.0], "equal"),
        ([2.0, 2.0], [2.0000001, 2.0000001], "differs"),  # no error on either side: exact numbers
        ([2.0, np.nan], [2.5, np.nan], "differs"),  # one seed each: no error is known
        ([2.0, np.nan], [1.0, 3.5], "unknown"),  # a single number beside a mean with an error
        ([2.0, 2.0], [1.0, 3.5], "within"),
        ([2.0, 2.0], [1.0, 3.0], "equal"),
        ([np.nan, np.nan], [1.0, 3.0], "differs"),
        ([np.nan, np.nan], [np.inf, np.nan], "equal"),
    ],
)
def test_verdicts_without_an_error_on_both_sides(dataset_of, one, other, verdict):
    first, second = dataset_of([], {"loss": one}), dataset_of([], {"loss": other})
    for pair in ((first, second), (second, first)):
        (row,) = comparison_rows(*pair)
        assert row["verdict"] == verdict
        assert row["z"] is None or verdict in ("within", "equal")


def test_a_single_seed_of_a_check_has_the_error_that_the_check_gave(dataset_of):
    sweeps = [dataset_of([], {}, num_seeds=1, checks={"law": ([x], 1.0, 0.3, 1)}) for x in (1.0, 2.0)]
    (row,) = comparison_rows(*sweeps)
    np.testing.assert_allclose(row["z"], 1 / np.hypot(0.3, 0.3))
    assert row["first_num_finite"] == 1


def test_only_what_both_have_is_compared_and_the_rest_is_told(dataset_of):
    first = dataset_of([RATES], {"loss": np.zeros((2, 2)), "old": np.zeros((2, 2))})
    settings = json.dumps({"learning_rate": 9.0, "num_steps": 200, "seed": 5})
    rates = {"learning_rate": [0.2, 0.3, 0.4]}
    second = dataset_of([rates], {"new": np.zeros((3, 2)), "loss": np.zeros((3, 2))}, config=settings)
    assert [(row["learning_rate"], row["name"]) for row in comparison_rows(first, second)] == [(0.2, "loss")]
    assert num_unmatched_points(first, second) == (1, 2)
    assert unmatched_names(first, second) == (["old"], ["new"])
    assert changed_fields(first, second) == {"num_steps": (100, 200)}


def test_the_order_of_the_axes_does_not_matter(dataset_of):
    loss = np.arange(8.0).reshape(2, 2, 2)
    first = dataset_of([RATES, {"kind": ["a", "b"]}], {"loss": loss})
    second = dataset_of([{"kind": ["a", "b"]}, RATES], {"loss": loss.transpose(1, 0, 2)})
    rows = comparison_rows(first, second)
    assert [row["verdict"] for row in rows] == ["equal"] * 4
    assert [(row["learning_rate"], row["swept_kind"]) for row in rows[:2]] == [(0.1, "a"), (0.1, "b")]


def test_strangers_are_refused(dataset_of):
    first = dataset_of([RATES], {"loss": np.zeros((2, 2))})
    with pytest.raises(ExperimentError, match="different experiments, `toy` and `other`"):
        comparison_rows(first, dataset_of([RATES], {"loss": np.zeros((2, 2))}, experiment="other"))
    with pytest.raises(ExperimentError, match="sweep different fields, `learning_rate` and `batch_size`"):
        comparison_rows(first, dataset_of([{"batch_size": [1, 2]}], {"loss": np.zeros((2, 2))}))

"""The tidy rows: their points, their columns and the file."""

import csv

import numpy as np

from sgdsde.sweeps.reading.summary import VALUE_COLUMNS, points, summary_rows, write_summary_csv


def test_rows_are_points_times_values_in_order(dataset_of):
    axes = [{"learning_rate": [0.1, 0.2]}, {"batch_size": [1, 8], "sampling": ["epoch", "with_replacement"]}]
    loss = np.arange(8.0).reshape(2, 2, 2)
    rows = summary_rows(dataset_of(axes, {"loss": loss}, checks={"law": (loss, 2.0, 0.5, [1, 0])}))
    assert len(rows) == 8
    assert list(rows[0]) == ["learning_rate", "batch_size", "sampling", *VALUE_COLUMNS]
    assert rows[2] == {
        "learning_rate": 0.1, "batch_size": 8, "sampling": "with_replacement", "kind": "array", "name": "loss",
        "value": 2.5, "standard_error": 0.5, "num_seeds": 2, "num_diverged": 0, "num_failed": 0, "predicted": None,
        "own_standard_error": None, "num_judged": None, "num_passed": None, "verdict": None,
    }  # fmt: skip
    assert rows[7]["name"] == "law"
    assert (rows[7]["predicted"], rows[7]["num_passed"], rows[7]["num_judged"]) == (2.0, 1, 2)
    assert [row["verdict"] for row in rows if row["kind"] == "check"] == ["fail"] * 4
    np.testing.assert_allclose(rows[7]["own_standard_error"], 0.5 / np.sqrt(2))
    assert all(type(value) in (str, int, float, type(None)) for row in rows for value in row.values())


def test_a_field_called_like_a_column_has_another_one(dataset_of):
    dataset = dataset_of([{"kind": ["a", "b"], "learning_rate": [0.1, 0.2]}], {"loss": np.zeros((2, 2))})
    assert points(dataset)[1] == {"swept_kind": "b", "learning_rate": 0.2}
    assert [(row["swept_kind"], row["kind"]) for row in summary_rows(dataset)] == [("a", "array"), ("b", "array")]


def test_nothing_swept_is_one_point(dataset_of):
    dataset = dataset_of([], {"loss": [1.0, 3.0]})
    assert points(dataset) == [{}]
    (row,) = summary_rows(dataset)
    assert (row["value"], row["standard_error"]) == (2.0, 1.0)


def test_the_file_says_pass_or_why_not(dataset_of, tmp_path):
    measured = [[1.0, 1.0], [0.9, 1.1], [1.0, np.nan], [3.0, 3.0]]
    dataset = dataset_of(
        [{"learning_rate": [0.1, 0.2, 0.3, 0.4]}], {}, checks={"law": (measured, 1.0, 0.5, [[0], [0], [0], [-1]])}
    )
    write_summary_csv(tmp_path / "summary.csv", dataset)
    with open(tmp_path / "summary.csv", newline="") as stream:
        assert [row["verdict"] for row in csv.DictReader(stream)] == ["pass", "underpowered", "fail", ""]


def test_the_file_holds_the_rows(dataset_of, tmp_path):
    loss = [[1.0, np.nan], [np.nan, np.inf]]
    dataset = dataset_of([{"learning_rate": [0.1, 0.2]}], {"loss": loss}, failed=[[0, 0], [1, 0]])
    write_summary_csv(tmp_path / "summary.csv", dataset)
    text = (tmp_path / "summary.csv").read_bytes().decode()
    assert text.splitlines()[0] == ",".join(["learning_rate", *VALUE_COLUMNS])
    assert text.splitlines()[1:] == ["0.1,array,loss,1.0,,2,1,0,,,,,", "0.2,array,loss,nan,,2,1,1,,,,,"]
    with open(tmp_path / "summary.csv", newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == ["loss", "loss"]

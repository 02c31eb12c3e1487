"""What is written is what is read back, and damage is found."""

import csv
import json
import random

import numpy as np
import pytest

from sgdsde.experiment import Check, ExperimentError, results

RECORD = {
    "schema": results.SCHEMA, "experiment": "toy", "status": "done", "reason": None, "command": "sgdsde run toy",
    "smoke": False, "seed": 0, "commit": None, "dirty": None, "source": "0", "hash": "0", "platform": "cpu",
    "num_cores": 2, "dtype": "float32", "wall_seconds": 1.0, "peak_memory_mib": 1.0,
}  # fmt: skip


def written(folder, arrays, dimensions=None):
    shapes = {name: array.shape for name, array in arrays.items()}
    folder.mkdir(exist_ok=True)
    results.write_arrays(folder / "data.nc", arrays, results.named_dimensions(shapes, dimensions or {}), {"title": "t"})
    results.write_json(folder / "config.json", {"mean": 1.0})
    results.write_provenance(folder, RECORD, seal=True)
    return folder


def test_arrays_return_exactly(tmp_path):
    arrays = {
        "single": np.array(1.5, np.float32),
        "whole": np.arange(6, dtype=np.int32).reshape(2, 3),
        "flags": np.array([True, False]),
        "holes": np.array([[np.nan, np.inf], [-np.inf, 0.1]]),
        "bytes": np.array([255, 0], np.uint8),
        "empty": np.zeros((0, 2)),
        "time": np.array([1.0, 2.0]),
    }
    loaded = results.load_result(written(tmp_path / "one", arrays, {"holes": ("time", "well")})).arrays
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_dimensions_are_named():
    shapes = {"density": (2, 3), "temperature": (2,), "other": (4,), "scalar": ()}
    assert results.named_dimensions(shapes, {"density": ("temperature", "position")}) == {
        "density": ("temperature", "position"),
        "temperature": ("temperature",),
        "other": ("other_0",),
        "scalar": (),
    }


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ({"densty": ("a", "b")}, "which run.. does not return. Did you mean `density`"),
        ({"density": ("a",)}, r"DIMENSIONS of `density` are \('a',\), but its shape is \(2, 3\)"),
        ({"density": ("a", "a")}, "but its shape is"),
        ({"density": ("a", "b"), "line": ("b",)}, "Dimension `b` is 3 long in `density`, 4 long in `line`"),
        ({"density": ("line", "b"), "line": ("c",)}, "`line` is a dimension and an array"),
    ],
)
def test_wrong_dimensions_are_explained(dimensions, message):
    with pytest.raises(ExperimentError, match=message):
        results.named_dimensions({"density": (2, 3), "line": (4,)}, dimensions)


def test_each_flipped_byte_is_found(tmp_path):
    folder = written(tmp_path / "one", {"x": np.linspace(0, 1, 50)})
    generator = random.Random(0)
    for file in sorted(folder.iterdir()):
        original = file.read_bytes()
        for _ in range(60):
            damaged = bytearray(original)
            damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
            file.write_bytes(damaged)
            with pytest.raises(ExperimentError):
                results.load_result(folder)
        file.write_bytes(original)
    assert results.load_result(folder).config == {"mean": 1.0}


def test_a_missing_an_additional_and_a_truncated_file_are_found(tmp_path):
    folder = written(tmp_path / "one", {"x": np.ones(3)})
    (folder / ".DS_Store").write_text("the system's own")
    assert results.verified(folder)["status"] == "done"
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ExperimentError, match=r"notes\.txt does not belong there"):
        results.verified(folder)
    (folder / "notes.txt").unlink()
    (folder / "data.nc").write_bytes((folder / "data.nc").read_bytes()[:-1])
    with pytest.raises(ExperimentError, match=r"data\.nc is damaged"):
        results.verified(folder)
    (folder / "data.nc").unlink()
    with pytest.raises(ExperimentError, match=r"data\.nc is missing"):
        results.verified(folder)
    (folder / "provenance.json").unlink()
    with pytest.raises(ExperimentError, match="not a result folder"):
        results.load_result(folder)


def test_another_schema_is_refused(tmp_path):
    folder = written(tmp_path / "one", {"x": np.ones(3)})
    results.write_provenance(folder, RECORD | {"schema": 99}, seal=True)
    with pytest.raises(ExperimentError, match="schema 99"):
        results.load_result(folder)


def test_json_is_strict(tmp_path):
    check = Check("a", float("nan"), float("-inf"), 0.0, 0.1, "agree", "s")
    results.write_json(tmp_path / "v.json", {"checks": [check.as_dict()]})

    def forbidden(name):
        raise AssertionError(name)

    row = json.loads((tmp_path / "v.json").read_text(), parse_constant=forbidden)["checks"][0]
    assert np.isnan(float(row["measured"]))
    assert float(row["predicted"]) == -np.inf


def test_summary_is_tidy(tmp_path):
    arrays = {"x": np.array([1.0, 3.0]), "bad": np.array([1.0, np.nan]), "n": np.array(4)}
    checks = [Check("variance, both", 1.0, 2.0, 0.1, 0.2, "differ", "M 2.1")]
    results.write_summary(tmp_path / "s.csv", arrays, checks, judged=True)
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "s.csv").read_text().splitlines())}
    assert float(rows["x"]["value"]) == 2.0
    assert np.isnan(float(rows["bad"]["value"])), "a value that is not finite is not averaged away"
    assert rows["bad"]["num_nonfinite"] == "1"
    assert float(rows["n"]["value"]) == 4
    assert rows["variance, both"]["verdict"] == "pass"
    assert float(rows["variance, both"]["predicted"]) == 2.0

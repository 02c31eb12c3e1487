"""The axes of a sweep: what may be written, and what a mistake is told."""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.axes import axes_of, parsed_assignments


@dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    batch_size: int = 4
    scales: tuple[float, ...] = (1.0, 2.0)
    sampling: Literal["epoch", "with_replacement"] = "epoch"
    is_fast: bool = False
    name: str = "a"
    seed: int = 0


def values(**over):
    return [axis.values for axis in axes_of(Config(), over)]


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("learning_rate", "0.01,0.02, 4e-2", (0.01, 0.02, 0.04)),
        ("learning_rate", "1", (1.0,)),
        ("learning_rate", "0:1:5", (0.0, 0.25, 0.5, 0.75, 1.0)),
        ("learning_rate", "-1:1:3", (-1.0, 0.0, 1.0)),
        ("learning_rate", "0.01:0.08:log2", (0.01, 0.02, 0.04, 0.08)),
        ("learning_rate", "0.001:1:log10", (0.001, 0.01, 0.1, 1.0)),
        ("learning_rate", "1:16:3:log", (1.0, 4.0, 16.0)),
        ("batch_size", "1:64:log2", (1, 2, 4, 8, 16, 32, 64)),
        ("batch_size", "1:1000:log10", (1, 10, 100, 1000)),
        ("batch_size", "1:9:3", (1, 5, 9)),
        ("batch_size", "1e3,2000", (1000, 2000)),
        ("scales", "(1,2),(3,4)", ((1.0, 2.0), (3.0, 4.0))),
        ("scales", "(1,),(3,4,5)", ((1.0,), (3.0, 4.0, 5.0))),
        ("sampling", "epoch,with_replacement", ("epoch", "with_replacement")),
        ("is_fast", "true,False", (True, False)),
        ("name", "x,y", ("x", "y")),
    ],
)
def test_values_of_one_axis(field, text, expected):
    ((found,),) = [[axis[field]] for axis in values(**{field: text})]
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_lists_from_a_file_are_taken_as_they_are():
    assert values(learning_rate=[1, 0.5]) == [{"learning_rate": (1.0, 0.5)}]
    assert values(scales=[[1, 2], [3, 4]]) == [{"scales": ((1.0, 2.0), (3.0, 4.0))}]


def test_zipped_fields_are_one_axis_called_like_the_first():
    over, zipped = axes_of(Config(), {"name": "x,y"}, [{"learning_rate": "0.1,0.1", "batch_size": "1:2:log2"}])
    assert (over.name, len(over)) == ("name", 2)
    assert zipped.name == "learning_rate"
    assert zipped.values == {"learning_rate": (0.1, 0.1), "batch_size": (1, 2)}


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"learning_rat": "1"}, "Did you mean `learning_rate`"),
        ({"seed": "1,2"}, "--seeds"),
        ({"learning_rate": "0.1,0.1"}, "0.1 twice"),
        ({"learning_rate": "fast"}, "'fast' is not a number"),
        ({"learning_rate": "nan"}, "finite"),
        ({"learning_rate": "1:2"}, "cannot read the range"),
        ({"learning_rate": "1:2:x"}, "cannot read the range"),
        ({"learning_rate": "1:2:1"}, "at least two"),
        ({"learning_rate": "0:1:log10"}, "0 < a < b"),
        ({"learning_rate": "1:2:log1"}, "larger than 1"),
        ({"batch_size": "1:48:log2"}, "end at 32"),
        ({"batch_size": "1:4:3"}, "whole numbers"),
        ({"batch_size": "1.5"}, "whole number"),
        ({"sampling": "epok"}, "Did you mean `epoch`"),
        ({"is_fast": "maybe"}, "True or False"),
        ({"learning_rate": []}, "a list of values or a range"),
        ({"learning_rate": 3}, "a list of values or a range"),
    ],
)
def test_mistakes_name_the_field_and_how_to_mend_them(over, message):
    with pytest.raises(ExperimentError, match=message):
        axes_of(Config(), over)


def test_mistakes_of_zipped_fields():
    with pytest.raises(ExperimentError, match="as many values"):
        axes_of(Config(), {}, [{"learning_rate": "1,2", "batch_size": "1"}])
    with pytest.raises(ExperimentError, match="the same values twice"):
        axes_of(Config(), {}, [{"learning_rate": "1,1", "batch_size": "2,2"}])
    with pytest.raises(ExperimentError, match="swept twice"):
        axes_of(Config(), {"name": "a"}, [{"name": "a,b"}])


def test_assignments():
    assert parsed_assignments(["a=1,2", "b-c = 3"]) == {"a": "1,2", "b_c": "3"}
    for wrong in ("a", "a=", "=3"):
        with pytest.raises(ExperimentError, match="Cannot read"):
            parsed_assignments([wrong])
    with pytest.raises(ExperimentError, match="swept twice"):
        parsed_assignments(["a=1", "a=2"])


@given(st.integers(1, 50), st.integers(2, 9), st.integers(1, 6))
def test_a_range_of_powers_multiplies_exactly(first, factor, steps):
    (axis,) = values(batch_size=f"{first}:{first * factor**steps}:log{factor}")
    assert axis["batch_size"] == tuple(first * factor**k for k in range(steps + 1))


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.integers(2, 30))
def test_a_range_has_its_ends_and_its_number(first, last, count):
    if abs(first - last) < 1e-3:
        return
    (axis,) = values(learning_rate=f"{first}:{last}:{count}")
    found = axis["learning_rate"]
    assert (found[0], found[-1], len(found)) == (first, last, count)

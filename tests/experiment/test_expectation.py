"""SEE says no more than its checks hold."""

import pytest

from sgdsde.experiment import Check, ExperimentError
from sgdsde.experiment.expectation import filled, headlines, held, plain, sentence_of


def check(measured, predicted=1.0, tolerance=0.02, expect="agree", error=0.0, name="a: b, c"):
    return Check(name, measured, predicted, error, tolerance, expect, "source")


@pytest.mark.parametrize(
    ("measured", "predicted", "tolerance", "shown"),
    [
        (2.36, 2.369, 0.02, "2.4"),
        (2.36, 2.369, 0.005, "2.4"),
        (2.366, 2.369, 0.002, "2.37"),
        (1246.0, 1250.0, 0.003, "1,250"),
        (31.4, 31.3, 0.01, "31"),
        (0.0042, 0.0, 0.025, "0.0"),
        (0.0042, 0.0, 0.0005, "0.004"),
        (3.0, 3.0, 0.0, "3"),
        (0.123456, 0.123456, 0.0, "0.1235"),
    ],
)
def test_the_last_digit_shown_is_held(measured, predicted, tolerance, shown):
    """A measured number that moved by a unit of the last digit shown, either way, would fail."""
    assert held(check(measured, predicted, tolerance)) == shown
    if tolerance:
        decimals = len(shown.partition(".")[2]) or len(shown.rstrip("0")) - len(shown)
        for moved in (1.001 * 10.0**-decimals, -1.001 * 10.0**-decimals):
            assert not check(measured + moved, predicted, tolerance).passed


def test_each_form_and_what_is_refused():
    rows = [check(2.36, 2.369, error=0.001).as_dict(), check(0.5, 0.9, expect="below", name="low").as_dict()]
    rows.append(check(0.5, 0.9, expect="differ", name="other").as_dict())
    text = "{a: b, c} of {a: b, c | predicted} within {a: b, c | within}, z = {a: b, c | z}"
    text += "; {low}, not {other | predicted}"
    assert filled(text, rows) == "2.4 of 2.37 within 2 %, z = 9; < 0.9, not 0.9"
    assert [row["name"] for row in headlines(text, rows)] == ["a: b, c", "low", "other"]
    assert headlines("no numbers", rows) == rows
    for wrong in ("{other}", "{low | within}", "{a: b, c | error}"):
        with pytest.raises(ExperimentError, match="cannot be written"):
            filled(wrong, rows)
    with pytest.raises(ExperimentError, match="a brace is left"):
        filled("{P(|x| < 1)}", rows)
    with pytest.raises(ExperimentError, match=r"no check `lou`\. Did you mean `low`"):
        filled("{lou}", rows)


def test_it_is_read_without_running_the_file(tmp_path):
    file = tmp_path / "one.py"
    file.write_text('raise SystemExit\nSEE = "one" " {two}"\n')
    assert sentence_of(file) == "one {two}"
    file.write_text("x = 1\n")
    assert sentence_of(file) == ""
    file.write_text("SEE = f'{1}'\n")
    with pytest.raises(ExperimentError, match="string literal"):
        sentence_of(file)


@pytest.mark.parametrize(
    ("number", "digits", "shown"),
    [
        (0.0, 3, "0"),
        (1234.5, 3, "1,230"),
        (0.1, 3, "0.1"),
        (-2.369, 3, "-2.37"),
        (1e-9, 3, "1e-09"),
        (12369.0, 4, "12,370"),
    ],
)
def test_plain_numbers(number, digits, shown):
    assert plain(number, digits) == shown

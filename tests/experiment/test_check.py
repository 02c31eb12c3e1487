"""Check: every verdict at its exact boundary."""

import math
from dataclasses import FrozenInstanceError

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from sgdsde.experiment import Check
from sgdsde.experiment.check import check_of, judge


def check(measured, predicted, standard_error, tolerance=0.1, expect="agree"):
    return Check("name", measured, predicted, standard_error, tolerance, expect, "source")


# With standard error 1/5.9 the error bar 5.9 se is 1 to rounding; 1/8 and 2 are exact in binary.
@pytest.mark.parametrize(
    ("measured", "predicted", "standard_error", "tolerance", "expect", "verdict"),
    [
        (1.125, 1.0, 0.0, 0.125, "agree", "pass"),  # the boundary belongs to the pass
        (math.nextafter(1.125, 2), 1.0, 0.0, 0.125, "agree", "fail"),
        (0.875, 1.0, 0.0, 0.125, "agree", "pass"),
        (-1.125, -1.0, 0.0, 0.125, "agree", "pass"),  # relative to the magnitude
        (1.0, 1.0, 0.125 / 5.95, 0.125, "agree", "pass"),
        (1.0, 1.0, 0.125 / 5.85, 0.125, "agree", "underpowered"),
        (1.12, 1.0, 0.1 / 6.0, 0.1, "agree", "fail"),  # beyond the tolerance, though the error might excuse it
        (1.09, 1.0, 0.1 / 6.0, 0.1, "agree", "pass"),
        (9.0, 1.0, 0.125, 0.125, "agree", "fail"),  # noisy, and off beyond the noise
        (1.1, 1.0, 0.125, 0.125, "agree", "underpowered"),
        (0.01, 0.0, 0.001, 0.01, "agree", "pass"),  # absolute where the prediction is 0
        (0.02, 0.0, 0.001, 0.01, "agree", "fail"),
        (0.0, 0.0, 0.1, 0.01, "agree", "underpowered"),
        (1.0, 1.0, 0.0, 0.0, "agree", "pass"),
        (1.6, 1.0, 0.1, 0.0, "differ", "pass"),
        (1.58, 1.0, 0.1, 0.0, "differ", "fail"),
        (0.4, 1.0, 0.1, 0.0, "differ", "pass"),
        (1.0, 1.0, 0.0, 0.0, "differ", "fail"),
        (0.4, 1.0, 0.1, 0.0, "below", "pass"),
        (0.42, 1.0, 0.1, 0.0, "below", "fail"),
        (1.6, 1.0, 0.1, 0.0, "below", "fail"),
        (1.0, 1.0, 0.0, 0.0, "below", "fail"),  # strict
        (1.6, 1.0, 0.1, 0.0, "above", "pass"),
        (1.58, 1.0, 0.1, 0.0, "above", "fail"),
        (1.0, 1.0, 0.0, 0.0, "above", "fail"),
    ],
)
def test_verdict(measured, predicted, standard_error, tolerance, expect, verdict):
    made = check(measured, predicted, standard_error, tolerance, expect)
    assert made.verdict == verdict
    assert made.passed is (verdict == "pass")


@pytest.mark.parametrize("expect", ["agree", "differ", "below", "above"])
@pytest.mark.parametrize("field", ["measured", "predicted", "standard_error"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_fails(field, value, expect):
    numbers = {"measured": 2.0, "predicted": 1.0, "standard_error": 0.0} | {field: value}
    assert check(**numbers, expect=expect).verdict == "fail"


number = st.floats(-1e6, 1e6)
positive = st.floats(0, 1e6)


@settings(deadline=None)  # a busy machine is no fault
@given(number, number, positive, positive)
def test_agree_is_the_two_conditions(measured, predicted, standard_error, tolerance):
    allowed = tolerance * abs(predicted) if predicted != 0 else tolerance
    near = abs(measured - predicted) <= allowed
    precise = 5.9 * standard_error <= allowed
    assert check(measured, predicted, standard_error, tolerance).passed is (near and precise)


@settings(deadline=None)
@given(number, number, positive)
def test_differ_is_below_or_above_and_all_mirror(measured, predicted, standard_error):
    def passed(expect, sign=1):
        return check(sign * measured, sign * predicted, standard_error, 0.0, expect).passed

    assert not (passed("below") and passed("above"))
    assert passed("below") == passed("above", sign=-1)
    # |m - p| > s and m > p + s may round apart only when they are equal to rounding
    gap = abs(measured - predicted)
    if not math.isclose(gap, 5.9 * standard_error, rel_tol=1e-9, abs_tol=1e-9):
        assert passed("differ") == (passed("below") or passed("above"))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"expect": "agrees"}, ValueError, "expect(?s:.*)'agrees'"),
        ({"standard_error": -0.1}, ValueError, "standard_error must not be negative"),
        ({"tolerance": -0.1}, ValueError, "tolerance must be finite"),
        ({"tolerance": math.nan}, ValueError, "tolerance must be finite"),
        ({"tolerance": math.inf}, ValueError, "tolerance must be finite"),
        ({"measured": np.ones(2)}, TypeError, r"measured must be one real number, got an array of shape \(2,\)"),
        ({"measured": "1.0"}, TypeError, "measured must be one real number"),
        ({"measured": None}, TypeError, "measured must be one real number"),
        ({"measured": 1j}, TypeError, "measured must be one real number"),
        ({"predicted": True}, TypeError, "predicted must be one real number"),
        ({"name": ""}, TypeError, "name must be a non-empty string"),
        ({"source": None}, TypeError, "source"),
    ],
)
def test_mistakes_are_named(change, error, message):
    arguments = {
        "name": "variance", "measured": 1.0, "predicted": 1.0, "standard_error": 0.1, "tolerance": 0.1,
        "expect": "agree", "source": "M 2.1",
    }  # fmt: skip
    with pytest.raises((error, TypeCheckError), match=message):
        Check(**(arguments | change))


def test_scalars_of_any_kind_become_floats():
    made = check(jnp.array(1.0), np.float32(1), np.array([0.5]), 1)
    assert [type(value) for value in (made.measured, made.predicted, made.standard_error, made.tolerance)] == [
        float
    ] * 4
    with pytest.raises(FrozenInstanceError):
        made.measured = 2.0


def test_z_travels_with_the_verdict():
    resolved = check(1.25, 1.0, 0.0078125, 0.25)
    assert (resolved.z, resolved.verdict, resolved.is_resolved) == (32.0, "pass", True)
    assert resolved.as_dict()["z"] == 32.0
    assert not check(1.0625, 1.0, 0.03125, 0.25).is_resolved
    assert check(1.0, 2.0, 0.0).z is None, "an exact number has no standard error"
    assert check(math.nan, 2.0, 1.0).z is None
    assert check_of(resolved.as_dict()) == resolved


def test_judge_needs_every_check():
    good, bad = check(1, 1, 0), check(2, 1, 0)
    assert judge([good, good])
    assert not judge([good, bad])
    assert good.as_dict()["verdict"] == "pass"


def test_a_traced_number_is_refused():
    import jax

    with pytest.raises(TypeError, match="known on the host"):
        jax.jit(lambda x: check(x, 1.0, 0.0).measured)(1.0)

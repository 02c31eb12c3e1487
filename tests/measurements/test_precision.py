"""Samples of 64 bits where JAX is set to 32: a measurement answers as with 64, or says what is lost; never silently."""

import warnings

import jax
import numpy as np
import pytest

from sgdsde import measurements as m
from tests.wrong_inputs.fuzz import numbers
from tests.wrong_inputs.of_measurements import CALLS

FAR = {
    "far from 0": lambda x: x + 1e8,
    "too large": lambda x: x * 1e300,
    "whole numbers": lambda x: np.round(x * 1000).astype(np.int64) + 2**40,
}
ARRAYS = [
    (name, argument)
    for name, (_, right) in CALLS.items()
    for argument, value in right.items()
    if isinstance(value, np.ndarray) and value.dtype == np.float64
    if argument != "center"  # far from the samples it is a number of 32 bits, and their squares are what is lost
]


def answer(function, options):
    """(the numbers of the result or the message of a refusal, the warnings)."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            return numbers(function(**options)), [str(each.message) for each in said]
        except ValueError as error:
            return str(error), [str(each.message) for each in said]


@pytest.mark.parametrize("what", ["far from 0", "too large", pytest.param("whole numbers", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_no_measurement_loses_digits_silently(name, argument, what, ordinary_settings):
    function, right = CALLS[name]
    options = right | {argument: FAR[what](right[argument])}
    found, said = answer(function, options)
    if isinstance(found, str) or any(argument in each and "rounds numbers by up to" in each for each in said):
        return  # what does not fit is refused, and what rounding takes is said
    with jax.enable_x64(True):
        wide, _ = answer(function, options)
    assert all(np.allclose(a, b, rtol=1e-2, equal_nan=True) for a, b in zip(found, wide, strict=True)), (found, wide)


def test_what_is_lost_is_said_at_the_line_of_the_caller(ordinary_settings):
    """A covariance of 1 about 1e8 cannot be seen in float32, whose numbers lie 8 apart there."""
    samples = np.random.default_rng(0).standard_normal((500, 1))
    with pytest.warns(UserWarning, match=r"^samples: float64 .* by up to 3.9 where they spread over 7") as said:
        m.covariance(samples + 1e8)
    assert said[0].filename == __file__
    with pytest.raises(ValueError, match=r"^samples: float64 is cast to float32.* like .* do not fit; rescale"):
        m.covariance(samples * 1e300)
    whole = np.arange(2**40, 2**40 + 5)
    with pytest.warns(UserWarning, match=r"^samples: float64 is cast"):
        m.mean(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert m.mean(np.array([2**40, 3 * 2**40]))[0] == 2.0**41  # where int32 would have wrapped
        assert np.isinf(m.first_crossing(np.array([1.0, np.inf]), np.arange(2.0), 1.0))
        assert m.mean(samples[:, 0])[0].dtype == np.float32

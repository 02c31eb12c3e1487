"""A check: one measured number beside one predicted number, with the error of the measurement."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

Expectation = Literal["agree", "differ", "below", "above"]
Verdict = Literal["pass", "fail", "underpowered"]
Scalar = Any
"""A number of any kind on the way in (Python's, NumPy's, an array of one element), a Python float once it is there."""

STANDARD_ERRORS = 5.9
"""How many standard errors count as certain: a false alarm about four times in a thousand million for normal errors."""


@dataclass(frozen=True)
class Check:
    """A measured number, the number that theory predicts, and what is expected of the two.

    With m = `measured`, p = `predicted`, s = 5.9 `standard_error`, and the allowance a = `tolerance` |p|
    (a = `tolerance` itself where p is 0):

    * "agree":  passes when |m - p| <= a and s <= a. When |m - p| <= a but s > a the sample is too small to see a
      deviation of the size of the tolerance: "underpowered", which counts as failed.
    * "differ": passes when |m - p| > s.
    * "below":  passes when m + s < p.
    * "above":  passes when m - s > p.

    A range is two checks. For a matrix M with prediction P, `measured` is the entry of P^-1/2 M P^-1/2 - 1 that is
    largest in magnitude, and `predicted` is 0. A number that is not finite fails, whatever is expected.

    `z` = |m - p|/standard_error travels with every verdict: an agreement within 2 % at z = 16 is one that the sample
    resolves as different.

    Args:
        name: what is compared, unique within its experiment.
        measured: scalar; a number, or an array with a single element.
        predicted: scalar.
        standard_error: of `measured`, from independent chains; 0 for an exact computation.
        tolerance: relative to |predicted|; absolute where `predicted` is 0. Only "agree" reads it.
        expect: "agree", "differ", "below" or "above".
        source: the equation or paper that `predicted` comes from.

    Raises:
        TypeError: a number that is not one scalar, or a text that is not a string.
        ValueError: an unknown `expect`, a negative `standard_error`, a negative or infinite `tolerance`.
    """

    name: str
    measured: Scalar
    predicted: Scalar
    standard_error: Scalar
    tolerance: Scalar
    expect: Expectation
    source: str

    def __post_init__(self):
        for field in ("name", "source"):
            text = getattr(self, field)
            if not isinstance(text, str) or not text.strip():
                raise TypeError(f"Check: {field} must be a non-empty string, got {text!r}")
        for field in ("measured", "predicted", "standard_error", "tolerance"):
            object.__setattr__(self, field, _scalar(self.name, field, getattr(self, field)))
        if self.expect not in get_args(Expectation):
            raise ValueError(f"Check {self.name!r}: expect must be one of {get_args(Expectation)}, got {self.expect!r}")
        if self.standard_error < 0:
            raise ValueError(f"Check {self.name!r}: standard_error must not be negative, got {self.standard_error}")
        if not 0 <= self.tolerance < math.inf:
            raise ValueError(f"Check {self.name!r}: tolerance must be finite and not negative, got {self.tolerance}")

    @property
    def allowance(self) -> float:
        """The deviation that "agree" allows, in the units of `measured`."""
        return self.tolerance * abs(self.predicted) if self.predicted else self.tolerance

    @property
    def z(self) -> float | None:
        """|measured - predicted| in standard errors; None where there is no error, or where a number is not finite."""
        z = abs(self.measured - self.predicted) / self.standard_error if self.standard_error else math.nan
        return z if math.isfinite(z) else None

    @property
    def is_resolved(self) -> bool:
        """Whether the sample is certain that measured and predicted differ (z > 5.9), be it within the tolerance."""
        return self.z is not None and self.z > STANDARD_ERRORS

    @property
    def verdict(self) -> Verdict:
        """ "pass", "fail" or "underpowered"."""
        measured, predicted = self.measured, self.predicted
        error = STANDARD_ERRORS * self.standard_error
        if not (math.isfinite(measured) and math.isfinite(predicted) and math.isfinite(error)):
            return "fail"
        if self.expect == "agree":
            if abs(measured - predicted) > self.allowance:
                return "fail"
            return "pass" if error <= self.allowance else "underpowered"
        if self.expect == "differ":
            passes = abs(measured - predicted) > error
        elif self.expect == "below":
            passes = measured + error < predicted
        else:
            passes = measured - error > predicted
        return "pass" if passes else "fail"

    @property
    def passed(self) -> bool:
        """Whether the verdict is "pass"."""
        return self.verdict == "pass"

    def as_dict(self) -> dict[str, Any]:
        """The fields, z and the verdict, as they are written to `verdict.json`."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "z": self.z,
            "verdict": self.verdict,
        }


def check_of(row: dict[str, Any]) -> Check:
    """The Check of one entry of `verdict.json`."""
    numbers = {name: float(row[name]) for name in ("measured", "predicted", "standard_error", "tolerance")}
    return Check(name=row["name"], expect=row["expect"], source=row["source"], **numbers)


def judge(checks: Iterable[Check]) -> bool:
    """Whether every check passed."""
    return all(check.passed for check in checks)


def _scalar(name: str, field: str, value: Any) -> float:
    """A Python float from a number or from an array with a single element."""
    expected = f"Check {name!r}: {field} must be one real number"
    if isinstance(value, bool | str | bytes) or value is None:
        raise TypeError(f"{expected}, got {value!r}")
    size = getattr(value, "size", 1)
    if size != 1:
        raise TypeError(f"{expected}, got an array of shape {value.shape}; reduce it, or make one check an entry")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{expected} known on the host, got {type(value).__name__}") from error

"""The space of a search: which fields of a Config are looked for, and where.

`a:b` is everything between two numbers, `a:b:log` the same with equal ratios as likely as each other; the ends belong
to it. A list `x,y,z`, or a range that `sgdsde sweep` would take, such as `1:64:log2`, is a choice among its values.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sgdsde.experiment.config import check_names, field_kinds
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.axes import Axis, axes_of

GRAMMAR = "write FIELD=a:b, FIELD=a:b:log, or a list FIELD=x,y,z"


@dataclass(frozen=True)
class Interval:
    """The numbers from `low` to `high`, both included; whole ones for an int field."""

    field: str
    low: float | int
    high: float | int
    is_log: bool
    is_whole: bool

    @property
    def ends(self) -> tuple:
        return (self.low, self.high)

    def distribution(self) -> Any:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.is_whole:
            return IntDistribution(int(self.low), int(self.high), log=self.is_log)
        return FloatDistribution(self.low, self.high, log=self.is_log)

    def value(self, drawn: Any) -> Any:
        """The field's value from what the distribution drew."""
        return drawn

    def as_dict(self) -> dict[str, Any]:
        return {"field": self.field, "low": self.low, "high": self.high, "is_log": self.is_log}


@dataclass(frozen=True)
class Choices:
    """Values among which nothing lies; they are known to the sampler by their texts."""

    field: str
    values: tuple

    @property
    def ends(self) -> tuple:
        return self.values

    def distribution(self) -> Any:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution([str(value) for value in self.values])

    def value(self, drawn: Any) -> Any:
        """The field's value from what the distribution drew."""
        return next(value for value in self.values if str(value) == drawn)

    def as_dict(self) -> dict[str, Any]:
        return {"field": self.field, "values": list(self.values)}


Space = tuple[Interval | Choices, ...]


def space_of(config: Any, over: Mapping[str, str]) -> Space:
    """The space from the texts of the command line, in their order.

    Raises:
        ExperimentError: a field that does not exist or is `seed`; a text or value that does not fit; a single value.
    """
    if not over:
        raise ExperimentError(f"--over names no field to search; {GRAMMAR}.")
    check_names(over, type(config))
    kinds = field_kinds(type(config))
    return tuple(_dimension(config, name, kinds[name], text) for name, text in over.items())


def _dimension(config: Any, name: str, kind: Any, text: str) -> Interval | Choices:
    first, _, rest = text.partition(":")
    last, _, rule = rest.partition(":")
    if name != "seed" and kind in (float, int) and rest and rule.strip() in ("", "log"):
        return _interval(name, kind, text, first, last, is_log=rule.strip() == "log")
    if name == "seed":
        raise ExperimentError(
            "seed is not searched: each trial takes the mean over --seeds N; the first one is --seed."
        )
    (axis,) = axes_of(config, {name: text})
    if len(axis) < 2:
        raise ExperimentError(f"{name}={text} is a single value; set it with --{name} {text}, or {GRAMMAR}.")
    return Choices(name, axis.values[name])


def _interval(name: str, kind: Any, text: str, first: str, last: str, *, is_log: bool) -> Interval:
    try:
        low, high = float(first), float(last)
    except ValueError:
        raise ExperimentError(f"{name}: cannot read the interval {text!r}; {GRAMMAR}.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ExperimentError(f"{name}: the interval {text!r} needs two finite ends, the smaller one first.")
    if is_log and low <= 0:
        raise ExperimentError(f"{name}: a logarithmic interval needs 0 < a < b, got {text!r}.")
    if kind is int and not (low.is_integer() and high.is_integer()):
        raise ExperimentError(f"{name} takes whole numbers, got {text!r}.")
    return Interval(name, int(low) if kind is int else low, int(high) if kind is int else high, is_log, kind is int)


def values_of(space: Space, drawn: Mapping[str, Any]) -> dict[str, Any]:
    """The fields' values from what the distributions drew."""
    return {part.field: part.value(drawn[part.field]) for part in space}


def end_points(space: Space) -> list[dict[str, Any]]:
    """Points at which every end and every choice of each field occurs once, the other fields at their first."""
    first = {part.field: part.ends[0] for part in space}
    return [first] + [first | {part.field: end} for part in space for end in part.ends[1:]]


def axis_of(points: Sequence[Mapping[str, Any]]) -> Axis:
    """Any points as one axis of a sweep."""
    return Axis({name: tuple(point[name] for point in points) for name in points[0]})

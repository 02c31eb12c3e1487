"""The axes of a sweep: which fields of a Config take which values, from the command line, a TOML file or SWEEP.

A list `0.01,0.02,0.04`; `a:b:n`, n equally spaced values from a to b; `a:b:logN`, from a to b in factors of N, such as
`1:64:log2`; `a:b:n:log`, n values in equal ratios. Fields that are zipped advance together and are one axis.
"""

import math
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sgdsde.experiment.config import check_names, converted, field_kinds
from sgdsde.experiment.folders import ExperimentError

MOST_VALUES = 100_000
"""on one axis"""
GRAMMAR = "write FIELD=0.01,0.02,0.04, FIELD=a:b:n (n equally spaced), a:b:log2 (doubling) or a:b:n:log (equal ratios)"


@dataclass(frozen=True)
class Axis:
    """Fields that advance together: for each field its values, all of one length."""

    values: Mapping[str, tuple]

    @property
    def name(self) -> str:
        """The dimension along it: its first field."""
        return next(iter(self.values))

    def __len__(self) -> int:
        return len(self.values[self.name])


def axes_of(config: Any, over: Mapping[str, Any], zipped: Sequence[Mapping[str, Any]] = ()) -> tuple[Axis, ...]:
    """The axes of a sweep: one for each field of `over`, then one for each mapping of `zipped`.

    Args:
        config: the base Config.
        over: field to values: a list, a range as text (`"1:64:log2"`), or the text of a list.
        zipped: mappings of the same kind, whose fields advance together.

    Raises:
        ExperimentError: a field that does not exist, is `seed`, or comes twice; a value that does not fit; values that
            repeat; zipped fields of different lengths.
    """
    names = [*over, *(name for fields in zipped for name in fields)]
    check_names(names, type(config))
    for name in names:
        if name == "seed":
            raise ExperimentError("seed is swept already: say how many with --seeds N; the first one is --seed.")
        if names.count(name) > 1:
            raise ExperimentError(f"{name} is swept twice; give each field once.")
    kinds = field_kinds(type(config))
    axes = [Axis({name: _values(name, kinds[name], values)}) for name, values in over.items()]
    for fields in zipped:
        columns = {name: _values(name, kinds[name], values, may_repeat=True) for name, values in fields.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) != 1:
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ExperimentError(f"Fields that are zipped need as many values each; got {told or 'none'}.")
        rows = list(zip(*columns.values(), strict=True))
        if len(set(rows)) != len(rows):
            raise ExperimentError(f"The zipped fields {', '.join(columns)} take the same values twice.")
        axes.append(Axis(columns))
    return tuple(axes)


def parsed_assignments(tokens: Iterable[str]) -> dict[str, str]:
    """`["field=values", ...]` as a dictionary of texts.

    Raises:
        ExperimentError: a token without `=`, or a field twice.
    """
    found: dict[str, str] = {}
    for token in tokens:
        name, equals, values = token.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name or not values.strip():
            raise ExperimentError(f"Cannot read {token!r}: {GRAMMAR}.")
        if name in found:
            raise ExperimentError(f"{name} is swept twice; give each field once.")
        found[name] = values.strip()
    return found


def _values(name: str, kind: Any, given: Any, *, may_repeat: bool = False) -> tuple:
    """The values of one field, each of its annotated type."""
    listed = _parsed(name, kind, given) if isinstance(given, str) else given
    if isinstance(listed, Sequence) and len(listed) > MOST_VALUES:
        raise ExperimentError(f"{name}: an axis has at most {MOST_VALUES:,} values, this one {len(listed):,}.")
    if not isinstance(listed, Sequence) or not listed:
        raise ExperimentError(f"{name}: expected a list of values or a range, got {given!r}; {GRAMMAR}.")
    values = tuple(converted(name, kind, value) for value in listed)
    if len(set(values)) != len(values) and not may_repeat:
        twice = next(value for value in values if values.count(value) > 1)
        raise ExperimentError(f"{name} takes the value {twice!r} twice.")
    return values


def _parsed(name: str, kind: Any, text: str) -> list:
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 1 and kind in (float, int):
        return _range(name, kind, text, parts)
    return [_value(name, kind, entry) for entry in _entries(text)]


def _entries(text: str) -> list[str]:
    """A text cut at the commas outside of parentheses."""
    entries = re.split(r",(?![^(]*\))", text)
    return [entry.strip() for entry in entries]


def _value(name: str, kind: Any, text: str) -> Any:
    """One value from its text; a wrong one is left to `changed`, which names field and expectation."""
    if typing.get_origin(kind) is tuple:
        inside = text[1:-1] if text[:1] + text[-1:] == "()" else text
        return tuple(_value(name, typing.get_args(kind)[0], entry) for entry in _entries(inside.rstrip(", ")))
    if typing.get_origin(kind) is typing.Literal:
        return next((choice for choice in typing.get_args(kind) if str(choice) == text), text)
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in (float, int):
        number = _number(text)
        if number is None:
            raise ExperimentError(f"{name}: {text!r} is not a number; {GRAMMAR}.")
        return _whole(number) if kind is int else number
    return text


def _number(text: str) -> float | int | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _whole(number: float | int) -> float | int:
    """1e3 as the integer that it is."""
    return int(number) if math.isfinite(number) and number == int(number) else number


def _range(name: str, kind: Any, text: str, parts: list[str]) -> list:
    """`a:b:n`, `a:b:logN`, `a:b:n:log`."""
    first, last = (_number(part) for part in parts[:2])
    finite = first is not None and last is not None and math.isfinite(first) and math.isfinite(last)
    rule = ":".join(parts[2:])
    if not finite or not re.fullmatch(r"log\d+(\.\d+)?|\d+(:log)?", rule):
        raise ExperimentError(f"{name}: cannot read the range {text!r}; {GRAMMAR}.")
    first, last = float(parts[0]), float(parts[1])
    if "log" in rule and not 0 < first < last:
        raise ExperimentError(f"{name}: a logarithmic range needs 0 < a < b, got {text!r}.")
    if rule.startswith("log"):
        values = _powers(name, text, first, last, float(rule[3:]))
    else:
        values = _spaced(name, text, first, last, int(rule.split(":")[0]), is_log=rule.endswith(":log"))
    if kind is int:
        values = [_whole(round(value, 9)) for value in values]
        wrong = [value for value in values if not isinstance(value, int)]
        if wrong:
            raise ExperimentError(f"{name} takes whole numbers, but {text!r} gives {wrong[0]:g}; list the values.")
    return values


def _powers(name: str, text: str, first: float, last: float, factor: float) -> list[float]:
    if factor <= 1:
        raise ExperimentError(f"{name}: the factor of {text!r} must be larger than 1.")
    steps = math.log(last / first) / math.log(factor)
    _check_count(name, text, steps)
    count = round(steps)
    if abs(steps - count) > 1e-6:
        end = first * factor ** math.floor(steps + 1e-6)
        raise ExperimentError(
            f"{name}: {text!r} does not end at {last:g}, which is not {first:g} times a power of {factor:g}; end at "
            f"{end:g}, or write a:b:n:log for n values in equal ratios."
        )
    return [*(float(f"{first * factor**k:.12g}") for k in range(count)), last]


def _spaced(name: str, text: str, first: float, last: float, count: int, *, is_log: bool) -> list[float]:
    if count < 2 or first == last:
        raise ExperimentError(f"{name}: the range {text!r} needs at least two values and two different ends.")
    _check_count(name, text, count)
    shares = [k / (count - 1) for k in range(count)]
    inner = [first * (last / first) ** s if is_log else first + (last - first) * s for s in shares[1:-1]]
    return [first, *(float(f"{value:.12g}") for value in inner), last]


def _check_count(name: str, text: str, count: float | int) -> None:
    if count > MOST_VALUES:
        raise ExperimentError(f"{name}: the range {text!r} has more than {MOST_VALUES:,} values, the most of one axis.")

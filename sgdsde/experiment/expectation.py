"""What one should see: an experiment's SEE, a sentence in which each measured number is the name of a check.

`{variance at rate 0.1}` is filled from the verdict with as many digits as that check would refuse to let move:

    {name}               "agree": the measured number, its last digit's unit at least the whole width of what passes
                         (twice the tolerance); "below", "above": the bound, as "< 0.02"
    {name | predicted}   the predicted number, three digits
    {name | within}      the tolerance of an agreement, as "2 %"
    {name | z}           |measured - predicted| in standard errors

So a sentence cannot say more than its checks hold, nor go on saying what no longer holds.
"""

import ast
import math
import re
from pathlib import Path
from typing import Any

from sgdsde.experiment import report
from sgdsde.experiment.check import Check, check_of
from sgdsde.experiment.folders import ExperimentError, nearest, shown

PLACEHOLDER = re.compile(r"\{([^{}|]+?)\s*(?:\|\s*([^{}|]*?)\s*)?\}")
FORMS = ("predicted", "within", "z")


def sentence_of(file: Path) -> str:
    """The SEE of an experiment file as one line, read without running it; empty where it has none.

    Raises:
        ExperimentError: SEE is not a string literal.
    """
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="SEE")], value=ast.Constant(value=str(text))):
                return " ".join(text.split())
            case ast.Assign(targets=[ast.Name(id="SEE")]):
                raise ExperimentError(f"{shown(file)}: SEE must be a string literal, the names of checks in braces.")
    return ""


def headlines(text: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The checks that an expectation names, in its order; the first three where it names none.

    Raises:
        ExperimentError: it names no check of these; the nearest is shown.
    """
    names = dict.fromkeys(match[1] for match in PLACEHOLDER.finditer(text))
    return [_row(name, rows) for name in names] or rows[:3]


def filled(text: str, rows: list[dict[str, Any]]) -> str:
    """An expectation with the numbers of a verdict's checks.

    Raises:
        ExperimentError: it names no check of these, or asks of a check what that cannot hold.
    """
    sentence = PLACEHOLDER.sub(lambda match: _written(check_of(_row(match[1], rows)), match[2]), text)
    if "{" in sentence or "}" in sentence:
        raise ExperimentError(
            f"SEE: a brace is left in {sentence!r}; write {{name}} or {{name | form}}, the name without | and braces."
        )
    return sentence


def _row(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = {row["name"]: row for row in rows}
    if name not in found:
        raise ExperimentError(f"SEE names no check `{name}`. {nearest(name, found)}")
    return found[name]


def _written(check: Check, form: str | None) -> str:
    if form == "predicted":
        return plain(check.predicted, 3)
    if form == "within" and check.expect == "agree":
        return report.within(check)
    if form == "z" and check.z is not None:
        return f"{check.z:.2g}" if check.z < 10 else f"{check.z:.0f}"
    if form is None and check.expect == "agree":
        return held(check)
    if form is None and check.expect in ("below", "above"):
        return f"{'<' if check.expect == 'below' else '>'} {plain(check.predicted, 4)}"
    asked = f"{{{check.name} | {form}}}" if form else f"{{{check.name}}}"
    forms = ", ".join(f"{{name | {each}}}" for each in FORMS)
    raise ExperimentError(
        f"SEE: {asked} cannot be written: the check expects {check.expect!r}, its z is {check.z}. A number in sight is "
        f'an "agree", "below" or "above", or one of {forms}.'
    )


def held(check: Check) -> str:
    """The measured number of an agreement, rounded so that the check would fail if the last digit shown moved."""
    if not check.allowance:
        return plain(check.measured, 4)
    decimals = -math.ceil(math.log10(2 * check.allowance) - 1e-12)
    return f"{round(check.measured, decimals):,.{max(decimals, 0)}f}"


def plain(number: float, digits: int) -> str:
    """A number with some significant digits, without an exponent where it is of everyday size."""
    if number and not 1e-4 <= abs(number) < 1e6:
        return f"{number:.{digits}g}"
    decimals = digits - 1 - math.floor(math.log10(abs(number))) if number else 0
    text = f"{round(number, decimals):,.{max(decimals, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

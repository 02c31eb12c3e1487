"""What a person sees of a result on the screen."""

import math
import shlex
from pathlib import Path
from typing import Any

from sgdsde.experiment import results
from sgdsde.experiment.check import STANDARD_ERRORS, Check, check_of
from sgdsde.experiment.folders import shown

COLUMNS = ("check", "measured", "predicted", "z", "tolerance", "expect", "verdict")
NUM_SHOWN = 10
COLOURS = {"pass": "green", "fail": "bold red", "underpowered": "bold yellow"}


def console() -> Any:
    """The screen; where there is no terminal, lines of 160 characters."""
    from rich.console import Console

    screen = Console(highlight=False, soft_wrap=False)
    return screen if screen.is_terminal else Console(highlight=False, width=160)


def print_result(folder: Path, *, everything: bool = False) -> None:
    """The table of checks, the verdict, the figure's path and the time. Of more than ten checks the ten worst, failed
    ones first, then those that come closest to failing; with `everything` all of them, in the experiment's order."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    verdict, provenance = results.read_verdict(folder), results.read_provenance(folder)
    screen = console()
    if verdict is None:
        why = f": {provenance['reason']}" if provenance["reason"] else ""
        screen.print(Text(f"{provenance['experiment']}: {provenance['status']}{why}; it has no verdict"))
        return
    checks = verdict["checks"]
    shows_all = everything or len(checks) <= NUM_SHOWN
    chosen = checks if shows_all else sorted(checks, key=_closeness, reverse=True)[:NUM_SHOWN]
    size = " (smoke size: not judged)" if verdict["smoke"] else ""
    part = "" if shows_all else f", the {NUM_SHOWN} worst of {len(checks)} checks"
    table = Table(title=f"{verdict['experiment']}{size}{part}", box=box.SIMPLE_HEAVY, pad_edge=False)
    rows = [dict(zip(COLUMNS, row_of(check))) for check in chosen]
    columns = _fitting(rows, screen.width)
    for column in columns:
        is_number = column in ("measured", "predicted", "z", "tolerance")
        wraps = column in ("check", "verdict")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=not wraps, overflow="fold")
    for row in rows:
        style = COLOURS.get(row["verdict"].split(";")[0], "")
        table.add_row(*(Text(row[column], style=style if column == "verdict" else "") for column in columns))
    if checks:
        screen.print(table)
    if verdict.get("check_failure"):
        screen.print(Text(f"checks() could not be asked: {verdict['check_failure']}", style=COLOURS["fail"]))
    if not shows_all:
        print(f"all {len(checks)} checks: sgdsde show {shlex.quote(shown(folder))} --all")
    screen.print(Text(f"{summary(verdict)}; {wall_time(provenance)}, {provenance['peak_memory_mib']:.0f} MiB"))
    if (folder / "figure.png").is_file():
        print(f"figure: {shown(folder / 'figure.png')}")  # never wrapped: a path is there to be copied


def _fitting(rows: list[dict[str, str]], width: int) -> list[str]:
    """The columns, without those that a narrow screen lacks the room for: beside them the names of checks need 30."""
    columns = list(COLUMNS)
    for gives_way in ("", "expect", "tolerance", "predicted"):
        columns = [column for column in columns if column != gives_way]
        others = [max([len(column), *(len(row[column]) for row in rows)]) for column in columns[1:]]
        longest = max([5, *(len(row["check"]) for row in rows)])
        if sum(others) + 3 * len(columns) + min(longest, 30) <= width:
            break
    return columns


def _closeness(row: dict[str, Any]) -> float:
    """How close a check comes to failing: the larger of deviation and 5.9 standard errors as a fraction of what an
    agreement allows; 5.9 standard errors as a fraction of the distance that other checks need. Failed ones first."""
    check = check_of(row)
    gap, error = abs(check.measured - check.predicted), STANDARD_ERRORS * check.standard_error
    used, room = (max(gap, error), check.allowance) if check.expect == "agree" else (error, gap)
    fraction = used / room if room else math.inf if used else 0.0
    return (math.inf if math.isnan(fraction) else min(fraction, 1e6)) + (0 if check.passed else 1e9)


def row_of(row: dict[str, Any]) -> tuple[str, ...]:
    """A check of `verdict.json` as the texts of one row, under `COLUMNS`."""
    check = check_of(row)
    measured = f"{check.measured:.4g}" + (f" ± {check.standard_error:.2g}" if check.standard_error else "")
    z = "-" if check.z is None else f"{check.z:.1f}" if check.z < 100 else f"{check.z:.0f}"
    tolerance = within(check) if check.expect == "agree" else "-"
    verdict = row["verdict"] or "not judged"
    if verdict == "pass" and check.expect == "agree" and check.is_resolved:
        verdict = f"pass; differs by {deviation(check)}"
    return check.name, measured, f"{check.predicted:.4g}", z, tolerance, check.expect, verdict


def within(check: Check) -> str:
    """The tolerance of an agreement in words: relative to the prediction, absolute where that is 0."""
    return f"{100 * check.tolerance:.3g} %" if check.predicted else f"{check.tolerance:.3g}"


def deviation(check: Check) -> str:
    """|measured - predicted| in the unit of `within`."""
    gap = abs(check.measured - check.predicted)
    return f"{100 * gap / abs(check.predicted):.2g} %" if check.predicted else f"{gap:.2g}"


def summary(verdict: dict[str, Any]) -> str:
    """One line: how many checks passed."""
    checks = verdict["checks"]
    if verdict["smoke"]:
        return f"{verdict['experiment']}: {len(checks)} checks computed, not judged at smoke size"
    num_passed = sum(check["verdict"] == "pass" for check in checks)
    word = "PASSED" if verdict["passed"] else "FAILED"
    return f"{verdict['experiment']}: {word}, {num_passed} of {len(checks)} checks"


def wall_time(provenance: dict[str, Any]) -> str:
    """Wall time in the unit that suits it."""
    seconds = provenance["wall_seconds"]
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"

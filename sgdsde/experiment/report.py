"""What a person sees of a result on the screen."""

from pathlib import Path
from typing import Any

from sgdsde.experiment import results
from sgdsde.experiment.check import Check, check_of
from sgdsde.experiment.folders import shown

COLUMNS = ("check", "measured", "predicted", "z", "tolerance", "expect", "verdict")
COLOURS = {"pass": "green", "fail": "bold red", "underpowered": "bold yellow"}


def console() -> Any:
    """The screen; where there is no terminal, lines of 160 characters."""
    from rich.console import Console

    screen = Console(highlight=False, soft_wrap=False)
    return screen if screen.is_terminal else Console(highlight=False, width=160)


def print_result(folder: Path) -> None:
    """The table of checks, the verdict, the figure's path and the time."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    verdict, provenance = results.read_verdict(folder), results.read_provenance(folder)
    screen = console()
    name = verdict["experiment"]
    table = Table(
        title=f"{name}{' (smoke size: not judged)' if verdict['smoke'] else ''}", box=box.SIMPLE_HEAVY, pad_edge=False
    )
    for column in COLUMNS:
        is_number = column in ("measured", "predicted", "z", "tolerance")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=column != "check", overflow="fold")
    for check in verdict["checks"]:
        row = row_of(check)
        table.add_row(*map(Text, row[:-1]), Text(row[-1], style=COLOURS.get(row[-1].split(";")[0], "")))
    screen.print(table)
    line = f"figure: {shown(folder / 'figure.pdf')}"
    screen.print(Text(f"{summary(verdict)}; {wall_time(provenance)}, {provenance['peak_memory_mib']:.0f} MiB"))
    print(line)  # never wrapped: a path is there to be copied


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

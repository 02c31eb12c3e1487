"""What a person sees of a result on the screen."""

from pathlib import Path
from typing import Any

from sgdsde.experiment import results
from sgdsde.experiment.folders import shown

COLUMNS = ("check", "measured", "predicted", "tolerance", "expect", "verdict")
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
        is_number = column in ("measured", "predicted", "tolerance")
        table.add_column(column, justify="right" if is_number else "left", no_wrap=column != "check", overflow="fold")
    for check in verdict["checks"]:
        row = row_of(check)
        table.add_row(*map(Text, row[:-1]), Text(row[-1], style=COLOURS.get(row[-1], "")))
    screen.print(table)
    line = f"figure: {shown(folder / 'figure.pdf')}"
    screen.print(Text(f"{summary(verdict)}; {wall_time(provenance)}, {provenance['peak_memory_mib']:.0f} MiB"))
    print(line)  # never wrapped: a path is there to be copied


def row_of(check: dict[str, Any]) -> tuple[str, ...]:
    """A check of `verdict.json` as the texts of one row, under `COLUMNS`."""
    measured, error = float(check["measured"]), float(check["standard_error"])
    text = f"{measured:.4g}" + (f" ± {error:.2g}" if error else "")
    tolerance = "-"
    if check["expect"] == "agree":
        tolerance = f"{100 * check['tolerance']:.3g} %" if float(check["predicted"]) else f"{check['tolerance']:.3g}"
    predicted = f"{float(check['predicted']):.4g}"
    return check["name"], text, predicted, tolerance, check["expect"], check["verdict"] or "not judged"


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

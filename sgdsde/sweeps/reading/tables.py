"""What a person sees of a sweep, or of two beside each other, on the screen."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sgdsde.experiment.check import STANDARD_ERRORS
from sgdsde.experiment.report import COLOURS, console
from sgdsde.sweeps.reading import differences
from sgdsde.sweeps.reading.averages import SeedAverage, by_interest, chosen, seed_averages, swept_axes, trusted_errors
from sgdsde.sweeps.reading.scales import value_text
from sgdsde.sweeps.reading.summary import point_columns, points

MOST_ROWS = 200
MOST_FAILURES = 5
MOST_NAMES = 4
HEADER_WIDTH = 16
OWN_ERROR = (
    "± is over the seeds; a verdict rests on its check's own error where that is smaller and fits the seeds "
    "(`own_standard_error` in the summary)"
)
VERDICT_COLOURS = {"equal": COLOURS["pass"], "differs": COLOURS["fail"], "unknown": COLOURS["underpowered"]}


def print_sweep(dataset: xarray.Dataset, values: Sequence[str] | None = None) -> None:
    """A row for each point: its swept values, means with standard errors, seeds left out, and checks passed.

    A check passes by its verdict over all seeds of the point; the mean of one that does not has the colour of its
    verdict. Below it the totals, and the first failures with their reasons. A mean over fewer seeds than all says over
    how many, `0.51 ± 0.02 (13/16)`. A line says so where a verdict rests on an error below the ±. `values` names what
    is shown; by default the most telling as far as columns fit.

    Raises:
        ExperimentError: an unknown name in `values`.
    """
    screen = console()
    order = range(len(swept_axes(dataset)))
    averages = [average.arranged(order, (-1,)) for average in seed_averages(dataset)]
    shown = chosen(averages, values) if values else by_interest(averages)
    there = points(dataset)
    rows = there[:MOST_ROWS]
    columns = [_column(field, [value_text(point[name]) for point in rows]) for field, name in _fields(dataset)]
    counts = {"not finite": num_diverged(averages, len(there)), "failed": _num_failed(dataset)}
    lost = {name: _column(name, list(map(str, number[: len(rows)])), right=True) for name, number in counts.items()}
    passed = [_passed(averages, i) for i in range(len(rows))]
    judged = _column("checks passed" + (" over seeds" if dataset.sizes["seed"] > 1 else ""), passed)
    last = [*lost.values(), *([judged] if any(cell.plain for cell in passed) else [])]
    wanted = [_column(average.name, [_mean(average, i) for i in range(len(rows))], right=True) for average in shown]
    if sum(map(_width, columns + wanted + last)) > screen.width:  # zeros give way, the totals tell them too
        last = [column for column in last if not any(column is lost[name] and not counts[name].any() for name in lost)]
    room = screen.width - sum(_width(column) for column in columns + last)
    num_fitting = sum(sum(map(_width, wanted[: i + 1])) <= room for i in range(len(wanted)))
    _print_table(screen, str(dataset.attrs.get("experiment", "sweep")), columns + wanted[:num_fitting] + last)
    lines = []
    if len(there) > len(rows):
        lines.append(f"{len(there) - len(rows)} more points are in the summary.")
    if num_fitting < len(shown):
        hidden = ", ".join(f"`{average.name}`" for average in shown[num_fitting:][:6])
        more = " ..." if len(shown) > num_fitting + 6 else ""
        lines.append(f"no room for {_counted(len(shown) - num_fitting, 'more value')}, ask by name: {hidden}{more}")
    if any(_rests_on_own_error(average) for average in shown[:num_fitting]):
        lines.append(OWN_ERROR)
    screen.print(Text("\n".join([*lines, totals(dataset)])))
    for line in _failures(dataset):
        screen.print(Text(line, style=COLOURS["fail"]))
    if dataset.attrs.get("check_failure"):
        screen.print(Text(f"some checks could not be judged: {dataset.attrs['check_failure']}", style=COLOURS["fail"]))


def print_comparison(first: xarray.Dataset, second: xarray.Dataset) -> None:
    """The rows of `comparison_rows` as a table, those that differ marked; below it, what only one of the two has.

    Where there are more than 200 rows only those that differ or cannot be judged are printed, 200 at most.

    Raises:
        ExperimentError: the sweeps are of different experiments, or of different fields.
    """
    screen = console()
    every = differences.comparison_rows(first, second)
    notable = [row for row in every if row["verdict"] in ("differs", "unknown")]
    rows = (every if len(every) <= MOST_ROWS else notable)[:MOST_ROWS]
    columns = [_column(field, [value_text(row[name]) for row in rows]) for field, name in _fields(first)]
    columns.append(_column("value", [row["name"] for row in rows]))
    sides = {"first": first.sizes["seed"], "second": second.sizes["seed"]}
    for side, num_seeds in sides.items():
        cells = [
            _number(row[f"{side}_value"], row[f"{side}_standard_error"], row[f"{side}_num_finite"], num_seeds)
            for row in rows
        ]
        columns.append(_column(side, cells, right=True))
    columns.append(_column("difference", [f"{row['difference']:.3g}" for row in rows], right=True))
    columns.append(_column("z", ["-" if row["z"] is None else f"{row['z']:.1f}" for row in rows], right=True))
    marks = [Text(row["verdict"], style=VERDICT_COLOURS.get(row["verdict"], "")) for row in rows]
    columns.append(_column("verdict", marks))
    if rows:
        _print_table(screen, f"{first.attrs.get('experiment', 'sweep')}: second against first", columns)
    screen.print(Text("\n".join(_comparison_lines(first, second, every, len(notable)))))


def totals(dataset: xarray.Dataset) -> str:
    """One line: points and seeds, runs with arrays that are not finite (which have diverged, or have no number there)
    and runs that failed, verdicts that pass over seeds and of single runs."""
    averages = seed_averages(dataset)
    num_seeds, num_points = dataset.sizes["seed"], len(points(dataset))
    order = range(len(swept_axes(dataset)))
    flat = [average.arranged(order, (-1,)) for average in averages]
    diverged, failed = int(num_diverged(flat, num_points).sum()), int(_num_failed(dataset).sum())
    size = f"{_counted(num_points, 'point')} x {_counted(num_seeds, 'seed')}"
    line = f"{dataset.attrs.get('experiment', 'sweep')}: {size}; {diverged} not finite{_named(flat)}, {failed} failed"
    judged, passed = (int(sum(np.sum(getattr(a, name)) for a in averages)) for name in ("num_judged", "num_passed"))
    verdicts = [verdict for average in flat for verdict in average.verdict if verdict]
    num_pass = verdicts.count("pass")
    if verdicts and num_seeds > 1:
        return f"{line}; {num_pass} of {len(verdicts)} verdicts pass over seeds; of single runs {passed} of {judged}"
    if judged:
        return f"{line}; {passed} of {judged} checks passed" + (" in single runs" if num_seeds > 1 else "")
    return line + ("; checks not judged" if any(average.kind == "check" for average in averages) else "")


def _named(averages: Iterable[SeedAverage]) -> str:
    """The arrays that are not finite in some run, in brackets."""
    names = list(dict.fromkeys(each.array for each in averages if each.kind == "array" and each.is_diverged.any()))
    return f" ({', '.join(names[:MOST_NAMES])}{' ...' if len(names) > MOST_NAMES else ''})" if names else ""


def num_diverged(averages: Iterable[SeedAverage], num_points: int) -> np.ndarray:
    """For each point, how many seeds did not fail but have an array that is not finite; averages of shape (points,).

    Checks have no say: one that is not made at a point, or makes no number of finite arrays, is no divergence.
    """
    diverged = [average.is_diverged for average in averages if average.kind == "array"]
    return np.any(diverged, axis=0).sum(axis=-1) if diverged else np.zeros(num_points, int)


def _num_failed(dataset: xarray.Dataset) -> np.ndarray:
    if "failed" not in dataset:
        return np.zeros(len(points(dataset)), int)
    places = [fields[0] for fields in swept_axes(dataset)]
    return (dataset["failed"].transpose(*places, "seed").values != 0).sum(axis=-1).ravel()


def _comparison_lines(
    first: xarray.Dataset, second: xarray.Dataset, rows: Sequence[dict[str, Any]], num_notable: int
) -> list[str]:
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("differs", "unknown", "equal")}
    line = f"{len(rows)} values compared: {counts['differs']} differ (|z| > {STANDARD_ERRORS}, or exact numbers that "
    lines = [f"{line}do), {counts['equal']} equal, {counts['unknown']} of unknown error"]
    if len(rows) > MOST_ROWS and num_notable > MOST_ROWS:
        lines.append(f"only the first {MOST_ROWS} that differ are shown")
    elif len(rows) > MOST_ROWS:
        lines.append("only those that differ or cannot be judged are shown")
    one, other = differences.num_unmatched_points(first, second)
    if one or other:
        lines.append(f"{_counted(one, 'point')} only in the first, {_counted(other, 'point')} only in the second")
    for side, names in zip(("first", "second"), differences.unmatched_names(first, second), strict=True):
        if names:
            lines.append(f"only in the {side}: {', '.join(names)}")
    changed = differences.changed_fields(first, second)
    if changed:
        lines.append("settings: " + ", ".join(f"{name} {a} -> {b}" for name, (a, b) in changed.items()))
    return lines


def _failures(dataset: xarray.Dataset) -> list[str]:
    failures = json.loads(dataset.attrs.get("failures", "[]"))
    lines = []
    for failure in failures[:MOST_FAILURES]:
        where = ", ".join(f"{name} = {value_text(value)}" for name, value in failure["point"].items())
        why = " ".join(str(failure["reason"]).split())
        lines.append(f"failed: {where}{', ' if where else ''}seed {failure['seed']}: {why}")
    if len(failures) > MOST_FAILURES:
        lines.append(f"... and {len(failures) - MOST_FAILURES} more failed")
    return lines


def _passed(averages: Iterable[SeedAverage], i: int) -> Text:
    verdicts = [average.verdict[i] for average in averages if average.verdict[i]]
    worst = next((each for each in ("fail", "underpowered") if each in verdicts), "pass")
    return Text(f"{verdicts.count('pass')} of {len(verdicts)}", style=COLOURS[worst]) if verdicts else Text("")


def _rests_on_own_error(average: SeedAverage) -> bool:
    """Whether a verdict over several seeds was found with an error below the one that the table shows."""
    is_judged = average.verdict.astype(bool)
    return bool(np.any(is_judged) and np.any(is_judged & (trusted_errors(average) < average.error)))


def _mean(average: SeedAverage, i: int) -> Text:
    num_finite = average.num_seeds - int(average.num_left_out[i])
    text = _number(float(average.value[i]), float(average.error[i]), num_finite, average.num_seeds)
    return Text(text, style=COLOURS[average.verdict[i]] if average.verdict[i] in ("fail", "underpowered") else "")


def _number(value: float, error: float | None, num_finite: int, num_seeds: int) -> str:
    """`0.51 ± 0.02 (13/16)`: a mean, its error where there is one, and over how many seeds where these are not all."""
    if not math.isfinite(value):
        return "-"
    text = f"{value:.4g}" + (f" ± {error:.2g}" if error and math.isfinite(error) else "")
    return text + (f" ({num_finite}/{num_seeds})" if num_finite < num_seeds else "")


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _fields(dataset: xarray.Dataset) -> Iterable[tuple[str, str]]:
    return point_columns(dataset).items()


def _column(header: str, cells: Sequence[str | Text], *, right: bool = False) -> tuple[str, list[Text], bool]:
    texts = [cell if isinstance(cell, Text) else Text(cell) for cell in cells]
    width = max([HEADER_WIDTH, *(text.cell_len for text in texts)])
    return _head(header, width), texts, right


def _head(name: str, width: int) -> str:
    """The name of a value over several lines, cut between words, after an underscore and before an index, never within
    a word."""
    lines = [""]
    for piece in re.split(r"(?<=[_ ,])|(?=\[)", name):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _width(column: tuple[str, list[Text], bool]) -> int:
    header, cells, _ = column
    return max([len(line) for line in header.split("\n")] + [cell.cell_len for cell in cells]) + 3


def _print_table(screen: Console, title: str, columns: Sequence[tuple[str, list[Text], bool]]) -> None:
    table = Table(title=Text(title), box=box.SIMPLE_HEAVY, pad_edge=False)
    for header, _, right in columns:
        table.add_column(Text(header), justify="right" if right else "left", no_wrap=False, overflow="fold")
    for cells in zip(*(cells for _, cells, _ in columns), strict=True):
        table.add_row(*cells)
    screen.print(table)

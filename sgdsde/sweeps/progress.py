"""What a person sees of a sweep before it is finished: the plan with its cost, and how far it is."""

import math
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sgdsde.experiment import results
from sgdsde.experiment.files import recover
from sgdsde.experiment.folders import shown
from sgdsde.experiment.report import COLOURS, wall_time
from sgdsde.progress import in_words
from sgdsde.sweeps.chunks import attributes_of, finished, is_worked_at
from sgdsde.sweeps.estimate import Estimate
from sgdsde.sweeps.folder import read_description, read_plan
from sgdsde.sweeps.plan import Sweep
from sgdsde.sweeps.planning import Plan

MOST_VALUES = 8


def print_plan(sweep: Sweep, plan: Plan, estimate: Estimate | None) -> None:
    """Axes, points, compilations, memory and time of a sweep that has not begun."""
    table = Table(title=f"{sweep.experiment.name}: a sweep, not run", box=box.SIMPLE_HEAVY, show_header=False)
    for axis in sweep.axes:
        for name, values in axis.values.items():
            table.add_row(name, Text(_listed(values)))
    table.add_row("seeds", f"{sweep.seeds[0]} to {sweep.seeds[-1]}" if sweep.num_seeds > 1 else str(sweep.seeds[0]))
    if sweep.physical_time is not None:
        steps = [sweep.values_at(group.places[0])["num_steps"] for group in plan.groups]
        table.add_row("num_steps", f"{min(steps):,} to {max(steps):,}, for a time of {sweep.physical_time:g}")
    num_runs = sweep.num_points * sweep.num_seeds
    longest = max(map(len, plan.chunks))
    table.add_row("points", f"{sweep.num_points:,} x {sweep.num_seeds} seeds = {num_runs:,} runs")
    table.add_row("groups", f"{len(plan.groups)}, one compilation each")
    table.add_row("chunks", f"{len(plan.chunks)} of up to {longest} runs")
    table.add_row("memory", f"{plan.num_bytes / 2**20:,.1f} MiB for the largest chunk, from the shapes of its arrays")
    time_needed = "known once a chunk is computed: run() calls no simulate"
    if estimate is not None:
        parts = f"compiling about {in_words(estimate.compiling)}, computing about {in_words(estimate.computing)}"
        time_needed = f"{parts} on this machine, from a second of the first run"
    table.add_row("time", time_needed)
    Console(highlight=False).print(table)


def _listed(values: tuple) -> str:
    texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in values]
    if len(texts) > MOST_VALUES:
        texts = [*texts[: MOST_VALUES - 2], "...", texts[-1]]
    return ", ".join(texts) + (f"   ({len(values)})" if len(values) > 3 else "")


def print_progress(folder: Path) -> None:
    """Runs done, running, failed with their reasons, and the time left, for each group.

    Raises:
        ExperimentError: not the folder of a sweep or a result.
    """
    recover(folder)
    if not (folder / "sweep.json").is_file():
        record = results.verified(folder)
        why = f" ({record['reason']})" if record["reason"] else ""
        print(f"{shown(folder)}: {record['status']}{why}, {wall_time(record)}")
        return
    described, plan = read_description(folder), read_plan(folder)
    console = Console(highlight=False)
    chunks = folder / "chunks"
    if not chunks.is_dir():
        record = results.verified(folder)
        print(f"{shown(folder)}: done, {len(plan.chunks)} chunks, {wall_time(record)}")
        return
    files = finished(chunks)
    missing = [chunk.number for chunk in plan.chunks if chunk.number not in files]
    running = set(is_worked_at(chunks, missing))
    told = {number: attributes_of(file) for number, file in files.items()}
    table = Table(title=Text(f"{described['experiment']}: {shown(folder)}"), box=box.SIMPLE_HEAVY, pad_edge=False)
    for column in ("group", "values", "runs", "done", "running", "failed"):
        table.add_column(column, justify="left" if column == "values" else "right")
    reasons: dict[str, int] = {}
    for group in plan.groups:
        mine = [chunk for chunk in plan.chunks if chunk.group == group.number]
        failures = [why for c in mine if c.number in told for why in told[c.number]["failures"].values()]
        for why in failures:
            reasons[why] = reasons.get(why, 0) + 1
        table.add_row(
            str(group.number),
            Text(", ".join(f"{name}={value}" for name, value in group.static.items()) or "all"),
            str(sum(map(len, mine))),
            str(sum(len(c) for c in mine if c.number in files) - len(failures)),
            str(sum(len(c) for c in mine if c.number in running)),
            Text(str(len(failures)), style=COLOURS["fail"] if failures else ""),
        )
    console.print(table)
    for why, count in reasons.items():
        print(f"{count} failed: {why}")
    seconds = [float(attributes["seconds"]) for attributes in told.values()]
    left = math.nan if not seconds else sum(seconds) / len(seconds) * len(missing) / max(1, len(running))
    word = f"{len(running)} processes at work" if running else "nobody is at work; the same command goes on"
    time_left = f", {in_words(left)} left" if not math.isnan(left) and missing else ""
    print(f"{len(files)} of {len(plan.chunks)} chunks done, {word}{time_left}")

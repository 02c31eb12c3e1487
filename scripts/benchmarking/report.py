"""The table in words: machine, asked beside measured, rates of every program, and what was absent and why."""

import statistics
from collections.abc import Iterable
from typing import Any

from scripts.benchmarking.machine import vector_flags
from scripts.benchmarking.targets import (
    EARLIER_RATES,
    GPU_LIMITS,
    LIMITS,
    LONG_RUN,
    SECONDS_TO_FIRST_RUN,
    TARGETS,
    Target,
)
from scripts.benchmarking.timing import LIMIT

__all__ = ["mistakes", "one_line", "ratio", "table"]

NOT_MEASURED = "not measured"
SIZES = {
    "full": "",
    "quick": "**Quick size: fewer rows and shorter repetitions; these numbers are for a first look.**",
    "smoke": "**Smoke size: this shows that everything runs and agrees; no number here is a speed.**",
}


def table(result: dict[str, Any]) -> str:
    """The whole table, Markdown, from what benchmark.json holds."""
    rows = result["rows"]
    parts = [
        "# Benchmark",
        "Chain-steps per second, in millions; a chain-step is one Euler or SGD step of one chain. Warm, float32, "
        f"medians of {result['num_repetitions']} repetitions in turn; a ratio is the median of the ratios of "
        "neighbouring repetitions, ours over the other. Machines are shared: read ratios.",
        *(["**Interrupted: what follows is what was done by then.**"] if result["interrupted"] else []),
        SIZES[result["size"]],
        _machine(result["machine"], result["roofline"]),
        "## Asked and measured",
        _asked(result),
        "## Double well, dx = -grad (x^2 - 1)^2 dt + 0.5 dW",
        _grid([row for row in rows if row["work"] == "double_well"]),
        "![chain-steps per second against the number of chains](figure.png)" if rows else "",
        "## Each program relative to NumPy",
        "On the double well, beside what was measured earlier on two other cores with AVX-512.",
        _relative_to_numpy(rows),
        "## Other works",
        _others([row for row in rows if row["work"] != "double_well"]),
        _networks(rows),
        "## One long run and the first run",
        _long_run(result["long_run"]),
        _first_run(result["first_run"]),
        "## Agreement",
        _agreement(rows),
        "## Absent",
        _absent(rows),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def ratio(row: dict[str, Any], program: str, other: str) -> float | None:
    """The median of the ratios of neighbouring repetitions, None where one of the two was not measured."""
    first, second = (row["programs"].get(name, {}).get("rates") for name in (program, other))
    if not first or not second:
        return None
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def one_line(row: dict[str, Any]) -> str:
    """A row as it is shown while the benchmark runs."""
    rates = [f"{name} {_millions(entry['rate'])}" for name, entry in row["programs"].items() if "rate" in entry]
    return f"{row['work']}, {row['num_chains']:,} chains: {'; '.join(rates) or 'nothing could run'}"


def mistakes(rows: Iterable[dict[str, Any]]) -> list[str]:
    """What must not be: programs that failed, or whose mean or variance is 5.9 standard errors or more from ours."""
    found = []
    for row in rows:
        for name, entry in row["programs"].items():
            where = f"{name} on {row['work']} at {row['num_chains']:,} chains"
            if entry.get("absent", "").startswith("failed"):
                found.append(f"{where} {entry['absent']}")
            elif entry.get("deviation") is not None and entry["deviation"] >= LIMIT:
                found.append(f"{where} is {entry['deviation']:.1f} standard errors from ours")
    return found


def _machine(machine, roofline):
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    dirty = " with uncommitted changes" if machine["dirty"] else ""
    rows = [
        ("processor", f"{machine['processor']}, {machine['num_cores']} cores"),
        ("vector instructions", " ".join(vector_flags()) or "not known"),
        ("device", f"{machine['platform']}, {machine['device']}"),
        ("system", machine["system"]),
        ("versions", versions),
        ("commit", f"{(machine['commit'] or 'none')[:10]}{dirty}"),
        ("date", machine["date"]),
    ]
    if machine["platform"] == "gpu":
        rows.append(("roofline", _roofline(roofline)))
    return _markdown(("machine", ""), rows)


def _roofline(roofline):
    if roofline is None:
        return "the device does not tell its clock"
    return (
        f"{roofline['num_multiprocessors']} multiprocessors x 128 lanes x {roofline['clock_mhz']:.0f} MHz / "
        f"{roofline['instructions_per_chain_step']} instructions a chain-step = "
        f"{roofline['chain_steps_per_second']:.2g} chain-steps/s"
    )


def _asked(result):
    lines, backend = [], result["machine"]["platform"]
    for target in TARGETS:
        measured, reached = _measured(target, result["rows"] if result["size"] != "smoke" else [], backend)
        asked = f"{target.asked:g}x" if target.peer else f"{target.asked:.2g}/s"
        limits = GPU_LIMITS if target.backend == "gpu" else LIMITS
        limit = limits.get((target.work, target.num_chains, target.peer), "")
        against = target.peer or "rate"
        place = " (GPU)" if target.backend == "gpu" else ""
        what = f"{target.work}{place}"
        lines.append((what, f"{target.num_chains:,}", against, asked, measured, reached, limit))
    lines += _asked_of_long_run(result["long_run"]) + _asked_of_first_run(result["first_run"])
    return _markdown(("work", "chains", "against", "asked", "measured", "reached", "what limits it"), lines)


def _measured(target: Target, rows, backend):
    if target.backend != backend:
        return f"no {target.backend.upper()} here" if target.backend == "gpu" else f"this is a {backend}", "-"
    for row in rows:
        if (row["work"], row["num_chains"]) == (target.work, target.num_chains):
            if target.peer is None:
                value = row["programs"].get(target.program, {}).get("rate")
            else:
                value = ratio(row, target.program, target.peer)
            if value is None:
                return "absent", "-"
            return _ratio(value) if target.peer else f"{value:.2g}/s", _yes(value >= target.asked)
    return NOT_MEASURED, "-"


def _asked_of_long_run(found):
    seconds = memory = NOT_MEASURED
    reached = ["-", "-"]
    if found and "seconds" in found and found["is_asked_size"]:
        seconds, memory = f"{found['seconds']:.0f} s", f"{found['peak_memory_mb']:.0f} MB"
        reached = [
            _yes(found["seconds"] < LONG_RUN.seconds),
            _yes(found["peak_memory_mb"] < LONG_RUN.peak_memory_mb),
        ]
    what = "1e5 steps of the double well, 1,000 records of 20 moments"
    return [
        (what, "1,000,000", "wall time", f"< {LONG_RUN.seconds:.0f} s", seconds, reached[0], "arithmetic"),
        (what, "1,000,000", "peak memory", f"< {LONG_RUN.peak_memory_mb:.0f} MB", memory, reached[1], "importing JAX"),
    ]


def _asked_of_first_run(found):
    measured, reached = NOT_MEASURED, "-"
    if found and "absent" not in found:
        slowest = max(entry["slowest_loop"] for entry in found.values())
        measured, reached = f"{slowest:.1f} s", _yes(slowest < SECONDS_TO_FIRST_RUN)
    asked = f"< {SECONDS_TO_FIRST_RUN:g} s"
    return [("compile plus first run of any experiment's loop", "", "", asked, measured, reached, "compilation")]


def _grid(rows):
    sizes = [row["num_chains"] for row in rows]
    lines = []
    for name in dict.fromkeys(name for row in rows for name in row["programs"]):
        cells = []
        for row in rows:
            rate, over = row["programs"].get(name, {}).get("rate"), ratio(row, "ours", name)
            cells.append("-" if rate is None else _millions(rate) + ("" if name == "ours" else f" ({_ratio(over)})"))
        lines.append((name, *cells))
    return _markdown(("millions/s (ours is so many times faster)", *(f"{size:,}" for size in sizes)), lines)


def _relative_to_numpy(rows):
    lines = []
    for row in rows:
        for name, entry in row["programs"].items():
            value, earlier = ratio(row, name, "NumPy"), _earlier(name, row["num_chains"])
            if row["work"] == "double_well" and name != "NumPy" and value is not None and earlier is not None:
                steps = f"{entry['num_steps']:,}"
                lines.append((name, f"{row['num_chains']:,}", steps, f"{value:.3g}", f"{earlier:.3g}"))
    return _markdown(("program", "chains", "steps of a repetition", "over NumPy", "earlier"), lines)


def _earlier(name, num_chains):
    rate = EARLIER_RATES.get(name, {}).get(num_chains)
    return None if rate is None else rate / EARLIER_RATES["NumPy"][num_chains]


def _others(rows):
    lines = []
    for row in rows:
        for name, entry in row["programs"].items():
            if "rate" in entry:
                over = "" if name == "ours" else _ratio(ratio(row, "ours", name))
                lines.append((row["work"], f"{row['num_chains']:,}", name, _millions(entry["rate"]), over))
    return _markdown(("work", "chains", "program", "millions/s", "ours is so many times faster"), lines)


def _networks(rows):
    lines = []
    for row in rows:
        cost = ratio(row, "full-batch gradient descent", "ours")
        if cost is not None:
            lines.append(
                f"One exact anisotropic Langevin step of the deep linear network costs {cost:.2g} full-batch gradient "
                f"steps ({row['num_chains']} chains); in principle one, a weighted backward pass over all examples, "
                "while an SGD step costs batch_size examples."
            )
    return "\n\n".join(lines)


def _long_run(found):
    if not found:
        return "The long run was not made; `scripts/benchmark --full` makes it."
    if "absent" in found:
        return f"The long run failed: {found['absent']}"
    return (
        f"{found['num_chains']:,} chains x {found['num_steps']:,} steps with {found['num_records']:,} records of "
        f"{found['num_moments']} moments: {found['seconds']:.1f} s, compilation included "
        f"({_millions(found['chain_steps_per_second'])} million chain-steps/s), "
        f"peak resident memory {found['peak_memory_mb']:.0f} MB." + ("" if found["is_finite"] else " **Not finite.**")
    )


def _first_run(found):
    if not found:
        return "The first runs of the experiments were not timed."
    if "absent" in found:
        return f"The first runs failed: {found['absent']}"
    lines = []
    for name, entry in found.items():
        loops = f"{entry['all_loops']:.1f} ({entry['num_loops']})"
        lines.append((name, f"{entry['slowest_loop']:.1f}", loops, f"{entry['whole_run']:.1f}"))
    head = ("experiment, at smoke size, seconds", "slowest call of simulate", "all of them (how many)", "whole run")
    return _markdown(head, lines)


def _agreement(rows):
    compared = [
        (entry["deviation"], name, row)
        for row in rows
        for name, entry in row["programs"].items()
        if entry.get("deviation") is not None and name != "ours"
    ]
    wrong = mistakes(rows)
    diverged = [
        f"{name} on {row['work']} at {row['num_chains']:,} chains: {entry['num_diverged']} chains diverged."
        for row in rows
        for name, entry in row["programs"].items()
        if entry.get("num_diverged")
    ]
    warnings = [*(f"**{each}.**" for each in wrong), *diverged]
    if not compared:
        return "\n\n".join(["Nothing was compared.", *warnings])
    worst, name, row = max(compared, key=lambda each: each[0])
    summary = (
        f"{len(compared)} comparisons of the final mean and variance with ours, after the same number of steps: the "
        f"worst differs by {worst:.1f} standard errors ({name}, {row['work']}, {row['num_chains']:,} chains); "
        f"{LIMIT} are allowed."
    )
    return "\n\n".join([summary, *warnings])


def _absent(rows):
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, entry in row["programs"].items():
            if "absent" in entry:
                reasons.setdefault((name, entry["absent"]), []).append(f"{row['work']} {row['num_chains']:,}")
    lines = [f"- {name}: {reason} ({', '.join(places)})." for (name, reason), places in reasons.items()]
    return "\n".join(lines) or "Every program ran in every row that it is made for."


def _markdown(head, lines):
    if not lines:
        return "Nothing was measured."
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in cells)


def _millions(rate):
    value = rate / 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value):
    return "-" if value is None else f"{value:.2g}x" if value < 10 else f"{value:,.0f}x"


def _yes(is_reached):
    return "yes" if is_reached else "**no**"

"""One row: all programs of one work at one number of chains, warm, timed in turn; and whether they agree.

Machines are shared, so programs take turns (ours, a peer, the next, ours, ...) and a ratio is the median of the ratios
of neighbouring repetitions. Each program runs as many steps as fill a repetition; before that all run the same number
of steps, and the mean and the variance of the final params of each are compared with ours.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.peers.program import Program, Run

__all__ = ["LIMIT", "Effort", "deviation", "measured_row"]

LIMIT = 5.9
"""standard errors; about one false alarm in 10^8 comparisons, and a row makes at most 20 of them for each program"""

MOST_STEPS = 2**22


@dataclass(frozen=True)
class Effort:
    """How long to measure: repetitions (medians of), seconds of one, and the chain-steps of the comparison."""

    num_repetitions: int = 5
    seconds: float = 0.4
    compared_chain_steps: int = 2**25


def measured_row(
    work: Any, num_chains: int, programs: Sequence[Program], effort: Effort, say: Callable[[str], None]
) -> dict[str, Any]:
    """{"work", "num_chains", "compared_steps", "programs": {name: entry}}.

    An entry is {"absent": reason} or {"rates": chain-steps per second of each repetition, "rate": their median,
    "num_steps", "deviation": standard errors between its final variance (or mean) and ours, None where laws differ,
    "num_diverged": chains of the last repetition that are not finite}.
    """
    same_steps = int(np.clip(effort.compared_chain_steps // num_chains, 16, 256))
    entries, runs, ours = {}, {}, None
    # all asked before any is compiled: importing a peer may change settings of JAX, and so what is compiled
    reasons = {program: program.absence() for program in programs if program.does(work)}
    for program, reason in reasons.items():
        if reason is None and num_chains > (program.max_chains or num_chains):
            reason = f"left out above {program.max_chains:,} chains, where a repetition would take too long"
        if reason is not None:
            entries[program.name] = {"absent": reason}
            continue
        say(f"{work.name}, {num_chains:,} chains: {program.name}")
        try:
            run = program.prepare(work, num_chains)
            # another seed for each program: two that share a generator must not agree by having the same draws
            final = work.seen(run(100 + len(runs), same_steps))
            num_steps = steps_that_fill(run, effort.seconds, same_steps) if effort.seconds else same_steps
        except Exception as error:  # a peer that fails must not hide the others; it is stated
            entries[program.name] = {"absent": f"failed: {type(error).__name__}: {str(error).strip()[:300]}"}
            continue
        ours = final if ours is None and program.name == "ours" else ours
        compared = min(deviation(final, ours), 1e9) if program.is_same_law and ours is not None else None
        runs[program.name] = run, num_steps
        entries[program.name] = {"rates": [], "num_steps": num_steps, "deviation": compared}
    if effort.seconds:
        for run, num_steps in runs.values():
            run(0, num_steps)  # warm again, whatever the others have done since
    for repetition in range(effort.num_repetitions):
        say(f"{work.name}, {num_chains:,} chains: repetition {repetition + 1} of {effort.num_repetitions}")
        for name, (run, num_steps) in runs.items():
            begun = time.perf_counter()
            params = run(repetition, num_steps)
            seconds = time.perf_counter() - begun
            entries[name]["rates"].append(num_chains * num_steps / seconds)
            if repetition == effort.num_repetitions - 1:
                entries[name]["num_diverged"] = int((~np.isfinite(work.seen(params)).all(axis=1)).sum())
    for entry in entries.values():
        if "rates" in entry:
            entry["rate"] = statistics.median(entry["rates"])
    return {"work": work.name, "num_chains": num_chains, "compared_steps": same_steps, "programs": entries}


def steps_that_fill(run: Run, seconds: float, num_steps: int) -> int:
    """The number of steps, even, that fills a repetition; a run with it is warm afterwards."""
    for _ in range(8):  # a fixed cost in each call makes the first guesses too short
        run(0, num_steps)  # compiles where a new length is a new program
        begun = time.perf_counter()
        run(1, num_steps)
        taken = time.perf_counter() - begun
        wanted = int(np.clip(num_steps * seconds / taken, 8, MOST_STEPS)) // 2 * 2
        if num_steps / 1.6 <= wanted <= 1.6 * num_steps:
            break
        num_steps = wanted
    else:
        run(0, num_steps)
    return num_steps


def deviation(sample: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference between two independent samples (num_chains, d) in standard errors: of the variance, in
    logarithms, where its estimate is nearly normal, and of the mean, over all d columns.

    The standard error of log variance is sqrt((kurtosis - 1)/n), of the mean sqrt(variance/n). At 65,536 chains a
    variance that is off by 5 % is 9 standard errors away for normal samples. Infinite if a number is not finite.
    """
    if sample is reference:
        return 0.0
    moments = [_moments(values) for values in (sample, reference)]
    (mean, variance, mean_error, log_error), (mean2, variance2, mean_error2, log_error2) = moments
    with np.errstate(all="ignore"):
        of_mean = np.abs(mean - mean2) / np.hypot(mean_error, mean_error2)
        of_variance = np.abs(np.log(variance / variance2)) / np.hypot(log_error, log_error2)
    worst = np.concatenate([of_mean, of_variance])
    return float(worst.max()) if np.isfinite(worst).all() else float("inf")


def _moments(values):
    count, mean = len(values), values.mean(axis=0)
    away = values - mean
    variance = (away**2).sum(axis=0) / (count - 1)
    with np.errstate(all="ignore"):
        kurtosis = (away**4).mean(axis=0) / variance**2
        return mean, variance, np.sqrt(variance / count), np.sqrt((kurtosis - 1) / count)

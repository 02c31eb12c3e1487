"""The result of a search on disk, and what a person sees of it.

search.json     what was searched, and the best trial with the command that runs it
trials.csv      a row a trial: its values, the objective with its standard error over seeds, or why there is none
journal.log     optuna's record, which any of its tools reads
figure.pdf, figure.png, provenance.json (with the checksum of every file)
"""

import csv
import dataclasses
import shlex
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdsde import style
from sgdsde.experiment import provenance, results
from sgdsde.experiment.files import publish, working_folder
from sgdsde.experiment.folders import ExperimentError, shown
from sgdsde.experiment.report import console
from sgdsde.experiment.runner import opened_record
from sgdsde.experiment.validation import COMMAND, NAME, NUMBER, TABLE, TEXT, WHOLE, Each, Optional, read_json
from sgdsde.searches.figure import drawn_search
from sgdsde.searches.journal import Outcome

NUM_SHOWN = 5
DESCRIPTION = {
    "experiment": NAME, "objective": {"name": TEXT, "direction": TEXT}, "num_seeds": WHOLE, "num_trials": WHOLE,
    "num_failed": WHOLE, "reasons": Each(WHOLE), "best": [
        {"trial": WHOLE, "value": NUMBER, "standard_error": Optional(NUMBER), "values": TABLE, "command": COMMAND}
    ],
}  # fmt: skip
"""what is read of `search.json`"""


@dataclass(frozen=True)
class Trial:
    """A finished trial: its number in the journal, the values of the searched fields, what came out."""

    number: int
    values: Mapping[str, Any]
    outcome: Outcome


def best_first(trials: Sequence[Trial], *, is_maximised: bool) -> list[Trial]:
    """The trials that have a value, the best one first; of equal ones the earlier."""
    sign = -1 if is_maximised else 1
    finite = [trial for trial in trials if trial.outcome.value is not None]
    return sorted(finite, key=lambda trial: (sign * float(trial.outcome.value or 0.0), trial.number))


def best_of(trials: Sequence[Trial], *, is_maximised: bool) -> Trial | None:
    """The best trial; None while none has a value."""
    return next(iter(best_first(trials, is_maximised=is_maximised)), None)


def is_published(folder: Path, num_trials: int) -> bool:
    """Whether an undamaged result with as many trials is there."""
    try:
        record = results.verified(folder)
        return record["status"] == "done" and read_search(folder)["num_trials"] == num_trials
    except ExperimentError:
        return False


def read_search(folder: Path) -> dict[str, Any]:
    """`search.json` of a search's folder."""
    return read_json(folder / "search.json", DESCRIPTION)


def publish_trials(
    search: Any, trials: Sequence[Trial], folder: Path, journal: Path, *, command: str, is_enough: bool
) -> None:
    """Write the result of a search, which takes the place of an earlier one at once.

    Args:
        search: the `Search`.
        trials: that are done.
        folder: `runs/NAME/search-<hash>`.
        journal: the file of which it keeps a copy.
        command: what is recorded as the command.
        is_enough: whether these are as many trials as were asked for.

    Raises:
        OSError: it cannot be written; an earlier result stays.
    """
    experiment, objective = search.experiment, search.objective
    record = opened_record(experiment, smoke=search.smoke, seed=search.config.seed, command=command, named=folder.name)
    seconds = sum(trial.outcome.seconds for trial in trials)
    record |= {"status": "done" if is_enough else "interrupted", "end": provenance.now()}
    record |= {"wall_seconds": round(seconds, 2), **provenance.peak_memory()}
    best = best_first(trials, is_maximised=objective.is_maximised)[:NUM_SHOWN]
    described = {
        "schema": results.SCHEMA,
        "experiment": experiment.name,
        "hash": folder.name,
        "title": experiment.description.split("\n")[0],
        "command": command,
        **search.as_dict(),
        "num_trials": len(trials),
        "num_failed": sum(trial.outcome.value is None for trial in trials),
        "reasons": dict(Counter(trial.outcome.reason for trial in trials if trial.outcome.reason).most_common()),
        "best": [_described(search, trial) for trial in best],
    }
    with working_folder(folder) as work:
        results.write_json(work / "search.json", described)
        _write_trials(work / "trials.csv", trials)
        shutil.copyfile(journal, work / "journal.log")
        style.save(drawn_search(search, trials), work)
        results.write_provenance(work, record, seal=True)
        publish(work, folder)


def _described(search: Any, trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "value": trial.outcome.value,
        "standard_error": trial.outcome.standard_error,
        "values": dict(trial.values),
        "command": command_of(search, trial),
    }


def command_of(search: Any, trial: Trial) -> str:
    """The command that runs the experiment with a trial's values, and every other field as it was in the search."""
    experiment = search.experiment
    default = experiment.smoke if search.smoke else experiment.config_class()
    names = [field.name for field in dataclasses.fields(search.config)]
    values = {name: getattr(search.config, name) for name in names} | dict(trial.values)
    changes = {name: value for name, value in values.items() if value != getattr(default, name) or name in trial.values}
    record = provenance.environment()
    words = ["sgdsde", "run", shown(experiment.file), *(["--smoke"] if search.smoke else [])]
    words += ["--float64"] if record["dtype"] == "float64" else []
    return shlex.join([*words, *(word for name, value in changes.items() for word in _flag(name, value))])


def _flag(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    if isinstance(value, tuple):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}={value}"] if str(value).startswith("-") else [f"--{name}", str(value)]


def _write_trials(file: Path, trials: Sequence[Trial]) -> None:
    fields = list(trials[0].values)
    own = ["objective", "standard_error", "state", "reason", "seconds"]
    with open(file, "w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["trial", *(f"field_{name}" if name in ("trial", *own) else name for name in fields), *own])
        for trial in trials:
            outcome = trial.outcome
            state = "done" if outcome.value is not None else "failed"
            rows.writerow(
                [trial.number, *(trial.values[name] for name in fields), outcome.value, outcome.standard_error]
                + [state, outcome.reason, outcome.seconds]
            )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"({', '.join(map(_text, value))})"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def print_search(folder: Path) -> bool:
    """The best trials of a result folder and the command that runs the best one; whether there is one."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    described = read_search(folder)
    num_trials, num_failed = described["num_trials"], described["num_failed"]
    screen = console()
    best, objective = described["best"], described["objective"]
    if best:
        title = f"{described['experiment']}: the best {len(best)} of {num_trials} trials to {objective['direction']}"
        screen.print(Text(f"{title} {objective['name']}", style="bold"))
        table = Table(box=box.SIMPLE_HEAVY, pad_edge=False)
        for column in ("trial", objective["name"], *best[0]["values"]):
            table.add_column(Text(column), justify="right", overflow="fold")
        for row in best:
            error = "" if row["standard_error"] is None else f" ± {row['standard_error']:.2g}"
            values = [_text(value) for value in row["values"].values()]
            table.add_row(*map(Text, (str(row["trial"]), f"{row['value']:.5g}{error}", *values)))
        screen.print(table)
    failed = f", {num_failed} without a value (see trials.csv)" if num_failed else ""
    seeds = f", means of {described['num_seeds']} seeds" if described["num_seeds"] > 1 else ""
    screen.print(Text(f"{described['experiment']}: {num_trials} trials{seeds}{failed}"))
    for reason, count in list(described["reasons"].items())[:3]:
        screen.print(Text(f"  {count} trial(s): {reason}"))
    print(f"figure: {shown(folder / 'figure.png')}")
    if best:
        print(f"best: {best[0]['command']}")
    return bool(best)

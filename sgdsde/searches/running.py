"""A search for the best values of some fields: trials until there are enough, then the result.

Optuna's estimator proposes batches of points from all trials before; each is computed for every seed, in one program
where the static values agree. Any number of processes share a search; one that is stopped or killed is gone on from.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from tqdm.auto import tqdm

from sgdsde.experiment.config import Experiment, config_as_dict
from sgdsde.experiment.folders import ExperimentError, shown
from sgdsde.experiment.runner import identity_of, trace_run
from sgdsde.interruption import Stop, stopping
from sgdsde.searches.evaluation import Evaluator
from sgdsde.searches.journal import Asked, Journal, Outcome, check_optuna, opened
from sgdsde.searches.objective import Objective, objective_of
from sgdsde.searches.result import Trial, best_of, is_published, publish_trials
from sgdsde.searches.space import Space, end_points, values_of
from sgdsde.sweeps.plan import Sweep, groups_of
from sgdsde.sweeps.planning import planned
from sgdsde.sweeps.work import in_background

PAUSE = 0.5
"""seconds between two looks at what other processes have finished"""


@dataclass(frozen=True)
class Search:
    """An experiment, the fields that are searched and where, and what is made small or large.

    num_seeds: each trial is the mean over seeds config.seed, config.seed + 1, ...
    """

    experiment: Experiment
    config: Any
    space: Space
    objective: Objective
    num_seeds: int
    smoke: bool

    def as_dict(self) -> dict[str, Any]:
        """What identifies the search, as JSON can hold it; the number of trials is not part of it."""
        return {
            "config": config_as_dict(self.config),
            "space": [part.as_dict() for part in self.space],
            "objective": self.objective.as_dict(),
            "num_seeds": self.num_seeds,
            "smoke": self.smoke,
        }


def search_of(
    experiment: Experiment, config: Any, space: Space, name: str, *, is_maximised: bool, num_seeds: int, smoke: bool
) -> Search:
    """A search whose space and objective are verified by tracing `run` at the ends of the space; nothing is computed.

    Args:
        name: of the objective: NAME or NAME[index] of an array of run(), the mean of whose entries it is, or
            `check:NAME`, the measured number of a check.

    Raises:
        ExperimentError: no such objective; values in the space with which the experiment cannot run; no optuna.
    """
    check_optuna()
    if jax.process_count() > 1:
        raise ExperimentError("A search does not span the hosts of one program; start one process for each instead.")
    ends = _evaluator(Search(experiment, config, space, Objective(name, is_maximised), num_seeds, smoke)).sweep_over(
        end_points(space)
    )
    _check_configs(ends)
    planned(ends)
    first = ends.config_at(groups_of(ends)[0].places[0])
    objective = objective_of(experiment, first, trace_run(experiment, first).out_info, name, is_maximised=is_maximised)
    return Search(experiment, config, space, objective, num_seeds, smoke)


def _check_configs(ends: Sweep) -> None:
    """The Config's own checks at the ends of the space, with the point in the message."""
    for place in ((i,) for i in range(ends.num_points)):
        try:
            ends.config_at(place)
        except ExperimentError as error:
            point = ", ".join(f"{name}={value}" for name, value in ends.values_at(place).items())
            raise ExperimentError(f"The space of the search reaches {point}, where {error}") from error


def place_of(search: Search, runs: Path) -> Path:
    """`runs/NAME/search-<hash>`: changed values or changed code are another search."""
    return runs / search.experiment.name / f"search-{identity_of(search.experiment, **search.as_dict())}"


def run_search(
    search: Search,
    runs: Path,
    *,
    num_trials: int,
    at_once: int = 4,
    fresh: bool,
    command: str,
    say: Callable[[str], None] = print,
) -> Path:
    """Compute trials until there are `num_trials`, those of earlier runs and of other processes among them.

    Args:
        search: as `search_of` makes it.
        runs: the folder `runs`.
        num_trials: in all.
        at_once: trials that this process asks for together.
        fresh: begin anew.
        command: what is recorded as the command.
        say: receives each line of progress.

    Returns:
        The result's folder.

    Raises:
        ExperimentError: with `fresh`, another process works at it.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after the batch under way; the result so far is written.
        OSError: the journal or the result cannot be written; what was told before is kept.
    """
    check_optuna()
    for flag, number in (("--trials", num_trials), ("--at-once", at_once)):
        if number < 1:
            raise ExperimentError(f"{flag}: expected at least 1, got {number}.")
    folder = place_of(search, runs)
    distributions = {part.field: part.distribution() for part in search.space}
    settings = {"is_maximised": search.objective.is_maximised, "seed": search.config.seed}
    with opened(folder, distributions, **settings) as journal, stopping() as stop:
        if fresh:
            journal.forget()
        before = len(journal.told())
        if before >= num_trials and is_published(folder, before):
            name = search.experiment.name
            say(f"{name}: {before} trials are already there; --trials asks for more, --fresh begins anew")
            return folder
        say(
            f"{search.experiment.name}: {num_trials} trials x {search.num_seeds} seed(s)"
            f"{f', {before} of them done before' if before else ''}, {jax.device_count()} {jax.default_backend()} "
            f"device(s) -> {shown(folder)}"
        )
        is_enough = _compute(search, journal, num_trials, at_once, stop)
        with journal.alone():
            trials = trials_of(search, journal)
            if trials and not (is_enough and is_published(folder, len(trials))):
                publish_trials(search, trials, folder, journal.file, command=command, is_enough=is_enough)
    if not is_enough:
        raise KeyboardInterrupt
    return folder


def trials_of(search: Search, journal: Journal) -> list[Trial]:
    """The trials that are done, by number."""
    return [Trial(number, values_of(search.space, drawn), outcome) for number, drawn, outcome in journal.told()]


def _evaluator(search: Search) -> Evaluator:
    sizes = {"num_seeds": search.num_seeds, "smoke": search.smoke}
    return Evaluator(search.experiment, search.config, search.objective, **sizes, in_background=in_background)


def _compute(search: Search, journal: Journal, num_trials: int, at_once: int, stop: Stop) -> bool:
    """Ask, compute and tell until there are enough trials; False where an end was asked for before."""
    evaluator = _evaluator(search)
    with tqdm(total=num_trials, unit=" trials", disable=None, leave=False, delay=0.5) as bar:
        while True:
            trials = trials_of(search, journal)
            best = best_of(trials, is_maximised=search.objective.is_maximised)
            bar.n = min(len(trials), num_trials)
            bar.set_postfix_str(f"best {best.outcome.value:.5g}" if best else "no value yet", refresh=True)
            if stop.requested and len(trials) < num_trials:
                return False
            batch, others_work = journal.ask(at_once, num_trials)
            if batch:
                _tell_all(search, journal, evaluator, batch)
            elif others_work:
                time.sleep(PAUSE)
            else:
                return True


def _tell_all(search: Search, journal: Journal, evaluator: Evaluator, batch: list[Asked]) -> None:
    """Compute a batch and tell it; a point that was computed before has its outcome already."""
    known = {_key(drawn): outcome for _, drawn, outcome in journal.told()}
    new = {_key(asked.drawn): asked for asked in batch if _key(asked.drawn) not in known}
    outcomes = evaluator([values_of(search.space, asked.drawn) for asked in new.values()])
    known |= dict(zip(new, outcomes, strict=True))
    for asked in batch:
        outcome = known[_key(asked.drawn)]
        is_first = new.get(_key(asked.drawn)) is asked
        seconds = outcome.seconds if is_first else 0.0
        journal.tell(asked, Outcome(outcome.value, outcome.standard_error, outcome.reason, seconds))


def _key(drawn: Any) -> tuple:
    return tuple(sorted(drawn.items()))

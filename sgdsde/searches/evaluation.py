"""The trials of a search computed: those that share a program at once, with programs kept from batch to batch."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sgdsde.experiment.config import Experiment, changed, reason
from sgdsde.experiment.folders import ExperimentError
from sgdsde.searches.journal import Outcome
from sgdsde.searches.objective import Objective
from sgdsde.searches.space import axis_of
from sgdsde.sweeps.plan import Group, Sweep, groups_of, items_of
from sgdsde.sweeps.program import Items, Program


class Evaluator:
    """Points of a search to outcomes.

    A program is compiled for the values of static fields and a number of trials, a power of two, and kept: other floats
    and other seeds do not compile again, nor do fewer trials.
    """

    def __init__(
        self,
        experiment: Experiment,
        config: Any,
        objective: Objective,
        *,
        num_seeds: int,
        smoke: bool,
        in_background: Callable[[Callable], Any],
    ):
        self._experiment, self._config, self._objective = experiment, config, objective
        self._num_seeds, self._smoke, self._in_background = num_seeds, smoke, in_background
        self._programs: dict[tuple, dict[int, Program]] = {}  # by what they are compiled for, and by number of trials

    @property
    def num_compilations(self) -> int:
        return sum(program.num_compilations for programs in self._programs.values() for program in programs.values())

    def __call__(self, points: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """The outcome of each point, in order; what goes wrong at one does not touch those of other groups."""
        outcomes: dict[int, Outcome] = {}
        for i, point in enumerate(points):
            try:
                changed(self._config, point)
            except ExperimentError as error:  # the Config's own checks
                outcomes[i] = Outcome(None, reason=str(error))
        kept = [i for i in range(len(points)) if i not in outcomes]
        if kept:
            sweep = self.sweep_over([points[i] for i in kept])
            for group in groups_of(sweep):
                found = self._group(sweep, group)
                outcomes |= {kept[place]: outcome for (place,), outcome in zip(group.places, found, strict=True)}
        return [outcomes[i] for i in range(len(points))]

    def sweep_over(self, points: Sequence[Mapping[str, Any]]) -> Sweep:
        """The points as a sweep of one axis."""
        axes = (axis_of(points),)
        return Sweep(self._experiment, self._config, axes, self._num_seeds, self._smoke, asks_checks=False)

    def _group(self, sweep: Sweep, group: Group) -> list[Outcome]:
        """The outcomes of the points of a group, which are computed together."""
        started, items = time.monotonic(), list(items_of(sweep, group))
        try:
            arrays, failures = self._program(sweep, group)(Items(*map(list, zip(*items))))
        except Exception as error:  # whatever the experiment or the compiler says: the other trials go on
            arrays, failures = {}, dict.fromkeys(range(len(items)), reason(error, self._experiment.file))
        outcomes = []
        for first in range(0, len(items), self._num_seeds):
            inside = range(first, first + self._num_seeds)
            failed = next((failures[i] for i in inside if i in failures), None)
            outcomes.append(Outcome(None, reason=failed) if failed else self._outcome(sweep, items, arrays, inside))
        seconds = round((time.monotonic() - started) / len(outcomes), 3)
        return [dataclasses.replace(outcome, seconds=seconds) for outcome in outcomes]

    def _program(self, sweep: Sweep, group: Group) -> Program:
        lengths = [np.shape(values[group.places[0][0]]) for values in sweep.axes[0].values.values()]
        programs = self._programs.setdefault((*sorted(group.static.items()), *lengths), {})
        needed = len(group.places)
        fitting = min((size for size in programs if size >= needed), default=2 ** math.ceil(math.log2(needed)))
        if fitting not in programs:
            programs[fitting] = Program(sweep, group, fitting * self._num_seeds, self._in_background)
        programs[fitting].move_to(sweep, group)
        return programs[fitting]

    def _outcome(
        self, sweep: Sweep, items: list[tuple], arrays: Mapping[str, np.ndarray], inside: Sequence[int]
    ) -> Outcome:
        """The mean over the seeds of a point, and its standard error."""
        numbers = []
        for i in inside:
            place, seed = items[i]
            config = changed(sweep.config_at(place), {"seed": seed})
            own = {name: np.asarray(array[i]) for name, array in arrays.items()}
            try:
                numbers.append(self._objective.number(self._experiment, config, own))
            except Exception as error:
                return Outcome(None, reason=reason(error, self._experiment.file))
        if not np.isfinite([*numbers, np.mean(numbers)]).all():
            which = f" for {int((~np.isfinite(numbers)).sum())} of {len(numbers)} seeds" if len(numbers) > 1 else ""
            return Outcome(None, reason=f"{self._objective.name} is not finite{which}")
        error = float(np.std(numbers, ddof=1) / len(numbers) ** 0.5) if len(numbers) > 1 else None
        return Outcome(float(np.mean(numbers)), standard_error=error)

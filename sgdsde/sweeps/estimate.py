"""How long a sweep will take, from about a second of its first run."""

import math
import time
from dataclasses import dataclass

import jax

from sgdsde.experiment.runner import trace_run
from sgdsde.progress import read_by, told_sizes
from sgdsde.sweeps.plan import Sweep, num_items
from sgdsde.sweeps.planning import Plan

ENOUGH = 1.0
"""seconds of simulation that are measured"""
PATIENCE = 10.0
"""seconds after which the measurement ends, compilation included"""


@dataclass(frozen=True)
class Estimate:
    """Seconds of compilation and of computing."""

    compiling: float
    computing: float


class _Enough(Exception):
    """The measurement has seen what it needs."""


class _Watch:
    """Times compilation and simulation, and raises _Enough between two stretches of steps: nothing is left running."""

    def __init__(self):
        self.began = self.mark = time.monotonic()
        self.compiling, self.computing, self.num_done = 0.0, 0.0, 0

    def _lap(self) -> float:
        before, self.mark = self.mark, time.monotonic()
        return self.mark - before

    def begin(self, size: int, done: int) -> None:
        self.compiling += self._lap()

    def update(self, count: int) -> None:
        self.computing += self._lap()
        self.num_done += count
        if self.computing > ENOUGH or self.mark - self.began > PATIENCE:
            raise _Enough

    def end(self) -> None:
        if self.num_done:
            raise _Enough
        self.began = self.mark = time.monotonic()  # one that is part of a trace says nothing
        self.compiling = 0.0


def estimated(sweep: Sweep, plan: Plan) -> Estimate | None:
    """The first point's run is begun as `sgdsde run` would compute it. What its first simulation takes to compile is
    taken for each kind of simulation in each group, what a chain-step takes for all of them. None where `run` simulates
    nothing.

    A run alone is slower than many in one program: the time is rather too long than too short.
    """
    config = sweep.config_at(plan.groups[0].places[0])
    with told_sizes() as told:
        trace_run(sweep.experiment, config)
    if not told.sizes:
        return None
    watch = _Watch()
    try:
        with read_by(watch):
            sweep.experiment.run(config, jax.random.key(config.seed))
    except _Enough:
        pass
    if not watch.num_done:
        return None
    num_runs = math.fsum(num_items(sweep, group) for group in plan.groups)
    compiling = watch.compiling * len(told.kinds) * len(plan.groups)
    return Estimate(compiling, watch.computing / watch.num_done * sum(told.sizes) * num_runs)

"""How long a sweep will take, from one measured call of its first and its last group."""

import threading
import time
from dataclasses import dataclass
from typing import Any

from sgdsde.sweeps.plan import Sweep, items_of, num_items
from sgdsde.sweeps.planning import Plan
from sgdsde.sweeps.program import Items, Program

PATIENCE = 20.0
"""seconds after which a measurement is given up"""


@dataclass(frozen=True)
class Estimate:
    """Seconds of compilation and of computing; `is_least` where the measurement was given up before it ended."""

    compiling: float
    computing: float
    is_least: bool


def estimated(sweep: Sweep, plan: Plan) -> Estimate:
    """A few runs of the first and of the last group are compiled and computed; the others are taken to be like them.

    Few runs at once are slower, run for run, than a whole chunk: the time is rather too long than too short.
    """
    groups = list({group.number: group for group in (plan.groups[0], plan.groups[-1])}.values())
    compiling, computing, is_least = [], [], False
    for group in groups:
        items = list(items_of(sweep, group))[: min(8, max(len(c) for c in plan.chunks if c.group == group.number))]
        program = Program(sweep, group, len(items), _at_once)
        chosen = Items(*map(list, zip(*items)))
        began = time.monotonic()
        program.prepare(chosen)
        compiling.append(time.monotonic() - began)
        seconds, ended = _timed(lambda program=program, chosen=chosen: program(chosen))
        computing.append(seconds / len(items))
        is_least |= not ended
    total = sum(num_items(sweep, group) for group in plan.groups)
    mean = lambda numbers: sum(numbers) / len(numbers)
    return Estimate(mean(compiling) * len(plan.groups), mean(computing) * total, is_least)


def _at_once(function: Any) -> Any:
    return function()


def _timed(function: Any) -> tuple[float, bool]:
    """(seconds, whether it ended within PATIENCE)."""
    began = time.monotonic()
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return time.monotonic() - began, not thread.is_alive()

"""A plan for a sweep: groups, chunks and what they cost, with every mistake that can be found before computing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdsde.experiment.config import reason
from sgdsde.experiment.folders import ExperimentError
from sgdsde.experiment.runner import UNTRACEABLE, trace_run
from sgdsde.sweeps.footprints import items_at_once, peak_bytes
from sgdsde.sweeps.plan import Chunk, Group, Sweep, chunks_of, groups_of, num_items
from sgdsde.sweeps.program import footprint_of, traced_fields


@dataclass(frozen=True)
class Plan:
    """How a sweep is cut, the same for every process that works at it, and the memory of its largest chunk."""

    groups: list[Group]
    chunks: list[Chunk]
    num_bytes: float


def planned(sweep: Sweep, size: int | None = None) -> Plan:
    """The groups and chunks of a sweep; every group's run is traced, so that a mistake in any of them is found here.

    Args:
        size: items in a chunk; by default as many as fill the devices and fit into their memory.

    Raises:
        ExperimentError: values with which the experiment cannot run; the point is named.
    """
    groups = groups_of(sweep)
    for group in groups:
        for place in group.places:
            sweep.config_at(place)  # the Config's own checks, on every point
    firsts = [group.places[0] for group in groups]
    alone = {place: _traced_bytes(sweep, place) for place in dict.fromkeys([*firsts, *_extremes(sweep, groups[0])])}
    shared, each = _tried(sweep, firsts[0], lambda: footprint_of(sweep, groups[0]))
    sizes, num_bytes = {}, 0.0
    for group, first in zip(groups, firsts):
        own = each * alone[first] / alone[firsts[0]]  # one trace a group: how it grows with items is the first one's
        total = num_items(sweep, group)
        sizes[group.number] = min(total, size or items_at_once(shared, own, total))
        num_bytes = max(num_bytes, shared + sizes[group.number] * own)
    return Plan(groups, chunks_of(sweep, groups, sizes), num_bytes)


def _traced_bytes(sweep: Sweep, place: tuple[int, ...]) -> int:
    """Memory of one run; its values are numbers here, so that every check of them is made."""
    trace = lambda: trace_run(sweep.experiment, sweep.config_at(place))
    return max(1, peak_bytes(_tried(sweep, place, trace).jaxpr))


def _extremes(sweep: Sweep, group: Group) -> Iterator[tuple[int, ...]]:
    """Points with the smallest and the largest value of each traced field: as tracers they would pass every check."""
    for name in traced_fields(sweep, group):
        (along,) = [i for i, axis in enumerate(sweep.axes) if name in axis.values]
        column = [sweep.axes[along].values[name][i] for i in group.where[along]]
        for best in (int(np.argmin([np.min(v) for v in column])), int(np.argmax([np.max(v) for v in column]))):
            yield tuple(places[best if i == along else 0] for i, places in enumerate(group.where))


def _tried(sweep: Sweep, place: tuple[int, ...], trace: Any) -> Any:
    try:
        return trace()
    except ExperimentError:
        raise
    except Exception as error:  # whatever the experiment says of these values
        point = ", ".join(f"{name}={value}" for name, value in sweep.values_at(place).items())
        why = reason(error, sweep.experiment.file)
        if isinstance(error, UNTRACEABLE):
            why = f"run() needs the numbers themselves while it is compiled, so that it cannot be swept: {why}"
        raise ExperimentError(f"{sweep.experiment.name} at {point or 'its values'}: {why}") from error

"""What a sweep computes: its points, its groups (one compilation each) and its chunks (one file each)."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

import numpy as np

from sgdsde.experiment.config import LARGEST_SEED, Experiment, changed, config_as_dict, field_kinds
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.axes import Axis

MOST_RUNS = 1_000_000


@dataclass(frozen=True)
class Sweep:
    """An experiment over the product of its axes and of seeds config.seed, config.seed + 1, ...

    physical_time: where given, each point takes the steps that make up this time,
        num_steps = time (1 - momentum)/learning_rate to the nearest whole number.
    asks_checks: judge each point and seed by the experiment's checks.
    """

    experiment: Experiment
    config: Any
    axes: tuple[Axis, ...]
    num_seeds: int
    smoke: bool
    physical_time: float | None = None
    asks_checks: bool = True

    def __post_init__(self):
        if self.num_seeds < 1:
            raise ExperimentError(f"--seeds: expected at least 1, got {self.num_seeds}.")
        if self.config.seed + self.num_seeds - 1 > LARGEST_SEED:
            raise ExperimentError(
                f"--seeds: {self.num_seeds} seeds from {self.config.seed} on go beyond the largest, {LARGEST_SEED:,}."
            )
        if self.num_points * self.num_seeds > MOST_RUNS:
            raise ExperimentError(
                f"{self.num_points:,} points x {self.num_seeds:,} seeds are more than {MOST_RUNS:,} runs, the most of "
                "one sweep; split it, or let each run have more chains instead of seeds."
            )
        if self.physical_time is not None:
            self._check_time()

    def _check_time(self) -> None:
        names = field_kinds(type(self.config))
        if not (self.physical_time > 0 and math.isfinite(self.physical_time)):
            raise ExperimentError(f"--physical_time: expected a time above 0, got {self.physical_time:g}.")
        if names.get("learning_rate") is not float or names.get("num_steps") is not int:
            raise ExperimentError(
                f"--physical_time sets num_steps from learning_rate, but {self.experiment.name} has no fields "
                "`learning_rate: float` and `num_steps: int`."
            )
        if "num_steps" in self.fields:
            raise ExperimentError("num_steps is swept and would also be set by --physical_time; give one of them.")

    @property
    def fields(self) -> tuple[str, ...]:
        """The swept fields, axis by axis."""
        return tuple(name for axis in self.axes for name in axis.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def num_points(self) -> int:
        return math.prod(self.shape)

    @property
    def seeds(self) -> range:
        return range(self.config.seed, self.config.seed + self.num_seeds)

    def values_at(self, place: tuple[int, ...]) -> dict[str, Any]:
        """The swept fields' values at a point; with a stated time, its num_steps too."""
        values = {name: column[i] for axis, i in zip(self.axes, place) for name, column in axis.values.items()}
        if self.physical_time is not None:
            values["num_steps"] = self._num_steps(values)
        return values

    def config_at(self, place: tuple[int, ...]) -> Any:
        """The Config of a point, with the base seed."""
        return changed(self.config, self.values_at(place))

    def _num_steps(self, values: Mapping[str, Any]) -> int:
        rate = values.get("learning_rate", self.config.learning_rate)
        momentum = values.get("momentum", getattr(self.config, "momentum", 0.0))
        steps = self.physical_time * (1 - momentum) / rate if rate > 0 else 0
        if round(steps) < 1:
            raise ExperimentError(f"A time of {self.physical_time:g} is not one step at learning rate {rate:g}.")
        return round(steps)

    def as_dict(self) -> dict[str, Any]:
        """What identifies the sweep, as JSON can hold it."""
        return {
            "config": config_as_dict(self.config),
            "axes": [{name: list(values) for name, values in axis.values.items()} for axis in self.axes],
            "num_seeds": self.num_seeds,
            "physical_time": self.physical_time,
            "asks_checks": self.asks_checks,
            "smoke": self.smoke,
        }


@dataclass(frozen=True)
class Group:
    """Points that one compiled program computes: the same values of all static fields.

    static: the swept fields' values that the program is compiled for.
    where: along each axis the places that belong to the group; its points are their product.
    """

    number: int
    static: Mapping[str, Any] = field(hash=False)
    where: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(places) for places in self.where)

    @property
    def places(self) -> list[tuple[int, ...]]:
        """Its points, the last axis fastest."""
        return list(itertools.product(*self.where))


@dataclass(frozen=True)
class Chunk:
    """Items start, ..., stop - 1 of a group; an item is a point and a seed, the seed fastest."""

    number: int
    group: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def is_traced_field(config: Any, name: str) -> bool:
    """Whether the values of a field can share a program: a float, or a tuple of floats of one length."""
    kind = field_kinds(type(config))[name]
    return kind is float or (get_origin(kind) is tuple and get_args(kind)[0] is float)


def groups_of(sweep: Sweep) -> list[Group]:
    """The groups, in the order of their first points."""
    along = [_classes(sweep, axis) for axis in sweep.axes]
    groups = []
    for choice in itertools.product(*along):
        where = tuple(places for _, places in choice)
        static = {name: value for values, _ in choice for name, value in values.items()}
        if sweep.physical_time is not None:
            static["num_steps"] = sweep.values_at(tuple(places[0] for places in where))["num_steps"]
        groups.append(Group(len(groups), static, where))
    return groups


def _classes(sweep: Sweep, axis: Axis) -> list[tuple[dict[str, Any], tuple[int, ...]]]:
    """The places along an axis, by the values of its static fields; tuples of unequal lengths are static too, and so is
    every rate where a time is stated, because its number of steps is its own."""
    timed = ("learning_rate", "momentum") if sweep.physical_time is not None else ()
    classes: dict[tuple, list[int]] = {}
    static = [name for name in axis.values if not is_traced_field(sweep.config, name)]
    for i in range(len(axis)):
        lengths = [np.shape(axis.values[name][i]) for name in axis.values if name not in static]
        rates = [axis.values[name][i] for name in timed if name in axis.values]
        classes.setdefault((*(axis.values[name][i] for name in static), *lengths, *rates), []).append(i)
    return [({name: axis.values[name][places[0]] for name in static}, tuple(places)) for places in classes.values()]


def items_of(sweep: Sweep, group: Group) -> Iterator[tuple[tuple[int, ...], int]]:
    """(point, seed) of each item of a group in order."""
    return ((place, seed) for place in group.places for seed in sweep.seeds)


def num_items(sweep: Sweep, group: Group) -> int:
    return math.prod(group.shape) * sweep.num_seeds


def chunks_of(sweep: Sweep, groups: list[Group], sizes: Mapping[int, int]) -> list[Chunk]:
    """The items of each group cut into chunks of at most `sizes[group]` items, as equal as possible."""
    chunks: list[Chunk] = []
    for group in groups:
        total = num_items(sweep, group)
        count = -(-total // sizes[group.number])
        size = -(-total // count)
        for start in range(0, total, size):
            chunks.append(Chunk(len(chunks), group.number, start, min(start + size, total)))
    return chunks

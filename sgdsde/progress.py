"""How far simulations are: a bar for each, or one for all those of a computation whose sizes are known beforehand.

A size is a number of chain-steps: steps times chains. `simulate` tells it, under a trace too.
"""

import contextlib
import contextvars
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tqdm.auto import tqdm

__all__ = ["Meter", "announce", "bar_of", "one_bar", "read_by", "told_sizes"]


@runtime_checkable
class Meter(Protocol):
    """Who follows the simulations of a computation, one after the other."""

    def begin(self, size: int, done: int) -> None:
        """A simulation is compiled and starts; `done` of its chain-steps were done before."""

    def update(self, count: int) -> None:
        """So many more chain-steps are done."""

    def end(self) -> None:
        """The simulation has ended."""


@dataclass
class Told:
    """The sizes of the simulations in a trace, in their order, and their kinds."""

    sizes: list[int]
    kinds: set

    def add(self, size: int, kind: Any) -> None:
        self.sizes.append(size)
        self.kinds.add(kind)


_told: contextvars.ContextVar[Told | None] = contextvars.ContextVar("told", default=None)
_meter: contextvars.ContextVar[Any] = contextvars.ContextVar("meter", default=None)


def announce(size: int, kind: Any) -> None:
    """Tell of a simulation within a trace, whose progress nobody will see. Those of one kind are compiled once."""
    told, meter = _told.get(), _meter.get()
    if told is not None:
        told.add(size, kind)
    elif meter is not None:
        meter.begin(size, size)
        meter.end()


@contextlib.contextmanager
def told_sizes() -> Iterator[Told]:
    """The simulations that are traced within it."""
    told = Told([], set())
    token = _told.set(told)
    try:
        yield told
    finally:
        _told.reset(token)


@contextlib.contextmanager
def read_by(meter: Meter) -> Iterator[None]:
    """Within it simulations tell a meter how far they are, instead of drawing a bar each."""
    token = _meter.set(meter)
    try:
        yield
    finally:
        _meter.reset(token)


@contextlib.contextmanager
def one_bar(sizes: list[int]) -> Iterator[None]:
    """Within it the simulations of these sizes have one bar together; nothing changes where there are none."""
    if not sizes:
        yield
        return
    form = "{desc} {percentage:3.0f} %|{bar}| {elapsed}{postfix}"
    with tqdm(total=sum(sizes), bar_format=form, disable=None, leave=False) as bar, read_by(_Whole(bar, len(sizes))):
        yield


class _Whole:
    """A bar for some simulations: which one is under way, and how long the rest will take."""

    def __init__(self, bar: Any, num_simulations: int):
        self._bar, self._num_simulations, self._number, self._began = bar, num_simulations, 0, time.monotonic()
        self._at = 0
        self._describe("compiling")

    def _describe(self, doing: str) -> None:
        number = min(self._number + (doing == "compiling"), self._num_simulations)
        self._bar.set_description_str(f"{doing} simulation {number} of {self._num_simulations}")

    def begin(self, size: int, done: int) -> None:
        self._number += 1
        self._at = self._bar.n + size
        self._bar.update(done)
        self._describe("computing")

    def update(self, count: int) -> None:
        self._bar.n = min(self._bar.n + count, self._at)
        elapsed, share = time.monotonic() - self._began, self._bar.n / self._bar.total
        if elapsed > 2 and 0 < share < 1:
            self._bar.set_postfix_str(f"about {in_words(elapsed * (1 - share) / share)} left", refresh=False)
        self._bar.update(0)

    def end(self) -> None:
        if self._number < self._num_simulations:
            self._describe("compiling")


def in_words(seconds: float | int) -> str:
    """A time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{max(seconds, 0.01):.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def bar_of(size: int, done: int) -> Any:
    """The bar of one simulation, a context manager: its own, or its share of the one that all have together."""
    meter = _meter.get()
    if meter is not None:
        return _Share(meter, size, done)
    return tqdm(total=size, initial=done, unit=" chain-steps", unit_scale=True, disable=None, delay=1.0, leave=False)


class _Share:
    """What looks like a bar to `simulate`, and tells a meter."""

    def __init__(self, meter: Meter, size: int, done: int):
        self._meter, self._size, self._done = meter, size, done

    def __enter__(self) -> "_Share":
        self._meter.begin(self._size, self._done)
        return self

    def __exit__(self, *error: object) -> None:
        self._meter.end()

    def update(self, count: int) -> None:
        self._meter.update(count)

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """A record's mean says little beside the whole."""

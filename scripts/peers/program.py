"""What a timed program is: how to prepare it for one work, where it is of use, and why it may be absent."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Program", "Run", "unless_imports"]

Run = Callable[[int, int], Any]
"""run(seed, num_steps) -> the final params, chains on the first axis of every leaf, computed when it returns"""


def unless_imports(module: str, name: str, how: str) -> str | None:
    """None where the module can be imported, else in one sentence what is missing and how to get it."""
    try:
        importlib.import_module(module)
    except ImportError:
        return f"{name} is not installed: {how}"
    return None


def _never_absent() -> str | None:
    return None


@dataclass(frozen=True)
class Program:
    """A program that simulates an ensemble, in float32.

    prepare(work, num_chains) -> Run; kinds: those of the works it can do, or names of single works.
    absence() -> None, or in one sentence why it cannot run here and what would help.
    max_chains: above it the program is left out, because one repetition would take too long.
    is_same_law: whether its final variance must be ours; not so for a program that only sets a cost in proportion.
    """

    name: str
    prepare: Callable[[Any, int], Run]
    kinds: tuple[str, ...]
    absence: Callable[[], str | None] = _never_absent
    max_chains: int | None = None
    is_same_law: bool = True

    def does(self, work: Any) -> bool:
        return work.kind in self.kinds or work.name in self.kinds

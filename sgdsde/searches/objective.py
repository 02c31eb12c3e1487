"""What a search makes small or large: one number of a run, averaged over seeds."""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdsde.experiment.config import Experiment
from sgdsde.experiment.folders import ExperimentError, nearest
from sgdsde.experiment.runner import checked
from sgdsde.sweeps.judging import common_names

CHECK = "check:"


@dataclass(frozen=True)
class Objective:
    """A named number of one run.

    name: as it was asked for.
    is_maximised: whether large is good.
    array: the array of run() that it is the mean of, or, with `index`, an entry of.
    check: or the check whose measured number it is, with its numbers as # (they may depend on the Config).
    """

    name: str
    is_maximised: bool
    array: str | None = None
    index: tuple[int, ...] | None = None
    check: str | None = None

    def number(self, experiment: Experiment, config: Any, arrays: Mapping[str, np.ndarray]) -> float:
        """Its value in one run; raises whatever the experiment's checks raise, IndexError and ExperimentError."""
        if self.array is not None:
            entries = arrays[self.array] if self.index is None else arrays[self.array][self.index]
            return float(np.mean(np.asarray(entries, np.float64)))
        checks = checked(experiment, config, arrays)
        names = common_names([check.name for check in checks])
        if self.check not in names:
            raise ExperimentError(f"There is no check `{self.check}`. {nearest(str(self.check), names)}")
        return checks[names.index(self.check)].measured

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "direction": "maximise" if self.is_maximised else "minimise"}


def objective_of(
    experiment: Experiment, config: Any, shapes: Mapping[str, Any], name: str, *, is_maximised: bool
) -> Objective:
    """The objective of a name, verified without computing.

    Args:
        config: any Config of the search.
        shapes: what run() returns for it, from its trace: named, with `shape` and `dtype`.
        name: NAME or NAME[index] of an array; `check:NAME`, or a check's name alone.

    Raises:
        ExperimentError: there is no such number; the nearest ones are named.
    """
    asked, wants_check = name.strip().removeprefix(CHECK).strip(), name.strip().startswith(CHECK)
    array, index = _split(asked)
    if not wants_check and array in shapes:
        if shapes[array].dtype.kind not in "biuf" or 0 in shapes[array].shape:
            raise ExperimentError(f"`{array}` of run() holds no real numbers, which an objective needs.")
        if index is not None:
            _check_index(asked, index, shapes[array].shape)
        return Objective(name.strip(), is_maximised, array=array, index=index)
    known = _check_names(experiment, config, shapes)
    for own, common in known or ():
        if asked in (own, common):
            return Objective(name.strip(), is_maximised, check=common)
    if wants_check and known is None and experiment.sweep is None:  # checks that need true numbers: found out later
        return Objective(name.strip(), is_maximised, check=common_names([asked])[0])
    checks = [own for own, _ in known or ()]
    valid = checks if wants_check else [*(key for key, leaf in shapes.items() if leaf.dtype.kind in "biuf"), *checks]
    note = "" if known is not None else " The names of its checks are only known from a whole result; say check:NAME."
    if experiment.sweep is not None:
        note = " Its checks judge a whole sweep, not one run."
    what = "check" if wants_check else "value"
    raise ExperimentError(f"{experiment.name} has no {what} `{asked}`. {nearest(array, set(valid))}{note}")


def _split(asked: str) -> tuple[str, tuple[int, ...] | None]:
    """(array, index) of `array[1,2]`; the index None where there is none."""
    match = re.fullmatch(r"(\w+)\[\s*(-?\d+(?:\s*,\s*-?\d+)*)\s*\]", asked)
    return (match[1], tuple(int(entry) for entry in match[2].split(","))) if match else (asked, None)


def _check_index(asked: str, index: tuple[int, ...], shape: tuple[int, ...]) -> None:
    if len(index) > len(shape) or any(not -size <= i < size for i, size in zip(index, shape)):
        raise ExperimentError(f"{asked}: the array has shape {tuple(shape)}; its indices count from 0.")


def _check_names(experiment: Experiment, config: Any, shapes: Mapping[str, Any]) -> list[tuple[str, str]] | None:
    """(name, name with # for numbers) of each check, asked with numbers made up; None if that cannot be."""
    if experiment.sweep is not None:
        return None
    for made_up in (
        lambda leaf: np.ones(leaf.shape),
        lambda leaf: np.linspace(0.5, 1.5, leaf.size).reshape(leaf.shape),
    ):
        arrays = {name: np.asarray(made_up(leaf)).astype(leaf.dtype) for name, leaf in shapes.items()}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                names = [check.name for check in checked(experiment, config, arrays)]
        except Exception:  # numbers that no run would give: nothing follows from it
            continue
        return list(zip(names, common_names(names)))
    return None

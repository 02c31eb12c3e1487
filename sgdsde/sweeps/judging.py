"""What an experiment's own checks say of each point and seed of a sweep, as arrays."""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any, get_args

import numpy as np

from sgdsde.experiment.check import Check, Expectation
from sgdsde.experiment.config import changed, reason
from sgdsde.experiment.runner import checked
from sgdsde.sweeps.plan import Sweep

EXPECTATIONS = get_args(Expectation)
NUMBER = re.compile(r"(?<![A-Za-z_\d.])[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?")
COUNT = re.compile(r"(#.*) \(\d+\)$")
"""what `common_names` has added to a name"""


def judgements(
    sweep: Sweep, items: list[tuple[tuple[int, ...], int]], arrays: Mapping[str, np.ndarray], skipped: Collection[int]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(`check_measured`, `check_predicted`, `check_standard_error`, `check_tolerance`, `check_passed`, `check_expect`
    by item and check; texts: the checks' names as JSON, and the first exception that they raised). `check_expect`
    is the place in `EXPECTATIONS`; it and `check_passed` are -1 where nothing is judged: at smoke size, and for an item
    that failed. The names are those of the first item; where they differ between items, numbers in them are #."""
    found: dict[int, list[Check]] = {}
    texts: dict[str, str] = {}
    for i, (place, seed) in enumerate(items):
        if i in skipped:
            continue
        config = changed(sweep.config_at(place), {"seed": seed})
        try:
            found[i] = checked(sweep.experiment, config, {name: np.asarray(array[i]) for name, array in arrays.items()})
        except Exception as error:  # the arrays are whole, whatever the checks make of them
            texts.setdefault("check_failure", reason(error, sweep.experiment.file))
    names = shared_names([[check.name for check in checks] for checks in found.values()])
    texts["checks"] = json.dumps(names)
    numbers = {f"check_{field}": np.full((len(items), len(names)), np.nan)
               for field in ("measured", "predicted", "standard_error", "tolerance")}  # fmt: skip
    passed, expect = (np.full((len(items), len(names)), -1, np.int8) for _ in range(2))
    for i, checks in found.items():
        if len(checks) != len(names):
            texts.setdefault("check_failure", "the runs of one group have different numbers of checks")
            continue
        for j, check in enumerate(checks):
            numbers["check_measured"][i, j] = check.measured
            numbers["check_predicted"][i, j] = check.predicted
            numbers["check_standard_error"][i, j] = check.standard_error
            numbers["check_tolerance"][i, j] = check.tolerance
            if not sweep.smoke:
                passed[i, j], expect[i, j] = check.passed, EXPECTATIONS.index(check.expect)
    return (numbers | {"check_passed": passed, "check_expect": expect} if names else {}), texts


def shared_names(names: list[list[str]]) -> list[str]:
    """The names of the checks of all of these: as they are where all have the same, else without their numbers."""
    first = names[0] if names else []
    return first if all(each == first for each in names) else common_names(first)


def common_names(names: list[str]) -> list[str]:
    """The names with every number in them as #, so that they are the same for all points; numbered where equal. Names
    that are already so, such as those of a chunk, stay as they are."""
    plain = [NUMBER.sub("#", COUNT.sub(r"\1", name)) for name in names]
    counts, seen, found = Counter(plain), Counter(), []
    for name in plain:
        seen[name] += 1
        found.append(f"{name} ({seen[name]})" if counts[name] > 1 else name)
    return found


def check_names_of(texts: Mapping[str, Any]) -> list[str]:
    """The names in the texts of `judgements`."""
    return json.loads(texts.get("checks", "[]"))

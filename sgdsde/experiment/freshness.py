"""Whether a committed result is still what today's code would make.

Two pieces of code make a result: `run` with its Config the arrays, `checks` and `plot` the verdict and the figure. Of
each, `reproduce` records the digest of all the definitions that it reaches (`reach`), and the arrays of the smoke run
as a sample. A result is taken to be fresh while both digests are today's. Where that of

    checks or plot   differs, the saved arrays are judged and drawn anew (`sgdsde judge`)
    run              differs, numbers decide whether the change matters: `sgdsde confirm` computes the smoke run anew.
                     Where it gives the recorded sample to a thousandth, today's digest is recorded; else the change
                     matters, and the result is computed anew (`sgdsde reproduce`)

A change that shows only at full size, by a branch that the smoke run never takes, escapes the sample, not the digest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sgdsde.experiment import results
from sgdsde.experiment.reach import digest_of
from sgdsde.experiment.validation import NUMBER, WHOLE, Each

SAMPLE = "sample.json"
SAMPLE_KIND = Each({"shape": [WHOLE], "numbers": [NUMBER]})
ROOTS = {"run": ("run", "Config", "SMOKE", "SWEEP", "DIMENSIONS"), "checks": ("checks", "plot")}
MEND = {"run": "sgdsde confirm", "checks": "sgdsde judge"}
LARGEST_SAMPLE = 64
"""numbers kept of each array, evenly spaced in it"""
ALLOWED = 1e-3
"""relative to the root mean square of what is kept: rounding differs between versions of JAX"""


def digests(file: Path) -> dict[str, str]:
    """The digest of the code in reach of each part of an experiment file."""
    return {part: digest_of(file, roots) for part, roots in ROOTS.items()}


def has_changed(folder: Path, file: Path, part: str) -> bool:
    """Whether the code of a part ("run", "checks") is another than the one recorded in a result folder."""
    recorded = results.read_provenance(folder).get("code") or {}
    return recorded.get(part) != digest_of(file, ROOTS[part])


def stale(folder: Path, file: Path) -> str | None:
    """Why a committed result may not be what today's code makes, and what to do; None where it is."""
    parts = [part for part in ROOTS if has_changed(folder, file, part)]
    if not parts:
        return None
    commands = " and ".join(f"`{MEND[part]} {file.stem}`" for part in parts)
    return f"the code of {' and of '.join(parts)} has changed: {commands}"


def sample_of(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What is kept of the arrays of a smoke run: shapes, and up to 64 numbers of each, evenly spaced. Words, which are
    the values of an axis, are left out."""
    kept = {}
    for name, array in sorted(arrays.items()):
        if np.asarray(array).dtype.kind not in "biuf":
            continue
        flat = np.asarray(array, np.float64).ravel()
        places = np.unique(np.linspace(0, flat.size - 1, min(flat.size, LARGEST_SAMPLE)).astype(int))
        kept[name] = {"shape": list(np.shape(array)), "numbers": [float(f"{each:.7g}") for each in flat[places]]}
    return kept


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of the arrays that two samples do not share, and how far apart those are that differ."""
    found = [f"`{name}` is in one of the two only" for name in sorted(recorded.keys() ^ now.keys())]
    for name in sorted(recorded.keys() & now.keys()):
        before, after = recorded[name], now[name]
        if before["shape"] != after["shape"]:
            found.append(f"`{name}` has shape {after['shape']}, had {before['shape']}")
            continue
        gap = _gap(*(np.array([float(each) for each in sample["numbers"]]) for sample in (before, after)))
        if not gap <= ALLOWED:
            found.append(f"`{name}` is off by {gap:.2g} of its size")
    return found


def _gap(before: np.ndarray, after: np.ndarray) -> float:
    """Root mean square of the difference over that of the numbers; numbers that are not finite must be the same."""
    finite = np.isfinite(before)
    if not np.array_equal(before[~finite], after[~finite], equal_nan=True) or not np.isfinite(after[finite]).all():
        return float("inf")
    size = np.sqrt(np.mean(np.square(before[finite]))) if finite.any() else 0.0
    apart = np.sqrt(np.mean(np.square((after - before)[finite]))) if finite.any() else 0.0
    return float(apart / size) if size else float(apart)

"""A result folder: what is written into it, and how it is read back and verified."""

import csv
import dataclasses
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgdsde.experiment.check import Check, check_of
from sgdsde.experiment.files import recover
from sgdsde.experiment.folders import ExperimentError, nearest, plain, shown
from sgdsde.experiment.validation import (
    COMMAND,
    FLAG,
    MEND,
    NAME,
    NUMBER,
    TABLE,
    TEXT,
    WHOLE,
    Each,
    Optional,
    parsed_json,
    read_json,
    taken,
)

SCHEMA = 1
SMALLEST_FREE = 100_000
"""bytes free on a disk below which a failed write is put down to that"""
SUMMARY_COLUMNS = (
    "kind", "name", "value", "minimum", "maximum", "num_values", "num_nonfinite",
    "standard_error", "predicted", "z", "tolerance", "expect", "verdict", "source",
)  # fmt: skip

PROVENANCE = {
    "schema": WHOLE, "experiment": NAME, "status": TEXT, "reason": Optional(TEXT), "command": COMMAND, "smoke": FLAG,
    "seed": WHOLE, "commit": Optional(TEXT), "dirty": Optional(FLAG), "source": TEXT, "hash": TEXT, "platform": TEXT,
    "num_cores": WHOLE, "dtype": TEXT, "wall_seconds": NUMBER, "peak_memory_mib": NUMBER, "checksums": Each(TEXT),
    "judged": Optional({"commit": Optional(TEXT), "dirty": Optional(FLAG), "source": TEXT}),
    "code": Optional(Each(TEXT)),
}  # fmt: skip
CHECK = {
    "name": TEXT, "measured": NUMBER, "predicted": NUMBER, "standard_error": NUMBER, "tolerance": NUMBER,
    "expect": TEXT, "verdict": Optional(TEXT), "source": TEXT, "z": Optional(NUMBER),
}  # fmt: skip
VERDICT = {"experiment": NAME, "config": TABLE, "smoke": FLAG, "passed": Optional(FLAG), "checks": [CHECK],
           "check_failure": Optional(TEXT)}  # fmt: skip
MOST_COMPRESSED = 1100
"""times that a netCDF file may be smaller than what it holds: zlib makes no more of it than 1032"""


@dataclasses.dataclass(frozen=True)
class Result:
    """A result folder read back: `config` and `provenance` as dictionaries, `arrays` by name, `verdict` or None."""

    folder: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    verdict: dict[str, Any] | None
    arrays: dict[str, np.ndarray]


def load_result(folder: str | Path) -> Result:
    """Read a result folder after verifying every byte of it.

    Raises:
        ExperimentError: not a result folder, damaged, of another schema, or without saved arrays.
    """
    folder = Path(folder)
    dataset, provenance = load_arrays(folder)
    arrays = {str(name): np.asarray(dataset[name].values) for name in dataset.variables}
    return Result(folder, read_config(folder), provenance, read_verdict(folder), arrays)


def load_arrays(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The arrays of a result folder as an xarray Dataset, and its provenance; raises as `load_result`."""
    provenance = verified(folder)
    if not (folder / "data.nc").exists():
        why = provenance.get("reason") or "the run did not end"
        raise ExperimentError(f"{shown(folder)} holds no arrays: status {provenance['status']} ({why}).")
    return read_dataset(folder / "data.nc"), provenance


def read_dataset(file: Path) -> Any:
    """An xarray Dataset that `write_dataset` wrote, in memory; its texts without control characters.

    Raises:
        ExperimentError: the file is no such thing, or asks for more memory than it can hold.
    """
    import xarray

    try:
        _check_contents(file)
        with xarray.open_dataset(file, engine="netcdf4", decode_times=False) as dataset:
            loaded = dataset.load()
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ExperimentError(plain(f"{shown(file)} cannot be read as netCDF: {error}. {MEND}")) from error
    loaded.attrs = {name: plain(value) if isinstance(value, str) else value for name, value in loaded.attrs.items()}
    for name, array in loaded.variables.items():
        cleaned = np.array([plain(str(text)) for text in array.values.flat] if array.dtype.kind in "OUS" else [])
        if cleaned.size and (cleaned.reshape(array.shape) != array.values).any():
            loaded[name] = (array.dims, cleaned.reshape(array.shape))
    return loaded


def _check_contents(file: Path) -> None:
    """Refuse, before anything is read, names that are none and sizes that the file cannot hold."""
    import netCDF4

    with netCDF4.Dataset(file) as contents:
        for name in (*contents.variables, *contents.dimensions):
            if not name.isidentifier():
                raise ValueError(f"{name!r} is no plain name")
        sizes = [math.prod(v.shape) * getattr(v.dtype, "itemsize", 8) for v in contents.variables.values()]
    if sum(sizes) > MOST_COMPRESSED * file.stat().st_size:
        raise ValueError(f"{file.stat().st_size:,} bytes cannot hold the {sum(sizes):,} that it asks for")


def read_config(folder: Path) -> dict[str, Any]:
    """The Config of a result folder, as a dictionary."""
    return read_json(folder / "config.json", TABLE)


def read_provenance(folder: Path) -> dict[str, Any]:
    """The provenance of a result folder, whose files are not looked at."""
    return read_json(folder / "provenance.json", PROVENANCE)


def read_verdict(folder: Path) -> dict[str, Any] | None:
    """The verdict of a result folder; None where the run failed before there was one."""
    file = folder / "verdict.json"
    if not file.exists():
        return None
    verdict = read_json(file, VERDICT)
    try:
        for row in verdict["checks"]:
            check_of(row)
    except (TypeError, ValueError) as error:
        raise ExperimentError(f"{shown(file)} is damaged: {error}. {MEND}") from error
    return verdict


def verified(folder: Path) -> dict[str, Any]:
    """The provenance of a result folder, each file of which has the checksum recorded there.

    Raises:
        ExperimentError: not a result folder, or not as it was written; the file is named.
    """
    recover(folder)
    file = folder / "provenance.json"
    if not file.is_file():
        raise ExperimentError(f"{shown(folder)} is not a result folder: it holds no provenance.json.")
    provenance = parsed_json(file)
    recorded = provenance.get("checksums") if isinstance(provenance, dict) else None
    if not isinstance(recorded, dict):
        raise ExperimentError(f"{shown(folder)}: provenance.json holds no checksums; the folder is incomplete. {MEND}")
    unsealed = provenance | {"checksums": {name: value for name, value in recorded.items() if name != file.name}}
    sums = _checksums(folder) | {file.name: _sha256(as_json(unsealed).encode())}
    for name in sorted(recorded.keys() | sums.keys()):
        if name not in sums:
            raise ExperimentError(f"{shown(folder)}: {plain(name)} is missing. {MEND}")
        if name not in recorded:
            raise ExperimentError(f"{shown(folder)}: {plain(name)} does not belong there; move it away.")
        if sums[name] != recorded[name] or (name == file.name and file.read_bytes() != as_json(provenance).encode()):
            raise ExperimentError(f"{shown(folder)}: {plain(name)} is damaged (its checksum differs). {MEND}")
    if provenance.get("schema") != SCHEMA:
        raise ExperimentError(
            f"{shown(folder)} has result schema {provenance.get('schema')!r}; this version reads {SCHEMA}. {MEND}"
        )
    return taken(provenance, PROVENANCE, file)


def write_provenance(folder: Path, provenance: Mapping[str, Any], *, seal: bool) -> None:
    """Write provenance.json; with `seal`, together with the checksum of every file including itself."""
    provenance = dict(provenance)
    provenance.pop("checksums", None)
    if seal:
        sums = _checksums(folder)
        sums["provenance.json"] = _sha256(as_json(provenance | {"checksums": sums}).encode())
        provenance["checksums"] = sums
    (folder / "provenance.json").write_bytes(as_json(provenance).encode())


def write_arrays(
    file: Path,
    arrays: Mapping[str, np.ndarray],
    dimensions: Mapping[str, tuple[str, ...]],
    attributes: Mapping[str, str],
) -> None:
    """Write named arrays as one compressed netCDF file.

    Raises:
        OSError: the file cannot be written.
    """
    import xarray

    named = {name: (dimensions[name], array) for name, array in arrays.items()}
    write_dataset(file, xarray.Dataset(named, attrs=dict(attributes)))


def write_dataset(file: Path, dataset: Any) -> None:
    """Write an xarray Dataset as one compressed netCDF file.

    Raises:
        OSError: the file cannot be written.
    """
    compressed = {"zlib": True, "complevel": 4}
    numbers = [name for name, array in dataset.variables.items() if array.ndim and array.dtype.kind in "biuf"]
    try:
        dataset.to_netcdf(file, engine="netcdf4", encoding=dict.fromkeys(numbers, compressed))
    except RuntimeError as error:  # the library's word for a write that failed
        file.unlink(missing_ok=True)
        if shutil.disk_usage(file.parent).free < dataset.nbytes + SMALLEST_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from error
        raise OSError(f"{file.name} could not be written: {error}") from error


def named_dimensions(
    shapes: Mapping[str, tuple[int, ...]], dimensions: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """The dimension names of every array: from DIMENSIONS, else `NAME_0`, `NAME_1`, ...

    A one-dimensional array named like a dimension is the coordinate along it.

    Raises:
        ExperimentError: a name without an array, a wrong number of dimensions, or a dimension of two sizes.
    """
    for name in dimensions:
        if name not in shapes:
            raise ExperimentError(f"DIMENSIONS names `{name}`, which run() does not return. {nearest(name, shapes)}")
    used = {dimension for names in dimensions.values() for dimension in names}
    named, sizes = {}, {}
    for name, shape in shapes.items():
        default = (name,) if name in used and len(shape) == 1 else tuple(f"{name}_{axis}" for axis in range(len(shape)))
        named[name] = tuple(dimensions.get(name, default))
        if len(named[name]) != len(shape) or len(set(named[name])) != len(shape):
            raise ExperimentError(f"DIMENSIONS of `{name}` are {named[name]}, but its shape is {shape}.")
        for dimension, size in zip(named[name], shape, strict=True):
            first, expected = sizes.setdefault(dimension, (name, size))
            if size != expected:
                raise ExperimentError(
                    f"Dimension `{dimension}` is {expected} long in `{first}`, {size} long in `{name}`; use two names."
                )
    for name in shapes.keys() & sizes.keys():
        if named[name] != (name,):
            raise ExperimentError(f"`{name}` is a dimension and an array of shape {shapes[name]}; rename one of them.")
    return named


def write_summary(file: Path, arrays: Mapping[str, np.ndarray], checks: Sequence[Check], *, judged: bool) -> None:
    """One row for each array (its mean, minimum and maximum; the value of a scalar) and one for each check."""
    with open(file, "w", encoding="utf-8", newline="") as stream:
        rows = csv.DictWriter(stream, SUMMARY_COLUMNS, restval="", lineterminator="\n")
        rows.writeheader()
        for name, array in arrays.items():
            rows.writerow({"kind": "array", "name": name} | _statistics(array))
        for check in checks:
            row = check.as_dict()
            verdict = row["verdict"] if judged else ""
            rows.writerow({"kind": "check", "value": row.pop("measured")} | row | {"verdict": verdict})


def _statistics(array: np.ndarray) -> dict[str, Any]:
    if array.size == 0 or array.dtype.kind not in "biuf":
        return {"num_values": array.size}
    numbers = array.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return {
            "value": float(numbers.mean()),
            "minimum": float(numbers.min()),
            "maximum": float(numbers.max()),
            "num_values": array.size,
            "num_nonfinite": int((~np.isfinite(numbers)).sum()),
        }


def write_json(file: Path, value: Any) -> None:
    """Write `as_json`."""
    file.write_bytes(as_json(value).encode())


def as_json(value: Any) -> str:
    """Strict JSON; a number that is not finite becomes the text "nan", "inf" or "-inf", which float() reads."""
    return json.dumps(_strict(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _strict(entry) for key, entry in value.items()}
    if isinstance(value, str):  # bytes of a path that are no text
        return value.encode(errors="backslashreplace").decode()
    return [_strict(entry) for entry in value] if isinstance(value, list | tuple) else value


def _checksums(folder: Path) -> dict[str, str]:
    """Of every file but the provenance, which holds them; a hidden file is the system's own affair."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and not file.name.startswith(".")]
    return {file.name: _sha256_of_file(file) for file in files if file.name != "provenance.json"}


def _sha256_of_file(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

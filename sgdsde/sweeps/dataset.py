"""A sweep as labelled arrays: chunks to one dataset a group, groups to one dataset of the whole sweep."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from sgdsde.experiment.folders import ExperimentError, shown
from sgdsde.experiment.results import named_dimensions
from sgdsde.sweeps.chunks import finished, read_part
from sgdsde.sweeps.judging import check_names_of, shared_names
from sgdsde.sweeps.plan import Chunk, Group, Sweep

CODES = ("check_passed", "check_expect")
"""Integers of a few values, of which -1 says that nothing was judged."""
CHECKS = ("check_measured", "check_predicted", "check_standard_error", "check_tolerance", *CODES)


class DamagedChunk(ExperimentError):
    """A chunk whose bytes are not those that were written; its file has been removed."""


def group_dataset(sweep: Sweep, group: Group, chunks: Sequence[Chunk], folder: Path) -> xarray.Dataset:
    """One group: a dimension for each axis, then `seed`, then each array's own dimensions.

    `failed` is 1 where an item could not be computed; its floats are NaN there and integers become floats. An array
    that is a coordinate of its own dimension, equal for all items, stays one; otherwise its dimension is renamed. An
    array that is called like a swept field is renamed NAME_returned.

    Raises:
        DamagedChunk: a chunk's file is damaged; it has been removed, to be computed again.
    """
    parts = _parts([chunk for chunk in chunks if chunk.group == group.number], folder)
    failed = np.zeros(sum(len(chunk) for chunk, _ in parts), np.int8)
    failures, arrays = [], {}
    places, seeds = group.places, list(sweep.seeds)
    for chunk, part in parts:
        for place, why in part.failures.items():
            item = chunk.start + place
            failed[item] = 1
            values = sweep.values_at(places[item // len(seeds)])
            failures.append({"point": values, "seed": seeds[item % len(seeds)], "reason": why})
    for name, like in next((part.arrays for _, part in parts if part.arrays), {}).items():
        empty = [np.zeros((len(chunk), *like.shape[1:]), like.dtype) for chunk, _ in parts]
        whole = np.concatenate([part.arrays.get(name, none) for (_, part), none in zip(parts, empty)])
        arrays[name] = _with_gaps(name, whole, failed == 1) if failed.any() else whole
    texts = [part.attributes for _, part in parts if part.arrays]
    dataset = _labelled(sweep, group, arrays, failed, shared_names([check_names_of(each) for each in texts]))
    dataset.attrs["failures"] = json.dumps(failures, ensure_ascii=False)
    dataset.attrs |= _first_check_failure(texts)
    return dataset


def _parts(chunks: list[Chunk], folder: Path) -> list:
    files = finished(folder)
    parts = []
    for chunk in chunks:
        part = read_part(files[chunk.number])
        if part is None:
            files[chunk.number].unlink()
            raise DamagedChunk(f"{shown(files[chunk.number])} was damaged (its checksum differs); it is computed again")
        parts.append((chunk, part))
    return parts


def _first_check_failure(texts: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    found = [each["check_failure"] for each in texts if "check_failure" in each]
    return {"check_failure": found[0]} if found else {}


def _with_gaps(name: str, array: np.ndarray, is_failed: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f" and name not in CODES:
        array = array.astype(np.float64)
    array[is_failed] = -1 if name in CODES else np.nan
    return array


def _labelled(
    sweep: Sweep, group: Group, arrays: dict[str, np.ndarray], failed: np.ndarray, checks: list[str]
) -> xarray.Dataset:
    leading, lengths = (*(axis.name for axis in sweep.axes), "seed"), (*group.shape, sweep.num_seeds)
    own = {name: array for name, array in arrays.items() if name not in CHECKS}
    taken = {*sweep.fields, "seed", "failed", "check"}
    free = lambda name: f"{name}_returned" if name in taken else name
    inner = named_dimensions(
        {name: array.shape[1:] for name, array in own.items()},
        {name: names for name, names in sweep.experiment.dimensions.items() if name in own},
    )
    inner = {free(name): tuple(map(free, names)) for name, names in inner.items()}
    own = {free(name): array for name, array in own.items()}
    along = [name for name, names in inner.items() if names == (name,)]
    varying = {name for name in along if (own[name][failed == 0] != own[name][failed == 0][:1]).any()}
    coordinates = coordinates_of([axis.values for axis in sweep.axes], group.where)
    coordinates["seed"] = (("seed",), np.array(sweep.seeds))
    variables = {"failed": (leading, failed.reshape(lengths))}
    for name, array in own.items():
        if name in along and name not in varying:
            coordinates[name] = ((name,), array[failed == 0][0])
        else:
            names = [f"{each}_index" if each in varying else each for each in inner[name]]
            variables[name] = ((*leading, *names), array.reshape(*lengths, *array.shape[1:]))
    if checks:
        variables |= {name: ((*leading, "check"), arrays[name].reshape(*lengths, len(checks))) for name in CHECKS}
        coordinates["check"] = (("check",), np.array(checks))
    return xarray.Dataset(variables, coordinates)


def coordinates_of(axes: Sequence[Mapping[str, Sequence]], where: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The coordinate of every swept field on the dimension of its axis, which is called like the axis's first field;
    a tuple as its text."""
    found = {}
    for fields, places in zip(axes, where):
        dimension = next(iter(fields))
        for name, values in fields.items():
            entries = [str(tuple(v)) if isinstance(v, list | tuple) else v for v in (values[i] for i in places)]
            found[name] = ((dimension,), np.array(entries))
    return found


def combined(
    axes: Sequence[Mapping[str, Sequence]], wheres: Sequence[Sequence[Sequence[int]]], groups: Sequence[xarray.Dataset]
) -> xarray.Dataset:
    """The whole sweep from the datasets of its groups and their places along the axes.

    Where groups have arrays of different lengths the shorter ones end in NaN (integers become floats), and the text
    `padded` says which: {name: [{"where": places along the axes, "shape": own}, ...]}. A coordinate that differs
    between groups becomes an array over the axes, NAME_values.
    """
    groups = _with_shared_checks(groups)
    leading = [next(iter(fields)) for fields in axes]
    coordinates = coordinates_of(axes, [range(len(next(iter(fields.values())))) for fields in axes])
    coordinates["seed"] = groups[0]["seed"].variable
    inner = {str(name): group.coords[name].variable for group in reversed(groups) for name in group.coords}
    inner = {name: variable for name, variable in inner.items() if name not in coordinates}
    for name, variable in inner.items():
        if all(group.coords[name].variable.equals(variable) for group in groups if name in group.coords):
            coordinates[name] = variable
        else:
            groups = [_expanded(group, name, leading) for group in groups]
    lengths = [len(coordinates[name][1]) for name in leading]
    variables, padded = {}, {}
    for name in dict.fromkeys(str(name) for group in groups for name in group.data_vars):
        having = [(where, group[name].variable) for where, group in zip(wheres, groups) if name in group]
        variables[name] = _filled(name, len(leading) + 1, lengths, having, len(groups))
        inner_shapes = [variable.shape[len(leading) + 1 :] for _, variable in having]
        if len(set(inner_shapes)) > 1:
            padded[name] = [{"where": where, "shape": shape} for (where, _), shape in zip(having, inner_shapes)]
    whole = xarray.Dataset(variables, coordinates)
    whole.attrs["padded"] = json.dumps(padded)
    whole.attrs["failures"] = json.dumps([each for group in groups for each in json.loads(group.attrs["failures"])])
    whole.attrs |= _first_check_failure([group.attrs for group in groups])
    return whole


def _with_shared_checks(groups: Sequence[xarray.Dataset]) -> list[xarray.Dataset]:
    """The groups with the same names of checks in all; without checks where their numbers differ."""
    lists = [[str(name) for name in group["check"].values] for group in groups if "check" in group.coords]
    names = shared_names(lists)
    if any(len(each) != len(names) for each in lists):
        return [group.drop_dims("check", errors="ignore") for group in groups]
    return [group.assign_coords(check=names) if "check" in group.coords else group for group in groups]


def _expanded(group: xarray.Dataset, name: str, leading: Sequence[str]) -> xarray.Dataset:
    """A group whose coordinate `name` is an array over its points instead."""
    if name not in group.coords:
        return group
    values = group[name].variable.set_dims({each: group.sizes[each] for each in (*leading, "seed", name)})
    return group.drop_vars(name).assign({f"{name}_values": values})


def _filled(name: str, num_leading: int, lengths: list[int], having: list[tuple], num_groups: int) -> tuple:
    """One variable over all points, from the places and the variables of the groups that have it."""
    names = having[0][1].dims
    if any(variable.dims != names for _, variable in having):
        raise ExperimentError(
            f"`{name}` has other dimensions in one group of points than in another; nothing fits both."
        )
    own = np.max([variable.shape[num_leading:] for _, variable in having], axis=0, initial=0).astype(int)
    is_whole = len(having) == num_groups and all((variable.shape[num_leading:] == own).all() for _, variable in having)
    widened = () if is_whole or name in CODES else (np.float32,)
    dtype = np.result_type(*(variable.dtype for _, variable in having), *widened)
    missing = -1 if name in CODES else np.nan if dtype.kind == "f" else 0
    num_seeds = having[0][1].shape[num_leading - 1]
    whole = np.full((*lengths, num_seeds, *own), missing, dtype)
    for where, variable in having:
        block = np.full((*variable.shape[:num_leading], *own), missing, dtype)
        block[(..., *(slice(0, size) for size in variable.shape[num_leading:]))] = variable.values
        whole[np.ix_(*where, range(num_seeds))] = block
    return names, whole

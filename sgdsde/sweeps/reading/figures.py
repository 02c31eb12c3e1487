"""The figure of a sweep: which value goes into which panel, over which axes, and what is said beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray

from sgdsde import style
from sgdsde.experiment.folders import ExperimentError, nearest
from sgdsde.sweeps.reading import panels, scales
from sgdsde.sweeps.reading.averages import SeedAverage, by_interest, chosen, seed_averages, swept_axes
from sgdsde.sweeps.reading.panels import plain
from sgdsde.sweeps.reading.scales import Scale

MOST_VALUES = 6
MOST_MULTIPLES = 6


@dataclass(frozen=True)
class _Layout:
    """What each axis that has more than one value does: `across` the panels, as lines or `up` a heat map, `along` x."""

    across: list[str] | None
    up: list[str] | None
    along: list[str] | None
    is_lines: bool


def sweep_figure(
    dataset: xarray.Dataset, *, values: Sequence[str] | None = None, at: Mapping[str, Any] | None = None
) -> Any:
    """The figure of a sweep: means over seeds with their standard errors, and theory where there is a prediction.

    Of the axes with more than one value: none gives the seeds themselves; one, lines with bands of one standard error;
    two, a line for each value of one of them (a categorical one, as kinds of noise are, else the shorter), or heat maps
    where that one has more than 6 values or both are categorical: in colours nobody reads by how much a mean misses its
    prediction; three, such panels side by side, over a categorical axis if one of them is, else over the third.
    Further axes stand at their first value, and the title says so. Numbers are drawn in ascending order, on a
    logarithmic scale where they are spaced so. Means over fewer seeds than all, and points without a value, are marked
    and counted; a point where the verdict of a check over all seeds is "fail" has a red ring or frame, where it is
    "underpowered" a dark, dotted one.

    Args:
        dataset: of a sweep, as `sgdsde.load` returns it.
        values: names of arrays, entries or checks; by default the 6 most telling: checks, scalars, means of arrays.
        at: swept fields to hold at one of their values.

    Returns:
        A matplotlib Figure.

    Raises:
        ExperimentError: an unknown value or field, a value that was not swept, or nothing to draw.
    """
    dataset, held = _held(dataset, dict(at or {}))
    averages = seed_averages(dataset)
    if not averages:
        raise ExperimentError("This sweep holds no numbers to draw: its experiment returned no arrays and no checks.")
    shown = chosen(averages, values) if values else by_interest(averages)[:MOST_VALUES]
    notes = [f"at {', '.join(held)}"] if held else []
    if len(shown) < len(averages) and not values:
        notes.append(f"{len(shown)} of {len(averages)} values")
    layout = _layout(dataset)
    for fields in filter(None, (layout.across, layout.up, layout.along)):
        dataset = scales.ascending(dataset, fields)
    if layout.across and dataset.sizes[layout.across[0]] > MOST_MULTIPLES:
        size = dataset.sizes[layout.across[0]]
        notes.append(f"{MOST_MULTIPLES} of {size} values of {scales.in_words(layout.across[0])}")
        dataset = dataset.isel({layout.across[0]: np.linspace(0, size - 1, MOST_MULTIPLES).round().astype(int)})
    drawn = _draw(dataset, _arranged(dataset, [average.key for average in shown], layout), layout)
    name = dataset.attrs.get("title") or dataset.attrs.get("experiment") or "sweep"
    width = int(13 * drawn.get_figwidth())
    lines = [plain(" ".join(name.split()), width)] + ([plain("; ".join(notes), width)] if notes else [])
    drawn.suptitle("\n".join(lines), fontsize=10)
    return drawn


def _held(dataset: xarray.Dataset, at: dict[str, Any]) -> tuple[xarray.Dataset, list[str]]:
    """The sweep at the asked values, and at the first value of every axis beyond three; what is held, in words."""
    axes, held = swept_axes(dataset), []
    fields = [field for axis in axes for field in axis]
    for field, value in at.items():
        if field not in fields:
            raise ExperimentError(f"`{field}` is not a swept field. {nearest(field, fields)}")
        axis = next(axis for axis in axes if field in axis)
        entries = dataset[field].values.tolist()
        found = [i for i, entry in enumerate(entries) if _is_same(entry, value)]
        if not found:
            there = ", ".join(map(scales.value_text, dict.fromkeys(entries)))
            raise ExperimentError(f"`{field}` has no value {value} (with the others asked for). It has {there}.")
        dataset = dataset.isel({axis[0]: found})
        held.append(f"{scales.in_words(field)} = {scales.value_text(entries[found[0]])}")
    for axis in [axis for axis in axes if dataset.sizes[axis[0]] > 1][3:]:
        dataset = dataset.isel({axis[0]: [0]})
        held += [f"{scales.in_words(f)} = {scales.value_text(dataset[f].values.tolist()[0])}" for f in axis]
    return dataset, held


def _is_same(entry: Any, asked: Any) -> bool:
    """Whether a swept value is the one asked for, which may be a text from the command line."""
    if isinstance(entry, bool | str):
        return str(entry) == str(asked)
    try:
        return math.isclose(entry, float(asked), rel_tol=1e-9)
    except (TypeError, ValueError):
        return False


def _layout(dataset: xarray.Dataset) -> _Layout:
    active = [axis for axis in swept_axes(dataset) if dataset.sizes[axis[0]] > 1]
    categorical = [axis for axis in active if scales.scale_of(dataset, axis).is_categorical]
    across = None
    if len(active) == 3:
        across = categorical[0] if len(categorical) == 1 else active[2]
        active = [axis for axis in active if axis is not across]
        categorical = [axis for axis in categorical if axis is not across]
    if len(active) < 2:
        return _Layout(across, None, active[0] if active else None, True)
    lines = categorical[0] if categorical else min(active[::-1], key=lambda axis: dataset.sizes[axis[0]])
    if len(categorical) < 2 and dataset.sizes[lines[0]] <= panels.MOST_LINES:
        return _Layout(across, lines, next(axis for axis in active if axis is not lines), True)
    if len(categorical) == 1 and categorical[0] is active[0]:
        active = active[::-1]  # long names stand better beside a panel than below it
    return _Layout(across, active[1], active[0], False)


def _arranged(dataset: xarray.Dataset, keys: Sequence[tuple[str, str]], layout: _Layout) -> list[SeedAverage]:
    """The averages of these keys with shape (across, up, along), 1 where there is no such axis."""
    places = [fields[0] for fields in swept_axes(dataset)]
    sides = [fields[0] if fields else None for fields in (layout.across, layout.up, layout.along)]
    order = [places.index(side) for side in sides if side]
    order += [i for i in range(len(places)) if i not in order]
    shape = tuple(dataset.sizes[side] if side else 1 for side in sides)
    by_key = {average.key: average for average in seed_averages(dataset)}
    return [by_key[key].arranged(order, shape) for key in keys]


def _draw(dataset: xarray.Dataset, shown: list[SeedAverage], layout: _Layout) -> Any:
    across, up, along = (
        scales.scale_of(dataset, fields) if fields else None for fields in (layout.across, layout.up, layout.along)
    )
    if across:
        num_rows, num_columns = len(shown), len(across.texts)
        width, height = max(2.5 * num_columns + 1.2, 5.0), 2.3 * num_rows + 0.7
    else:
        num_columns = len(shown) if len(shown) < 4 else 2 if len(shown) == 4 else 3
        num_rows = -(-len(shown) // num_columns)
        width, height = max(style.PANEL_WIDTH * num_columns, 4.5), 2.9 * num_rows + 0.5
    if not layout.is_lines:  # names beside a panel take their room from it
        width += 0.065 * max(0, scales.longest(up) - 6) * (1 if across else num_columns)
    is_shared = bool(across) and layout.is_lines
    drawn, grid = style.figure(
        num_rows, num_columns, width=width, height=height, squeeze=False, sharey="row" if is_shared else False
    )
    with style.context():
        for i, average in enumerate(shown):
            row = list(grid[i] if across else grid.flat[i : i + 1])
            if along is None:
                panels.draw_seeds(row[0], average.part((0, 0, 0)), dataset["seed"].values.tolist())
                row[0].set(xlabel="seed", ylabel=plain(panels.error_label(average), 32))
            elif layout.is_lines:
                for j, panel in enumerate(row):
                    panels.draw_lines(panel, average.part(j), along, up.texts if up else [""])
            else:
                norm = panels.colour_norm(average)
                meshes = [panels.draw_heat_map(panel, average.part(j), up, along, norm) for j, panel in enumerate(row)]
                if np.isfinite(average.value).any():
                    label = plain(panels.colour_label(average, is_named=bool(across)), 34)
                    drawn.colorbar(meshes[0], ax=row, label=label)
            _write_labels(row, average, across, up, along, layout, is_last=i == len(shown) - 1)
        for panel in grid.flat[len(shown) :] if not across else ():
            panel.set_visible(False)
        _add_legend(drawn, grid, up if layout.is_lines else None)
    return drawn


def _write_labels(
    row: list[Any],
    average: SeedAverage,
    across: Scale | None,
    up: Scale | None,
    along: Scale | None,
    layout: _Layout,
    *,
    is_last: bool,
) -> None:
    """Titles and labels of the panels of one value."""
    for j, panel in enumerate(row):
        part = average.part(j)
        if across:
            name = f"{across.label} = {across.texts[j]}"
        else:
            name = average.name + (f" (mean of {average.size} entries)" if average.size > 1 else "")
        panel.tick_params(labelleft=j == 0)
        panel.set_title(plain(f"{name}\n{panels.left_out(part)}".strip(), 34 if across else 42))
        if along and (is_last or not across):
            panel.set_xlabel(plain(along.label, 40))
    if along and layout.is_lines:
        name = f"{average.name}\n" if across else ""
        row[0].set_ylabel(plain(name + panels.error_label(average), 32))
    elif along:
        row[0].set_ylabel(plain(up.label, 40))


def _add_legend(drawn: Any, grid: np.ndarray, lines: Scale | None) -> None:
    """One legend below all panels: the names of the lines, then what the marks mean."""
    entries = {}
    for panel in grid.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        names = [plain(text, 40) for text in lines.texts] if lines else []
        entries = dict(sorted(entries.items(), key=lambda entry: entry[0] not in names))
        num_columns = max(1, int(drawn.get_figwidth() * 15 / (max(map(len, entries)) + 8)))
        num_rows = -(-len(entries) // num_columns)
        drawn.set_figheight(drawn.get_figheight() + 0.16 * max(0, num_rows - 3))  # more rows take it from the panels
        title = lines.label if lines else None
        drawn.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=num_columns, title=title)

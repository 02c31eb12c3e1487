"""How the values of a swept axis are laid out along a side of a figure: its scale, its places and its ticks."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray

UNEVEN = 20.0
"""Numbers whose largest gap is this many times their smallest, on either scale, stand at equal distances."""


@dataclass(frozen=True)
class Scale:
    """A swept axis as it is drawn.

    Args:
        label: its first field in words, with the fields that advance with it.
        texts: what is written at each value.
        places: (size,), where each value stands: the values themselves, or 0, 1, ... on an "even" scale.
        kind: "linear", "log", or "even": equal distances, for strings, booleans and very uneven numbers.
        is_categorical: whether the values have no order, so that nothing is interpolated between them.
    """

    label: str
    texts: list[str]
    places: np.ndarray
    kind: Literal["linear", "log", "even"]
    is_categorical: bool


def in_words(field: str) -> str:
    """The name of a field as a label."""
    return field.replace("_", " ")


def ascending(dataset: xarray.Dataset, fields: list[str]) -> xarray.Dataset:
    """The data set with an axis of numbers in ascending order; a categorical one is left as it is."""
    if _is_categorical(dataset[fields[0]].values):
        return dataset
    return dataset.isel({fields[0]: np.argsort(dataset[fields[0]].values, kind="stable")})


def scale_of(dataset: xarray.Dataset, fields: list[str]) -> Scale:
    """The scale of a swept axis: logarithmic where its gaps are clearly more even there."""
    values = dataset[fields[0]].values
    if _is_categorical(values):
        entries = zip(*([value_text(entry) for entry in dataset[field].values.tolist()] for field in fields))
        label = ", ".join(map(in_words, fields))
        return Scale(label, [", ".join(entry) for entry in entries], np.arange(values.size), "even", True)
    label = in_words(fields[0]) + (f" (with {', '.join(map(in_words, fields[1:]))})" if len(fields) > 1 else "")
    kind = _kind(values)
    places = np.arange(values.size) if kind == "even" else values.astype(float)
    return Scale(label, _number_texts(values.tolist()), places, kind, False)


def value_text(value: Any) -> str:
    """A swept value as it is written beside an axis or in a table."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def longest(scale: Scale) -> int:
    """Characters of the longest tick."""
    return max(len(_shortened(text)) for text in scale.texts)


def draw_ticks(side: Any, scale: Scale, *, is_even: bool, room: float) -> None:
    """Write the swept values beside an `Axis` of matplotlib, as many as fit.

    Args:
        side: `panel.xaxis` or `panel.yaxis`.
        scale: of the values.
        is_even: put them at 0, 1, ... whatever their scale, as the cells of a heat map are.
        room: what one character (of a horizontal side) or one line (of a vertical one) takes of the side's length.
    """
    from matplotlib.ticker import NullLocator

    places = np.arange(len(scale.texts)) if is_even else scale.places
    if scale.kind == "log" and not is_even:
        side.axes.set(**{f"{side.axis_name}scale": "log"})
        places = np.log(places)
    is_horizontal = side.axis_name == "x"
    is_slanted = is_horizontal and scale.is_categorical and longest(scale) * room * len(places) > 1
    needed = room if is_slanted or not is_horizontal else (longest(scale) + 1) * room
    kept, end = [], -np.inf
    for i, place in enumerate(places):
        if (place - end) >= needed * np.ptp(places) or not kept:
            kept.append(i)
            end = place
    drawn = np.arange(len(places)) if is_even else scale.places
    side.set_ticks(drawn[kept], [_shortened(scale.texts[i]).replace("$", r"\$") for i in kept])
    side.set_minor_locator(NullLocator())
    if is_slanted:
        for text in side.get_ticklabels():
            text.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")


def _number_texts(values: list[Any]) -> list[str]:
    """Numbers as they are written in full, or to three digits where that is shorter and tells them apart."""
    full = [value_text(value) for value in values]
    rounded = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in values]
    texts = [short if len(short) < len(long) else long for short, long in zip(rounded, full, strict=True)]
    return texts if len(set(texts)) == len(texts) else full


def _shortened(text: str) -> str:
    return text if len(text) <= 28 else f"{text[:27]}…"


def _is_categorical(values: np.ndarray) -> bool:
    return values.dtype.kind not in "iuf" or len(set(values.tolist())) < values.size


def _kind(values: np.ndarray) -> Literal["linear", "log", "even"]:
    values = values.astype(float)
    if values.size < 2:
        return "linear"
    linear, logarithmic = _unevenness(values), np.inf
    if np.all(values > 0):
        logarithmic = _unevenness(np.log(values))
        if values.size == 2:
            return "log" if values[1] >= 10 * values[0] else "linear"
    if min(linear, logarithmic) > UNEVEN:
        return "even"
    return "log" if 1.5 * logarithmic < linear else "linear"


def _unevenness(places: np.ndarray) -> float:
    gaps = np.diff(places)
    return float(gaps.max() / gaps.min())

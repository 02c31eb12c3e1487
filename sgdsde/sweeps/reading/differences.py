"""Two sweeps of one experiment side by side: every value at every point that both have, and how far apart they are."""

import json
import math
from typing import Any

import xarray

from sgdsde.experiment.check import STANDARD_ERRORS
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.reading.averages import seed_averages
from sgdsde.sweeps.reading.summary import point_columns, points, summary_rows

DIFFERENCE_COLUMNS = (
    "kind", "name", "first_value", "first_standard_error", "first_num_finite", "second_value", "second_standard_error",
    "second_num_finite", "difference", "z", "verdict",
)  # fmt: skip
"""What follows the swept fields in a row of `comparison_rows`."""


def comparison_rows(first: xarray.Dataset, second: xarray.Dataset) -> list[dict[str, Any]]:
    """The values that two sweeps of one experiment both have, at the points that both have, in the first one's order.

    With means m, standard errors s over the finite seeds (for a single seed, the one its check gave) of either sweep:

        difference = m_2 - m_1,    z = difference / sqrt(s_1^2 + s_2^2)

    The errors are those of independent seeds; the same seeds in both make z smaller than it should be.
    A row holds the swept fields, then `DIFFERENCE_COLUMNS`; `*_num_finite` seeds stand behind each mean. The verdict:

    * "equal": the two are the same number, or neither is finite,
    * "differs": |z| > 5.9; or they differ and neither has an error (none known, or 0), so that the numbers are exact;
      or only one of them is finite,
    * "within": |z| <= 5.9,
    * "unknown": one of them has an error, and the other is a single number of unknown error.

    Raises:
        ExperimentError: the sweeps are of different experiments, or of different fields.
    """
    _refuse_strangers(first, second)
    others = {_key(row, second): row for row in summary_rows(second)}
    columns = list(point_columns(first).values())
    rows = []
    for row in summary_rows(first):
        other = others.get(_key(row, first))
        if other is not None:
            rows.append({name: row[name] for name in (*columns, "kind", "name")} | _difference(row, other))
    return rows


def num_unmatched_points(first: xarray.Dataset, second: xarray.Dataset) -> tuple[int, int]:
    """How many points only the first of two sweeps has, and how many only the second."""
    one, other = (
        {tuple(point[name] for name in sorted(point)) for point in points(dataset)} for dataset in (first, second)
    )
    return len(one - other), len(other - one)


def unmatched_names(first: xarray.Dataset, second: xarray.Dataset) -> tuple[list[str], list[str]]:
    """The values that only the first of two sweeps has, and those that only the second has."""
    one, other = (dict.fromkeys(average.key for average in seed_averages(dataset)) for dataset in (first, second))
    return [key[1] for key in one if key not in other], [key[1] for key in other if key not in one]


def changed_fields(first: xarray.Dataset, second: xarray.Dataset) -> dict[str, tuple[Any, Any]]:
    """The fields of the base configurations, other than the swept ones and the seed, whose values differ."""
    one, other = (json.loads(dataset.attrs.get("config", "{}")) for dataset in (first, second))
    aside = {*point_columns(first), "seed"}
    return {
        name: (one.get(name), other.get(name))
        for name in dict.fromkeys([*one, *other])
        if name not in aside and one.get(name) != other.get(name)
    }


def _refuse_strangers(first: xarray.Dataset, second: xarray.Dataset) -> None:
    names = [dataset.attrs.get("experiment", "") for dataset in (first, second)]
    if names[0] != names[1]:
        raise ExperimentError(
            f"These sweeps are of different experiments, `{names[0]}` and `{names[1]}`: their values mean different "
            "things. Compare two sweeps of one experiment."
        )
    fields = [list(point_columns(dataset)) for dataset in (first, second)]
    if set(fields[0]) != set(fields[1]):
        one, other = (", ".join(f"`{field}`" for field in swept) or "nothing" for swept in fields)
        raise ExperimentError(
            f"These sweeps of `{names[0]}` sweep different fields, {one} and {other}: their points cannot be paired. "
            "Sweep the same fields in both; a field that one of them holds fixed is an axis with a single value."
        )


def _key(row: dict[str, Any], dataset: xarray.Dataset) -> tuple[Any, ...]:
    return (*(row[name] for name in sorted(point_columns(dataset).values())), row["kind"], row["name"])


def _difference(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    one, other = first["value"], second["value"]
    errors = [
        row["own_standard_error"] if row["standard_error"] is None else row["standard_error"] for row in (first, second)
    ]
    difference, z = other - one, None
    both_finite = math.isfinite(one) and math.isfinite(other)
    if one == other or not (math.isfinite(one) or math.isfinite(other)):
        verdict = "equal"
    elif not both_finite or not any(errors):  # an error that is None or 0 leaves nothing to measure by
        verdict = "differs"
    elif None in errors:
        verdict = "unknown"
    else:
        z = difference / math.hypot(*errors)
        verdict = "differs" if abs(z) > STANDARD_ERRORS else "within"
    if both_finite and difference == 0 and any(errors) and None not in errors:
        z = 0.0
    counts = [row["num_seeds"] - row["num_diverged"] - row["num_failed"] for row in (first, second)]
    found = (one, errors[0], counts[0], other, errors[1], counts[1], difference, z, verdict)
    return dict(zip(DIFFERENCE_COLUMNS[2:], found, strict=True))

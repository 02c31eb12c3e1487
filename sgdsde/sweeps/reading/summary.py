"""The summary of a sweep: one tidy row for each point and value, as dictionaries and as a CSV file."""

import csv
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from sgdsde.sweeps.reading.averages import SeedAverage, seed_averages, swept_axes

VALUE_COLUMNS = (
    "kind", "name", "value", "standard_error", "num_seeds", "num_diverged", "num_failed",
    "predicted", "own_standard_error", "num_judged", "num_passed", "verdict",
)  # fmt: skip
"""What follows the swept fields in a row; `summary_rows` says what each holds."""


def point_columns(dataset: xarray.Dataset) -> dict[str, str]:
    """The column of each swept field, in the order of the axes: its name, or `swept_NAME` where that is taken."""
    fields = itertools.chain.from_iterable(swept_axes(dataset))
    return {field: f"swept_{field}" if field in VALUE_COLUMNS else field for field in fields}


def points(dataset: xarray.Dataset) -> list[dict[str, Any]]:
    """The swept fields of every point by their columns, the last axis fastest; one empty point where none is swept."""
    columns = point_columns(dataset)
    axes = []
    for fields in swept_axes(dataset):
        values = zip(*(dataset[field].values.tolist() for field in fields), strict=True)
        axes.append([dict(zip((columns[field] for field in fields), entry, strict=True)) for entry in values])
    return [{name: value for part in parts for name, value in part.items()} for parts in itertools.product(*axes)]


def summary_rows(dataset: xarray.Dataset) -> list[dict[str, Any]]:
    """Tidy rows of a sweep, one for each point and value, with the keys (in this order):

    * the swept fields, axis by axis (a field called like a column below is `swept_NAME`),
    * kind: "array" (the experiment returned it) or "check"; name: an array with up to 16 entries has a row for each
      entry, `means[scale=1]` or `means[0]`, a larger one a single row with the mean over its entries,
    * value: mean over the seeds that are finite, NaN where none is; standard_error: of that mean, over seeds
      (std(ddof=1)/sqrt(n)); None with fewer than two finite seeds,
    * num_seeds: all of the point; num_diverged: not finite, not failed; num_failed. What is left of num_seeds stands
      behind `value`, which is a mean over survivors where some are not finite,
    * predicted: mean over the same seeds; own_standard_error: of `value` by the errors that the check itself gave for
      each seed, sqrt(sum s_i^2)/n; num_judged, num_passed: seeds, each judged alone,
    * verdict: "pass", "fail" or "underpowered" by the means over all seeds; "fail" where a seed is not finite; None
      where nothing was judged, or seeds have different tolerances. Columns from `predicted` on are None for an array.
    """
    order = range(len(swept_axes(dataset)))
    averages = [average.arranged(order, (-1,)) for average in seed_averages(dataset)]
    return [point | _row(average, i) for i, point in enumerate(points(dataset)) for average in averages]


def write_summary_csv(file: str | Path, dataset: xarray.Dataset) -> None:
    """Write the rows of `summary_rows` in their column order; None is an empty cell, NaN is `nan`."""
    with open(file, "w", encoding="utf-8", newline="") as stream:
        rows = csv.DictWriter(stream, [*point_columns(dataset).values(), *VALUE_COLUMNS], lineterminator="\n")
        rows.writeheader()
        rows.writerows(summary_rows(dataset))


def _row(average: SeedAverage, i: int) -> dict[str, Any]:
    is_check = average.kind == "check"
    return {
        "kind": average.kind,
        "name": average.name,
        "value": float(average.value[i]),
        "standard_error": _known(average.standard_error[i]),
        "num_seeds": average.num_seeds,
        "num_diverged": int(average.num_diverged[i]),
        "num_failed": int(average.num_failed[i]),
        "predicted": float(average.predicted[i]) if is_check else None,
        "own_standard_error": _known(average.own_error[i]),
        "num_judged": int(average.num_judged[i]) if is_check else None,
        "num_passed": int(average.num_passed[i]) if is_check else None,
        "verdict": average.verdict[i],
    }


def _known(number: np.floating | float) -> float | None:
    return None if math.isnan(number) else float(number)

"""The values of a sweep, each averaged over the seeds of its point: what its summary, tables and figure all read."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray
from scipy import stats

from sgdsde.experiment.check import STANDARD_ERRORS, Check
from sgdsde.experiment.folders import ExperimentError, nearest
from sgdsde.sweeps.judging import EXPECTATIONS

MOST_ENTRIES = 16
"""An array with more entries than this is one value, their mean; a smaller one is a value for each entry."""


@dataclass(frozen=True, eq=False)
class SeedAverage:
    """One value at every point of a sweep: its mean over the seeds that are finite, and what became of the others.

    With x_i the finite samples of a point and n their number:

        value = (1/n) sum_i x_i,    standard_error = sqrt( sum_i (x_i - value)^2 / (n (n - 1)) )

    `value` is NaN where n = 0, `standard_error` where n < 2. A mean over fewer than all seeds is conditional on not
    diverging: `num_diverged` and `num_failed` say how many are left out, and whoever shows the mean shows them too.

    Args:
        kind: "array" (the experiment returned it) or "check" (the experiment judged it).
        name: of the value, such as `loss`, `means[scale=1]` or the name of a check.
        array: the name of the array that it is part of; the check's name for a check.
        size: number of entries that were averaged before the seeds were; 1 for a scalar, a check and a single entry.
        samples: (..., num_seeds), NaN where a seed is not finite or failed; ... are the axes of the sweep.
        sample_errors: (..., num_seeds), a check's own standard errors; NaN for an array.
        value, standard_error: (...).
        own_error: (...), standard error of `value` by the check's own errors s_i, sqrt(sum_i s_i^2) / n.
        predicted: (...), a check's prediction averaged over the same seeds (over all where none is finite).
        is_diverged: (..., num_seeds), where a seed has the value, did not fail, and is not finite. A check that the
            experiment does not make at a point, or an entry that its array does not have there, has not diverged.
        num_failed: (...), seeds that failed.
        num_judged, num_passed: (...), seeds whose check was judged, and of these those that passed.
        verdict: (...), over all seeds of a point: that of a `Check` whose measured number is `value`, beside
            `predicted`: "pass", "fail" or "underpowered". "fail" where a seed is not finite, whatever the others say.
            None for an array, where no seed was judged (smoke size, all failed), and where the seeds have different
            tolerances or expectations. Its error is `own_error`, or `standard_error` times t_{n-1}/5.9 where that is
            smaller or the seeds refute the checks' own: the error of few seeds is itself uncertain (the factor is 2
            for 16 seeds, and so large for three that only the checks' own errors decide).
    """

    kind: Literal["array", "check"]
    name: str
    array: str
    size: int
    samples: np.ndarray
    sample_errors: np.ndarray
    value: np.ndarray
    standard_error: np.ndarray
    own_error: np.ndarray
    predicted: np.ndarray
    is_diverged: np.ndarray
    num_failed: np.ndarray
    num_judged: np.ndarray
    num_passed: np.ndarray
    verdict: np.ndarray

    @property
    def key(self) -> tuple[str, str]:
        """What tells this value from the others of its sweep: a check may be called like an array."""
        return self.kind, self.name

    @property
    def error(self) -> np.ndarray:
        """The standard error over the seeds; where there is only one seed, a check's own; else NaN."""
        return np.where(np.isnan(self.standard_error), self.own_error, self.standard_error)

    @property
    def num_diverged(self) -> np.ndarray:
        """Seeds whose value is not finite."""
        return np.asarray(self.is_diverged.sum(axis=-1))

    @property
    def num_left_out(self) -> np.ndarray:
        """Seeds that the mean does not hold."""
        return self.num_diverged + self.num_failed

    @property
    def num_seeds(self) -> int:
        """Seeds of a point, whatever became of them."""
        return self.samples.shape[-1]

    def arranged(self, order: Sequence[int], shape: tuple[int, ...]) -> "SeedAverage":
        """The same with the axes of the sweep in another order, then brought to another shape."""

        def arrange(array: np.ndarray) -> np.ndarray:
            rest = array.shape[len(order) :]
            return array.transpose(*order, *range(len(order), array.ndim)).reshape(shape + rest)

        return self._each(arrange)

    def part(self, index: Any) -> "SeedAverage":
        """The same at some positions of the first axes."""
        return self._each(lambda array: array[index])

    def _each(self, change: Callable[[np.ndarray], np.ndarray]) -> "SeedAverage":
        arrays = {
            field.name: np.asarray(change(getattr(self, field.name)))
            for field in dataclasses.fields(self)
            if field.type is np.ndarray
        }
        return dataclasses.replace(self, **arrays)


def swept_axes(dataset: xarray.Dataset) -> list[list[str]]:
    """The names of the swept fields, one list an axis; the first of each names the dimension.

    Raises:
        ExperimentError: the data set is not that of a sweep.
    """
    if "axes" not in dataset.attrs or "seed" not in dataset.dims:
        raise ExperimentError("These are not the arrays of a sweep: no attribute `axes`, or no dimension `seed`.")
    return json.loads(dataset.attrs["axes"])


def seed_averages(dataset: xarray.Dataset) -> list[SeedAverage]:
    """Every number of a sweep, averaged over seeds: the arrays in their order, then the checks.

    NumPy in float64, not `measurements.mean`: that one is NaN as soon as one chain is, and in float32 by default.
    An array that does not depend on points and seeds, or that holds no numbers, is not a value of the sweep.
    """
    places = [fields[0] for fields in swept_axes(dataset)] + ["seed"]
    shape = tuple(dataset.sizes[name] for name in places)
    failed = np.zeros(shape, bool)
    if "failed" in dataset:
        failed = dataset["failed"].transpose(*places).values != 0
    found = []
    for name, array in dataset.data_vars.items():
        reserved = name == "failed" or "check" in array.dims
        if reserved or array.size == 0 or array.dtype.kind not in "biuf" or not set(places) <= set(array.dims):
            continue
        own = [str(dimension) for dimension in array.dims if dimension not in places]
        samples = array.transpose(*places, *own).values.reshape(*shape, -1).astype(np.float64)
        absent = _absent(dataset, str(name), samples.shape, [dataset.sizes[each] for each in own])
        if samples.shape[-1] > MOST_ENTRIES:
            with np.errstate(invalid="ignore", over="ignore"):
                means = np.mean(samples, axis=-1, where=~absent)
            found.append(_average("array", str(name), str(name), samples.shape[-1], means, failed))
            continue
        for index, entry in enumerate(_entry_names(array, own)):
            found.append(_average("array", entry, str(name), 1, samples[..., index], failed, absent[..., index]))
    if "check_measured" in dataset:
        found += _checks(dataset, places, failed)
    return found


def _absent(dataset: xarray.Dataset, name: str, shape: tuple[int, ...], own: Sequence[int]) -> np.ndarray:
    """Where an array has no entries because it is shorter at some points than at others."""
    padded = json.loads(dataset.attrs.get("padded", "{}")).get(name, ())
    absent = np.zeros(shape, bool)
    for part in padded:
        block = np.ones(tuple(own), bool)
        block[tuple(slice(0, size) for size in part["shape"])] = False
        absent[np.ix_(*part["where"], range(shape[-2]))] = block.reshape(-1)
    return absent


def chosen(averages: Sequence[SeedAverage], values: Sequence[str]) -> list[SeedAverage]:
    """The values of these names, in the order asked; the name of an array stands for all its entries.

    Raises:
        ExperimentError: there is no such value; the message names the closest one.
    """
    found = []
    for name in values:
        matching = [average for average in averages if name in (average.name, average.array)]
        if not matching:
            valid = {average.name for average in averages} | {average.array for average in averages}
            raise ExperimentError(f"This sweep has no value `{name}`. {nearest(name, valid)}")
        found += [average for average in matching if average not in found]
    return found


def by_interest(averages: Sequence[SeedAverage]) -> list[SeedAverage]:
    """The most telling first: checks, scalars, means of arrays, entries; in each group what varies before what not."""

    def rank(average: SeedAverage) -> tuple[int, bool]:
        finite = average.value[np.isfinite(average.value)]
        is_scalar = average.name == average.array and average.size == 1
        group = 0 if average.kind == "check" else 1 if is_scalar else 2 if average.size > 1 else 3
        return group, bool(finite.size > 1 and np.ptp(finite) == 0)

    return sorted(averages, key=rank)


def _checks(dataset: xarray.Dataset, places: list[str], failed: np.ndarray) -> list[SeedAverage]:
    def entries(name: str, missing: float) -> np.ndarray:
        if name not in dataset:
            return np.full((*failed.shape, dataset.sizes["check"]), missing)
        return dataset[name].transpose(*places, "check").values.astype(np.float64)

    measured, predicted = entries("check_measured", np.nan), entries("check_predicted", np.nan)
    errors, passed = entries("check_standard_error", np.nan), entries("check_passed", -1.0)
    tolerances, expected = entries("check_tolerance", np.nan), entries("check_expect", -1.0)
    names = dataset["check"].values if "check" in dataset.coords else range(measured.shape[-1])
    found = []
    for i, name in enumerate(map(str, names)):
        absent = np.isnan(tolerances[..., i]) & ("check_tolerance" in dataset)  # each check that is made has one
        average = _average("check", name, name, 1, measured[..., i], failed, absent)
        finite = np.isfinite(average.samples)
        own = np.where(finite, errors[..., i], np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            own_error = np.sqrt(np.where(finite, own**2, 0).sum(axis=-1)) / finite.sum(axis=-1)
        has_any = np.asarray(finite.any(axis=-1))[..., None]
        theory = np.where(has_any & ~finite, np.nan, predicted[..., i])
        average = dataclasses.replace(
            average,
            sample_errors=own,
            own_error=np.asarray(own_error),
            predicted=_mean_and_error(theory)[0],
            num_judged=np.asarray(np.sum((passed[..., i] >= 0) & ~failed, axis=-1)),
            num_passed=np.asarray(np.sum((passed[..., i] == 1) & ~failed, axis=-1)),
        )
        has_no_theory = np.any(finite & ~np.isfinite(predicted[..., i]), axis=-1)
        is_lost = np.asarray((average.num_diverged > 0) | has_no_theory)
        asked = np.where(failed, -1, expected[..., i])
        found.append(dataclasses.replace(average, verdict=_verdicts(average, asked, tolerances[..., i], is_lost)))
    return found


def _verdicts(average: SeedAverage, expected: np.ndarray, tolerances: np.ndarray, is_lost: np.ndarray) -> np.ndarray:
    """The verdict of every point, as `SeedAverage` says; `is_lost` where a seed has a number that is not finite."""
    verdicts, errors = np.full(average.value.shape, None, object), trusted_errors(average)
    measured = np.where(is_lost, np.nan, average.value)  # which fails, whatever is expected
    for i in np.ndindex(average.value.shape):
        asked = {(code, tolerance) for code, tolerance in zip(expected[i], tolerances[i]) if code >= 0}
        if len(asked) == 1 or (asked and is_lost[i]):
            code, tolerance = min(asked)
            expect = EXPECTATIONS[int(code)]
            pooled = Check(average.name, measured[i], average.predicted[i], errors[i], tolerance, expect, "seeds")
            verdicts[i] = pooled.verdict
    return verdicts


def trusted_errors(average: SeedAverage) -> np.ndarray:
    """Standard errors of means, of which 5.9 are as certain as 5.9 of a normal law.

    Over the seeds: `standard_error` times t_{n-1}/5.9, t_{n-1} the quantile of Student's law that is as rare. By the
    checks' own errors s_i: `own_error`, unless the seeds refute them, sum_i (x_i - value)^2/s_i^2 beyond the quantile
    of chi^2_{n-1} that is as rare. The smaller one.
    """
    rare = stats.norm.sf(STANDARD_ERRORS)
    freedom = np.isfinite(average.samples).sum(axis=-1) - 1
    factor = stats.t.isf(rare, np.maximum(freedom, 1)) / STANDARD_ERRORS
    over_seeds = np.where(freedom > 0, average.standard_error * factor, np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        spread = ((average.samples - average.value[..., None]) / average.sample_errors) ** 2
    chi_squared = np.where(average.samples == average.value[..., None], 0.0, spread)
    is_refuted = np.nansum(chi_squared, axis=-1) > stats.chi2.isf(rare, np.maximum(freedom, 1))
    return np.asarray(np.fmin(np.where(is_refuted, np.nan, average.own_error), over_seeds))


def _average(
    kind: Literal["array", "check"], name: str, array: str, size: int, samples: np.ndarray, failed: np.ndarray,
    absent: np.ndarray | bool = False,
) -> SeedAverage:  # fmt: skip
    samples = np.where(np.isfinite(samples) & ~failed, samples, np.nan)
    value, error = _mean_and_error(samples)
    num_failed = np.asarray(failed.sum(axis=-1))
    nothing, none = np.full(value.shape, np.nan), np.zeros(value.shape, int)
    return SeedAverage(
        kind=kind,
        name=name,
        array=array,
        size=size,
        samples=samples,
        sample_errors=np.full(samples.shape, np.nan),
        value=value,
        standard_error=error,
        own_error=nothing,
        predicted=nothing,
        is_diverged=np.isnan(samples) & ~failed & ~np.asarray(absent),
        num_failed=num_failed,
        num_judged=none,
        num_passed=none,
        verdict=np.full(value.shape, None, object),
    )


def _mean_and_error(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the finite entries of the last axis and its standard error; NaN of none, and of fewer than two."""
    finite = np.isfinite(samples)
    count = finite.sum(axis=-1)
    # Counted from the first finite sample: seeds that agree to the last digit then have an error of exactly 0.
    first = np.take_along_axis(samples, finite.argmax(axis=-1)[..., None], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        deviations = np.where(finite, samples - first, 0)
        mean = deviations.sum(axis=-1) / count
        squares = np.where(finite, (deviations - mean[..., None]) ** 2, 0).sum(axis=-1)
        error = np.sqrt(squares / (np.where(count > 1, count - 1, np.nan) * count))
    return np.asarray(first[..., 0] + mean), np.asarray(error)


def _entry_names(array: xarray.DataArray, own: list[str]) -> list[str]:
    """`NAME` of a scalar; `NAME[scale=1]` where the dimension has a coordinate, `NAME[0]` where it has none."""
    labels = []
    for dimension in own:
        texts = [str(index) for index in range(array.sizes[dimension])]
        if dimension in array.coords:
            coordinate = array[dimension].values.tolist()
            short = [f"{entry:g}" if isinstance(entry, float) else str(entry) for entry in coordinate]
            exact = [str(entry) for entry in coordinate]
            unique = next((candidate for candidate in (short, exact) if len(set(candidate)) == len(candidate)), None)
            texts = [f"{dimension}={entry}" for entry in unique] if unique else texts
        labels.append(texts)
    return [f"{array.name}[{', '.join(entry)}]" if own else str(array.name) for entry in itertools.product(*labels)]

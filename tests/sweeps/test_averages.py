"""Means over seeds against numbers done by hand, SciPy's standard error, and what is left out of them."""

import numpy as np
import pytest
import scipy.stats
import xarray

from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.averages import MOST_ENTRIES, by_interest, chosen, seed_averages

RATES = {"learning_rate": [0.1, 0.2]}


def test_mean_and_standard_error_leave_out_what_is_not_finite_and_count_it(dataset_of):
    loss = [[1.0, 3.0, np.nan, 5.0], [np.inf, np.nan, 7.0, 8.0]]
    failed = [[0, 0, 0, 0], [0, 1, 0, 1]]
    (average,) = seed_averages(dataset_of([RATES], {"loss": loss}, num_seeds=4, failed=failed))
    np.testing.assert_array_equal(average.value, [3.0, 7.0])
    np.testing.assert_allclose(average.standard_error, [scipy.stats.sem([1, 3, 5]), np.nan], rtol=1e-15)
    np.testing.assert_array_equal(average.num_diverged, [1, 1])
    np.testing.assert_array_equal(average.num_failed, [0, 2])
    np.testing.assert_array_equal(average.num_left_out, [1, 3])
    np.testing.assert_array_equal(np.isnan(average.samples), [[0, 0, 1, 0], [1, 1, 0, 1]])


def test_none_finite_is_nan_and_a_failed_integer_is_no_number(dataset_of):
    (average,) = seed_averages(dataset_of([RATES], {"count": np.array([[3, 0], [0, 0]])}, failed=[[0, 1], [1, 1]]))
    np.testing.assert_array_equal(average.value, [3.0, np.nan])
    assert np.isnan(average.standard_error).all()
    np.testing.assert_array_equal(average.num_diverged, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_scipy_in_float64_whatever_the_dtype(dataset_of, dtype):
    samples = (1e4 + np.random.default_rng(0).standard_normal((2, 50))).astype(dtype)
    (average,) = seed_averages(dataset_of([RATES], {"loss": samples}, num_seeds=50))
    assert average.value.dtype == np.float64
    np.testing.assert_allclose(average.value, samples.astype(float).mean(axis=-1), rtol=1e-15)
    np.testing.assert_allclose(average.standard_error, scipy.stats.sem(samples.astype(float), axis=-1), rtol=1e-10)


def test_seeds_that_agree_have_an_error_of_exactly_zero(dataset_of):
    (average,) = seed_averages(dataset_of([RATES], {"loss": np.full((2, 7), 0.1)}, num_seeds=7))
    assert (average.value == 0.1).all()  # 0.1 * 7 / 7 would not be
    assert (average.standard_error == 0).all()


def test_a_small_array_is_its_entries_and_a_large_one_its_mean(dataset_of):
    arrays = {
        "means": np.arange(8.0).reshape(2, 2, 2),
        "counts": np.arange(12.0).reshape(2, 2, 3),
        "density": np.arange(4 * (MOST_ENTRIES + 1), dtype=float).reshape(2, 2, -1),
        "pairs": np.zeros((2, 2, 2, 2)),
    }
    dimensions = {"means": ["scale"], "pairs": ["scale", "pair"]}
    coords = {"scale": ("scale", [0.5, 1.0])}
    found = {a.name: a for a in seed_averages(dataset_of([RATES], arrays, dimensions=dimensions, coords=coords))}
    assert list(found) == [
        "means[scale=0.5]", "means[scale=1]", "counts[0]", "counts[1]", "counts[2]", "density",
        "pairs[scale=0.5, 0]", "pairs[scale=0.5, 1]", "pairs[scale=1, 0]", "pairs[scale=1, 1]",
    ]  # fmt: skip
    np.testing.assert_array_equal(found["means[scale=1]"].value, arrays["means"][..., 1].mean(axis=1))
    np.testing.assert_array_equal(found["density"].value, arrays["density"].mean(axis=(1, 2)))
    assert found["density"].size == MOST_ENTRIES + 1
    per_seed = arrays["density"].mean(axis=2)
    np.testing.assert_allclose(found["density"].standard_error, scipy.stats.sem(per_seed, axis=1), rtol=1e-14)


@pytest.mark.parametrize(
    ("coordinate", "names"),
    [([0.1, 0.1000000001], ["x=0.1", "x=0.1000000001"]), ([1.0, 1.0], ["0", "1"]), (["a", "b"], ["x=a", "x=b"])],
)
def test_entries_have_names_of_their_own(dataset_of, coordinate, names):
    arrays = {"means": np.zeros((2, 2, 2))}
    dataset = dataset_of([RATES], arrays, dimensions={"means": ["x"]}, coords={"x": ("x", coordinate)})
    assert [average.name for average in seed_averages(dataset)] == [f"means[{name}]" for name in names]


def test_a_check_is_averaged_with_its_prediction_over_the_same_seeds(dataset_of):
    measured = [[1.0, 2.0, np.nan], [np.nan, np.nan, np.nan], [4.0, np.nan, np.nan]]
    predicted = [[1.5, 2.5, 9.0], [1.0, 2.0, 3.0], [5.0, 6.0, 7.0]]
    passed = [[1, 0, 0], [0, 0, 0], [1, -1, -1]]
    rates = {"learning_rate": [0.1, 0.2, 0.3]}
    (check,) = seed_averages(dataset_of([rates], {}, num_seeds=3, checks={"law": (measured, predicted, 0.3, passed)}))
    assert check.kind == "check"
    np.testing.assert_array_equal(check.value, [1.5, np.nan, 4.0])
    np.testing.assert_array_equal(check.predicted, [2.0, 2.0, 5.0])
    np.testing.assert_allclose(check.own_error, [0.3 / np.sqrt(2), np.nan, 0.3])
    np.testing.assert_allclose(check.error, [scipy.stats.sem([1, 2]), np.nan, 0.3])  # one seed: the check's own
    np.testing.assert_array_equal(check.num_judged, [3, 3, 1])
    np.testing.assert_array_equal(check.num_passed, [1, 0, 1])


def test_the_order_of_the_dimensions_does_not_matter(dataset_of):
    dataset = dataset_of([RATES, {"batch_size": [1, 2, 4]}], {"loss": np.arange(12.0).reshape(2, 3, 2)})
    turned = dataset.transpose("seed", "batch_size", "learning_rate")
    for one, other in zip(seed_averages(dataset), seed_averages(turned), strict=True):
        np.testing.assert_array_equal(one.value, other.value)
    (average,) = seed_averages(dataset)
    np.testing.assert_array_equal(average.arranged((1, 0), (3, 1, 2)).value, average.value.T[:, None])
    assert average.arranged((1, 0), (6,)).samples.shape == (6, 2)
    assert average.part(1).samples.shape == (3, 2)


def test_values_are_chosen_by_name_and_by_interest(dataset_of):
    varying = np.array([[1.0, 1.0], [2.0, 2.0]])
    arrays = {
        "large": np.zeros((2, 2, 20)),
        "small": np.zeros((2, 2, 2)),
        "constant": np.zeros((2, 2)),
        "loss": varying,
    }
    averages = seed_averages(dataset_of([RATES], arrays, checks={"loss": (varying, 0, 0, 1)}))
    names = [(average.kind, average.name) for average in by_interest(averages)]
    assert names == [
        ("check", "loss"), ("array", "loss"), ("array", "constant"), ("array", "large"),
        ("array", "small[0]"), ("array", "small[1]"),
    ]  # fmt: skip
    assert [average.name for average in chosen(averages, ["small", "small[1]", "large"])] == [
        "small[0]", "small[1]", "large",
    ]  # fmt: skip
    assert [average.kind for average in chosen(averages, ["loss"])] == ["array", "check"]
    with pytest.raises(ExperimentError, match=r"no value `los`. Did you mean `loss`?"):
        chosen(averages, ["los"])


def test_another_data_set_is_refused():
    with pytest.raises(ExperimentError, match="not the arrays of a sweep"):
        seed_averages(xarray.Dataset({"loss": ("x", [1.0])}))

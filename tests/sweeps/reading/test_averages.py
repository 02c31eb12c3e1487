"""Means over seeds against numbers done by hand, SciPy's standard error, and what is left out of them."""

import numpy as np
import pytest
import scipy.stats
import xarray

from sgdsde.experiment.check import Check
from sgdsde.experiment.folders import ExperimentError
from sgdsde.sweeps.reading.averages import MOST_ENTRIES, by_interest, chosen, seed_averages

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


def test_sixteen_seeds_too_few_each_pass_together(dataset_of):
    """1 +- 0.03, tolerance 0.1: alone 5.9 * 0.03 > 0.1; over the seeds the error is std / 4, 5.9 times it 0.012."""
    measured = np.tile(1 + 0.008 * np.array([-1.0, 1.0]), (2, 8))
    alone = Check("law", measured[0, 0], 1.0, 0.03, 0.1, "agree", "source")
    assert alone.verdict == "underpowered"
    measured[1] += 0.2
    (check,) = seed_averages(dataset_of([RATES], {}, num_seeds=16, checks={"law": (measured, 1.0, 0.03, 0)}))
    assert check.verdict.tolist() == ["pass", "fail"]
    np.testing.assert_array_equal(check.num_passed, 0)
    assert check.arranged((0,), (1, 2)).verdict.tolist() == [["pass", "fail"]]
    assert check.part(1).verdict == "fail"


@pytest.mark.parametrize("own", [1e-9, 0.0, np.nan, 9.0])
def test_the_error_over_seeds_decides_where_the_seeds_refute_their_own_errors_or_have_larger_ones(dataset_of, own):
    """Student's factor for 16 seeds is 2.0: 5.9 times the error is 0.92 and 0.061."""
    measured = np.tile([[0.7, 1.3], [0.98, 1.02]], 8)
    (check,) = seed_averages(dataset_of([RATES], {}, num_seeds=16, checks={"law": (measured, 1.0, [own], 0)}))
    assert check.verdict.tolist() == ["underpowered", "pass"]


def test_two_seeds_have_the_verdict_of_their_own_errors(dataset_of):
    """The spread of two says nothing that is certain; errors of 0.01 each are 0.007 together."""
    measured = [[0.995, 1.005], [0.995, 1.185]]
    (check,) = seed_averages(dataset_of([RATES], {}, num_seeds=2, checks={"law": (measured, 1.0, [0.01], 0)}))
    assert check.verdict.tolist() == ["pass", "underpowered"], "the second pair refutes its errors"
    (check,) = seed_averages(dataset_of([RATES], {}, num_seeds=2, checks={"law": (1.0, 1.0, [0.0], 0)}))
    assert check.verdict.tolist() == ["pass", "pass"], "exact numbers need no seeds"


@pytest.mark.parametrize("expect", ["agree", "differ", "below", "above"])
def test_a_seed_that_diverged_fails_and_one_that_could_not_be_computed_is_left_out(dataset_of, expect):
    predicted = {"agree": 1.0, "differ": 2.0, "below": 2.0, "above": 0.0}[expect]
    measured = np.full((4, 3), 1.0)
    measured[1, 2], measured[2] = np.nan, np.inf
    failed = [[0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1]]
    rates = {"learning_rate": [0.1, 0.2, 0.3, 0.4]}
    checks = {"law": (measured, predicted, 0.0, 1, 0.1, expect)}
    (check,) = seed_averages(dataset_of([rates], {}, num_seeds=3, failed=failed, checks=checks))
    assert check.verdict.tolist() == ["pass", "fail", "fail", None]


@pytest.mark.parametrize(
    ("expect", "verdicts"),
    [
        ("agree", ["fail", "pass", "fail"]),
        ("differ", ["pass", "fail", "pass"]),
        ("below", ["pass", "fail", "fail"]),
        ("above", ["fail", "fail", "pass"]),
    ],
)
def test_every_expectation_is_judged_over_seeds(dataset_of, expect, verdicts):
    """Errors of 0.1, so that 0.59 is certain, and a mean prediction of 2, beside which "agree" allows 0.6 more."""
    middle = np.array([[0.75], [2.0], [3.25]]) if expect == "agree" else np.array([[1.0], [2.0], [3.0]])
    rates, measured = {"learning_rate": [0.1, 0.2, 0.3]}, middle + [-0.1, 0.1]
    tolerance = 0.3 if expect == "agree" else 0.0
    checks = {"law": (measured, [[1.5, 2.5]], 0.1 * 2**0.5, 0, tolerance, expect)}
    (check,) = seed_averages(dataset_of([rates], {}, checks=checks))
    np.testing.assert_allclose(check.standard_error, 0.1)
    assert check.verdict.tolist() == verdicts


def test_one_seed_has_the_verdict_of_its_own_check(dataset_of):
    rng = np.random.default_rng(0)
    for expect in ("agree", "differ", "below", "above"):
        measured, errors = 1 + 0.3 * rng.standard_normal((30, 1)), 0.05 * rng.random((30, 1))
        measured[0], errors[1] = np.nan, np.nan
        rates = {"learning_rate": 0.01 * (1 + np.arange(30))}
        checks = {"law": (measured, 1.0, errors, 0, 0.1, expect)}
        (check,) = seed_averages(dataset_of([rates], {}, num_seeds=1, checks=checks))
        alone = [Check("law", m, 1.0, s, 0.1, expect, "source").verdict for m, s in zip(measured[:, 0], errors[:, 0])]
        assert check.verdict.tolist() == alone
        assert set(alone) >= {"pass", "fail"}


def test_what_is_not_judged_has_no_verdict(dataset_of):
    measured = [[1.0, 1.0], [np.nan, 1.0]]
    (smoke,) = seed_averages(dataset_of([RATES], {}, checks={"law": (measured, 1.0, 0.0, -1)}))
    assert smoke.verdict.tolist() == [None, None]
    mixed = dataset_of([RATES], {}, checks={"law": (measured, 1.0, 0.0, 1, [0.1, 0.2], "agree")})
    assert seed_averages(mixed)[0].verdict.tolist() == [None, "fail"]
    mixed = dataset_of([RATES], {}, checks={"law": (np.ones((2, 2)), 1.0, 0.0, 1, 0.1, ["agree", "above"])})
    assert seed_averages(mixed)[0].verdict.tolist() == [None, None]
    (array,) = seed_averages(dataset_of([RATES], {"loss": np.ones((2, 2))}))
    assert array.verdict.tolist() == [None, None]


def test_a_prediction_that_is_no_number_is_not_averaged_away(dataset_of):
    predicted = [[1.0, np.nan], [1.0, 1.0]]
    (check,) = seed_averages(dataset_of([RATES], {}, checks={"law": (1.0, predicted, 0.0, [[1, 0], [1, 1]])}))
    assert check.verdict.tolist() == ["fail", "pass"]


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

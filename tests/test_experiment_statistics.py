"""What checks of experiments compute from saved arrays: planted answers, exact counts, other methods."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def module(monkeypatch):
    """An experiment file as a module, by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module


def grokking_arrays(grokking, slopes, lost=None):
    """Times of every dynamics, exp(slope * dose) times gradient descent's, with starts of their own."""
    config = grokking.Config(num_chains=5)
    start = np.linspace(2e4, 3e4, config.num_chains)
    dose = grokking.doses(config)[:, :, None, None]
    times = start * np.exp(np.array([slopes.get(kind, 0.0) for kind in grokking.KINDS])[:, None] * dose)
    if lost is not None:
        times[lost] = np.nan
    return config, {"test_time": times, "diverged_at": np.where(np.isfinite(times), -1, 100)}


def test_a_planted_dose_slope_is_found_start_by_start_and_a_lost_start_has_none(module):
    grokking = module("grokking_noise")
    row = grokking.KINDS.index("SGD")
    config, arrays = grokking_arrays(grokking, {"SGD": -0.3, "Levy": -0.6}, lost=(1, 1, row, 2))
    slope = grokking.dose_slope(config, arrays, "SGD", grokking.LINE)
    assert np.isnan(slope[2])
    np.testing.assert_allclose(np.delete(slope, 2), -0.3, rtol=1e-12)
    # A start that is lost beyond the cells that are used does not matter.
    _, arrays = grokking_arrays(grokking, {"SGD": -0.3}, lost=(1, 0, row, 2))
    np.testing.assert_allclose(grokking.dose_slope(config, arrays, "SGD", grokking.LINE), -0.3, rtol=1e-12)


def test_the_covariance_that_stable_noise_realises_is_the_median_of_means_of_its_mixing_variable(module):
    grokking = module("grokking_noise")
    config, arrays = grokking_arrays(grokking, {})
    arrays["test_time"][:, :, grokking.KINDS.index("Levy")] = 400.0  # 100 steps at the smaller rate, 50 at the larger
    generator, q = np.random.default_rng(0), config.tail_index / 2
    medians = []
    for num_steps in (100, 50):
        v, w = generator.uniform(0, np.pi, (10_000, num_steps)), generator.exponential(size=(10_000, num_steps))
        mixing = np.sin(q * v) * np.sin(v) ** (-1 / q) * (np.sin((1 - q) * v) / w) ** ((1 - q) / q)
        medians.append(np.median(mixing.mean(axis=1)))
    expected = np.average(medians, weights=[0.25**2, 0.5**2])
    # The median's standard error is 0.4 %; without the exponent 1/q - 1 it would be 40 % off.
    assert grokking.realised(config, arrays, grokking.COMPLETE) == pytest.approx(expected, rel=5.9 * 0.004)


def test_the_jackknife_of_a_mean_is_its_standard_error(module):
    grokking = module("grokking_noise")
    values = np.random.default_rng(0).normal(size=12)
    mean, error = grokking.jackknife(lambda starts: values[starts].mean(), 12)
    assert (mean, error) == pytest.approx((values.mean(), values.std(ddof=1) / 12**0.5), rel=1e-12)


def test_the_share_of_mirrored_test_pairs_by_counting_and_what_it_bounds(module):
    transformer = module("grokking_transformer")
    config = transformer.SMOKE
    problem, test = transformer.problem_and_test(config, jax.random.split(jax.random.key(config.seed))[0])
    trained = {(int(m), int(n)) for m, n, *_ in np.asarray(problem.examples["pairs"])}
    mirrored = [(int(n), int(m)) in trained for m, n in np.asarray(test["pairs"])]
    assert transformer.mirrored_share(config) == pytest.approx(np.mean(mirrored), rel=1e-12)
    # Right on all mirrored pairs and on two of the others: nothing but these two is left of the bound.
    num_others = len(mirrored) - sum(mirrored)
    accuracy = (sum(mirrored) + 2) / len(mirrored)
    assert transformer.on_unmirrored(config, accuracy) == pytest.approx(2 / num_others, rel=1e-9)
    assert transformer.on_unmirrored(config, 0.0) == 0


def test_a_corner_is_shared_only_along_a_stored_column(module):
    superposition = module("superposition_kgons")
    angles = 2 * np.pi * np.arange(5) / 5
    columns = 1.16 * np.stack([np.cos(angles), np.sin(angles)])
    along, between = 0.3 * columns[:, :1] / 1.16, -0.3 * columns[:, :1] / 1.16
    assert superposition.shares_a_corner(np.hstack([columns, along]))
    assert not superposition.shares_a_corner(np.hstack([columns, between]))
    assert not superposition.shares_a_corner(np.hstack([columns, 0.01 * columns[:, :1]]))


def test_levels_of_other_plateaus_say_what_chance_gives(module):
    superposition = module("superposition_kgons")
    at = lambda k, m: superposition.Plateau(0, 0, 9, superposition.level(k, 8, m), k, m)
    assert superposition.by_chance([at(5, 3), at(5, 3), at(4, 4)], 8, 0.01) == pytest.approx(5 / 9)
    assert superposition.occupied([at(5, 3), at(4, 4)], 8) == [(4, 4), (5, 3)]


def test_a_distance_between_laws_that_do_not_meet_is_its_ceiling(module):
    modes = module("deep_linear_modes")
    points = np.random.default_rng(0).normal(size=(len(modes.DYNAMICS), 6, 3))
    points[modes.DYNAMICS.index("isotropic")] += 1e3
    squared = lambda x, y: np.sum((x[:, None] - y[None]) ** 2, axis=-1)
    arrays = {
        "squared_distance": np.stack([np.stack([squared(each, each), squared(each, points[0])]) for each in points])
    }
    distance, _ = modes.distances(arrays)["isotropic"]
    assert distance == pytest.approx(modes.ceiling(arrays, "isotropic"), rel=1e-6)
    assert modes.distances(arrays)["diagonal"][0] < 0.5 * modes.ceiling(arrays, "diagonal")

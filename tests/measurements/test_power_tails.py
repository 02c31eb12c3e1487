"""Tail exponents: exact order statistics in, exact exponents out; coverage, and laws that are no powers."""

import jax
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import expon, kstest

from sgdsde.measurements import loss_exponent, loss_exponent_of_mean, tail_exponent, tail_exponents

LIMIT = 5.9


def pareto(seed, shape, exponent):
    generator = np.random.default_rng(seed)
    return generator.choice([-1, 1], shape) * generator.uniform(size=shape) ** (-1 / exponent)


def test_by_hand_and_from_the_largest_only():
    samples = np.concatenate([2.0 ** np.arange(1, 41), -(3.0 ** np.arange(1, 20)), np.full(30, 0.5)])
    largest = np.sort(np.abs(samples))[::-1]
    by_hand = 19 / np.sum(np.log(largest[:20] / largest[20]))
    found = tail_exponent(samples, num_exceedances=20)
    assert found.exponent == pytest.approx(by_hand, rel=1e-13)
    assert found.threshold == pytest.approx(largest[20])
    assert found == tail_exponent(largest[:21], num_exceedances=20)
    assert found.inner_exponent == pytest.approx(4 / np.sum(np.log(largest[:5] / largest[5])), rel=1e-13)
    distance = kstest(np.log(largest[:20] / largest[20]), expon(scale=1 / by_hand).cdf).statistic
    assert found.fit_distance == pytest.approx(distance, rel=1e-12)
    exponents, errors = tail_exponents(samples, np.array([5, 20]))
    np.testing.assert_allclose(exponents, [found.inner_exponent, found.exponent], rtol=1e-12)
    np.testing.assert_allclose(errors, exponents / np.sqrt([3, 18]), rtol=1e-12)


def test_on_pareto_samples_it_is_unbiased_and_its_errors_and_verdicts_are_right():
    """2000 samples of 400: mean and spread of the estimates; verdicts at 1 % each reject about 2 %, of 2000 at most 85
    (z 5.9 above 40). Half the exponent (that of squares), or errors without the root, fail by far."""
    reports = [tail_exponent(row, num_exceedances=100) for row in pareto(0, (2000, 400), 2.7)]
    z = np.array([(report.exponent - 2.7) / report.standard_error for report in reports])
    estimates = np.array([report.exponent for report in reports])
    assert abs(estimates.mean() - 2.7) < LIMIT * estimates.std() / np.sqrt(2000)
    assert abs(estimates.std() / (2.7 / np.sqrt(98)) - 1) < LIMIT * 1.1 / np.sqrt(2 * 2000)
    assert abs(np.mean(z**2) - 1.02) < LIMIT * 0.06
    drifts = np.array([report.drift for report in reports])
    assert abs(np.mean(drifts**2) - 1) < LIMIT * 0.06
    rejected = sum(not report.is_power for report in reports)
    assert 10 <= rejected <= 85


def test_a_law_that_is_no_power_is_rejected():
    normal = np.random.default_rng(1).standard_normal(20_000)
    report = tail_exponent(normal, num_exceedances=4_000)
    assert report.drift > LIMIT
    assert report.fit_distance > 3 * report.critical_distance
    assert not report.is_power


@pytest.mark.parametrize("largest_ratio", [np.inf, 1.4])
@pytest.mark.parametrize("num_directions", [1, 3])
def test_loss_exponent_solves_the_likelihood(num_directions, largest_ratio):
    """The mean logarithm of the law itself, by quadrature in q, gives its exponent back."""
    phi = 6.3
    weight = lambda q: q ** (num_directions / 2 - 1) * (1 + q) ** -phi
    pieces = [(0, 0.4)] if largest_ratio == 1.4 else [(0, 0.4), (0.4, np.inf)]
    integral = lambda f: sum(quad(lambda q: f(q) * weight(q), *piece, epsabs=1e-14, limit=200)[0] for piece in pieces)
    mean = integral(np.log1p) / integral(np.ones_like)
    variance = integral(lambda q: (np.log1p(q) - mean) ** 2) / integral(np.ones_like)
    options = {"num_directions": num_directions, "largest_ratio": largest_ratio}
    found = loss_exponent_of_mean(mean, 0.01, **options)
    np.testing.assert_allclose(np.array(found), np.array([phi, 0.01 / variance]), rtol=1e-6)


def test_loss_exponent_of_samples():
    """Student's law is a power of the loss: L = L_* (1 + x^2), 200,000 samples, whole and cut at 1.4 L_*."""
    phi = 5.0
    generator = np.random.default_rng(2)
    x = generator.standard_t(2 * phi - 1, 200_000) / np.sqrt(2 * phi - 1)
    losses = 0.3 * (1 + x**2)
    for ratio, error in ((np.inf, 0.0035 * phi), (1.4, 0.08)):
        found, standard_error = loss_exponent(losses, minimum_loss=0.3, num_directions=1, largest_ratio=ratio)
        assert abs(found - phi) < LIMIT * standard_error
        assert standard_error < error
    kept = np.log(losses[losses <= 0.42] / 0.3)
    likelihood = lambda p: p * kept.mean() + np.log(quad(lambda v: (1 + v**2) ** -p, 0, np.sqrt(0.4))[0])
    slope = lambda p: likelihood(p + 1e-4) - likelihood(p - 1e-4)
    np.testing.assert_allclose(found, brentq(slope, 2, 9), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tail_exponent(np.ones(50), num_exceedances=50), "samples: expected more than"),
        (lambda: tail_exponent(np.ones(50), num_exceedances=30), "different sizes"),
        (lambda: tail_exponent(np.array([np.nan] * 50), num_exceedances=30), "finite"),
        (lambda: tail_exponent(np.arange(50.0), num_exceedances=10), "num_exceedances: expected an integer >= 20"),
        (lambda: tail_exponents(np.arange(50.0), np.array([2, 5])), "counts"),
        (lambda: loss_exponent(np.ones(9), minimum_loss=2.0, num_directions=1, largest_ratio=np.inf), "losses"),
        (lambda: loss_exponent_of_mean(0.1, 0.1, num_directions=0, largest_ratio=2.0), "num_directions"),
        (lambda: loss_exponent_of_mean(0.8, 0.1, num_directions=1, largest_ratio=2.0), "mean"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_tracer_is_refused():
    with pytest.raises(TypeError, match="samples: expected numbers"):
        jax.eval_shape(lambda x: tail_exponent(x, num_exceedances=30).exponent, np.ones(50))

"""Random linear recursions: moments of |a| in hypergeometric functions, singular quadrature, enumeration of batches."""

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expi, gamma, gammaln, hyp1f1, hyperu

from sgdsde.predictions import (
    almost_sure_critical_learning_rate,
    gaussian_almost_sure_critical_learning_rate,
    gaussian_critical_learning_rate,
    gaussian_kesten_exponent,
    gaussian_lyapunov_exponent,
    kesten_exponent,
    kesten_exponent_at_small_rates,
    lyapunov_exponent,
    sde_tail_exponent,
)

INPUTS = np.array([0.3, -1.1, 1.9, 0.7, -0.2])


def absolute_moment(kappa, reach, batch_size):
    """E|1 - r Y|^kappa, Y chi-square of B degrees: Kummer's functions of both sides of Y = 1/r."""
    half, far = batch_size / 2, 1 / (2 * reach)
    inner = gamma(kappa + 1) / gamma(kappa + 1 + half) * hyp1f1(half, half + kappa + 1, -far)
    outer = np.exp(-far) * gamma(kappa + 1) / gamma(half) * hyperu(kappa + 1, kappa + 1 + half, far)
    return far**half * (inner + outer)


def mean_logarithm(reach, batch_size):
    """E log|1 - r Y| by QUADPACK's rules for logarithmic end points, in Y itself."""
    half, zero = batch_size / 2, 1 / reach
    smooth = lambda y: np.exp(-y / 2 - half * np.log(2) - gammaln(half))
    options = {"epsabs": 1e-13, "epsrel": 1e-12, "limit": 200}
    inner = quad(smooth, 0, zero, weight="alg-logb", wvar=(half - 1, 0), **options)[0]
    inner += np.log(reach) * quad(smooth, 0, zero, weight="alg", wvar=(half - 1, 0), **options)[0]
    near = quad(lambda y: smooth(y) * y ** (half - 1), zero, zero + 1, weight="alg-loga", wvar=(0, 0), **options)[0]
    near += np.log(reach) * quad(lambda y: smooth(y) * y ** (half - 1), zero, zero + 1, **options)[0]
    far = quad(lambda y: smooth(y) * y ** (half - 1) * np.log(reach * y - 1), zero + 1, zero + 80, **options)[0]
    return inner + near + far


@pytest.mark.parametrize(("batch_size", "rate"), [(1, 0.35), (1, 1.7), (2, 1.1), (3, 0.9), (8, 1.9)])
def test_gaussian_lyapunov_exponent(batch_size, rate):
    measured = gaussian_lyapunov_exponent(input_variance=0.8, learning_rate=rate / 0.8, batch_size=batch_size)
    np.testing.assert_allclose(measured, mean_logarithm(rate / batch_size, batch_size), rtol=1e-8)
    if batch_size == 2:  # the exponential law: an exponential integral
        np.testing.assert_allclose(measured, -np.exp(-1 / rate) * expi(1 / rate), rtol=1e-12)


@pytest.mark.parametrize(("batch_size", "rate"), [(1, 0.2), (1, 0.9), (1, 2.3), (3, 0.7), (4, 1.6)])
def test_gaussian_kesten_exponent(batch_size, rate):
    reach = rate / batch_size
    measured = gaussian_kesten_exponent(input_variance=1.6, learning_rate=rate / 1.6, batch_size=batch_size)
    expected = brentq(lambda k: np.log(absolute_moment(k, reach, batch_size)) / k, 0.01, 25, xtol=1e-14)
    np.testing.assert_allclose(measured, expected, rtol=1e-8)


def test_gaussian_kesten_exponents_in_closed_form():
    """1 and B = 2: E|1 - c E| = 1 - c + 2 c exp(-1/c) for an exponential E. 2 and 4: polynomials in the rate."""
    exponent = gaussian_kesten_exponent(input_variance=1.0, learning_rate=1 / np.log(2), batch_size=2)
    np.testing.assert_allclose(exponent, 1, rtol=1e-12)
    for batch_size in (1, 5):
        critical = gaussian_critical_learning_rate(0.7, batch_size=batch_size)
        options = {"input_variance": 0.7, "batch_size": batch_size}
        np.testing.assert_allclose(gaussian_kesten_exponent(learning_rate=critical, **options), 2, rtol=1e-10)
        moments = np.cumprod(batch_size + 2 * np.arange(4))  # E Y, ..., E Y^4
        (reach,) = (
            r.real for r in np.roots([moments[3], -4 * moments[2], 6 * moments[1], -4 * moments[0]]) if r.imag == 0
        )
        fourth = gaussian_kesten_exponent(learning_rate=reach * batch_size / 0.7, **options)
        np.testing.assert_allclose(fourth, 4, rtol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_gaussian_border_of_almost_sure_stability(batch_size):
    options = {"input_variance": 0.5, "batch_size": batch_size}
    measured = gaussian_almost_sure_critical_learning_rate(**options)
    reach = brentq(lambda r: mean_logarithm(r, batch_size), 1 / (batch_size + 2), 3, xtol=1e-12)
    np.testing.assert_allclose(measured, reach * batch_size / 0.5, rtol=1e-9)
    assert measured > gaussian_critical_learning_rate(0.5, batch_size=batch_size)
    below = gaussian_kesten_exponent(learning_rate=0.999 * measured, **options)
    assert 0 < below < 0.02
    with pytest.raises(ValueError, match="no stationary law"):
        gaussian_kesten_exponent(learning_rate=1.001 * measured, **options)


def test_small_rates_keep_their_distance_from_the_sde():
    for batch_size in (1, 4):
        limit = kesten_exponent_at_small_rates(input_variance=2.0, learning_rate=0.5, batch_size=batch_size)
        ratio = limit / batch_size
        np.testing.assert_allclose(ratio * (np.log(2 * ratio) - 1), 0.5, rtol=1e-12)  # saddle of |1-u|^k exp(-u/2r)
        gaps = []
        for rate in (1e-2, 1e-3, 1e-4):
            options = {"input_variance": 2.0, "learning_rate": rate / 2, "batch_size": batch_size}
            exact, sde = gaussian_kesten_exponent(**options), batch_size / rate
            gaps.append(1 - exact / kesten_exponent_at_small_rates(**options))
            np.testing.assert_allclose(
                sde_tail_exponent(curvature=2.0, noise_growth=8.0, learning_rate=rate / 2, batch_size=batch_size),
                1 + sde, rtol=1e-12,
            )  # fmt: skip
            assert exact > 1.7 * (1 + sde) * 0.99
        assert gaps[0] > 5 * gaps[1] > 25 * gaps[2] > 0


def test_sde_tail_exponent_is_that_of_its_density():
    """Slope of the survival function far out, the density exp(int drift/D)/D by quadrature."""
    curvature, growth, rate, batch_size = 1.3, 0.6, 0.4, 2
    diffusion = lambda x: rate / (2 * batch_size) * (1 + growth * x**2)
    density = lambda x: np.exp(-quad(lambda y: curvature * y / diffusion(y), 0, x, epsabs=0)[0]) / diffusion(x)
    slopes = [-np.log(density(1.01 * x) / density(x)) / np.log(1.01) for x in (30.0, 300.0)]
    measured = sde_tail_exponent(curvature=curvature, noise_growth=growth, learning_rate=rate, batch_size=batch_size)
    np.testing.assert_allclose(measured + 1, slopes[1] + (slopes[1] - slopes[0]) / 99, rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_finite_data_equal_the_enumeration_of_every_minibatch(batch_size):
    rate = 1.1
    batches = np.array([np.sum(INPUTS[list(b)] ** 2) for b in itertools.product(range(5), repeat=batch_size)])
    factors = np.abs(1 - rate / batch_size * batches)
    measured = lyapunov_exponent(INPUTS, learning_rate=rate, batch_size=batch_size)
    np.testing.assert_allclose(measured, np.mean(np.log(factors)), rtol=1e-10)
    expected = brentq(lambda k: np.mean(factors**k) - 1, 0.1, 40, xtol=1e-13)
    measured = kesten_exponent(INPUTS[:, None], learning_rate=rate, batch_size=batch_size)
    np.testing.assert_allclose(measured, expected, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_finite_data_border_is_the_first_zero_on_a_fine_scan(batch_size):
    batches = np.array([np.mean(INPUTS[list(b)] ** 2) for b in itertools.product(range(5), repeat=batch_size)])
    measured = almost_sure_critical_learning_rate(INPUTS, batch_size=batch_size)
    rates = measured * np.linspace(1e-3, 1.001, 100_001)
    exponents = np.mean(np.log(np.abs(1 - rates[:, None] * batches)), axis=1)
    assert rates[np.argmax(exponents >= 0)] == pytest.approx(measured, rel=3e-5)
    assert abs(lyapunov_exponent(INPUTS, learning_rate=measured, batch_size=batch_size)) < 1e-10
    np.testing.assert_allclose(almost_sure_critical_learning_rate(np.array([2.0, -2.0]), batch_size=3), 0.5, rtol=1e-12)


def test_bounded_inputs_have_a_power_tail_only_where_some_batch_expands():
    edge = 2 / 1.9**2
    assert kesten_exponent(INPUTS, learning_rate=0.999 * edge, batch_size=2) == np.inf
    beyond = kesten_exponent(INPUTS, learning_rate=1.001 * edge, batch_size=2)  # one batch of 25 expands
    np.testing.assert_allclose(beyond, np.log(25) / np.log(1.002), rtol=1e-9)
    assert lyapunov_exponent(np.array([1.0, 2.0]), learning_rate=1.0, batch_size=1) == -np.inf
    half = kesten_exponent(np.array([1.0, 2.0]), learning_rate=1.0, batch_size=1)  # |a| = 0 or 3
    np.testing.assert_allclose(half, np.log(2) / np.log(3), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kesten_exponent(INPUTS, learning_rate=9.0, batch_size=1), "no stationary law"),
        (lambda: kesten_exponent(np.arange(400.0), learning_rate=1e-5, batch_size=4), "batch_size: 400 different"),
        (lambda: kesten_exponent(np.ones((3, 2)), learning_rate=0.1, batch_size=1), "inputs: expected finite numbers"),
        (lambda: almost_sure_critical_learning_rate(np.arange(5001.0), batch_size=1), "at most 4000"),
        (lambda: almost_sure_critical_learning_rate(np.array([0.0]), batch_size=1), "not 0"),
        (lambda: gaussian_lyapunov_exponent(input_variance=1.0, learning_rate=0.0, batch_size=1), "learning_rate"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

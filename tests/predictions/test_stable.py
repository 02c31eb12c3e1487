"""Stable scales against impulse responses, Cauchy laws against their generator, densities against Fourier integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special

from sgdsde.predictions import (
    cauchy_density,
    cauchy_mode,
    cauchy_second_moment,
    euler_scale,
    sde_scale,
    sgd_scale,
    symmetric_stable_density,
)

CURVATURE, SCALE, RATE = 1.7, 0.6, 0.3


@pytest.mark.parametrize("tail_index", [0.7, 1.0, 1.6, 2.0])
@pytest.mark.parametrize("substeps", [1, 2, 7])
def test_scales_sum_the_impulse_response_of_the_recursion(tail_index, substeps):
    step = RATE / substeps
    kick = RATE ** (1 - 1 / tail_index) * step ** (1 / tail_index) * SCALE
    response = (1 - step * CURVATURE) ** np.arange(4000)
    expected = kick * np.sum(np.abs(response) ** tail_index) ** (1 / tail_index)
    options = {"tail_index": tail_index, "learning_rate": RATE}
    np.testing.assert_allclose(euler_scale(CURVATURE, SCALE, substeps=substeps, **options), expected, rtol=1e-12)
    if substeps == 1:
        np.testing.assert_allclose(sgd_scale(CURVATURE, SCALE, **options), expected, rtol=1e-12)


@pytest.mark.parametrize("tail_index", [0.7, 1.0, 1.6, 2.0])
def test_sde_scale_integrates_the_response_of_the_process(tail_index):
    integral = scipy.integrate.quad(lambda t: np.exp(-CURVATURE * t) ** tail_index, 0, np.inf)[0]
    expected = SCALE * RATE ** (1 - 1 / tail_index) * integral ** (1 / tail_index)
    measured = sde_scale(CURVATURE, SCALE, tail_index=tail_index, learning_rate=RATE)
    np.testing.assert_allclose(measured, expected, rtol=1e-9)
    many = euler_scale(CURVATURE, SCALE, tail_index=tail_index, learning_rate=RATE, substeps=100_000)
    np.testing.assert_allclose(many, expected, rtol=1e-5)


def test_tail_index_two_is_variance_two_scale_squared():
    variance, a = 2 * SCALE**2, 1 - RATE * CURVATURE
    scale = sgd_scale(CURVATURE, SCALE, tail_index=2.0, learning_rate=RATE)
    np.testing.assert_allclose(2 * scale**2, RATE**2 * variance / (1 - a**2), rtol=1e-12)
    scale = sde_scale(CURVATURE, SCALE, tail_index=2.0, learning_rate=RATE)
    np.testing.assert_allclose(2 * scale**2, RATE * variance / (2 * CURVATURE), rtol=1e-12)


def test_a_step_past_the_minimum_and_the_edge_of_stability():
    curvature = jnp.array([0.9 / RATE, 1.0 / RATE, 1.9 / RATE])  # 1 - eta h = .1, 0, -.9
    options = {"tail_index": 1.3, "learning_rate": RATE}
    expected = RATE * SCALE / (1 - np.array([0.1, 0.0, 0.9]) ** 1.3) ** (1 / 1.3)
    np.testing.assert_allclose(sgd_scale(curvature, SCALE, **options), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="no stationary law"):
        sgd_scale(2.01 / RATE, SCALE, **options)
    with pytest.raises(ValueError, match="no stationary law"):
        sde_scale(-1.0, SCALE, **options)
    traced = jax.jit(lambda h: sgd_scale(h, SCALE, **options))(jnp.array([CURVATURE, 2.01 / RATE]))
    np.testing.assert_array_equal(np.isnan(traced), [False, True])
    for tail_index in (0.0, 2.5, float("nan")):
        with pytest.raises(ValueError, match="tail_index"):
            sgd_scale(CURVATURE, SCALE, tail_index=tail_index, learning_rate=RATE)


@pytest.mark.parametrize(("quadratic", "quartic", "scale"), [(1.0, 1.0, 1.0), (-1.5, 0.7, 0.4), (0.0, 2.0, 1.3)])
def test_cauchy_density_is_stationary(quadratic, quartic, scale):
    """E[U'(x) sin k x] = s E cos k x for every k > 0: the generator applied to exp(i k x)."""
    parameters = {"quadratic": quadratic, "quartic": quartic, "scale": scale}
    far = 400.0
    x = np.linspace(0, far, 400_001)
    density = 2 * np.asarray(cauchy_density(x, **parameters))
    tail = 2 * scale / (np.pi * quartic)  # of x^-4, both sides
    np.testing.assert_allclose(np.trapezoid(density, x) + tail / (3 * far**3), 1, atol=1e-10)
    second = np.trapezoid(density * x**2, x) + tail / far
    np.testing.assert_allclose(cauchy_second_moment(**parameters), second, atol=1e-7)
    for turns in (40, 320):
        k = (turns + 0.5) * np.pi / far  # cos(k far) = 0: the oscillating remainder is of second order
        left = np.trapezoid((quadratic * x + quartic * x**3) * density * np.sin(k * x), x)
        np.testing.assert_allclose(left, scale * np.trapezoid(density * np.cos(k * x), x), atol=1e-4)
    np.testing.assert_allclose(cauchy_mode(**parameters), x[np.argmax(density)], atol=1e-3)


def test_cauchy_bimodality_switches_at_two_to_the_minus_one_third():
    modes = cauchy_mode(quadratic=jnp.array([0.793, 0.795]), quartic=1.0, scale=1.0)
    assert modes[0] > 0
    assert modes[1] == 0
    with pytest.raises(ValueError, match="quartic"):
        cauchy_mode(quadratic=1.0, quartic=0.0, scale=1.0)


@pytest.mark.parametrize("dimension", [1, 2])
def test_density_at_tail_index_one_and_two_is_cauchy_and_gauss(dimension):
    r = np.array([-0.7 if dimension == 1 else 0.7, 0.0, 1e-3, 0.999, 1.001, 5.0, 1e3, 1e7]) * SCALE
    student = {1: SCALE / (np.pi * (r**2 + SCALE**2)), 2: SCALE / (2 * np.pi * (r**2 + SCALE**2) ** 1.5)}[dimension]
    cauchy = symmetric_stable_density(r, tail_index=1.0, scale=SCALE, dimension=dimension)
    np.testing.assert_allclose(cauchy, student, rtol=1e-9)
    gauss = np.exp(-(r**2) / (4 * SCALE**2)) / (4 * np.pi * SCALE**2) ** (dimension / 2)
    np.testing.assert_allclose(symmetric_stable_density(r, tail_index=2.0, scale=SCALE, dimension=dimension), gauss)


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("tail_index", [0.8, 1.5, 1.95])
def test_density_is_the_fourier_integral_with_its_power_law_tail(tail_index, dimension):
    r, k = np.array([0.2, 0.9, 1.1, 2.0, 4.0]), np.sinh(np.linspace(0, np.arcsinh(100.0), 40_001))
    wave = np.cos(k * r[:, None]) / np.pi if dimension == 1 else k * scipy.special.j0(k * r[:, None]) / (2 * np.pi)
    expected = scipy.integrate.simpson(wave * np.exp(-(k**tail_index)), k)
    options = {"tail_index": tail_index, "scale": 1.0, "dimension": dimension}
    np.testing.assert_allclose(symmetric_stable_density(r, **options), expected, rtol=2e-6)
    order = np.arange(1, 9)
    terms = (-1.0) ** (order + 1) * np.sin(np.pi * tail_index * order / 2) / scipy.special.gamma(order + 1)
    if dimension == 1:
        terms = terms * scipy.special.gamma(tail_index * order + 1) / np.pi
    else:
        terms = terms * 2 ** (tail_index * order) * scipy.special.gamma(tail_index * order / 2 + 1) ** 2 / np.pi**2
    for far in (1e3, 1e6):
        tail = np.sum(terms * far ** (-tail_index * order - dimension))
        np.testing.assert_allclose(symmetric_stable_density(far, **options), tail, rtol=1e-7)


def test_density_refuses_what_it_cannot_do():
    for change in ({"tail_index": 0.3}, {"tail_index": 2.5}, {"scale": 0.0}, {"dimension": 3}):
        with pytest.raises(ValueError, match=next(iter(change))):
            symmetric_stable_density(1.0, **({"tail_index": 1.5, "scale": 1.0} | change))
    with pytest.raises(TypeError, match="host"):
        jax.jit(lambda x: symmetric_stable_density(x, tail_index=1.5, scale=1.0))(1.0)

"""Stochastic collapse and label noise: laws against quadrature and enumeration, thresholds against the gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import solve_discrete_lyapunov

from sgdsde.predictions import (
    collapse_density,
    collapse_noise_strength,
    collapse_second_moment,
    collapsed_fraction,
    label_noise_covariance,
    neuron_collapse_learning_rate,
)


@pytest.mark.parametrize(("growth", "strength"), [(1.5, 0.4), (1.5, 1.0), (0.7, 1.1), (1.5, 1.6)])
def test_the_law_is_the_zero_flux_solution_by_quadrature(growth, strength):
    """y = log|x|, dy = (mu - z^2/2 - e^2y) dt + z dW: p(y) ~ exp(2 integral of the drift / z^2)."""
    variance = strength**2
    weight = lambda y: np.exp((2 * (growth - variance / 2) * y - np.exp(2 * y) + 1) / variance)
    lower = -80 * variance / (2 * (growth - variance / 2)) - 3
    top = 0.5 * np.log(growth + 40 * variance)

    def integral(moment, upper=top):
        places = [y for y in np.linspace(lower, top, 21) if lower < y < upper]
        ends = [lower, *places[1:], upper]
        part = lambda a, b: quad(lambda y: weight(y) * np.exp(moment * y), a, b, epsabs=0, epsrel=1e-12)[0]
        return sum(part(a, b) for a, b in itertools.pairwise(ends))

    mass, x = integral(0), np.array([0.02, 0.5, 1.3, -0.8])
    expected = weight(np.log(np.abs(x))) / (2 * np.abs(x) * mass)
    law = {"growth": growth, "noise_strength": strength}
    np.testing.assert_allclose(collapse_density(x, **law), expected, rtol=1e-8)
    np.testing.assert_allclose(collapsed_fraction(0.3, **law), integral(0, np.log(0.3)) / mass, rtol=1e-8)
    np.testing.assert_allclose(collapse_second_moment(**law), integral(2) / mass, rtol=1e-8)


def test_beyond_the_threshold_there_is_no_density_and_everything_is_at_zero():
    growth = 1.5
    threshold = float(collapse_noise_strength(growth))
    np.testing.assert_allclose(threshold**2, 3.0)
    for factor in (1.0 + 1e-12, 1.3):
        law = {"growth": growth, "noise_strength": factor * threshold}
        assert collapsed_fraction(1e-9, **law) == 1
        assert collapse_second_moment(**law) == 0
        with pytest.raises(ValueError, match="collapsed"):
            collapse_density(0.1, **law)
    below = {"growth": growth, "noise_strength": 0.9 * threshold}
    assert collapse_second_moment(**below) > 0
    assert collapsed_fraction(1e-9, **below) < 0.1
    under_trace = jax.jit(lambda z: collapse_density(0.1, growth=growth, noise_strength=z))
    assert np.isnan(under_trace(2.0))
    assert np.isfinite(under_trace(1.0))
    at_zero = collapse_density(0.0, growth=1.0, noise_strength=1.0)  # half a Gaussian of variance 1/2
    np.testing.assert_allclose(at_zero, 1 / np.sqrt(np.pi), rtol=1e-12)


def test_the_neuron_is_neutral_at_its_threshold_by_its_own_gradients():
    rng = np.random.default_rng(3)
    inputs, variance = rng.normal(size=32), 0.49
    labels = inputs + 0.1 * rng.normal(size=32)
    rate = float(neuron_collapse_learning_rate(inputs, labels, label_variance=variance))
    for size in (1e-3, 1e-4):  # w = size (1, 1), the growing direction
        first, second, tiny = size, size, 1e-6 * size
        f = lambda a, b: b * np.tanh(a * inputs)
        per_example = np.stack(
            [
                (f(first + tiny, second) - f(first - tiny, second)) / (2 * tiny),
                (f(first, second + tiny) - f(first, second - tiny)) / (2 * tiny),
            ]
        )
        drift = -per_example @ (f(first, second) - labels) / 32
        covariance = rate * variance * per_example @ per_example.T / 32
        direction = np.ones(2)
        growth = direction @ drift / (2 * size)
        noise = direction @ covariance @ direction / (2 * size) ** 2
        assert abs(growth - noise / 2) < 30 * size**2 + 1e-7
        assert abs(growth - noise) > 0.3  # the threshold without Ito's half
    without_half = neuron_collapse_learning_rate(inputs, labels, label_variance=2 * variance)
    np.testing.assert_allclose(without_half, rate / 2, rtol=1e-12)


def test_arguments_of_the_neuron_are_checked():
    two = np.array([1.0, 2.0])
    with pytest.raises(ValueError, match="positive sum"):
        neuron_collapse_learning_rate(two, np.array([-1.0, 0.1]), label_variance=1.0)
    with pytest.raises(ValueError, match="same shape"):
        neuron_collapse_learning_rate(two, two[:1], label_variance=1.0)
    with pytest.raises(ValueError, match="label_variance"):
        neuron_collapse_learning_rate(two, two, label_variance=0.0)


def test_label_noise_solves_the_discrete_lyapunov_equation_of_its_own_examples():
    rng = np.random.default_rng(0)
    features, s, rate, batch_size = rng.normal(size=(7, 3)) * [1.0, 0.5, 0.1], 0.8, 0.6, 4
    hessian = features.T @ features / 7
    # with the half: the gradient of example i at the optimum, label moved by +-s, is -+ s x_i
    gradients = np.concatenate([s * features, -s * features])
    covariance = gradients.T @ gradients / 14
    step = np.eye(3) - rate * hessian
    expected = solve_discrete_lyapunov(step, rate**2 * covariance / batch_size)
    options = {"learning_rate": rate, "batch_size": batch_size}
    measured = label_noise_covariance(hessian, label_variance=s**2, **options)
    np.testing.assert_allclose(measured, expected, rtol=1e-10, atol=1e-14)
    # without the half gradients and Hessian double
    step = np.eye(3) - 0.5 * rate * 2 * hessian
    expected = solve_discrete_lyapunov(step, (0.5 * rate) ** 2 * 4 * covariance / batch_size)
    options["learning_rate"] = rate / 2
    measured = label_noise_covariance(2 * hessian, label_variance=2 * s**2, **options)
    np.testing.assert_allclose(measured, expected, rtol=1e-10, atol=1e-14)


def test_label_noise_is_isotropic_at_a_small_rate_and_ends_at_the_edge_of_stability():
    hessian = jnp.diag(jnp.array([3.0, 0.2]))
    options = {"label_variance": 0.5, "batch_size": 2}
    small = label_noise_covariance(hessian, learning_rate=1e-6, **options)
    np.testing.assert_allclose(small, 1e-6 * 0.5 / (2 * 2) * np.eye(2), rtol=1e-5, atol=1e-15)
    one = label_noise_covariance(3.0, learning_rate=0.1, **options)
    np.testing.assert_allclose(one, label_noise_covariance(hessian, learning_rate=0.1, **options)[0, 0], rtol=1e-12)
    with pytest.raises(ValueError, match="no stationary law"):
        label_noise_covariance(hessian, learning_rate=0.67, **options)
    assert np.isnan(jax.jit(lambda eta: label_noise_covariance(3.0, learning_rate=eta, **options))(0.67))
    with pytest.raises(ValueError, match="hessian"):
        label_noise_covariance(-1.0, learning_rate=0.1, **options)

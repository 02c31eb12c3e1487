"""Noise balance: densities against zero flux of the examples enumerated, the balance law against SGD itself."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sgdsde import Problem, sgd
from sgdsde.dynamics.contract import State
from sgdsde.predictions import (
    balance_density,
    balance_moment_identity,
    collapse_temperature,
    imbalance_decay_rate,
    imbalance_factor,
    slope_moments,
    slope_variance,
)

INPUTS = np.array([0.3, -1.2, 2.0, 0.9, -0.4])
LABELS = np.array([0.8, -0.7, 1.5, 1.9, 0.5])
MOMENTS = slope_moments(INPUTS, LABELS)
ONE = np.array([1.0])


def slopes(v):
    """dl/dv of every example at every v: loss (v x - y)^2, without the half."""
    return 2 * INPUTS * (np.asarray(v)[..., None] * INPUTS - LABELS)


def test_slope_moments_and_variance_are_those_of_the_examples_enumerated():
    v = np.linspace(-3, 4, 9)
    np.testing.assert_allclose(slope_variance(v, MOMENTS), slopes(v).var(axis=-1), rtol=1e-12)
    mean = 2 * (MOMENTS.square_mean * v - MOMENTS.product_mean)
    np.testing.assert_allclose(mean, slopes(v).mean(axis=-1), rtol=1e-12)


def zero_flux_slope(depth, temperature):
    """d log p/dv = (2 drift - (noise^2)')/noise^2 of the Ito SDE, from the examples' slopes enumerated."""

    def slope(v):
        mean, variance = slopes(v).mean(), slopes(v).var()
        growth = 2 * np.mean((slopes(v) - mean) * 2 * (INPUTS**2 - np.mean(INPUTS**2)))  # d variance/dv
        if depth == 0:
            return -(2 * mean + temperature * growth) / (temperature * variance)
        # u = w: dv = -2 v mean dt + T variance v dt + 2 v sqrt(T variance) dW, noise^2 = 4 T v^2 variance
        drift = -2 * v * mean + temperature * variance * v
        return (2 * drift - 4 * temperature * (2 * v * variance + v**2 * growth)) / (4 * temperature * v**2 * variance)

    return slope


@pytest.mark.parametrize(("depth", "temperature"), [(0, 0.07), (0, 0.9), (1, 0.05), (1, 0.3)])
def test_the_density_solves_the_stationary_fokker_planck_equation(depth, temperature):
    slope = zero_flux_slope(depth, temperature)
    s = np.linspace(-14, 14, 2801) if depth == 0 else np.linspace(-90, 16, 5301)
    v, jacobian = (np.sinh(s), np.cosh(s)) if depth == 0 else (np.exp(s), np.exp(s))
    at = (lambda x: (np.sinh(x), np.cosh(x))) if depth == 0 else (lambda x: (np.exp(x), np.exp(x)))
    flow = lambda x, _: [slope(at(x)[0]) * at(x)[1]]
    tight = {"rtol": 1e-12, "atol": 1e-11, "method": "DOP853"}
    middle = np.argmin(np.abs(s))
    right = solve_ivp(flow, (s[middle], s[-1]), [0.0], t_eval=s[middle:], **tight).y[0]
    left = solve_ivp(flow, (s[middle], s[0]), [0.0], t_eval=s[middle::-1], **tight).y[0]
    logs = np.concatenate([left[:0:-1], right])
    weights = np.exp(logs - logs.max()) * jacobian
    expected = weights / np.sum(weights) / (s[1] - s[0])  # of s; the sum converges exponentially for smooth tails
    measured = balance_density(v, MOMENTS, temperature=temperature, depth=depth) * jacobian
    np.testing.assert_allclose(measured, expected, rtol=2e-8, atol=1e-9 * expected.max())
    if depth == 1:
        mean, square = (np.sum(v**k * measured) * (s[1] - s[0]) for k in (1, 2))
        error = float(balance_moment_identity(mean, square, MOMENTS, temperature=temperature))
        assert abs(error) < 1e-3 * float(MOMENTS.product_mean)  # the tail v^(-5/2) beyond the grid
        wrong = float(balance_moment_identity(mean, square, MOMENTS, temperature=2 * temperature))
        assert abs(wrong) > 0.01 * float(MOMENTS.product_mean)


def test_the_collapse_temperature_is_where_the_growth_of_log_v_near_zero_changes_sign():
    def growth(temperature):  # d log v = drift/v - noise^2/(2 v^2) at v -> 0, from the slopes
        mean, variance = slopes(0.0).mean(), slopes(0.0).var()
        return -2 * mean + temperature * variance - 2 * temperature * variance

    expected = float(collapse_temperature(MOMENTS))
    assert growth(expected * (1 - 1e-10)) > 0 > growth(expected * (1 + 1e-10))
    with pytest.raises(ValueError, match="collapses to v = 0"):
        balance_density(ONE, MOMENTS, temperature=1.001 * expected, depth=1)
    near = balance_density(ONE, MOMENTS, temperature=0.999 * expected, depth=1)
    assert 0 < near[0] < 0.01  # nearly all of it is at 0
    assert balance_density(np.array([1.0, -1.0]), MOMENTS, temperature=0.1, depth=1)[1] == 0


def square_loss(params, example):
    x, y = example
    return (params["u"] * params["w"] * x - y) ** 2


def test_every_minibatch_of_sgd_multiplies_the_imbalance_as_predicted():
    rate, batch_size, u, w = 0.13, 2, 1.7, 0.6
    start = {"u": jnp.asarray(u), "w": jnp.asarray(w)}
    problem = Problem(square_loss, (jnp.asarray(INPUTS), jnp.asarray(LABELS)), lambda key: start)
    dynamics = sgd(problem, learning_rate=rate, batch_size=batch_size, sampling="with_replacement")
    batches = np.array(list(itertools.product(range(5), repeat=batch_size)))
    found = np.array([advance_by_hand(dynamics, start, batch) for batch in batches[:7]])
    slope = slopes(u * w)[batches].mean(axis=1)
    factors = imbalance_factor(slope, learning_rate=rate)
    np.testing.assert_allclose(found, factors[:7] * (u**2 - w**2), rtol=1e-12)
    # where the mean slope vanishes, the mean loss of imbalance per time is the SDE's rate at T = rate/batch_size
    optimum = float(MOMENTS.product_mean / MOMENTS.square_mean)
    slope = slopes(optimum)[batches].mean(axis=1)
    lost = (1 - np.mean(imbalance_factor(slope, learning_rate=rate))) / rate
    expected = imbalance_decay_rate(optimum, MOMENTS, temperature=rate / batch_size)
    np.testing.assert_allclose(lost, expected, rtol=1e-12)


def advance_by_hand(dynamics, start, batch):
    params = dynamics.advance(State(start), jnp.asarray(batch, jnp.int32), 0).params
    return float(params["u"] ** 2 - params["w"] ** 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"depth": 2}, "depth: expected an integer from 0 to 1"),
        ({"moments": slope_moments(INPUTS, 2 * INPUTS)}, "noise at every strength"),
        ({"moments": slope_moments(INPUTS, -LABELS)}, "collapses"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"moments": MOMENTS, "temperature": 0.1, "depth": 1} | change
    with pytest.raises(ValueError, match=message):
        balance_density(ONE, arguments.pop("moments"), **arguments)


def test_examples_of_unequal_number_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        slope_moments(INPUTS, LABELS[:3])

"""Balanced steps: against SGD itself step by step, and against the SDE's closed forms as the step goes to 0."""

import numpy as np
import pytest

from sgdsde.predictions import (
    balance_density,
    euler_balanced_law,
    imbalance_decay_rate,
    sgd_balanced_law,
    slope_moments,
)

INPUTS = np.array([0.3, -1.2, 1.6, 0.9, -0.4])
LABELS = np.array([0.8, -0.7, 1.5, 1.1, 0.5])


def test_it_is_the_law_of_sgd_on_two_layers_step_by_step():
    """u and w apart, started almost balanced, in plain NumPy: log v, its square, the fall of log|u^2 - w^2|."""
    rate, num_chains, rng = 0.04, 2_000, np.random.default_rng(1)
    u, w = np.full(num_chains, 0.91), np.full(num_chains, 0.9)
    sums, past = np.zeros((3, num_chains)), 0.0
    for step in range(1_400):
        if step == 400:
            past = np.log(np.abs(u - w)) + np.log(u + w)
        drawn = rng.integers(0, INPUTS.size, num_chains)
        slope = 2 * INPUTS[drawn] * (u * w * INPUTS[drawn] - LABELS[drawn])
        u, w = u - rate * slope * w, w - rate * slope * u
        if step >= 400:
            sums[:2] += np.log(u * w), np.log(u * w) ** 2
    sums[:2] /= 1_000
    sums[2] = (past - np.log(np.abs(u - w)) - np.log(u + w)) / (1_000 * rate)
    law = sgd_balanced_law(INPUTS, LABELS, learning_rate=rate, num_points=201)
    exact = law.probabilities @ law.log_strengths, law.probabilities @ law.log_strengths**2, law.decay_rate
    z = (sums.mean(axis=1) - exact) / (sums.std(axis=1, ddof=1) / num_chains**0.5)
    assert np.abs(z).max() < 5.9
    assert law.error < 2e-3 * law.decay_rate
    assert abs(law.probabilities.sum() - 1) < 1e-12
    continuous = sde_decay(rate)
    errors = sums[2].std() / num_chains**0.5
    assert abs(sums[2].mean() - continuous) > 10 * errors  # what the finite step adds is seen


def sde_decay(temperature):
    moments = slope_moments(INPUTS, LABELS)
    s = np.linspace(-40.0, 6.0, 9201)
    v = np.exp(s)
    density = v * balance_density(v, moments, temperature=temperature, depth=1)
    return np.trapezoid(density * np.asarray(imbalance_decay_rate(v, moments, temperature=temperature)), s)


def test_small_steps_have_the_decay_of_the_ito_equation():
    moments, temperature = slope_moments(INPUTS, LABELS), 0.05
    exact = sde_decay(temperature)
    gaps = [
        euler_balanced_law(moments, temperature=temperature, time_step=step, num_points=401).decay_rate / exact - 1
        for step in (0.02, 0.01)
    ]
    assert abs(2 * gaps[1] - gaps[0]) < 0.03 * abs(gaps[0])  # first order in the step, and nothing is left at 0
    assert abs(gaps[1]) > 0.01
    rates = [sgd_balanced_law(INPUTS, LABELS, learning_rate=t, num_points=401).decay_rate / sde_decay(t) - 1
             for t in (0.02, 0.01)]  # fmt: skip
    assert abs(2 * rates[1] - rates[0]) < 0.2 * abs(rates[0])
    assert abs(rates[0]) > 5e-3


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="same shape"):
        sgd_balanced_law(INPUTS, LABELS[:-1], learning_rate=0.1)
    with pytest.raises(ValueError, match="learning_rate"):
        sgd_balanced_law(INPUTS, LABELS, learning_rate=0.0)
    with pytest.raises(ValueError, match=r"learning_rate: .* of the law would be"):
        sgd_balanced_law(INPUTS, LABELS, learning_rate=0.8, num_points=101)
    with pytest.raises(ValueError, match="positive mean"):
        sgd_balanced_law(INPUTS, -LABELS, learning_rate=0.1)
    with pytest.raises(ValueError, match="num_points"):
        euler_balanced_law(slope_moments(INPUTS, LABELS), temperature=0.1, time_step=0.1, num_points=100)
    with pytest.raises(ValueError, match="time_step"):
        euler_balanced_law(slope_moments(INPUTS, LABELS), temperature=0.1, time_step=-1.0)

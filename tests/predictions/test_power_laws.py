"""Noise proportional to the loss: the density and the escape of its SDE by quadrature and by the backward equation."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from sgdsde.predictions import (
    proportional_noise_escape_exponent,
    proportional_noise_escape_rate,
    proportional_noise_exponent,
    proportional_noise_passage_time,
    regression_loss_exponent,
    scalar_regression_variance,
)

SETTING = {"curvature": 1.7, "learning_rate": 0.2, "batch_size": 2}
LOWEST = 0.35


def diffusion(x):
    """eta h L / B of C = 2 L h / B"""
    return 0.2 * 1.7 * (LOWEST + 1.7 * x**2 / 2) / 2


def test_stationary_exponent_is_that_of_the_density_without_a_current():
    """-h x p = (D p)': exp(-int h x / D) / D by quadrature, and L^-phi."""
    exponent = proportional_noise_exponent(**SETTING)
    for x in (0.4, 3.0):
        log_density = -quad(lambda y: 1.7 * y / diffusion(y), 0, x, epsabs=0)[0] - np.log(diffusion(x) / diffusion(0))
        np.testing.assert_allclose(log_density, -exponent * np.log1p(1.7 * x**2 / (2 * LOWEST)), rtol=1e-10)


@pytest.mark.parametrize("num_directions", [1, 3])
def test_escape_exponent_is_that_of_the_loss_above_a_height(num_directions):
    """P(L > L_s) ~ L_s^-w: radius to the power k - 1 times L^-phi, integrated far out."""
    phi = proportional_noise_exponent(**SETTING)
    density = lambda y: np.exp((num_directions - 1) * y - phi * np.logaddexp(0, 2 * y) + y)  # y the log of the radius
    beyond = [quad(density, y, y + 30, epsabs=0, epsrel=1e-12)[0] for y in (4.0, 4.5)]
    measured = proportional_noise_escape_exponent(**SETTING, num_directions=num_directions)
    np.testing.assert_allclose(measured, -np.diff(np.log(beyond))[0], rtol=1e-3)


@pytest.mark.parametrize("height", [1.2, 2.0, 9.0])
def test_passage_time_solves_the_backward_equation(height):
    """D tau'' - h x tau' = -1, tau'(0) = 0, tau = 0 at the end: an initial value problem shifted."""
    end = np.sqrt(2 * (height - 1) * LOWEST / 1.7)
    slope = lambda x, y: [y[1], (1.7 * x * y[1] - 1) / diffusion(x)]
    path = solve_ivp(slope, (0, end), [0.0, 0.0], method="DOP853", rtol=1e-12, atol=1e-13)
    time = proportional_noise_passage_time(minimum_loss=LOWEST, loss=height * LOWEST, **SETTING)
    np.testing.assert_allclose(time, -path.y[0, -1], rtol=1e-9)
    middle = len(path.t) // 2
    options = {"start_loss": LOWEST + 1.7 * path.t[middle] ** 2 / 2, **SETTING}
    rest = proportional_noise_passage_time(minimum_loss=LOWEST, loss=height * LOWEST, **options)
    np.testing.assert_allclose(rest, path.y[0, middle] - path.y[0, -1], rtol=1e-8)


def test_escape_rate_is_kramers_with_each_place_its_own_temperature():
    """A parabola joined to a saddle of height L_s, noise 2 L h / B everywhere: int D^-1 p^-1 int p, both curvatures by
    Laplace's method about minimum and saddle, the way between them exactly: int dL/T = (B/(eta h)) log(L_s/L_*)."""
    h, h_s, high = 1.7, -0.6, 5.0
    temperature = lambda loss: 0.2 * h * loss / 2
    work = quad(lambda loss: 1 / temperature(loss), LOWEST, high, epsabs=0)[0]
    well = np.sqrt(2 * np.pi * temperature(LOWEST) / h) / temperature(LOWEST)
    top = np.sqrt(2 * np.pi * temperature(high) / -h_s) * np.exp(work)
    rate = proportional_noise_escape_rate(saddle_curvature=h_s, minimum_loss=LOWEST, saddle_loss=high, **SETTING)
    np.testing.assert_allclose(rate, 1 / (well * top), rtol=1e-9)


@pytest.mark.parametrize(("batch_size", "rate"), [(1, 0.3), (8, 0.6)])
def test_regression_loss_exponent_has_the_exact_variance(batch_size, rate):
    h, s2 = 0.9, 0.5
    phi = regression_loss_exponent(curvature=h, learning_rate=rate, batch_size=batch_size)
    density = lambda x: (1 + h * x**2 / s2) ** -phi
    variance = quad(lambda x: x**2 * density(x), 0, np.inf)[0] / quad(density, 0, np.inf)[0]
    exact = scalar_regression_variance(
        second_moment=h, fourth_moment=3 * h**2, label_variance=s2, learning_rate=rate, batch_size=batch_size
    )
    np.testing.assert_allclose(variance, exact, rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regression_loss_exponent(curvature=1.0, learning_rate=1.0, batch_size=2), "variance is infinite from"),
        (lambda: proportional_noise_exponent(curvature=0.0, learning_rate=0.1, batch_size=2), "curvature"),
        (lambda: proportional_noise_escape_exponent(**SETTING, num_directions=0), "num_directions"),
        (lambda: proportional_noise_passage_time(minimum_loss=1.0, loss=1.0, **SETTING), "loss: expected more"),
        (lambda: proportional_noise_passage_time(minimum_loss=1.0, loss=2.0, start_loss=3.0, **SETTING), "start_loss"),
        (
            lambda: proportional_noise_escape_rate(saddle_curvature=1.0, minimum_loss=1.0, saddle_loss=2.0, **SETTING),
            "saddle_curvature",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

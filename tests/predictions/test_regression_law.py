"""The exact one-step law of SGD on regression: closed fourth moments, and the variance-gamma kernel on a grid."""

import numpy as np
import pytest
from scipy.integrate import simpson
from scipy.special import gammaln, kve

from sgdsde.predictions import gaussian_regression_law, gaussian_regression_passage_steps

SETTING = {"input_variance": 1.3, "label_variance": 0.4, "learning_rate": 0.06}


def coefficients(batch_size):
    """x' = (1 - r Y) x + c sqrt(Y) e"""
    reach = 0.06 * 1.3 / batch_size
    return reach, 0.06 / batch_size * np.sqrt(1.3 * 0.4)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_moments_close(batch_size):
    """E x'^2 and E x'^4 in those of x, with those of Y: linear equations."""
    reach, kick = coefficients(batch_size)
    y = np.cumprod(np.append(1.0, batch_size + 2 * np.arange(4)))  # E Y^k
    power = lambda n, k: sum(
        float(c) * (-reach) ** j * y[j + k] for j, c in enumerate(np.poly1d([1, 1]) ** n)
    )  # E (1 - r Y)^n Y^k
    second = kick**2 * y[1] / (1 - power(2, 0))
    fourth = (6 * kick**2 * power(2, 1) * second + 3 * kick**4 * y[2]) / (1 - power(4, 0))
    law = gaussian_regression_law(largest=10 * second**0.5, num_cells=320, batch_size=batch_size, **SETTING)
    moment = lambda n: simpson(n * law.distances ** (n - 1) * law.above, x=law.distances)
    np.testing.assert_allclose([moment(2), moment(4)], [second, fourth], rtol=1e-4)
    assert law.above[0] == pytest.approx(1, abs=1e-9)
    assert law.error < 1e-3


def variance_gamma(following, current, batch_size):
    """Density of x' - x = -r x Y + c sqrt(Y) e, a Gaussian variance mixed over chi-square: a Bessel function."""
    reach, kick = coefficients(batch_size)
    order, step = (batch_size - 1) / 2, np.maximum(np.abs(following - current), 1e-12) / kick
    tilt = 1 + (reach * current / kick) ** 2
    argument = step * np.sqrt(tilt)
    log_scale = np.log(2) * (1 - batch_size / 2) - gammaln(batch_size / 2) - np.log(2 * np.pi) / 2 - np.log(kick)
    exponent = -(following - current) * reach * current / kick**2 - argument
    return np.exp(log_scale + exponent) * (step / np.sqrt(tilt)) ** order * kve(order, argument)


def bessel_kernel(half_width, size):
    """Trapezoid rule on a uniform grid of (-half_width, half_width), B = 4: the grid, its weights, the matrix."""
    grid, spacing = np.linspace(-half_width, half_width, size, retstep=True)
    weights = np.full(size, spacing)
    weights[[0, -1]] /= 2
    return grid, weights, variance_gamma(grid[:, None], grid[None], 4) * weights[:, None]


def test_passage_steps_equal_those_of_the_bessel_kernel():
    means = []
    for size in (401, 801):
        _, _, kernel = bessel_kernel(0.12, size)
        means.append(np.linalg.solve(np.eye(size) - kernel.T, np.ones(size))[size // 2])
    assert abs(means[0] / means[1] - 1) < 5e-4
    found = gaussian_regression_passage_steps(0.12, num_cells=160, batch_size=4, **SETTING)
    np.testing.assert_allclose(found.mean, means[1] + (means[1] - means[0]) / 3, rtol=1e-4)
    assert found.error < 1e-2 * found.mean


def test_the_law_is_that_of_the_bessel_kernel():
    """Mass on a grid by one solve; P(|x| > y) by the trapezoid rule at two resolutions."""
    found = []
    for size in (641, 1281):
        _, weights, kernel = bessel_kernel(0.48, size)
        mass = np.linalg.solve(np.eye(size) - kernel / kernel.sum(axis=0) + weights[:, None] / 0.96, weights / 0.96)
        both = (mass + mass[::-1])[size // 2 :]
        above = np.cumsum(both[::-1])[::-1] - both / 2
        found.append(above[np.array([30, 60, 120]) * (size // 640)])  # beyond .045, .09, .18
    coarse, fine = np.array(found)
    law = gaussian_regression_law(largest=0.48, num_cells=320, batch_size=4, **SETTING)
    np.testing.assert_allclose(law.above[[15, 30, 60]], fine + (fine - coarse) / 3, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"largest": 0.1}, "largest"), ({"num_cells": 41}, "num_cells"), ({"label_variance": 0.0}, "label_variance")],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"largest": 2.0, "num_cells": 40, "batch_size": 1, **SETTING} | change
    with pytest.raises(ValueError, match=message):
        gaussian_regression_law(**arguments)

"""Stationary densities of one-step kernels against known laws: Gaussian, cumulants, symmetry, Cauchy."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from sgdsde.predictions import (
    elliptical_stable_noise_density,
    explicit_transition,
    gaussian_noise_density,
    implicit_transition,
    minibatch_noise_density,
    stable_noise_density,
    stationary_density,
)

LINE = np.linspace(-6, 6, 241)
UNEVEN = np.sinh(np.linspace(-2.4, 2.4, 300))
HESSIAN = np.array([[1.2, 0.3], [0.3, 0.8]])
NOISE = np.array([[0.9, -0.4], [-0.4, 1.3]])
RATE = 0.7


def linear(params):
    return 1.1 * params


def product(first, second):
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)


@pytest.mark.parametrize("substeps", [1, 4])
@pytest.mark.parametrize("grid", [LINE, UNEVEN], ids=["even", "sinh"])
def test_one_dimension_with_gaussian_noise_is_the_exact_gaussian(substeps, grid):
    step, variance = RATE / substeps, 0.0
    for _ in range(400):
        variance = (1 - 1.1 * step) ** 2 * variance + RATE * step * 0.9
    kernel = explicit_transition(linear, gaussian_noise_density(0.9), learning_rate=RATE, substeps=substeps)
    density, error, lost_mass = stationary_density(kernel, grid)
    exact = scipy.stats.norm.pdf(grid, scale=np.sqrt(variance))
    np.testing.assert_allclose(density, exact / np.trapezoid(exact, grid), atol=1e-9)
    np.testing.assert_allclose(density, exact, atol=1e-9 if grid is LINE else 1e-4)  # the trapezoid rule's own error
    assert max(error, lost_mass) < (1e-8 if grid is LINE else 1e-3)


def test_two_dimensions_with_noise_that_does_not_commute():
    drift = np.eye(2) - RATE * HESSIAN
    covariance = scipy.linalg.solve_discrete_lyapunov(drift, RATE**2 * NOISE)
    grid = product(np.linspace(-5.5, 5.5, 37), np.linspace(-6, 6, 41))
    kernel = explicit_transition(lambda x: x @ HESSIAN, gaussian_noise_density(NOISE), learning_rate=RATE)
    density, error, _ = stationary_density(kernel, grid)
    np.testing.assert_allclose(density, scipy.stats.multivariate_normal(cov=covariance).pdf(grid), atol=1e-6)
    assert error < 1e-2  # that of twice the spacing, about the kernel's standard deviation


def test_noise_that_depends_on_the_state_is_ito():
    """Sigma = a + b x^2: x' = (1 - eta h) x - eta sqrt(a + b x^2) xi closes at the second moment."""

    def covariance(params):
        return (0.9 + 0.1 * params**2)[..., None]

    expected = RATE**2 * 0.9 / (1 - (1 - 1.1 * RATE) ** 2 - RATE**2 * 0.1)
    grid = np.linspace(-14, 14, 401)
    kernel = explicit_transition(linear, gaussian_noise_density(covariance), learning_rate=RATE)
    density = stationary_density(kernel, grid).density
    np.testing.assert_allclose(np.trapezoid(density * grid**2, grid), expected, rtol=1e-6)


def test_rare_hopping_between_wells_keeps_their_balance():
    def force(params):
        return 4 * params * (params**2 - 1)

    grid = np.linspace(-1.6, 1.6, 401)
    kernel = explicit_transition(force, gaussian_noise_density(1.0), learning_rate=0.08)  # barrier 25 temperatures
    density = stationary_density(kernel, grid).density
    assert density[200] < 1e-8 * density.max()
    np.testing.assert_allclose(density, density[::-1], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize(("tail_index", "reach"), [(1.0, 8.0), (1.0, 5.0), (1.5, 8.0), (1.5, 5.0)])
def test_levy_noise_in_a_parabola_within_the_stated_error(tail_index, reach):
    """The law is stable again; grids that end at 75 and 1500 cut its tails, and the error has to say by how much."""
    grid = np.sinh(np.linspace(-reach, reach, 601))
    noise = stable_noise_density(tail_index, 0.6)
    kernel = explicit_transition(linear, noise, learning_rate=RATE, substeps=2, tail_index=tail_index)
    density, error, _ = stationary_density(kernel, grid)
    kick = RATE ** (1 - 1 / tail_index) * (RATE / 2) ** (1 / tail_index) * 0.6
    scale = kick * np.sum(np.abs((1 - 0.55 * RATE) ** np.arange(200)) ** tail_index) ** (1 / tail_index)
    if tail_index == 1.0:
        exact = scale / (np.pi * (scale**2 + grid**2))
    else:
        k = np.linspace(0, 40, 4001)
        grid, density = grid[np.abs(grid) < 20], density[np.abs(grid) < 20]
        exact = np.trapezoid(np.cos(k * grid[:, None]) * np.exp(-((scale * k) ** tail_index)), k) / np.pi
    gap = np.trapezoid(np.abs(density - exact), grid)
    assert gap < 3 * error < 0.3
    assert gap < 0.01 or reach < 8


def test_implicit_step_tends_to_the_cauchy_law_of_the_quartic():
    """U = x^4 / 4 with unit Cauchy noise: p(x) = 1 / (pi (x^4 - x^2 + 1))."""
    grid = np.sinh(np.linspace(-4, 4, 701))
    exact, gaps = 1 / (np.pi * (grid**4 - grid**2 + 1)), []
    for substeps in (4, 8, 16):
        kernel = implicit_transition(
            lambda x: x**3,
            lambda x: 3 * x**2,
            stable_noise_density(1.0, 1.0),
            learning_rate=0.4,
            substeps=substeps,
            tail_index=1.0,
        )
        gaps.append(np.trapezoid(np.abs(stationary_density(kernel, grid).density - exact), grid))
    np.testing.assert_allclose(np.array(gaps[:-1]) / gaps[1:], 2, atol=0.3)  # first order in dt
    assert gaps[-1] < 0.02


@pytest.mark.parametrize("dimension", [1, 2])
def test_minibatch_noise_is_the_mixture_over_every_minibatch(dimension):
    noise = np.array([[1.0, 0.2], [-0.4, 1.1], [0.9, -0.8], [-1.3, 0.3], [-0.2, -0.8]])[:, :dimension]
    batch_size, smoothing = 3, 0.12
    covariance = noise.T @ noise / 5 / batch_size
    shrunk = noise @ scipy.linalg.sqrtm(np.eye(dimension) - smoothing**2 * np.linalg.inv(covariance)).real
    means = np.array([shrunk[list(batch)].mean(axis=0) for batch in itertools.product(range(5), repeat=batch_size)])
    points = np.random.default_rng(0).normal(scale=0.5, size=(60, dimension))
    squares = np.sum((points[:, None] - means) ** 2, axis=-1)
    expected = np.exp(-squares / (2 * smoothing**2)).mean(axis=1) / (2 * np.pi * smoothing**2) ** (dimension / 2)
    density = minibatch_noise_density(noise, batch_size, smoothing=smoothing)
    np.testing.assert_allclose(density(points, points), expected, atol=1e-3 * expected.max())
    assert density(np.full((1, dimension), 50.0), None) == 0


def test_skewed_minibatches_give_the_exact_cumulants():
    """x' = a x - eta xi: cumulants k_j(x) = (-eta)^j k_j(xi) / (1 - a^j)."""
    noise = np.array([2.0, -0.5, -0.5, -0.5, -0.5])[:, None]
    batch_size, smoothing, a = 4, 0.08, 1 - 1.1 * RATE
    variance = np.mean(noise**2) / batch_size
    shrink = 1 - smoothing**2 / variance
    third = np.mean(noise**3) / batch_size**2 * shrink**1.5
    grid = np.linspace(-3, 3, 301)
    kernel = explicit_transition(
        linear, minibatch_noise_density(noise, batch_size, smoothing=smoothing), learning_rate=RATE
    )
    density = stationary_density(kernel, grid).density
    moments = [np.trapezoid(density * grid**order, grid) for order in (1, 2, 3)]
    expected = [0, RATE**2 * variance / (1 - a**2), -(RATE**3) * third / (1 - a**3)]
    np.testing.assert_allclose(moments, expected, atol=1e-5)


def test_elliptical_noise_is_gaussian_at_tail_index_two_and_round_otherwise():
    points = np.random.default_rng(1).normal(size=(20, 2))
    gauss = scipy.stats.multivariate_normal(cov=NOISE).pdf(points)
    np.testing.assert_allclose(elliptical_stable_noise_density(2.0, NOISE)(points, points), gauss, rtol=1e-12)
    np.testing.assert_allclose(gaussian_noise_density(NOISE)(points, points), gauss, rtol=1e-12)
    np.testing.assert_allclose(stable_noise_density(2.0, 0.5)(points, points) * np.pi, np.exp(-np.sum(points**2, -1)))
    squares = np.einsum("ni,ij,nj->n", points, np.linalg.inv(NOISE), points)  # Student with one degree of freedom
    student = (1 + 2 * squares) ** -1.5 / (np.pi * np.sqrt(np.linalg.det(NOISE)))
    np.testing.assert_allclose(elliptical_stable_noise_density(1.0, NOISE)(points, points), student, rtol=1e-8)


def test_bad_grids_and_arguments_are_refused():
    kernel = explicit_transition(linear, gaussian_noise_density(0.9), learning_rate=RATE)
    with pytest.raises(ValueError, match="widen the grid"):
        stationary_density(kernel, np.linspace(-1, 1, 101))
    with pytest.raises(ValueError, match="refine"):
        stationary_density(kernel, np.linspace(-6, 6, 8))
    with pytest.raises(ValueError, match="grid"):
        stationary_density(kernel, np.zeros((3, 3)))
    split = explicit_transition(lambda x: 4 * x * (x**2 - 1), gaussian_noise_density(0.01), learning_rate=0.08)
    with pytest.raises(ValueError, match="not unique"):
        stationary_density(split, np.linspace(-1.6, 1.6, 401))
    with pytest.raises(ValueError, match="substeps"):
        explicit_transition(linear, gaussian_noise_density(0.9), learning_rate=RATE, substeps=0)
    options = {"learning_rate": 2.0, "substeps": 1, "tail_index": 2.0}
    falling = implicit_transition(lambda x: -x, lambda x: -np.ones_like(x), gaussian_noise_density(1.0), **options)
    with pytest.raises(ValueError, match="curvature"):
        stationary_density(falling, LINE)
    with pytest.raises(ValueError, match="smoothing"):
        minibatch_noise_density(np.array([[1.0], [-1.0]]), 4, smoothing=0.6)
    with pytest.raises(ValueError, match="mean zero"):
        minibatch_noise_density(np.array([[1.0], [-0.5]]), 4, smoothing=0.1)

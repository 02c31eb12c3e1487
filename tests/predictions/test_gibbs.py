"""Gibbs densities against Gaussian and quadrature values, on grids of one and two dimensions."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from sgdsde.predictions import gibbs_density, log_partition_function, partition_function, temperature

UNEVEN = np.sinh(np.linspace(-2.5, 2.5, 4001))
STRETCH = np.sinh(5 / 4000) / (5 / 4000)  # trapezoid weights cosh(u) sinh(du) there, beside the measure's cosh(u) du
HESSIAN = np.array([[2.0, 0.5], [0.5, 1.0]])


def quartic(params):
    return (params[0] ** 2 - 1) ** 2


def quadratic(params):
    return params @ HESSIAN @ params / 2 - 800.0  # exp(-potential / temperature) itself would overflow


def product(first, second):
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)


def test_temperature_gives_the_variance_of_the_discretised_ornstein_uhlenbeck_process():
    rate, batch, variance, h = 1e-3, 8, 2.5, 1.3
    noise = rate**2 * variance / batch  # variance added by one step of SGD with replacement
    stationary = noise / (1 - (1 - rate * h) ** 2)
    predicted = temperature(learning_rate=rate, batch_size=batch, gradient_variance=variance) / h
    np.testing.assert_allclose(predicted, stationary, rtol=rate * h)


@pytest.mark.parametrize("heat", [0.02, 0.3, 5.0])
def test_density_in_one_dimension_on_an_uneven_grid(heat):
    mass = scipy.integrate.quad(lambda x: np.exp(-((x * x - 1) ** 2) / heat), -6.05, 6.05, points=[-1, 1], epsabs=0)[0]
    expected = np.exp(-((UNEVEN**2 - 1) ** 2) / heat) / mass / STRETCH
    density = gibbs_density(quartic, heat, UNEVEN)
    np.testing.assert_allclose(density, expected, rtol=1e-9, atol=1e-300)  # XLA flushes denormals
    np.testing.assert_allclose(np.trapezoid(density, UNEVEN), 1, rtol=1e-12)
    np.testing.assert_allclose(partition_function(quartic, heat, UNEVEN), mass * STRETCH, rtol=1e-9)


def test_density_in_two_dimensions_never_overflows():
    heat, grid = 0.4, product(np.linspace(-6, 6, 121), np.linspace(-7, 7, 141))
    inverse = HESSIAN / heat
    expected = np.exp(-np.einsum("abi,ij,abj->ab", grid, inverse, grid) / 2)
    expected *= np.sqrt(np.linalg.det(inverse)) / (2 * np.pi)
    np.testing.assert_allclose(gibbs_density(quadratic, heat, grid), expected, rtol=1e-9, atol=1e-300)
    expected_log = 800 / heat + np.log(2 * np.pi) - np.log(np.linalg.det(inverse)) / 2
    np.testing.assert_allclose(log_partition_function(quadratic, heat, grid), expected_log, rtol=1e-12)


def test_walls_are_allowed_and_everything_is_traceable():
    def box(params):
        return jnp.where(jnp.abs(params[0]) <= 1, 0.0, jnp.inf)

    grid = np.linspace(-2, 2, 401)
    np.testing.assert_allclose(gibbs_density(box, 1.0, grid)[200], 1 / 2.01, rtol=1e-12)  # 201 points of mass .01
    heats = jnp.array([0.1, 1.0])
    together = jax.jit(jax.vmap(lambda heat: gibbs_density(quartic, heat, UNEVEN)))(heats)
    np.testing.assert_allclose(together[1], gibbs_density(quartic, 1.0, UNEVEN), rtol=1e-12)


@pytest.mark.parametrize(
    ("potential", "heat", "grid", "message"),
    [
        (quartic, 0.0, UNEVEN, "temperature"),
        (quartic, 1.0, UNEVEN[::-1].copy(), "grid: expected finite axes that increase"),
        (quartic, 1.0, np.zeros((3, 4)), "grid: expected shape"),
        (
            quadratic,
            1.0,
            product([0.0, 1.0], [0.0, 1.0, 2.0]).transpose(1, 0, 2),
            "grid: expected finite axes that increase",
        ),
        (quadratic, 1.0, product([0.0, 1.0], [0.0, 1.0]) + np.array([[[0, 0], [0, 0]], [[0, 1], [0, 1]]]), "a product"),
        (lambda params: params, 1.0, UNEVEN, "potential: expected a scalar"),
        (lambda params: jnp.nan * params[0], 1.0, UNEVEN, "potential: expected a number"),
    ],
)
def test_bad_arguments_are_named(potential, heat, grid, message):
    with pytest.raises(ValueError, match=message):
        gibbs_density(potential, heat, grid)


def test_a_grid_coarser_than_the_law_is_said_in_either_axis_and_well():
    """Of a Gaussian of width s the trapezoid rule at step 2 s is off by 1.4 %; walls and flat places are no cause."""
    grid, parabola = np.linspace(-10.0, 10.0, 21), lambda x: x[0] ** 2 / 2
    for heat, is_coarse in ((1 / 4.4, True), (1 / 3.6, False), (1e-4, True)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            log_partition = log_partition_function(parabola, heat, grid)
        assert bool(caught) == is_coarse
        error = abs(float(log_partition) - np.log(2 * np.pi * heat) / 2)
        assert error > 0.014 if is_coarse else error < 0.02
    wells = lambda x: jnp.minimum((x[0] + 5) ** 2 / 50, (x[0] - 5) ** 2) / 2
    with pytest.warns(UserWarning, match=r"near \[5\.0\] a step of the grid's axis 0 is 3.16 times the width"):
        gibbs_density(wells, 0.1, grid)
    plane = np.stack(np.meshgrid(np.linspace(-9, 9, 181), grid, indexing="ij"), axis=-1)
    with pytest.warns(UserWarning, match=r"near \[.*, 0\.0\] a step of the grid's axis 1"):
        gibbs_density(lambda x: x @ x / 2, 0.1, plane)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gibbs_density(lambda x: jnp.where(jnp.abs(x[0]) > 3, jnp.inf, 0.0), 0.1, grid)


def test_temperature_refuses_bad_arguments():
    for change in ({"batch_size": 0}, {"learning_rate": -1.0}, {"gradient_variance": -1.0}):
        with pytest.raises(ValueError, match=next(iter(change))):
            temperature(**({"learning_rate": 0.1, "batch_size": 2, "gradient_variance": 1.0} | change))

"""The implicit step's law under stable noise: parabolas, the kernel on a grid, the limit of short steps."""

import jax
import numpy as np
import pytest
import scipy.interpolate
import scipy.stats

from sgdsde.predictions import (
    cauchy_density,
    density_modes,
    implicit_levy_density,
    implicit_transition,
    stable_noise_density,
    stationary_density,
)

CURVATURE = 1.3


def linear(x):
    return CURVATURE * x


def even(x):
    return np.full_like(x, CURVATURE)


def well(x):
    return x**3 - x + 0.2


def well_curvature(x):
    return 3 * x**2 - 1


def cubic(x):
    return x**3


def cubic_curvature(x):
    return 3 * x**2


def test_gaussian_noise_in_a_parabola_has_the_implicit_recursions_variance():
    """x' = (x + dt^(1/2) c S)/(1 + h dt), S of variance 2."""
    grid, shrinks = np.linspace(-8, 8, 401), 1 + CURVATURE * 0.3
    variance = 2 * 0.3 * 0.7**2 / (shrinks**2 - 1)
    found = implicit_levy_density(linear, even, grid, tail_index=2.0, scale=0.7, time_step=0.3)
    np.testing.assert_allclose(found.density, scipy.stats.norm.pdf(grid, scale=np.sqrt(variance)), atol=1e-9)
    assert found.error < 1e-4


def test_cauchy_noise_in_a_parabola_has_the_implicit_recursions_scale():
    """scale c dt/(h dt) whatever the step; what leaves a grid of +-400 comes back at its other side."""
    grid = np.linspace(-400, 400, 8001)
    found = implicit_levy_density(linear, even, grid, tail_index=1.0, scale=1.3, time_step=0.2)
    near = np.abs(grid) < 20
    np.testing.assert_allclose(found.density[near], scipy.stats.cauchy.pdf(grid[near]), rtol=1e-2, atol=1e-5)
    assert 1e-3 < found.error < 3e-2


def test_a_long_step_in_a_tilted_well_has_the_law_of_its_kernel():
    """Where the kernel is wide enough for the trapezoid rule, both are exact."""
    tail_index = 1.4
    noise = stable_noise_density(tail_index, 0.8 * 0.2 ** (1 / tail_index - 1))
    options = {"learning_rate": 0.2, "substeps": 1, "tail_index": tail_index}
    kernel = implicit_transition(well, well_curvature, noise, **options)
    wide = np.sinh(np.linspace(-3.4, 3.4, 601))
    by_kernel = stationary_density(kernel, wide).density
    grid = np.linspace(-15, 15, 601)
    found = implicit_levy_density(well, well_curvature, grid, tail_index=tail_index, scale=0.8, time_step=0.2)
    near = np.abs(wide) < 4
    between = scipy.interpolate.CubicSpline(grid, found.density)
    np.testing.assert_allclose(between(wide[near]), by_kernel[near], atol=5e-4)


def test_steps_of_half_the_length_halve_the_distance_from_the_sde():
    """Cauchy noise in x^4/4, closed form; extrapolated to no step, nothing is left at first order."""
    grid = np.linspace(-24, 24, 801)
    exact = np.asarray(cauchy_density(grid, quadratic=0.0, quartic=1.0, scale=1.0))
    solve = lambda step: (
        implicit_levy_density(cubic, cubic_curvature, grid, tail_index=1.0, scale=1.0, time_step=step).density
    )
    long, short = solve(0.04), solve(0.02)
    near = np.abs(grid) < 3
    gap = np.abs(short - exact)[near].max()
    assert 3e-3 < gap < 2e-2
    np.testing.assert_allclose(np.abs(long - exact)[near].max() / gap, 2, rtol=0.1)
    assert np.abs(2 * short - long - exact)[near].max() < 0.2 * gap
    modes = density_modes(grid[near], short[near])
    assert len(modes) == 2
    np.testing.assert_allclose(modes, [-modes[1], modes[1]], atol=1e-6)


def test_bad_input_is_refused():
    grid, options = np.linspace(-5, 5, 101), {"tail_index": 1.5, "scale": 1.0, "time_step": 0.1}
    for wrong in (np.sinh(grid), grid[::-1], grid[:20], np.ones((40, 2))):
        with pytest.raises(ValueError, match="grid: expected 32 or more points"):
            implicit_levy_density(linear, even, wrong, **options)
    with pytest.raises(ValueError, match="curvature: expected 1 \\+ dt \\* curvature > 0"):
        implicit_levy_density(well, lambda x: 0 * x - 20, grid, **options)
    for name, value in (("tail_index", 2.5), ("scale", 0.0), ("time_step", -1.0)):
        with pytest.raises(ValueError, match=name):
            implicit_levy_density(linear, even, grid, **options | {name: value})
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.jit(lambda points: implicit_levy_density(linear, even, points, **options).density)(grid)

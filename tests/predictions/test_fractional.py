"""The fractional Fokker-Planck equation on a grid against its Fourier form: equations in k, integrals, series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.interpolate
import scipy.special

from sgdsde.predictions import (
    cauchy_bimodality_switch,
    density_modes,
    levy_density_evolution,
    levy_mean_exit_time,
    levy_quartic_second_moment,
    levy_quartic_tail,
    levy_stationary_density,
)
from sgdsde.predictions.fractional.jumps import jump_rates, levy_motion

QUARTIC_GRID = np.sinh(np.linspace(-5, 5, 401))


def cubic(x):
    return x**3


def linear(x):
    return x


def cumulative(grid, density):
    return np.concatenate([[0.0], np.cumsum(np.diff(grid) * (density[1:] + density[:-1]) / 2)])


def fourier_density(x, tail_index, *, quadratic=0.0, quartic=1.0, scale=1.0):
    """Stationary density from its characteristic function phi, b phi''' = a phi' + scale^alpha k^(alpha-1) phi for
    k > 0, phi(0) = 1, phi'(0) = phi(infinity) = 0, solved as a boundary value problem in s = sqrt(k)."""
    speed = (scale**tail_index / quartic) ** (1 / 3) * 3 / (tail_index + 2) / 2
    end = np.sqrt(20 / speed) ** (3 / (tail_index + 2))  # where phi is exp(-20)

    def slope(s, y):
        third = (quadratic * y[1] + scale**tail_index * s ** (2 * tail_index - 2) * y[0]) / quartic
        return 2 * s * np.stack([y[1], y[2], third])

    def ends(start, stop):
        return np.array([start[0] - 1, start[1], stop[0]])

    s = np.linspace(0, end, 201)
    guess = np.stack([np.exp(-(s**4)), -s, -np.ones_like(s)])
    found = scipy.integrate.solve_bvp(slope, ends, s, guess, tol=1e-8, max_nodes=20_000)
    assert found.success
    k = np.linspace(0, end**2, 4001)
    wave = np.cos(k * np.asarray(x)[:, None]) * found.sol(np.sqrt(k))[0]
    return scipy.integrate.simpson(wave, k) / np.pi


def stable_density(x, tail_index, scale, *, centre=0.0, variance=0.0):
    """Fourier's integral of exp(-(scale k)^alpha - variance k^2/2): a stable law, or one and a Gaussian."""
    end = 8 / np.sqrt(variance) if variance else 40 ** (1 / tail_index) / scale
    k = np.linspace(0, np.sqrt(end), 12_001 if end > 300 else 2001) ** 2
    wave = np.cos(k * (np.asarray(x)[:, None] - centre)) / np.pi
    return scipy.integrate.simpson(wave * np.exp(-((scale * k) ** tail_index) - variance * k**2 / 2), k)


def levy_density(tail_index, scale):
    """K of the jumps' density K |z|^(-1-alpha)."""
    return tail_index * scale**tail_index / np.pi * scipy.special.gamma(tail_index) * np.sin(np.pi * tail_index / 2)


@pytest.mark.parametrize(
    ("tail_index", "quadratic", "quartic", "scale"), [(1.2, 0.0, 1.0, 1.0), (1.8, 0.5, 1.0, 1.0), (1.4, -0.8, 0.6, 0.7)]
)
def test_quartic_density_is_the_fourier_equations_at_two_resolutions(tail_index, quadratic, quartic, scale):
    """The error falls fourfold, and what extrapolation leaves of it is below 2e-5."""
    options = {"tail_index": tail_index, "scale": scale}
    force = lambda x: quadratic * x + quartic * x**3
    coarse, fine = (levy_stationary_density(force, np.sinh(np.linspace(-4.8, 4.8, m)), **options) for m in (321, 641))
    seen = slice(90, 161, 10)
    x = np.sinh(np.linspace(-4.8, 4.8, 321))[seen]
    expected = fourier_density(x, tail_index, quadratic=quadratic, quartic=quartic, scale=scale)
    rough, smooth = coarse.density[seen], fine.density[::2][seen]
    np.testing.assert_allclose(smooth, expected, atol=3e-4)
    np.testing.assert_allclose((4 * smooth - rough) / 3, expected, atol=2e-5)
    assert np.max(np.abs(smooth - expected)) < fine.error < coarse.error < 1e-2
    np.testing.assert_allclose(np.trapezoid(fine.density, np.sinh(np.linspace(-4.8, 4.8, 641))), 1, atol=1e-12)


@pytest.mark.parametrize("quadratic", [1.0, -1.0])
def test_cauchy_noise_in_the_quartic_is_the_rational_density(quadratic):
    z = max(np.roots([1.0, 0.0, -quadratic, -1.0]).real)
    square = 1 / z
    x = np.sinh(np.linspace(-5, 5, 801))
    expected = square * z / np.pi / (x**4 + (z**2 - 2 * square) * x**2 + square**2)
    found = levy_stationary_density(lambda x: quadratic * x + x**3, x, tail_index=1.0, scale=1.0)
    np.testing.assert_allclose(found.density[1:-1], expected[1:-1], atol=3e-4)
    np.testing.assert_allclose(cumulative(x, found.density), cumulative(x, expected), atol=6e-5)
    assert np.trapezoid(np.abs(found.density - expected), x) < found.error < 1e-3
    modes = density_modes(x, found.density)
    if quadratic > 0:
        np.testing.assert_allclose(modes, [0], atol=1e-9)
    else:
        np.testing.assert_allclose(modes, np.sqrt(square - z**2 / 2) * np.array([-1, 1]), rtol=1e-3)


@pytest.mark.parametrize("tail_index", [0.5, 1.0, 1.6, 2.0])
def test_the_ornstein_uhlenbeck_law_in_time_and_at_rest(tail_index):
    """From N(m, v), curvature h: centre m exp(-h t), variance v exp(-2 h t), scale^a = c^a (1 - exp(-a h t))/(a h)."""
    far = np.arcsinh(20 * 1e4 ** (1 / tail_index)) if tail_index < 2 else np.arcsinh(9.0)
    curvature, mean, variance, times = 1.3, 0.6, 0.5, np.array([0.3, 0.6])
    decay = np.exp(-curvature * times)
    scales = 0.8 * ((1 - decay**tail_index) / (curvature * tail_index)) ** (1 / tail_index)
    options = {"tail_index": tail_index, "scale": 0.8}
    force = lambda x: curvature * x
    grids = [np.sinh(np.linspace(-far, far, size)) for size in ((301, 601) if tail_index == 0.5 else (151, 301))]
    starts = [np.exp(-((x - mean) ** 2) / (2 * variance)) for x in grids]
    coarse, fine = (
        levy_density_evolution(force, start, x, durations=times, **options) for start, x in zip(starts, grids)
    )
    near = np.abs(grids[0]) < 3
    for i in range(2):
        expected = stable_density(
            grids[0][near], tail_index, scales[i], centre=mean * decay[i], variance=variance * decay[i] ** 2
        )
        rough, smooth = coarse.density[i][near], fine.density[i][::2][near]
        bound = np.max(np.abs(smooth - rough))
        assert bound < 0.05
        np.testing.assert_allclose((4 * smooth - rough) / 3, expected, atol=0.2 * bound + 1e-6)
        np.testing.assert_allclose(np.trapezoid(fine.density[i], grids[1]), 1, atol=1e-12)
        assert np.trapezoid(np.abs(smooth - expected), grids[0][near]) < fine.error[i] < coarse.error[i]
    rough, smooth = (levy_stationary_density(force, x, **options).density for x in grids)
    expected = stable_density(grids[0][near], tail_index, 0.8 / (curvature * tail_index) ** (1 / tail_index))
    bound = np.max(np.abs(smooth[::2] - rough))
    np.testing.assert_allclose(((4 * smooth[::2] - rough) / 3)[near], expected, atol=0.2 * bound + 1e-6)


def test_evolution_ends_in_the_stationary_density_and_its_error_falls_fourfold():
    errors = []
    for size in (101, 201, 401):
        x = np.sinh(np.linspace(-4, 4, size))
        options = {"tail_index": 1.5, "scale": 0.9}
        start = np.exp(-((x - 1) ** 2))
        found = levy_density_evolution(cubic, start, x, durations=np.array([0.25, 30.0]), **options)
        errors.append(found.density[0][:: (size - 1) // 100])
        rest = levy_stationary_density(cubic, x, **options).density
        np.testing.assert_allclose(found.density[1], rest, atol=1e-8)
    ratio = np.max(np.abs(errors[0] - errors[1])) / np.max(np.abs(errors[1] - errors[2]))
    assert 3 < ratio < 6


@pytest.mark.parametrize("tail_index", [1.0, 1.5, 2.0])
def test_a_free_process_leaves_an_interval_after_the_closed_time(tail_index):
    times = []
    for size in (101, 201):
        x = -np.cos(np.linspace(0, np.pi, size))
        x[[0, -1]] = -1, 1
        found = levy_mean_exit_time(np.zeros_like, x, interval=(-1, 1), tail_index=tail_index, scale=1.0)
        closed = (1 - x**2) ** (tail_index / 2) / scipy.special.gamma(1 + tail_index)
        times.append(np.max(np.abs(found.mean_time - closed)))
        centre = np.abs(found.mean_time - closed)[size // 2]
        assert times[-1] < 1.5 * found.error + 1e-12
        assert centre < (4e-5 if size == 201 else 1e-4)
    assert times[1] < (3e-3 if tail_index == 1 else 2e-4)
    assert times[1] < 0.6 * times[0] + 1e-12


def test_exit_times_obey_their_equation():
    """-U' tau' + int (tau(x+z) + tau(x-z) - 2 tau(x)) K z^(-1-alpha) dz = -1, by quadrature."""
    alpha, scale, x = 1.5, 0.8, -np.cos(np.linspace(0, np.pi, 401))
    x[[0, -1]] = -1, 1
    force = lambda x: 2 * x**3 - x + 0.4
    time = levy_mean_exit_time(force, 1.5 * x, interval=(-1.5, 1.5), tail_index=alpha, scale=scale).mean_time
    shape = scipy.interpolate.CubicSpline(x[1:-1], time[1:-1] / (1 - x[1:-1] ** 2) ** (alpha / 2))
    tau = lambda y: shape(y / 1.5) * np.maximum(1 - (y / 1.5) ** 2, 0) ** (alpha / 2)
    for where in (-0.7, 0.1, 0.9):
        step = 1e-3
        slope = (tau(where + step) - tau(where - step)) / (2 * step)
        bend = (tau(where + step) + tau(where - step) - 2 * tau(where)) / step**2
        z = np.geomspace(0.02, 1.5 + abs(where), 20_001)
        near = bend * z[0] ** (2 - alpha) / (2 - alpha)
        middle = np.trapezoid((tau(where + z) + tau(where - z) - 2 * tau(where)) * z ** (-1 - alpha), z)
        beyond = -2 * tau(where) * z[-1] ** -alpha / alpha
        total = -force(where) * slope + levy_density(alpha, scale) * (near + middle + beyond)
        np.testing.assert_allclose(total, -1, atol=3e-3)


def test_gaussian_exit_through_one_end_is_the_double_integral():
    """tau(x) = int_x^b dy exp(U(y)/D)/D int_-inf^y exp(-U/D), D = scale^2."""
    potential = lambda x: (x**2 - 1) ** 2 / 2
    x = 1.8 * (np.sin(np.pi / 4 * (1 + np.linspace(-1, 1, 401))) - 1) * 2.2
    x -= x[-1]
    found = levy_mean_exit_time(
        lambda x: 2 * (x**3 - x), x, interval=(-np.inf, 0.0), tail_index=2.0, scale=np.sqrt(0.2)
    )
    y = np.linspace(-4, 0, 20_001)
    below = scipy.integrate.cumulative_simpson(np.exp(-potential(y) / 0.2), x=y, initial=0)
    outer = scipy.integrate.cumulative_simpson(np.exp(potential(y) / 0.2) / 0.2 * below, x=y, initial=0)
    expected = np.interp(x, y, outer[-1] - outer)
    inner = x > -2.5
    np.testing.assert_allclose(found.mean_time[inner], expected[inner], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("tail_index", [0.6, 1.0, 1.5, 2.0])
def test_quartic_second_moment_is_where_the_growing_solutions_cancel(tail_index):
    """b phi''' = c^alpha k^(alpha-1) phi has the series f0 = 1 + ... and f2 = k^2 + ...; phi = f0 - (E x^2/2) f2
    decays, so E x^2 = 2 lim f0/f2."""
    quartic, scale = 0.7, 1.3
    strength = scale**tail_index / quartic
    k = (30 * (tail_index + 2) / 3 / strength ** (1 / 3)) ** (3 / (tail_index + 2))  # growth over decay: exp(45)
    sums = []
    for power in (0.0, 2.0):
        term = total = k**power
        for _ in range(200):
            power += tail_index + 2
            term *= strength * k ** (tail_index + 2) / (power * (power - 1) * (power - 2))
            total += term
        sums.append(total)
    found = levy_quartic_second_moment(quartic=quartic, tail_index=tail_index, scale=scale)
    np.testing.assert_allclose(found, 2 * sums[0] / sums[1], rtol=1e-9)


def test_quartic_tail_and_bimodality_switch():
    options = {"tail_index": 1.5, "scale": 0.9}
    found = levy_stationary_density(lambda x: 0.6 * x**3, QUARTIC_GRID, **options)
    far = (QUARTIC_GRID > 10) & (QUARTIC_GRID < 40)
    tail = levy_quartic_tail(QUARTIC_GRID[far], quartic=0.6, **options)
    np.testing.assert_allclose(found.density[far], tail, rtol=0.02)
    assert levy_quartic_tail(3.0, quartic=0.6, tail_index=2.0, scale=1.0) == 0
    switch = float(cauchy_bimodality_switch(quartic=1.7, scale=0.6))
    curvatures = []
    for quadratic in (switch - 1e-3, switch, switch + 1e-3):
        z = max(np.roots([1.7, 0.0, -quadratic, -0.6]).real)
        curvatures.append(z**2 - 2 * 0.6 / (1.7 * z))  # the denominator's x^2 coefficient: negative is two modes
    assert curvatures[0] < 0 < curvatures[2]
    np.testing.assert_allclose(curvatures[1], 0, atol=1e-12)
    np.testing.assert_allclose(cauchy_bimodality_switch(quartic=1.0, scale=1.0), 2 ** (-1 / 3), rtol=1e-14)


@pytest.mark.parametrize("tail_index", [0.3, 1.0, 1.7, 2.0])
def test_rates_conserve_mass_and_have_the_exact_moments_of_short_jumps(tail_index):
    """Without drift every rate of a uniform grid is positive, and the jumps of a wave exp(i k x) lose |c k|^alpha."""
    x = np.linspace(-100, 100, 801)
    rates = jump_rates(levy_motion(np.zeros_like, x, tail_index, 0.8))
    off = rates[~np.eye(x.size, dtype=bool)]
    assert off.min() >= 0
    assert np.max(np.abs(rates.sum(axis=1))) < 1e-11
    wave = np.cos(0.7 * x) * np.exp(-((x / 40) ** 2))  # at its centre that is its own transform to 1e-2
    decay = -(rates @ wave)[400]
    k = np.linspace(0.7 - 0.25, 0.7 + 0.25, 2001)
    envelope = np.exp(-((20 * (k - 0.7)) ** 2))
    expected = np.sum(envelope * (0.8 * k) ** tail_index) / np.sum(envelope)
    np.testing.assert_allclose(decay, expected, rtol=5e-3)


def test_units_and_reflection():
    """Stretching x by s turns U' into U'(x/s) s and the scale into scale s; a mirrored landscape mirrors the law."""
    x = np.sinh(np.linspace(-4, 4, 201))
    force = lambda x: x**3 - x + 0.3
    base = levy_stationary_density(force, x, tail_index=1.3, scale=0.8).density
    stretched = levy_stationary_density(lambda y: 2 * force(y / 2), 2 * x, tail_index=1.3, scale=1.6).density
    np.testing.assert_allclose(2 * stretched, base, rtol=1e-8)
    mirrored = levy_stationary_density(lambda y: -force(-y), x, tail_index=1.3, scale=0.8).density
    np.testing.assert_allclose(mirrored[::-1], base, rtol=1e-8)


def test_what_does_not_confine_says_so_in_its_error():
    x = np.linspace(-10, 10, 101)
    assert levy_stationary_density(np.zeros_like, x, tail_index=1.5, scale=1.0).error > 0.3
    assert levy_stationary_density(linear, x, tail_index=0.6, scale=1.0).error > 0.05


def test_refusals():
    x = np.linspace(-4, 4, 41)
    good = {"tail_index": 1.5, "scale": 1.0}
    for change in ({"tail_index": 2.1}, {"tail_index": 0.0}, {"scale": 0.0}, {"scale": np.nan}):
        with pytest.raises(ValueError, match=next(iter(change))):
            levy_stationary_density(linear, x, **(good | change))
    for grid in (x[:-1], x[:5], x[::-1], x[:, None]):
        with pytest.raises(ValueError, match="grid"):
            levy_stationary_density(linear, grid, **good)
    with pytest.raises(ValueError, match="gradient"):
        levy_stationary_density(lambda x: x[:, None], x, **good)
    with pytest.raises(ValueError, match="gradient"):
        levy_stationary_density(lambda x: x * np.nan, x, **good)
    for start in (np.ones(3), np.zeros(41), -np.ones(41)):
        with pytest.raises(ValueError, match="initial_density"):
            levy_density_evolution(linear, start, x, durations=np.ones(1), **good)
    for durations in (1.0, np.array([0.0, 1.0]), np.array([2.0, 1.0])):
        with pytest.raises(ValueError, match="durations"):
            levy_density_evolution(linear, np.ones(41), x, durations=durations, **good)
    for interval in ((4, -4), (-np.inf, np.inf)):
        with pytest.raises(ValueError, match="interval"):
            levy_mean_exit_time(linear, x, interval=interval, **good)
    with pytest.raises(ValueError, match="grid"):
        levy_mean_exit_time(linear, x, interval=(-4, 5), **good)
    with pytest.raises(ValueError, match="density"):
        density_modes(x, np.ones(3))
    with pytest.raises(ValueError, match="quartic"):
        levy_quartic_second_moment(quartic=0.0, tail_index=1.5, scale=1.0)
    with pytest.raises(TypeError, match="host"):
        jax.jit(lambda grid: levy_stationary_density(linear, grid, **good).density)(x)
    traced = jax.jit(lambda b: levy_quartic_second_moment(quartic=b, tail_index=1.0, scale=1.0))(jnp.ones(()))
    np.testing.assert_allclose(traced, 1.0, rtol=1e-6)

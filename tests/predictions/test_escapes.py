"""First passages against Chebyshev collocation, Kramers against them, Levy constants against their integrals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.special

from sgdsde.predictions import levy_mean_exit_time
from sgdsde.predictions.escapes import (
    basin_occupations,
    chain_exit_steps,
    clipped_exit_exponent,
    first_passage_time,
    free_levy_exit_time,
    interval_exit,
    kramers_rate,
    levy_escape_rate,
    moved_boundary,
)

POWER = {"ito": 0.0, "stratonovich": 0.5, "haenggi_klimontovich": 1.0}
constant = lambda value: lambda params: jnp.asarray(value, params.dtype)


def double_well(params):
    return params - params**3


def growing(params):
    return 0.2 + 0.1 * params[0] + 0.15 * params[0] ** 2


def collocation(drift, diffusion, slope, power, lower, upper, *, reflects, degree=80):
    """Nodes, and the first two moments there, of the backward equations D T1'' + (f + q D') T1' = -1 and = -2 T1."""
    angles = np.arange(degree + 1) * np.pi / degree
    x = np.cos(angles)
    ends = np.where((np.arange(degree + 1) % degree) == 0, 2.0, 1.0) * (-1.0) ** np.arange(degree + 1)
    with np.errstate(divide="ignore"):
        matrix = np.where(x[:, None] != x, ends[:, None] / ends / (x[:, None] - x), 0.0)
    matrix -= np.diag(matrix.sum(axis=1))
    first = matrix * 2 / (upper - lower)
    place = lower + (x + 1) * (upper - lower) / 2
    operator = diffusion(place)[:, None] * (first @ first) + (drift(place) + power * slope(place))[:, None] * first
    operator[0] = np.eye(degree + 1)[0]
    operator[-1] = first[-1] if reflects else np.eye(degree + 1)[-1]
    solve = scipy.linalg.lu_factor(operator)
    inside = np.ones(degree + 1)
    inside[[0, -1]] = 0
    mean = scipy.linalg.lu_solve(solve, -inside)
    return place, mean, scipy.linalg.lu_solve(solve, -2 * mean * inside)


@pytest.mark.parametrize("convention", POWER)
def test_first_passages_solve_the_backward_equation(convention):
    arguments = (lambda x: x - x**3, lambda x: 0.2 + 0.1 * x + 0.15 * x**2, lambda x: 0.1 + 0.3 * x, POWER[convention])
    place, mean, second = collocation(*arguments, -2.0, 0.4, reflects=True)
    found = first_passage_time(double_well, growing, start=place[40], boundary=0.4, wall=-2.0, convention=convention)
    np.testing.assert_allclose(found[:2], [mean[40], second[40]], rtol=1e-8)
    assert max(found.error) < 1e-10 * found.second_moment
    place, mean, second = collocation(*arguments, -2.0, 0.4, reflects=False)
    found = interval_exit(double_well, growing, start=place[40], lower=-2.0, upper=0.4, convention=convention)
    np.testing.assert_allclose(found[:2], [mean[40], second[40]], rtol=1e-8)


def test_a_wall_far_out_or_none_and_either_side_are_the_same():
    here = first_passage_time(double_well, growing, start=-1.0, boundary=0.0, wall=None, convention="ito")
    far = first_passage_time(double_well, growing, start=-1.0, boundary=0.0, wall=-7.0, convention="ito")
    mirrored = lambda params: growing(-params)
    other = first_passage_time(double_well, mirrored, start=1.0, boundary=0.0, wall=None, convention="ito")
    np.testing.assert_allclose(far[:2], here[:2], rtol=1e-11)
    np.testing.assert_allclose(other[:2], here[:2], rtol=1e-11)


def test_a_side_with_a_power_law_is_covered_and_one_that_does_not_confine_refused():
    """f = -x, D = 1 + x^2 has p ~ |x|^-3: int p in closed form, q = 0."""
    inner = lambda y: 0.5 * (1 + y / np.sqrt(1 + y**2))  # of p = (1 + x^2)^(-3/2) from -infinity, over 2
    expected = scipy.integrate.quad(lambda y: 2 * inner(y) * np.sqrt(1 + y**2), 0.2, 1.0, epsabs=0, epsrel=1e-12)[0]
    found = first_passage_time(
        lambda x: -x, lambda x: 1 + x[0] ** 2, start=0.2, boundary=1.0, wall=None, convention="ito"
    )
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="wall: got None, but the drift does not confine"):
        first_passage_time(lambda x: 0 * x, constant(1.0), start=0.0, boundary=1.0, wall=None, convention="ito")


def test_drift_without_a_well_has_its_closed_forms():
    """Brownian motion with drift v, D, out of (0, b): probability, mean; from a reflecting wall v = 0: b^2/(2 D)."""
    v, diffusion, b, x = 0.7, 0.3, 1.6, 0.6
    up = np.expm1(-v * x / diffusion) / np.expm1(-v * b / diffusion)
    found = interval_exit(lambda p: 0 * p + v, constant(diffusion), start=x, lower=0.0, upper=b, convention="ito")
    np.testing.assert_allclose([found.upper_probability, found.mean], [up, (b * up - x) / v], rtol=1e-12)
    still = first_passage_time(lambda p: 0 * p, constant(0.3), start=0.0, boundary=b, wall=0.0, convention="ito")
    np.testing.assert_allclose(still[:2], [b**2 / 0.6, 5 * b**4 / (12 * 0.3**2)], rtol=1e-12)


def test_a_barrier_of_fifty_temperatures():
    """There the passage factorises into two integrals, to exp(-50); and Kramers is right as T -> 0, with the factor
    two between the top and the other minimum."""
    temperature = 0.005
    potential = lambda x: (x**2 - 1) ** 2 / 4
    options = {"epsabs": 0, "epsrel": 1e-12, "limit": 400}
    top = scipy.integrate.quad(lambda x: np.exp((potential(x) - 0.25) / temperature), -1, 0, **options, points=[-0.1])
    well = scipy.integrate.quad(lambda x: np.exp(-potential(x) / temperature), -2.5, 0, **options, points=[-1.1, -0.9])
    exact = top[0] * well[0] / temperature * np.exp(0.25 / temperature)
    found = first_passage_time(
        double_well, constant(temperature), start=-1.0, boundary=0.0, wall=None, convention="ito"
    )
    np.testing.assert_allclose(found.mean, exact, rtol=1e-8)
    ratios = []
    for t in (0.005, 0.0025):
        across = first_passage_time(double_well, constant(t), start=-1.0, boundary=1.0, wall=None, convention="ito")
        ratios.append(across.mean * float(kramers_rate(2.0, -1.0, barrier=0.25, temperature=t)))
        np.testing.assert_allclose(across.second_moment / across.mean**2, 2, rtol=1e-3)
    np.testing.assert_allclose(2 * ratios[1] - ratios[0], 1, rtol=1e-4)
    np.testing.assert_allclose(across.mean, 2 * first_passage_time(
        double_well, constant(0.0025), start=-1.0, boundary=0.0, wall=None, convention="ito"
    ).mean, rtol=1e-8)  # fmt: skip


@pytest.mark.parametrize("temperature", [1e-2, 1e-4, pytest.param(5e-6, marks=pytest.mark.slow)])
def test_running_down_a_parabola_at_any_temperature(temperature):
    """T = int_b^x dy sqrt(pi/(2 T)) erfcx(y/sqrt(2 T)) for the drift -x from x down to b, which tends to log(x/b): ten
    nodes of a panel have to follow exp(y^2/(2 T)). Leaving at either end is the same, but for what runs uphill."""
    integrand = lambda y: np.sqrt(np.pi / (2 * temperature)) * scipy.special.erfcx(y / np.sqrt(2 * temperature))
    exact = scipy.integrate.quad(integrand, 0.5, 1.0, epsabs=0, epsrel=1e-13)[0]
    options = {"start": 1.0, "convention": "ito"}
    for wall in (None, 1.3):
        found = first_passage_time(lambda p: -p, constant(temperature), boundary=0.5, wall=wall, **options)
        np.testing.assert_allclose(found.mean, exact, rtol=1e-10)
        assert found.error[0] < 1e-9
    inside = interval_exit(lambda p: -p, constant(temperature), lower=0.5, upper=1.3, **options)
    np.testing.assert_allclose(inside.mean, exact, rtol=1e-8)  # the error that it states
    assert inside.error[0] < 1e-8


def test_a_diffusion_too_small_for_the_panels_is_refused():
    for law, ends in (
        (first_passage_time, {"boundary": 0.5, "wall": 2.0}),
        (interval_exit, {"lower": 0.5, "upper": 2.0}),
    ):
        with pytest.raises(ValueError, match=r"diffusion: too small beside the drift: .* the time of the drift alone"):
            law(lambda p: -p, constant(1e-7), start=1.0, convention="ito", **ends)


def test_kramers_in_three_dimensions_is_rotated_and_its_modes_count_by_determinants():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    bottom, top = turn @ np.diag([2.0, 3.0, 5.0]) @ turn.T, turn @ np.diag([-1.0, 4.0, 0.5]) @ turn.T
    expected = 1 / (2 * np.pi) * np.sqrt(30 / 2) * np.exp(-3.0)
    np.testing.assert_allclose(kramers_rate(bottom, top, barrier=0.6, temperature=0.2), expected, rtol=1e-12)
    traced = jax.jit(lambda saddle: kramers_rate(bottom, saddle, barrier=0.6, temperature=0.2))
    np.testing.assert_allclose(traced(top), expected, rtol=1e-12)
    assert np.isnan(traced(bottom))
    with pytest.raises(ValueError, match="hessian_saddle: expected one negative eigenvalue"):
        kramers_rate(bottom, bottom, barrier=0.6, temperature=0.2)
    with pytest.raises(ValueError, match="hessian_minimum: expected positive eigenvalues"):
        kramers_rate(top, top, barrier=0.6, temperature=0.2)


def test_the_moved_boundary_is_a_gaussian_walk_s():
    """Mean number of steps out of (-1, 1) by the integral equation u = 1 + K u; the constant by Euler-Maclaurin."""
    n = np.arange(1, 1001.0)
    tail = 0.5 / np.sqrt(1000) - 1 / (24 * 1000**1.5) + 1 / (384 * 1000**3.5)
    limit = (2 * np.sqrt(1000) + tail - np.sum(n**-0.5)) / np.sqrt(2 * np.pi)
    unit = float(moved_boundary(0.0, start=-1.0, temperature=0.5, time_step=1.0))
    np.testing.assert_allclose(unit, limit, rtol=1e-9)
    assert float(moved_boundary(-2.0, start=0.0, temperature=0.5, time_step=1.0)) == -2.0 - unit
    nodes, weights = np.polynomial.legendre.leggauss(400)
    errors = []
    for step in (0.01, 0.005):
        variance = 2 * 0.3 * step
        kernel = np.exp(-((nodes[:, None] - nodes) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
        counts = np.linalg.solve(np.eye(400) - kernel * weights, np.ones(400))
        here = 1 + np.sum(np.exp(-(nodes**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance) * weights * counts)
        edge = float(moved_boundary(1.0, start=0.0, temperature=0.3, time_step=step))
        errors.append(here * step - edge**2 / 0.6)
    np.testing.assert_allclose(errors[0] / errors[1], 2, rtol=0.02)  # what is left is of order the step itself
    assert abs(errors[1]) < 0.01 * 1 / 0.6


@pytest.mark.parametrize("tail_index", [0.7, 1.0, 1.5, 1.9])
def test_levy_rates_have_the_constant_of_their_jump_measure(tail_index):
    """exp(-|k|^alpha) has the jump measure nu |x|^(-1-alpha) with 2 nu int (1 - cos x) x^(-1-alpha) dx = 1; the rate of
    jumps beyond r is nu r^-alpha/alpha on each side."""
    near = scipy.integrate.quad(lambda x: 2 * np.sin(x / 2) ** 2 * x ** (-1 - tail_index), 0, 1, epsabs=0, limit=500)[0]
    far = scipy.integrate.quad(lambda x: x ** (-1 - tail_index), 1, np.inf, weight="cos", wvar=1.0, epsabs=1e-12)[0]
    nu = 0.5 / (near + 1 / tail_index - far)
    expected = 0.03**tail_index * nu / tail_index * (1.5**-tail_index + 0.4**-tail_index)
    found = levy_escape_rate(tail_index=tail_index, scale=0.03, left=1.5, right=0.4)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    one_sided = levy_escape_rate(tail_index=tail_index, scale=0.03, left=1.5, right=np.inf)
    np.testing.assert_allclose(one_sided, 0.03**tail_index * nu / tail_index * 1.5**-tail_index, rtol=1e-8)


def test_the_free_exit_time_solves_its_equation():
    """The generator of the stable process on u = E tau is -1: u(x) - u(x -+ y) against the jump measure, at x = 0.3."""
    alpha, scale, x = 1.2, 0.7, 0.3
    u = lambda y: float(free_levy_exit_time(y, tail_index=alpha, scale=scale, half_width=1.0))
    constant_ = np.sqrt(1 - x**2) ** alpha / u(x)
    shape = lambda y: max(1 - y * y, 0.0) ** (alpha / 2) / constant_
    nu = alpha * float(levy_escape_rate(tail_index=alpha, scale=scale, left=1.0, right=np.inf))
    second = lambda y: (2 * shape(x) - shape(x + y) - shape(x - y)) * y ** (-1 - alpha)
    edges = [1e-4, 1 - x, 1 + x]
    parts = [
        scipy.integrate.quad(second, *pair, epsabs=0, epsrel=1e-11, limit=300)[0] for pair in itertools.pairwise(edges)
    ]
    slope = -(shape(x + 1e-3) - 2 * shape(x) + shape(x - 1e-3)) / 1e-6
    total = sum(parts) + 2 * shape(x) * (1 + x) ** -alpha / alpha + slope * edges[0] ** (2 - alpha) / (2 - alpha)
    np.testing.assert_allclose(nu * total, 1, rtol=1e-7)
    found = free_levy_exit_time(0.3, tail_index=2.0, scale=scale, half_width=1.5)
    expected = interval_exit(lambda p: 0 * p, constant(scale**2), start=0.3, lower=-1.5, upper=1.5, convention="ito")
    np.testing.assert_allclose(found, expected.mean, rtol=1e-10)
    three = free_levy_exit_time(0.5, tail_index=2.0, scale=scale, half_width=1.5, dimension=3)
    np.testing.assert_allclose(three, (1.5**2 - 0.25) / (6 * scale**2), rtol=1e-12)
    assert float(free_levy_exit_time(2.0, tail_index=alpha, scale=scale, half_width=1.0)) == 0


def test_a_chain_s_exits_are_those_of_the_gambler_and_of_a_gaussian_kernel():
    """The simple walk on whole numbers leaves (-3, 4) from 0 after 12 steps, from 1 after 12; a Gaussian autoregression
    by Gauss-Legendre Nystroem on its density; and it tends to the continuous passage."""
    walk = lambda x, y: (y >= np.round(x) - 1) / 2 + (y >= np.round(x) + 1) / 2
    for start in (0.0, 1.0):
        found = chain_exit_steps(walk, start=start, lower=-2.5, upper=3.5, num_cells=12)
        np.testing.assert_allclose(found.steps, 12, rtol=1e-12)
    step, temperature = 0.05, 0.3
    spread = np.sqrt(2 * temperature * step)
    mean = lambda x: x - step * (x**3 - x)
    gaussian = lambda x, y: scipy.special.ndtr((y - mean(x)) / spread)
    found = chain_exit_steps(gaussian, start=-1.0, lower=-3.0, upper=0.0, num_cells=800)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    nodes, weights = 1.5 * nodes - 1.5, 1.5 * weights
    density = lambda x: np.exp(-((nodes - mean(x)) ** 2) / (2 * spread**2)) / np.sqrt(2 * np.pi) / spread * weights
    counts = np.linalg.solve(np.eye(200) - density(nodes[:, None]), np.ones(200))
    np.testing.assert_allclose(found.steps, 1 + density(-1.0) @ counts, rtol=1e-6)
    assert found.error < 1e-3 * found.steps
    edge = float(moved_boundary(0.0, start=-1.0, temperature=temperature, time_step=step))
    moved = first_passage_time(
        double_well, constant(temperature), start=-1.0, boundary=edge, wall=None, convention="ito"
    )
    np.testing.assert_allclose(found.steps * step, moved.mean, rtol=step)
    with pytest.raises(ValueError, match="transition: expected a distribution function"):
        chain_exit_steps(lambda x, y: -gaussian(x, y), start=-1.0, lower=-3.0, upper=0.0, num_cells=8)


def test_clipped_exponents_count_the_jumps():
    exponent = lambda clip: clipped_exit_exponent(tail_index=1.4, half_width=1.0, clip=clip)
    np.testing.assert_allclose([exponent(c) for c in (np.inf, 1.1, 0.9, 0.51, 0.4)], [1.4, 1.4, 1.8, 1.8, 2.2])
    with pytest.raises(ValueError, match="clip: half_width/clip = 2 is a whole number"):
        exponent(0.5)
    with pytest.raises(ValueError, match=r"tail_index: expected a number in \(1, 2\)"):
        clipped_exit_exponent(tail_index=2.0, half_width=1.0, clip=0.4)


def test_occupations_are_integrals_of_the_broken_line():
    grid = np.array([-2.0, -1.2, 0.1, 0.5, 2.5])
    density = np.array([0.0, 3.0, 1.0, 2.0, 0.5])
    line = lambda x: np.interp(x, grid, density)
    edges = [-2.0, -0.7, 0.1, 1.0, 2.5]
    masses = [
        scipy.integrate.quad(line, a, b, points=grid[(grid > a) & (grid < b)])[0] for a, b in itertools.pairwise(edges)
    ]
    found = jax.jit(basin_occupations)(density, grid, np.array(edges[1:-1]))
    np.testing.assert_allclose(found, np.array(masses) / sum(masses), rtol=1e-10)
    with pytest.raises(ValueError, match="borders: expected positions inside the grid"):
        basin_occupations(density, grid, np.array([3.0]))


def test_what_is_refused():
    options = {"wall": None, "convention": "ito"}
    with pytest.raises(ValueError, match="boundary: expected another position"):
        first_passage_time(double_well, growing, start=0.0, boundary=0.0, **options)
    with pytest.raises(ValueError, match="wall: expected on the side of start"):
        first_passage_time(double_well, growing, start=0.0, boundary=1.0, wall=0.5, convention="ito")
    with pytest.raises(ValueError, match="start: expected between lower"):
        interval_exit(double_well, growing, start=2.0, lower=0.0, upper=1.0, convention="ito")
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.jit(lambda x: first_passage_time(double_well, growing, start=x, boundary=1.0, **options).mean)(0.0)
    with pytest.raises(ValueError, match="tail_index: expected 0 < tail_index < 2"):
        levy_escape_rate(tail_index=2.0, scale=1.0, left=1.0, right=1.0)


@pytest.mark.parametrize("tail_index", [1.2, 1.5])
def test_exit_times_past_a_layer_thinner_than_the_cells(tail_index):
    """A drift away from the left end lets time fall to 0 there within a layer that no grid sees; at small noise the
    time inside is that of one jump, and twice the points change it by little."""
    times = []
    for size in (101, 201):
        x = -1 - np.cos(np.linspace(0, np.pi, size))
        x[[0, -1]] = -2, 0
        found = levy_mean_exit_time(lambda x: x**3 - x, x, interval=(-2, 0), tail_index=tail_index, scale=0.012)
        assert found.mean_time.min() == 0
        assert found.error < 0.05 * found.mean_time.max()
        times.append(np.interp(-1, x, found.mean_time))
    one_jump = 1 / levy_escape_rate(tail_index=tail_index, scale=0.012, left=1.0, right=1.0)
    np.testing.assert_allclose(times[1], times[0], rtol=2e-3)
    np.testing.assert_allclose(times[1], one_jump, rtol=0.02)

"""The Fokker-Planck solver against exact Gaussians, manufactured solutions, quadrature and a Schroedinger operator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize

from sgdsde.predictions import (
    circulation,
    entropy_production,
    fokker_planck_density,
    fokker_planck_evolution,
    helmholtz_parts,
    one_dimensional_density,
    relaxation_rate,
    state_dependent_sde_variance,
    state_dependent_sgd_variance,
)
from sgdsde.predictions.fokker_planck.coefficients import ito_coefficients
from sgdsde.predictions.fokker_planck.generator import _decomposition

HESSIAN = np.array([[1.0, 0.2], [0.2, 0.6]])
SPREAD = np.array([[0.7, -0.2], [-0.2, 0.4]])
COVARIANCE = scipy.linalg.solve_continuous_lyapunov(HESSIAN, 2 * SPREAD)
CONVENTIONS = ("ito", "stratonovich", "haenggi_klimontovich")


def product(first, second):
    return np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)


def area(grid):
    return (grid[1, 0, 0] - grid[0, 0, 0]) * (grid[0, 1, 1] - grid[0, 0, 1])


def pull(params):
    return -jnp.asarray(HESSIAN) @ params


def even_spread(params):
    return jnp.asarray(SPREAD)


def gaussian(grid, mean, covariance):
    inverse = np.linalg.inv(covariance)
    squares = np.einsum("abi,ij,abj->ab", grid - mean, inverse, grid - mean)
    return np.exp(-squares / 2) * np.sqrt(np.linalg.det(inverse)) / (2 * np.pi)


def square_grid(size):
    return product(*(np.sqrt(np.diag(COVARIANCE))[:, None] * np.linspace(-6, 6, size)))


@pytest.fixture(scope="module")
def parabola():
    """Two resolutions of the same Ornstein-Uhlenbeck process, whose drift and noise do not commute."""
    grids = [square_grid(size) for size in (61, 121)]
    return [(grid, fokker_planck_density(pull, even_spread, grid, convention="ito")) for grid in grids]


def test_a_parabola_with_noise_that_does_not_commute(parabola):
    """Gaussian with S H + H S = 2 D, J = (D S^-1 - H) x p, circulation [H, S], entropy tr D^-1 HSH - tr H."""
    inverse = np.linalg.inv(COVARIANCE)
    bracket = HESSIAN @ COVARIANCE - COVARIANCE @ HESSIAN
    production = np.trace(np.linalg.solve(SPREAD, HESSIAN @ COVARIANCE @ HESSIAN)) - np.trace(HESSIAN)
    gaps = []
    for grid, (density, current, error, current_error) in parabola:
        exact = gaussian(grid, 0, COVARIANCE)
        flow = np.einsum("ij,abj->abi", SPREAD @ inverse - HESSIAN, grid) * exact[..., None]
        assert density.min() > 0
        np.testing.assert_allclose(density.sum() * area(grid), 1, atol=1e-9)  # the rim has half weights
        gaps.append(
            [
                np.abs(density - exact).sum() * area(grid),
                np.linalg.norm(current - flow, axis=-1).sum() * area(grid),
                circulation(current, grid) / bracket[0, 1] - 1,
                entropy_production(density, current, even_spread, grid) / production - 1,
                error,
                current_error,
            ]
        )
    coarse, fine = np.array(gaps)
    np.testing.assert_allclose(coarse / fine, 4, rtol=0.1)  # second order
    assert np.all(fine[:2] < fine[4:] / 2)  # the errors it states: about three times the truth
    np.testing.assert_allclose((4 * fine - coarse)[2:4] / 3, 0, atol=1e-4)


def test_mass_is_one_to_rounding(parabola):
    for grid, solution in parabola:
        sides = [np.linspace(grid[0, 0, i], grid[-1, -1, i], len(grid)) for i in range(2)]
        mass = np.trapezoid(np.trapezoid(solution.density, sides[1]), sides[0])
        np.testing.assert_allclose(mass, 1, rtol=1e-12)


def test_the_slowest_rate_of_a_parabola_is_its_smallest_curvature():
    slowest = np.linalg.eigvalsh(HESSIAN)[0]
    rates, errors = zip(*(relaxation_rate(pull, even_spread, square_grid(m), convention="ito") for m in (41, 81)))
    np.testing.assert_allclose((4 * rates[1] - rates[0]) / 3, slowest, rtol=1e-4)
    assert abs(rates[1] - slowest) < errors[1] / 2


def test_a_rotation_relaxes_at_the_real_part_of_a_complex_pair():
    grid = product(np.linspace(-5, 5, 81), np.linspace(-5, 5, 81))

    def turning(params):
        return -params + 3 * jnp.stack([-params[1], params[0]])

    rate, error = relaxation_rate(turning, lambda params: 1.0, grid, convention="ito")
    np.testing.assert_allclose(rate, 1, atol=error)
    assert error < 0.1
    found = fokker_planck_density(turning, lambda params: 1.0, grid, convention="ito")
    np.testing.assert_allclose(circulation(found.current, grid), 6, rtol=1e-2)  # 3 E x^2


def evolved(size):
    grid, start, spread, duration = square_grid(size), np.array([0.4, 0.2]), np.array([[0.4, 0.1], [0.1, 0.5]]), 0.5
    found = fokker_planck_evolution(
        pull, even_spread, gaussian(grid, start, spread), grid, duration=duration, convention="ito"
    )
    mean = np.einsum("ab,abi->i", found.density, grid) * area(grid)
    covariance = np.einsum("ab,abi,abj->ij", found.density, grid - mean, grid - mean) * area(grid)
    decay = scipy.linalg.expm(-duration * HESSIAN)
    exact = decay @ spread @ decay + COVARIANCE - decay @ COVARIANCE @ decay
    assert found.density.min() >= 0
    distance = np.abs(found.density - gaussian(grid, decay @ start, exact)).sum() * area(grid)
    assert distance < found.error / 2
    return np.concatenate([mean - decay @ start, (covariance - exact).ravel()])


def test_mean_and_covariance_on_the_way_in_two_dimensions():
    coarse, fine = evolved(41), evolved(81)
    assert np.all(np.abs(fine) < 1.5e-3)
    np.testing.assert_allclose((4 * fine - coarse) / 3, 0, atol=1e-4)


@pytest.mark.slow
def test_mean_and_covariance_on_the_way_to_one_in_ten_thousand():
    coarse, fine = evolved(151), evolved(301)
    np.testing.assert_allclose(fine, 0, atol=1e-4)
    np.testing.assert_allclose(np.abs(coarse).max() / np.abs(fine).max(), 4, rtol=0.1)


@pytest.mark.parametrize("duration", [0.01, 0.7, 50.0])
def test_mean_and_variance_on_the_way_in_one_dimension(duration):
    found = []
    for size in (251, 501):
        grid = np.linspace(-6, 6, size)
        start = np.exp(-((grid - 1) ** 2) / 0.5) / np.sqrt(0.5 * np.pi)
        solution = fokker_planck_evolution(
            lambda x: -1.3 * x, lambda x: 0.8, start, grid, duration=duration, convention="ito"
        )
        mean = np.trapezoid(solution.density * grid, grid)
        found.append([mean, np.trapezoid(solution.density * (grid - mean) ** 2, grid)])
        np.testing.assert_allclose(np.trapezoid(solution.density, grid), 1, rtol=1e-12)
    decay = np.exp(-1.3 * duration)
    exact = [decay, 0.25 * decay**2 + 0.8 / 1.3 * (1 - decay**2)]
    np.testing.assert_allclose(found[1], exact, atol=1e-4)
    np.testing.assert_allclose((4 * np.array(found[1]) - found[0]) / 3, exact, atol=1e-6)


def wells(params):
    return -4 * params * (params**2 - 1)


def blowtorch(params):
    return 0.4 * (1 + jnp.tanh(3 * params[0]) / 2)


@pytest.mark.parametrize(("convention", "power"), list(zip(CONVENTIONS, (0, 0.5, 1))))
def test_one_dimension_with_noise_that_depends_on_the_state(convention, power):
    def spread(x):
        return 0.4 * (1 + np.tanh(3 * x) / 2)

    def weight(x):
        exponent = scipy.integrate.quad(lambda y: -4 * y * (y * y - 1) / spread(y), 0, x, epsabs=1e-13, epsrel=1e-12)[0]
        return spread(x) ** (power - 1) * np.exp(exponent)

    grid = np.linspace(-2.6, 2.6, 401)
    exact = np.array([weight(x) for x in grid])
    exact /= np.trapezoid(exact, grid)
    closed = one_dimensional_density(wells, blowtorch, grid, convention=convention)
    np.testing.assert_allclose(closed, exact, rtol=1e-8)
    density, current, error, _ = fokker_planck_density(wells, blowtorch, grid, convention=convention)
    distance = np.trapezoid(np.abs(density - exact), grid)
    assert distance < error < 1e-3
    assert distance < 1e-4
    assert np.abs(current).max() < 1e-10


def landscape(x):
    return (x[0] ** 2 - 1) ** 2 / 2 + x[1] ** 2 + x[0] * x[1] / 2


def eddies(x):
    return 0.3 + 0.2 * x[0] + 0.1 * x[1] ** 2


def twisted(x):
    angle, wide = 0.4 + 0.5 * jnp.tanh(x[0]), 0.5 + 0.2 * jnp.sin(x[1])
    along = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    return 0.2 * jnp.eye(2) + wide * along[:, None] * along[None, :]


def manufactured(convention):
    """The drift whose stationary law is exp(-landscape), with the current curl(eddies * law) on top."""

    def root(x):
        angle, wide = 0.4 + 0.5 * jnp.tanh(x[0]), 0.5 + 0.2 * jnp.sin(x[1])
        along = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        return jnp.sqrt(0.4) * jnp.eye(2) + (jnp.sqrt(0.4 + 2 * wide) - jnp.sqrt(0.4)) * along[:, None] * along[None, :]

    def drift(x):
        slope, swirl = jax.grad(landscape)(x), jax.grad(eddies)(x)
        turn = swirl - eddies(x) * slope  # grad(eddies p) / p
        velocity = -twisted(x) @ slope + jnp.stack([turn[1], -turn[0]])
        if convention == "haenggi_klimontovich":
            return velocity
        velocity = velocity + jnp.einsum("ijj->i", jax.jacfwd(twisted)(x))
        if convention == "stratonovich":
            velocity = velocity - jnp.einsum("jk,ikj->i", root(x), jax.jacfwd(root)(x)) / 2
        return velocity

    return drift


@pytest.mark.slow
def test_a_manufactured_solution_with_a_current():
    gaps = []
    for size in (51, 101):
        grid = product(np.linspace(-2.8, 2.8, size), np.linspace(-4, 4, size))
        convention = "haenggi_klimontovich"
        density, current, error, _ = fokker_planck_density(
            manufactured(convention), twisted, grid, convention=convention
        )
        x, y = grid[..., 0], grid[..., 1]
        exact = np.exp(-((x**2 - 1) ** 2 / 2 + y**2 + x * y / 2))
        exact /= exact.sum() * area(grid)
        function = (0.3 + 0.2 * x + 0.1 * y**2) * exact
        flow = np.stack([np.gradient(function, y[0], axis=1), -np.gradient(function, x[:, 0], axis=0)], axis=-1)
        production = np.einsum("abi,abij,abj->ab", flow, np.linalg.inv(jax.vmap(jax.vmap(twisted))(grid)), flow) / exact
        gaps.append(
            [
                np.abs(density - exact).sum() * area(grid),
                np.abs(helmholtz_parts(current, grid).stream_function - function).max() / function.max(),
                np.abs(current - flow).sum() / np.abs(flow).sum(),
                circulation(current, grid) / (2 * function.sum() * area(grid)) - 1,
                entropy_production(density, current, twisted, grid) / (production.sum() * area(grid)) - 1,
            ]
        )
        assert gaps[-1][0] < error / 2
    coarse, fine = np.array(gaps)
    assert np.all(np.abs(fine) < 0.02)
    np.testing.assert_allclose(coarse / fine, 4, atol=0.7)


@pytest.mark.slow
def test_the_conventions_are_one_process_seen_thrice():
    """The manufactured drift of each convention, turned into Ito, is the same."""
    grid = product(np.linspace(-2.8, 2.8, 9), np.linspace(-4, 4, 9))
    known = [ito_coefficients(manufactured(name), twisted, grid, name).drift for name in CONVENTIONS]
    np.testing.assert_allclose(known[1], known[0], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(known[2], known[0], rtol=1e-10, atol=1e-10)


def test_the_drift_that_noise_induces_in_two_dimensions():
    """From the derivatives G_ikj = d_j s_ik of a root s that is linear in the position, D = s s / 2, by the product
    rule: d_j D_ij is a divergence and no gradient of the trace, and s_jk d_j s_ik / 2 is half of that only for a
    scalar."""
    slope = np.zeros((2, 2, 2))
    slope[0, 0, 0], slope[1, 1, 0], slope[0, 1, 1], slope[1, 0, 1] = 0.3, -0.1, 0.2, 0.2

    def spread(params):
        root = jnp.eye(2) + jnp.asarray(slope) @ params
        return root @ root / 2

    grid = product(np.linspace(-1, 1, 9), np.linspace(-1, 1, 9))
    fine = product(np.linspace(-1, 1, 17), np.linspace(-1, 1, 17))
    root = np.eye(2) + np.einsum("ikj,abj->abik", slope, fine)
    expected = {
        "haenggi_klimontovich": np.einsum("ikj,abkj->abi", slope, root) / 2
        + np.einsum("abik,kjj->abi", root, slope) / 2,
        "stratonovich": np.einsum("abjk,ikj->abi", root, slope) / 2,
    }
    for convention, drift in expected.items():
        found = ito_coefficients(jnp.zeros_like, spread, grid, convention).drift
        np.testing.assert_allclose(found, drift, rtol=1e-12, atol=1e-14)


def test_helmholtz_parts_of_a_known_mixture():
    grid = product(np.linspace(-1, 1, 33), np.linspace(0, 3, 41))
    x, y = np.pi * (grid[..., 0] + 1) / 2, np.pi * grid[..., 1] / 3
    k, q = np.pi / 2, np.pi / 3
    function = np.sin(2 * x) * np.sin(y)
    gradient = np.stack([k * np.sin(x) * np.cos(3 * y), 3 * q * np.cos(x) * np.sin(3 * y)], axis=-1)
    solenoidal = np.stack([q * np.sin(2 * x) * np.cos(y), -2 * k * np.cos(2 * x) * np.sin(y)], axis=-1)
    parts = helmholtz_parts(gradient + solenoidal, grid)
    np.testing.assert_allclose(parts.gradient, gradient, atol=1e-13)
    np.testing.assert_allclose(parts.solenoidal, solenoidal, atol=1e-13)
    np.testing.assert_allclose(parts.stream_function, function, atol=1e-13)


def test_offsets_make_up_any_diffusion_with_weights_that_are_not_negative():
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(500, 2, 2)) * 10.0 ** rng.uniform(-2, 0, size=(500, 1, 2))
    diffusion = factors @ np.swapaxes(factors, 1, 2)
    offsets, weights = _decomposition(diffusion)
    assert weights.min() >= 0
    assert (weights > 0).sum(axis=0).max() <= 3
    again = np.einsum("kn,ki,kj->nij", weights, offsets, offsets)
    np.testing.assert_allclose(again, diffusion, atol=1e-11 * np.abs(diffusion).max())


def test_a_narrow_correlated_diffusion_stays_positive():
    spread = np.array([[1.0, 0.97], [0.97, 1.0]])
    grid = product(np.linspace(-6, 6, 81), np.linspace(-6, 6, 81))
    start = gaussian(grid, np.array([0.3, -0.3]), 0.1 * np.eye(2))
    start /= start.sum() * area(grid)
    for found in (
        fokker_planck_density(lambda x: -x, lambda x: jnp.asarray(spread), grid, convention="ito"),
        fokker_planck_evolution(
            lambda x: -x, lambda x: jnp.asarray(spread), start, grid, duration=0.05, convention="ito"
        ),
    ):
        assert found.density.min() >= 0
        np.testing.assert_allclose(found.density.sum() * area(grid), 1, rtol=1e-8)


def test_the_double_well_relaxes_like_its_schroedinger_operator():
    """-T psi'' + (U'^2/(4T) - U''/2) psi by finite differences; twice Kramers' rate to 20 %."""
    heat, values = 0.18, []
    for size in (1501, 3001):
        x, step = np.linspace(-2.4, 2.4, size, retstep=True)
        well = (4 * x * (x**2 - 1)) ** 2 / (4 * heat) - (12 * x**2 - 4) / 2
        side = np.full(x.size - 1, -heat / step**2)
        diagonal = 2 * heat / step**2 + well
        values.append(scipy.linalg.eigh_tridiagonal(diagonal, side, select="i", select_range=(1, 1))[0][0])
    expected = (4 * values[1] - values[0]) / 3
    rates, errors = zip(
        *(relaxation_rate(wells, lambda x: heat, np.linspace(-2.4, 2.4, m), convention="ito") for m in (301, 601))
    )
    np.testing.assert_allclose((4 * rates[1] - rates[0]) / 3, expected, rtol=1e-5)
    assert abs(rates[1] - expected) < errors[1] / 2
    np.testing.assert_allclose(rates[1], 2 * np.sqrt(8 * 4) / (2 * np.pi) * np.exp(-1 / heat), rtol=0.2)


def test_variances_with_noise_that_grows():
    curvature, additive, multiplicative, rate, batch = 1.2, 0.5, 0.3, 0.4, 2
    grid, known = np.linspace(-150, 150, 60_001), {}
    for convention in CONVENTIONS:
        predicted = state_dependent_sde_variance(
            curvature, additive, multiplicative, learning_rate=rate, batch_size=batch, convention=convention
        )
        density = one_dimensional_density(
            lambda x: -curvature * x,
            lambda x: rate / batch * (additive + multiplicative * x[0] ** 2) / 2,
            grid,
            convention=convention,
        )
        np.testing.assert_allclose(np.trapezoid(density * grid**2, grid), predicted, rtol=1e-8)
        known[convention] = float(predicted)
    assert len(set(known.values())) == 3
    steps, variance = rate, 0.0
    for _ in range(300):
        variance = (1 - steps * curvature) ** 2 * variance + steps**2 / batch * (additive + multiplicative * variance)
    own = state_dependent_sgd_variance(curvature, additive, multiplicative, learning_rate=rate, batch_size=batch)
    np.testing.assert_allclose(own, variance, rtol=1e-12)
    trap = state_dependent_sgd_variance(1.0, 0.5, 2.0, learning_rate=0.1, batch_size=2)  # B h^2 = b
    other = state_dependent_sde_variance(1.0, 0.5, 2.0, learning_rate=0.1, batch_size=2, convention="stratonovich")
    np.testing.assert_allclose(trap, other, rtol=1e-12)
    with pytest.raises(ValueError, match="no stationary variance"):
        state_dependent_sgd_variance(1.0, 0.5, 30.0, learning_rate=0.1, batch_size=1)


LINE = np.linspace(-4, 4, 81)


def parts(**change):
    return {"drift": lambda x: -x, "diffusion": lambda x: 0.5, "grid": LINE, "convention": "ito"} | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": np.linspace(-4, 4, 80)}, "grid: expected an odd number"),
        ({"grid": np.sinh(np.linspace(-2, 2, 81))}, "grid: expected uniform"),
        ({"grid": np.zeros((3, 4))}, "grid: expected shape"),
        ({"grid": np.linspace(-1, 1, 81)}, "grid: too narrow"),
        ({"drift": lambda x: x[0]}, "drift: expected shape"),
        ({"drift": lambda x: jnp.sqrt(x)}, "drift: expected finite"),
        ({"diffusion": lambda x: x}, "diffusion: expected a scalar"),
        ({"diffusion": lambda x: x[0]}, "diffusion: expected a symmetric, positive definite"),
        ({"drift": lambda x: -1e4 * x * (x**2 - 1), "diffusion": lambda x: 1.0}, "diffusion: too small"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        fokker_planck_density(**parts(**change))


def test_bad_conventions_densities_and_traces_are_refused():
    with pytest.raises(Exception, match="convention"):
        fokker_planck_density(**parts(convention="Ito"))
    with pytest.raises(ValueError, match="initial_density"):
        fokker_planck_evolution(**parts(), initial_density=np.ones(81), duration=1.0)
    with pytest.raises(ValueError, match="initial_density"):
        fokker_planck_evolution(**parts(), initial_density=np.ones(8), duration=1.0)
    with pytest.raises(ValueError, match="duration"):
        fokker_planck_evolution(**parts(), initial_density=np.ones(81) / 8, duration=0.0)
    with pytest.raises(ValueError, match="below rounding"):
        relaxation_rate(wells, lambda x: 0.02, np.linspace(-2.4, 2.4, 201), convention="ito")
    with pytest.raises(ValueError, match="current"):
        circulation(np.zeros(81), LINE)
    grid = product(LINE, LINE)
    with pytest.raises(ValueError, match="through the walls"):
        helmholtz_parts(grid, grid)
    with pytest.raises(ValueError, match="density and current"):
        entropy_production(np.ones(80), np.ones((81, 1)), lambda x: 1.0, LINE)
    with pytest.raises(TypeError, match="host"):
        jax.jit(lambda grid: fokker_planck_density(**parts(grid=grid)))(LINE)


def test_single_precision_coefficients_are_enough():
    with jax.enable_x64(False):
        density = fokker_planck_density(**parts()).density
    np.testing.assert_allclose(density, np.exp(-(LINE**2)) / np.sqrt(np.pi), atol=1e-5)

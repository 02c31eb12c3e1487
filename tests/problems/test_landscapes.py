"""Landscapes: noise by enumeration against the asked covariance, geometry against closed forms, tracing, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.problem import gradient, gradient_covariance, loss
from sgdsde.problems import landscapes

COVARIANCE = np.array([[1.0, 0.4], [0.4, 0.5]])
TWO = {"gradient_covariance": COVARIANCE, "num_examples": 12}
ONE = {"gradient_covariance": 0.7, "num_examples": 12}
WELL = {"barrier": 0.8, "transverse_curvature": (1.7,)}
BASINS = {"sharp_curvature": 10.0, "flat_curvature": 1.0, "separation": 4.0, "smoothing": 0.05}
MAKERS = {
    "quadratic": lambda: landscapes.quadratic([[2.0, 0.5], [0.5, 1.0]], **TWO),
    "double_well": lambda: landscapes.double_well(**WELL, **TWO),
    "tilted_double_well": lambda: landscapes.tilted_double_well(tilt=0.3, **WELL, **TWO),
    "sharp_and_flat": lambda: landscapes.sharp_and_flat(**BASINS, **ONE),
    "quartic": lambda: landscapes.quartic(curvature=(-1.0, 0.5), coefficient=2, **TWO),
    "saddle": lambda: landscapes.saddle(curvature=(-1.0, 2.0), confinement=0.5, **TWO),
    "mueller_brown": lambda: landscapes.mueller_brown(**TWO),
    "degenerate_valley": lambda: landscapes.degenerate_valley(strength=1.5, confinement=0.1, **TWO),
}
POTENTIALS = {  # written a second time, in NumPy
    "quadratic": lambda x: x[0] ** 2 + 0.5 * x[0] * x[1] + 0.5 * x[1] ** 2,
    "double_well": lambda x: 0.8 * (x[0] ** 2 - 1) ** 2 + 1.7 * x[1] ** 2 / 2,
    "tilted_double_well": lambda x: 0.8 * (x[0] ** 2 - 1) ** 2 + 0.3 * x[0] + 1.7 * x[1] ** 2 / 2,
    "sharp_and_flat": lambda x: -0.05 * np.log(np.exp(-100 * (x[0] + 2) ** 2) + np.exp(-10 * (x[0] - 2) ** 2)),
    "quartic": lambda x: -(x[0] ** 2) / 2 + 0.5 * x[0] ** 4 + 0.25 * x[1] ** 2 + 0.5 * x[1] ** 4,
    "saddle": lambda x: -(x[0] ** 2) / 2 + x[1] ** 2 + 0.125 * (x[0] ** 2 + x[1] ** 2) ** 2,
    "mueller_brown": lambda x: (
        -200 * np.exp(-((x[0] - 1) ** 2) - 10 * x[1] ** 2)
        - 100 * np.exp(-(x[0] ** 2) - 10 * (x[1] - 0.5) ** 2)
        - 170 * np.exp(-6.5 * (x[0] + 0.5) ** 2 + 11 * (x[0] + 0.5) * (x[1] - 1.5) - 6.5 * (x[1] - 1.5) ** 2)
        + 15 * np.exp(0.7 * (x[0] + 1) ** 2 + 0.6 * (x[0] + 1) * (x[1] - 1) + 0.7 * (x[1] - 1) ** 2)
    ),
    "degenerate_valley": lambda x: 1.5 * x[0] ** 2 * x[1] ** 2 / 2 + 0.05 * (x[0] ** 2 + x[1] ** 2),
}


POINT = np.array([0.6, -0.3])


@functools.cache
def made(name):
    return MAKERS[name]()


@jax.jit
def seen(problem, x):
    """Mean loss, mean of the example losses, gradient, Sigma by enumeration, noise factor."""
    examples = jax.vmap(problem.example_loss, in_axes=(None, 0))(x, problem.examples).mean()
    return loss(problem, x), examples, gradient(problem, x), gradient_covariance(problem, x), problem.noise_factor(x)


@pytest.mark.parametrize("name", MAKERS)
def test_noise_mean_and_gradient_are_exact(name):
    problem, reference = made(name), POTENTIALS[name]
    size = problem.examples.shape[1]
    x = POINT[:size]
    mean, of_examples, slope, sigma, factor = seen(problem, jnp.asarray(x))
    asked = np.array(COVARIANCE if size == 2 else [[0.7]])
    np.testing.assert_allclose(sigma, asked, atol=1e-12)
    assert factor.shape == (size, size)
    np.testing.assert_allclose(factor @ factor.T, asked, atol=1e-12)
    np.testing.assert_allclose(np.asarray(problem.examples).mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose([mean, of_examples], reference(x), rtol=1e-12)
    differences = [(reference(x + h) - reference(x - h)) / 2e-5 for h in 1e-5 * np.eye(size)]
    np.testing.assert_allclose(slope, differences, rtol=1e-6, atol=1e-7)


STATIONARY_STARTS = [name for name in MAKERS if name != "degenerate_valley"]


@pytest.mark.parametrize("name", STATIONARY_STARTS)
def test_init_is_at_stationary_points(name, key):
    @jax.jit
    def starts_and_slopes(problem, keys):
        starts = jax.vmap(problem.init)(keys)
        return starts, jax.vmap(lambda x: gradient(problem, x))(starts)

    starts, slopes = starts_and_slopes(made(name), jax.random.split(key, 40))
    np.testing.assert_allclose(slopes, 0, atol=1e-8)
    expected = {"quadratic": 1, "saddle": 1, "mueller_brown": 3}.get(name, 2)
    assert len(np.unique(np.asarray(starts).round(6), axis=0)) == expected


def test_well_curvatures_and_heights():
    problem = made("double_well")
    hessian = jax.jit(jax.hessian(problem.mean_loss))
    np.testing.assert_allclose(hessian(jnp.array([-1.0, 0.0])), [[8 * 0.8, 0], [0, 1.7]], atol=1e-12)
    np.testing.assert_allclose(hessian(jnp.zeros(2)), [[-4 * 0.8, 0], [0, 1.7]], atol=1e-12)
    assert problem.mean_loss(jnp.zeros(2)) == 0.8
    saddle = made("saddle")
    bottom = jnp.array([np.sqrt(2.0), 0.0])
    np.testing.assert_allclose(gradient(saddle, bottom), 0, atol=1e-12)
    np.testing.assert_allclose(saddle.mean_loss(bottom), -0.5, atol=1e-12)
    valley = landscapes.degenerate_valley(strength=1.5, confinement=0.0, **TWO)
    on_axes = jax.vmap(lambda x: gradient(valley, x))(jnp.array([[1.3, 0.0], [0.0, -0.4], [0.0, 0.0]]))
    np.testing.assert_array_equal(on_axes, 0)


def test_double_well_in_one_dimension():
    problem = landscapes.double_well(barrier=0.8, transverse_curvature=(), gradient_covariance=[[0.7]], num_examples=2)
    assert problem.params_like.shape == (1,)
    _, _, slope, sigma, _ = seen(problem, jnp.array([0.5]))
    np.testing.assert_allclose(slope, 4 * 0.8 * 0.5 * (0.25 - 1), rtol=1e-14)
    np.testing.assert_allclose(sigma, [[0.7]], atol=1e-12)


def test_basins_have_the_asked_depths_and_curvatures():
    problem = made("sharp_and_flat")  # the corrections are of order exp(-160)
    hessian = jax.jit(jax.hessian(problem.mean_loss))
    for start, curvature in ((-2.0, 10.0), (2.0, 1.0)):
        x = jnp.array([start])
        depth, _, slope, _, _ = seen(problem, x)
        np.testing.assert_allclose([depth, *slope], 0, atol=1e-12)
        np.testing.assert_allclose(hessian(x), curvature, rtol=1e-12)
    grid = np.linspace(-6, 6, 20_001)
    values = jax.jit(jax.vmap(problem.mean_loss))(jnp.asarray(grid)[:, None])
    at_smoothing = np.exp(-np.asarray(values) / 0.05)  # a mixture of two Gaussians, of masses sqrt(2 pi T / h)
    np.testing.assert_allclose(np.trapezoid(at_smoothing, grid), np.sqrt(np.pi / 10) * (1 + 10**-0.5), rtol=1e-10)
    crossing = -2 + 4 / (1 + np.sqrt(10))
    np.testing.assert_allclose(
        problem.mean_loss(jnp.array([crossing])), 10 * (crossing + 2) ** 2 / 2 - 0.05 * np.log(2), rtol=1e-10
    )


def test_basins_keep_their_curvature_at_the_largest_smoothing():
    crossing = 10 * 1 * 16 / (2 * (np.sqrt(10) + 1) ** 2)
    problem = landscapes.sharp_and_flat(**{**BASINS, "smoothing": crossing / 5 * (1 - 1e-9)}, **ONE)
    hessian = jax.jit(jax.hessian(problem.mean_loss))
    for start, curvature in ((-2.0, 10.0), (2.0, 1.0)):
        x = jnp.array([start])
        for _ in range(5):
            x = x - seen(problem, x)[2] / curvature
        np.testing.assert_allclose(hessian(x), curvature, rtol=1e-3)


def test_published_points_of_mueller_brown():
    points = jnp.array([[-0.558, 1.442], [0.623, 0.028], [-0.050, 0.467], [-0.822, 0.624], [0.212, 0.293]])
    potential = made("mueller_brown").mean_loss

    @jax.jit
    @jax.vmap
    def newton(x):
        hessian = jax.hessian(potential)(x)
        return x - jnp.linalg.solve(hessian, jax.grad(potential)(x)), potential(x), hessian

    exact = newton(newton(newton(points)[0])[0])[0]
    _, energies, hessians = newton(exact)
    np.testing.assert_allclose(exact, points, atol=6e-4)
    np.testing.assert_allclose(energies, [-146.700, -108.167, -80.768, -40.665, -72.249], atol=6e-4)
    assert (np.linalg.eigvalsh(hessians)[:, 0] > 0).tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(exact[:3], landscapes.MUELLER_BROWN_MINIMA, atol=1e-11)


def test_state_dependent_noise():
    problem = landscapes.state_dependent(curvature=1.3, additive=0.5, multiplicative=0.2, num_examples=9)
    for x in (-0.7, 0.0, 1.9):
        mean, of_examples, slope, sigma, factor = seen(problem, jnp.array([x]))
        np.testing.assert_allclose(sigma, [[0.5 + 0.2 * x**2]], atol=1e-12)
        np.testing.assert_allclose(factor, [[np.sqrt(0.5), np.sqrt(0.2) * x]], rtol=1e-14)
        np.testing.assert_allclose(slope, 1.3 * np.array([x]), rtol=1e-14)
        np.testing.assert_allclose([mean, of_examples], 1.3 * x**2 / 2, atol=1e-14)


def test_float32_follows_the_arrays(key):
    covariance = jnp.asarray(COVARIANCE, jnp.float32)
    problem = landscapes.double_well(**WELL, gradient_covariance=covariance, num_examples=12)
    x = problem.init(key)
    values = seen(problem, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((problem, x, values)) if jnp.ndim(leaf)} == {jnp.dtype("float32")}
    assert values[0].dtype == jnp.float32
    np.testing.assert_allclose(values[3], COVARIANCE, atol=1e-6)


def test_singular_covariances():
    direction = np.array([[0.6], [-0.8]])
    for covariance in (direction @ direction.T, np.zeros((2, 2))):
        problem = landscapes.quadratic(np.eye(2), gradient_covariance=covariance, num_examples=3)
        np.testing.assert_allclose(seen(problem, jnp.ones(2))[3], covariance, atol=1e-12)


def test_second_values_do_not_recompile():
    traces = []

    @jax.jit
    def slope(problem, x):
        traces.append("argument")
        return gradient(problem, x)

    @jax.jit
    def spread(hessian, covariance, barrier):
        traces.append("traced")
        quadratic = landscapes.quadratic(hessian, gradient_covariance=covariance, num_examples=12)
        well = landscapes.double_well(
            barrier=barrier, transverse_curvature=(barrier,), gradient_covariance=covariance, num_examples=12
        )
        return gradient(quadratic, x), gradient(well, x), gradient_covariance(well, x)

    x = jnp.asarray(POINT)
    for factor in (1.0, 2.5):
        hessian = factor * np.array([[2.0, 0.5], [0.5, 1.0]])
        np.testing.assert_allclose(slope(landscapes.quadratic(hessian, **TWO), x), hessian @ x, rtol=1e-13)
        well = landscapes.double_well(barrier=factor, transverse_curvature=(1.7,), **TWO)
        expected = [4 * factor * 0.6 * (0.36 - 1), 1.7 * -0.3]
        np.testing.assert_allclose(slope(well, x), expected, rtol=1e-13)
        straight, bent, sigma = spread(hessian, factor * COVARIANCE, factor)
        np.testing.assert_allclose(straight, hessian @ x, rtol=1e-13)
        np.testing.assert_allclose(bent, [expected[0], factor * -0.3], rtol=1e-13)
        np.testing.assert_allclose(sigma, factor * COVARIANCE, atol=1e-12)
    assert sorted(traces) == ["argument", "argument", "traced"]


def test_vmap_over_hessians_and_covariances():
    scales = jnp.array([1.0, 2.0, 0.0])

    @jax.jit
    @jax.vmap
    def sigma(scale):
        problem = landscapes.quadratic(scale * jnp.eye(2), gradient_covariance=scale * COVARIANCE, num_examples=12)
        return gradient(problem, jnp.ones(2)), gradient_covariance(problem, jnp.ones(2))

    slopes, covariances = sigma(scales)
    np.testing.assert_allclose(slopes, np.outer(scales, np.ones(2)), rtol=1e-14)
    np.testing.assert_allclose(covariances, np.multiply.outer(scales, COVARIANCE), atol=1e-12)


EVERY_NUMBER_TRACED = {
    "tilted_double_well": lambda s: landscapes.tilted_double_well(
        barrier=s, tilt=s / 8, transverse_curvature=(s,), **TWO
    ),
    "sharp_and_flat": lambda s: landscapes.sharp_and_flat(
        sharp_curvature=9 * s, flat_curvature=s, separation=4 * s, smoothing=s / 16, **ONE
    ),
    "quartic": lambda s: landscapes.quartic(curvature=-s, coefficient=s, **TWO),
    "saddle": lambda s: landscapes.saddle(curvature=(-s, s), confinement=s, **TWO),
    "degenerate_valley": lambda s: landscapes.degenerate_valley(strength=s, confinement=s, **TWO),
    "state_dependent": lambda s: landscapes.state_dependent(curvature=s, additive=s, multiplicative=s, num_examples=5),
}


@pytest.mark.parametrize("name", EVERY_NUMBER_TRACED)
def test_traced_numbers_agree_with_known_ones(name, key):
    maker = EVERY_NUMBER_TRACED[name]

    @jax.jit
    def traced(value):
        problem = maker(value)
        x = problem.init(key) + 0.1
        return x, seen(problem, x)

    x, values = traced(jnp.float32(1.25))
    for a, b in zip(values, seen(maker(1.25), x)):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


ASYMMETRIC = [[1.0, 0.4], [0.3, 0.5]]
BAD = {
    "covariance asymmetric": ("gradient_covariance: .*symmetric", {"gradient_covariance": ASYMMETRIC}),
    "covariance indefinite": ("gradient_covariance: .*semi-definite", {"gradient_covariance": [[1, 2], [2, 1]]}),
    "covariance nan": ("gradient_covariance: .*NaN", {"gradient_covariance": [[np.nan, 0], [0, 1]]}),
    "covariance size": ("gradient_covariance: .*shape", {"gradient_covariance": np.eye(3)}),
    "covariance ragged": ("gradient_covariance", {"gradient_covariance": [[1.0], [0.0, 1.0]]}),
    "too few examples": ("num_examples: .*at least 3", {"num_examples": 2}),
    "barrier": ("barrier: .*> 0", {"barrier": 0.0}),
    "barrier nan": ("barrier: expected a finite number > 0, got nan", {"barrier": np.nan}),
    "barrier array": ("barrier: .*one number", {"barrier": np.ones(2)}),
    "barrier text": ("barrier: .*number", {"barrier": "high"}),
    "curvature sign": ("transverse_curvature: .*>= 0", {"transverse_curvature": (-1.0,)}),
    "curvature scalar": ("transverse_curvature: .*sequence", {"transverse_curvature": 1.0}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_double_wells_name_the_argument(case):
    message, change = BAD[case]
    error = TypeError if case.endswith(("ragged", "text")) else ValueError
    with pytest.raises(error, match=message):
        landscapes.double_well(**{**WELL, **TWO, **change})


def test_other_bad_arguments_name_the_argument():
    for hessian in (ASYMMETRIC, [[1.0, np.inf], [np.inf, 1.0]], np.ones((2, 3)), np.ones(2)):
        with pytest.raises(ValueError, match="hessian"):
            landscapes.quadratic(hessian, **TWO)
    with pytest.raises(TypeError, match=r"hessian is float32, gradient_covariance is float64.*cast"):
        landscapes.quadratic(jnp.eye(2, dtype=jnp.float32), **TWO)
    with pytest.raises(ValueError, match=r"tilt: two wells need"):
        landscapes.tilted_double_well(tilt=1.3, **WELL, **TWO)
    with pytest.raises(ValueError, match=r"smoothing: .*a fifth"):
        landscapes.sharp_and_flat(**{**BASINS, "smoothing": 2.0}, **ONE)
    with pytest.raises(ValueError, match=r"flat_curvature: .*exchange"):
        landscapes.sharp_and_flat(**{**BASINS, "flat_curvature": 20.0}, **ONE)
    with pytest.raises(ValueError, match=r"curvature: .*negative"):
        landscapes.saddle(curvature=(1.0, 2.0), confinement=1.0, **TWO)
    with pytest.raises(ValueError, match=r"coefficient: .*2 of them"):
        landscapes.quartic(curvature=1.0, coefficient=(1.0, 1.0, 1.0), **TWO)
    with pytest.raises(ValueError, match=r"multiplicative: .*>= 0"):
        landscapes.state_dependent(curvature=1.0, additive=1.0, multiplicative=-0.1, num_examples=5)

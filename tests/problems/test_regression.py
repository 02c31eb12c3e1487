"""Regressions: losses and noise against NumPy, float32 near the minimum, real data, tracing, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.problem import example_gradients, gradient, gradient_covariance, loss
from sgdsde.problems import regression

DATA = np.random.default_rng(7)
INPUTS = DATA.standard_normal((30, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0.2], [0, 0, 0.3]])
TARGETS = INPUTS @ [1.0, -2.0, 0.5] + 0.3 * DATA.standard_normal(30)
THETA = np.array([0.4, -0.1, 0.7])


def test_linear_regression_against_numpy():
    problem = regression.linear_regression(INPUTS, TARGETS)
    residuals = INPUTS @ THETA - TARGETS
    slopes = residuals[:, None] * INPUTS
    np.testing.assert_allclose(loss(problem, jnp.asarray(THETA)), (residuals**2).mean() / 2, rtol=1e-12)
    np.testing.assert_allclose(gradient(problem, jnp.asarray(THETA)), slopes.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(example_gradients(problem, jnp.asarray(THETA)), slopes, rtol=1e-12)
    np.testing.assert_allclose(
        gradient_covariance(problem, jnp.asarray(THETA)), np.cov(slopes.T, bias=True), rtol=1e-12, atol=1e-14
    )
    np.testing.assert_array_equal(problem.init(jax.random.key(0)), np.zeros(3))


def test_least_squares_solution():
    problem = regression.linear_regression(INPUTS, TARGETS)
    solution = regression.least_squares_solution(problem)
    np.testing.assert_allclose(solution, np.linalg.lstsq(INPUTS, TARGETS, rcond=None)[0], rtol=1e-12)
    np.testing.assert_allclose(gradient(problem, solution), 0, atol=1e-14)
    np.testing.assert_allclose(example_gradients(problem, solution).mean(axis=0), 0, atol=1e-14)
    traced = jax.jit(lambda x, y: regression.least_squares_solution(regression.linear_regression(x, y)))(
        INPUTS, TARGETS
    )
    np.testing.assert_allclose(traced, solution, rtol=1e-10)


def test_degenerate_inputs():
    """A repeated column, and fewer examples than parameters: the gradient is right and the solution of least norm."""
    repeated = np.column_stack([INPUTS, INPUTS[:, :1]])
    for inputs, targets in ((repeated, TARGETS), (repeated[:3], TARGETS[:3])):
        problem = regression.linear_regression(inputs, targets)
        theta = np.array([0.4, -0.1, 0.7, 0.2])
        expected = inputs.T @ (inputs @ theta - targets) / len(inputs)
        np.testing.assert_allclose(gradient(problem, jnp.asarray(theta)), expected, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(
            regression.least_squares_solution(problem), np.linalg.pinv(inputs) @ targets, rtol=1e-8, atol=1e-10
        )


def test_float32_keeps_its_digits_near_the_minimum():
    """Targets with a large fitted part: theta^T H theta / 2 - b . theta would lose the gradient near the minimum."""
    inputs, targets = INPUTS.astype(np.float32), (TARGETS + 1e3 * INPUTS[:, 0]).astype(np.float32)
    problem = regression.linear_regression(inputs, targets)
    solution = regression.least_squares_solution(problem)
    away = np.array([0.5, -0.25, 0.125], np.float32)  # exact beside the solution to 2^-14
    point = solution + away
    exact = inputs.T.astype(float) @ (inputs.astype(float) @ np.asarray(point, float) - targets.astype(float)) / 30
    assert problem.init(jax.random.key(0)).dtype == point.dtype == gradient(problem, point).dtype == jnp.float32
    np.testing.assert_allclose(gradient(problem, point), exact, atol=1e3 * 2**-23)


def test_second_data_set_does_not_recompile_and_sweeps_are_vmaps():
    traces = []

    @jax.jit
    def slope(problem, theta):
        traces.append(1)
        return gradient(problem, theta)

    for factor in (1.0, 2.0):
        problem = regression.linear_regression(factor * INPUTS, TARGETS)
        expected = factor * INPUTS.T @ (factor * INPUTS @ THETA - TARGETS) / 30
        np.testing.assert_allclose(slope(problem, jnp.asarray(THETA)), expected, rtol=1e-12)
    assert traces == [1]

    @jax.vmap
    def swept(factor):
        return gradient(regression.linear_regression(factor * INPUTS, TARGETS), jnp.asarray(THETA))

    np.testing.assert_allclose(swept(jnp.array([1.0, 2.0]))[1], expected, rtol=1e-10)


def test_logistic_regression_against_numpy():
    labels = (TARGETS > 0).astype(int)
    problem = regression.logistic_regression(INPUTS, labels, penalty=0.2)
    probability = 1 / (1 + np.exp(-INPUTS @ THETA))
    entropy = -np.mean(labels * np.log(probability) + (1 - labels) * np.log(1 - probability))
    np.testing.assert_allclose(loss(problem, jnp.asarray(THETA)), entropy + 0.1 * THETA @ THETA, rtol=1e-12)
    slopes = (probability - labels)[:, None] * INPUTS
    np.testing.assert_allclose(gradient(problem, jnp.asarray(THETA)), slopes.mean(axis=0) + 0.2 * THETA, rtol=1e-12)
    np.testing.assert_allclose(
        gradient_covariance(problem, jnp.asarray(THETA)), np.cov(slopes.T, bias=True), rtol=1e-10, atol=1e-14
    )
    far = example_gradients(problem, jnp.asarray(1e4 * THETA))
    assert np.isfinite(far).all()


def test_gaussian_regression_data(key):
    """First and second moments to 5.9 standard errors; label_variance is a variance, not a deviation."""
    covariance, weights = np.array([[1.0, 0.4], [0.4, 0.5]]), np.array([1.0, -2.0])
    options = {"input_covariance": covariance, "weights": weights, "num_examples": 20_000}
    inputs, targets = regression.gaussian_regression_data(key, label_variance=0.09, **options)
    assert inputs.shape == (20_000, 2)
    assert targets.shape == (20_000,)
    products = np.einsum("ni,nj->nij", inputs, inputs)
    assert (np.abs(products.mean(axis=0) - covariance) < 5.9 * products.std(axis=0) / np.sqrt(20_000)).all()
    noise = np.asarray(targets - inputs @ weights)
    assert abs((noise**2).mean() - 0.09) < 5.9 * 0.09 * np.sqrt(2 / 20_000)
    assert (np.abs(noise @ inputs / 20_000) < 5.9 * 0.3 / np.sqrt(20_000)).all()

    @jax.jit
    def traced(key, variance):
        return regression.gaussian_regression_data(key, label_variance=variance, **options)

    np.testing.assert_allclose(traced(key, 0.09)[1], targets, rtol=1e-10, atol=1e-12)
    exact = regression.gaussian_regression_data(key, label_variance=0, **options)
    np.testing.assert_allclose(exact[1], exact[0] @ weights, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("intercept", [False, True])
def test_real_data(intercept):
    for read, shape in (
        (regression.diabetes_data, (442, 10)),
        (regression.wine_data, (178, 13)),
        (regression.breast_cancer_data, (569, 30)),
    ):
        inputs, outputs = read(intercept=intercept)
        assert inputs.shape == (shape[0], shape[1] + intercept)
        assert outputs.shape == (shape[0],)
        np.testing.assert_allclose(inputs[:, : shape[1]].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(inputs[:, : shape[1]].var(axis=0), 1, rtol=1e-12)
        if intercept:
            assert (inputs[:, -1] == 1).all()
    assert int(outputs.sum()) == 357  # benign tumours
    assert int(regression.wine_data(intercept=False)[1].sum()) == 59


def test_real_linear_regression_solution():
    inputs, targets = regression.diabetes_data(intercept=False)
    np.testing.assert_allclose([targets.mean(), targets.var()], [0, 1], atol=1e-12)
    problem = regression.linear_regression(inputs, targets)
    solution = regression.least_squares_solution(problem)
    np.testing.assert_allclose(solution, np.linalg.lstsq(inputs, targets, rcond=None)[0], rtol=1e-10)
    explained = 1 - 2 * loss(problem, solution)
    np.testing.assert_allclose(explained, 0.5177484, atol=1e-6)  # the coefficient of determination scikit-learn prints


def test_bad_input_names_the_argument():
    for inputs, targets, message in (
        (INPUTS[:, 0], TARGETS, "inputs: .*shape"),
        (INPUTS, TARGETS[:-1], "targets: .*shape"),
        (np.full_like(INPUTS, np.nan), TARGETS, "inputs: .*NaN"),
        (INPUTS, np.full(30, np.inf), "targets: .*NaN or inf"),
    ):
        with pytest.raises(ValueError, match=message):
            regression.linear_regression(inputs, targets)
    with pytest.raises(TypeError, match="inputs is float32, targets is float64"):
        regression.linear_regression(INPUTS.astype(np.float32), TARGETS)
    with pytest.raises(ValueError, match=r"labels: .*0 or 1"):
        regression.logistic_regression(INPUTS, np.sign(TARGETS), penalty=0.0)
    with pytest.raises(ValueError, match=r"penalty: .*>= 0"):
        regression.logistic_regression(INPUTS, TARGETS > 0, penalty=-1.0)
    with pytest.raises(ValueError, match=r"problem: .*linear_regression"):
        regression.least_squares_solution(regression.logistic_regression(INPUTS, TARGETS > 0, penalty=0.0))
    options = {"input_covariance": np.eye(2), "weights": np.ones(2), "label_variance": 1.0, "num_examples": 5}
    for field, value in (("input_covariance", -np.eye(2)), ("weights", np.ones((2, 1))), ("label_variance", -1.0)):
        with pytest.raises(ValueError, match=field):
            regression.gaussian_regression_data(jax.random.key(0), **{**options, field: value})

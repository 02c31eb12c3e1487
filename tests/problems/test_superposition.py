"""Superposition: losses against NumPy and quadrature, the sample's closed form, populations, starts, bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from sgdsde import superposition
from sgdsde.problem import example_gradients, gradient, loss

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

SIZES = {"num_features": 5, "num_hidden": 2, "num_examples": 60, "num_test_examples": 20, "start_deviation": 0.7}
population_loss = jax.jit(superposition.population_loss)
IMPORTANCE = np.array([1.0, 0.7, 0.5, 0.3])


def network(weights, biases, inputs):
    return np.maximum(np.asarray(inputs) @ weights.T @ weights + biases, 0)


def somewhere(key, dtype=jnp.float64, num_features=5):
    """Params at which some outputs are on, some off, and some switch within [0, 1]."""
    keys = jax.random.split(key)
    weights = jax.random.normal(keys[0], (2, num_features), dtype)
    return {"weights": weights, "biases": 0.3 * jax.random.normal(keys[1], (num_features,), dtype)}


def test_toy_model_against_numpy(key):
    inputs = np.random.default_rng(3).uniform(size=(30, 4))
    problem = superposition.toy_model(inputs, num_hidden=2, importance=IMPORTANCE, start_deviation=0.5)
    params = somewhere(key, num_features=4)
    weights, biases = np.asarray(params["weights"]), np.asarray(params["biases"])
    outputs = network(weights, biases, inputs)
    np.testing.assert_allclose(superposition.autoencoder(params, jnp.asarray(inputs)), outputs, rtol=1e-12)
    np.testing.assert_allclose(superposition.autoencoder(params, jnp.asarray(inputs[0])), outputs[0], rtol=1e-12)
    errors = IMPORTANCE * (inputs - outputs) ** 2
    np.testing.assert_allclose(loss(problem, params), errors.sum(axis=1).mean(), rtol=1e-12)
    slopes = -2 * IMPORTANCE * (inputs - outputs) * (outputs > 0)  # with respect to the outputs' arguments
    gradients = example_gradients(problem, params)
    np.testing.assert_allclose(gradients["biases"], slopes, rtol=1e-12, atol=1e-14)
    hidden = inputs @ weights.T
    expected = np.einsum("nh,nj->nhj", hidden, slopes) + np.einsum("nh,nj->nhj", slopes @ weights.T, inputs)
    np.testing.assert_allclose(gradients["weights"], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_closed_form_of_a_one_hot_sample(key, dtype):
    """Value and gradient of the running sums against a pass over the examples, at params of many kinds."""
    problem, _ = superposition.one_hot(key, **SIZES)
    problem = jax.tree.map(lambda leaf: leaf.astype(dtype) if hasattr(leaf, "dtype") else leaf, problem)
    examined = dataclasses.replace(problem, mean_loss=None)
    points = [
        somewhere(jax.random.key(1), dtype),
        {"weights": jnp.zeros((2, 5), dtype), "biases": jnp.linspace(-0.5, 0.5, 5, dtype=dtype)},
        {"weights": jnp.zeros((2, 5), dtype), "biases": jnp.zeros(5, dtype)},
        {"weights": somewhere(jax.random.key(2), dtype)["weights"], "biases": jnp.zeros(5, dtype)},
    ]
    points = jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
    values = [jax.jit(jax.vmap(lambda p, at=at: loss(at, p)))(points) for at in (problem, examined)]
    slopes = [jax.jit(jax.vmap(lambda p, at=at: gradient(at, p)))(points) for at in (problem, examined)]
    tolerance = 1e3 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(*values, rtol=tolerance)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance), *slopes)
    assert values[0].dtype == dtype


@pytest.mark.parametrize("num_hidden", [1, 2, 3])
def test_population_loss_by_quadrature(num_hidden):
    generator = np.random.default_rng(num_hidden)
    for _ in range(4):
        weights, biases = generator.normal(size=(num_hidden, 4)), 0.4 * generator.normal(size=4)
        slopes = weights.T @ weights

        def error(t, i, j, slopes=slopes, biases=biases):
            return (t * (i == j) - max(t * slopes[i, j] + biases[j], 0)) ** 2

        kinks = lambda i, j: [min(max(-biases[j] / slopes[i, j], 0), 1)]  # noqa: B023
        terms = [quad(error, 0, 1, args=(i, j), points=kinks(i, j))[0] for i in range(4) for j in range(4)]
        params = {"weights": jnp.asarray(weights), "biases": jnp.asarray(biases)}
        np.testing.assert_allclose(population_loss(params), np.sum(terms) / 4, rtol=1e-10)


def test_population_loss_has_a_continuous_gradient():
    """Against differences, also where an output is just about to switch, is flat, or is exactly zero."""
    slope = jax.jit(jax.grad(superposition.population_loss))
    for biases in ([0.0, 0.0, 0.0], [-0.5, 0.0, 1e-9], [-1e-300, 0.2, -1.0]):
        params = {"weights": jnp.array([[1.0, 0.0, -0.5], [0.0, 0.8, 0.5]]), "biases": jnp.array(biases)}
        found = slope(params)
        for name, leaf in params.items():
            for place in np.ndindex(leaf.shape):
                step = jnp.zeros_like(leaf).at[place].set(1e-5)
                ends = [population_loss(params | {name: leaf + sign * step}) for sign in (1, -1)]
                np.testing.assert_allclose(found[name][place], (ends[0] - ends[1]) / 2e-5, atol=2e-5)


def test_float32_keeps_its_digits():
    """Nearly flat outputs: a formula that divided by the slope would lose everything."""
    weights = np.array([[1.0, 1e-4, 0.0], [0.0, 3e-5, 0.9]])
    for biases in (np.array([1e-3, 0.1, -1e-4]), np.array([-0.2, 1e-6, 0.0])):
        exact = population_loss({"weights": jnp.asarray(weights), "biases": jnp.asarray(biases)})
        params = {"weights": jnp.asarray(weights, jnp.float32), "biases": jnp.asarray(biases, jnp.float32)}
        found = population_loss(params)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_one_hot_sample(key):
    """One feature an example, as often and as large as it should be to 5.9 standard errors; other test examples."""
    sizes = SIZES | {"num_examples": 4_000}
    problem, test = superposition.one_hot(key, **sizes)
    inputs = np.asarray(problem.examples["inputs"])
    assert inputs.shape == (4_000, 5)
    assert test["inputs"].shape == (20, 5)
    assert ((inputs > 0).sum(axis=1) <= 1).all()
    assert not np.isin(test["inputs"].max(axis=1), inputs).any()
    counts = (inputs > 0).mean(axis=0)
    assert (np.abs(counts - 0.2) < 5.9 * np.sqrt(0.16 / 4_000)).all()
    for power in (1, 2, 4):
        moment, variance = 1 / (power + 1), 1 / (2 * power + 1) - 1 / (power + 1) ** 2
        assert abs((inputs**power).sum(axis=1).mean() - moment) < 5.9 * np.sqrt(variance / 4_000)
    traced = jax.jit(lambda key: superposition.one_hot(key, **sizes)[0].examples["inputs"])(key)
    np.testing.assert_array_equal(traced, inputs)


def test_grid_is_near_the_population(key):
    """Midpoints err by the second derivative over 24 m^2, and by a kink in every one of c^2 integrals."""
    params = somewhere(key)
    problem = superposition.one_hot_grid(num_features=5, num_hidden=2, num_values=100, start_deviation=0.1)
    assert problem.num_examples == 500
    np.testing.assert_allclose(loss(problem, params), population_loss(params), rtol=1e-3)
    counts = np.count_nonzero(np.asarray(problem.examples["inputs"]), axis=0)
    np.testing.assert_array_equal(counts, 100)


def test_sparse_sample(key):
    options = {"num_hidden": 2, "num_examples": 20_000, "num_test_examples": 7, "start_deviation": 0.1}
    problem, test = superposition.sparse(key, probability=0.3, importance=IMPORTANCE, **options)
    inputs = np.asarray(problem.examples["inputs"])
    assert test["inputs"].shape == (7, 4)
    assert (np.abs((inputs > 0).mean(axis=0) - 0.3) < 5.9 * np.sqrt(0.21 / 20_000)).all()
    assert (np.abs(inputs.mean(axis=0) - 0.15) < 5.9 * np.sqrt((0.1 - 0.0225) / 20_000)).all()
    products = np.cov(inputs.T) / 0.0775
    assert (np.abs(products - np.eye(4)) < 5.9 * np.sqrt(3 / 20_000)).all()
    params = somewhere(key, num_features=4)
    outputs = network(np.asarray(params["weights"]), np.asarray(params["biases"]), inputs)
    np.testing.assert_allclose(loss(problem, params), ((inputs - outputs) ** 2 @ IMPORTANCE).mean(), rtol=1e-12)
    never, _ = superposition.sparse(key, probability=0, importance=IMPORTANCE, **options)
    assert not np.asarray(never.examples["inputs"]).any()


def test_starts(key):
    problem, _ = superposition.one_hot(key, **SIZES)
    starts = jax.vmap(problem.init)(jax.random.split(key, 3000))
    assert starts["weights"].shape == (3000, 2, 5)
    assert not np.asarray(starts["biases"]).any()
    assert abs(np.mean(np.asarray(starts["weights"]) ** 2) / 0.49 - 1) < 5.9 * np.sqrt(2 / 30_000)
    made = superposition.polygon(num_features=6, num_vertices=4, length=1.5, bias=-0.2, other_biases=[0.1, -0.3])
    np.testing.assert_allclose(
        made["weights"], [[1.5, 0, -1.5, 0, 0, 0], [0, 1.5, 0, -1.5, 0, 0]], rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(made["biases"], [-0.2] * 4 + [0.1, -0.3], rtol=1e-12)
    single = superposition.polygon(
        num_features=3, num_vertices=3, length=1.0, bias=0.0, other_biases=jnp.zeros(0, jnp.float32)
    )
    assert single["weights"].dtype == single["biases"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_features": 0}, "num_features: expected a whole number"),
        ({"num_hidden": -1}, "num_hidden"),
        ({"num_examples": True}, "num_examples"),
        ({"start_deviation": -0.1}, "start_deviation: expected a number >= 0"),
    ],
)
def test_bad_arguments_are_named(key, change, message):
    with pytest.raises(ValueError, match=message):
        superposition.one_hot(key, **SIZES | change)


def test_other_bad_arguments_are_named(key):
    shape = {"num_features": 4, "length": 1.0, "bias": 0.0}
    with pytest.raises(ValueError, match="num_vertices: expected at most"):
        superposition.polygon(num_vertices=5, other_biases=[], **shape)
    with pytest.raises(ValueError, match="other_biases: expected 1 numbers"):
        superposition.polygon(num_vertices=3, other_biases=[0.0, 0.0], **shape)
    with pytest.raises(ValueError, match="importance: expected 2 numbers"):
        superposition.toy_model(np.ones((3, 2)), num_hidden=1, importance=IMPORTANCE, start_deviation=0)
    with pytest.raises(ValueError, match="inputs: expected shape"):
        superposition.toy_model(np.ones(3), num_hidden=1, importance=IMPORTANCE, start_deviation=0)
    with pytest.raises(ValueError, match=r"probability: expected a number in \[0, 1\]"):
        superposition.sparse(
            key, num_hidden=1, num_examples=3, num_test_examples=1, probability=1.5, importance=[1.0], start_deviation=0
        )

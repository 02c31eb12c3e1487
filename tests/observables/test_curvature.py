"""Spectra that are known: degenerate, indefinite, zero, one-dimensional; a small network's dense Hessian; the trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from sgdsde import landscapes, loss, sgd, simulate
from sgdsde.observables import all_of, hessian_eigenvalues, hessian_extremes, hessian_trace, observer, sharpness
from sgdsde.problem import Problem

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

LIMIT = 5.9
SPECTRA = np.array(
    [
        np.linspace(-3.0, 8.0, 8),
        [5.0, 5.0, 5.0, 1.0, 1.0, -7.0, -7.0, -7.0],
        [2.0] * 8,
        [-1.0, -2.0, -2.0, -2.0, -9.0, -9.0, -9.0, -9.0],
        [-1.0] * 8,
        [0.0] * 8,
        [4.0, 4.0] + [0.0] * 6,
        [1e4, 1e4, 1.0, 0.0, 0.0, -1.0, -1.0, -1e4],
    ]
)


def quadratic_form(matrix, x):
    return jnp.sum(x * jnp.matmul(matrix, x, precision="highest")) / 2


def form_of(spectrum, dtype, rotated=True):
    size = len(spectrum)
    basis = np.linalg.qr(np.random.default_rng(size).standard_normal((size, size)))[0] if rotated else np.eye(size)
    return Partial(quadratic_form, jnp.asarray(basis @ np.diag(spectrum) @ basis.T, dtype)), jnp.ones(size, dtype)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
def test_known_spectra(dtype, key):
    """All of them, as often as they occur, though a Krylov space is exhausted long before it has num_products vectors;
    unrotated, the exhaustion is exact, and the recursion by itself gives NaN or the eigenvalue 3 for the matrix 2 I."""
    forms = [form_of(spectrum, dtype, rotated) for rotated in (True, False) for spectrum in SPECTRA]
    expected = np.sort(np.concatenate([SPECTRA, SPECTRA]))[:, ::-1]

    @jax.jit
    @jax.vmap
    def measured(matrix):
        function, params = Partial(quadratic_form, matrix), jnp.ones(8, dtype)
        return hessian_eigenvalues(function, 4, 12, key, params), hessian_extremes(function, 12, key, params)

    found, ends = measured(jnp.stack([function.args[0] for function, _ in forms]))
    allowed = 200 * float(jnp.finfo(dtype).eps) * np.maximum(np.abs(expected).max(axis=1), 1e-9)
    assert found["eigenvalues"].dtype == dtype
    assert (np.abs(np.asarray(found["eigenvalues"]) - expected[:, :4]) < allowed[:, None]).all()
    assert (np.abs(np.asarray(ends["largest"]) - expected[:, 0]) < allowed).all()
    assert (np.abs(np.asarray(ends["smallest"]) - expected[:, -1]) < allowed).all()
    assert (np.asarray(found["residuals"]) < 30 * allowed[:, None]).all()


def test_one_parameter(key):
    function, params = form_of([-3.0], jnp.float64)
    assert sharpness(function, 12, key, params) == -3
    assert hessian_extremes(function, 12, key, params) == {"smallest": -3, "largest": -3}


def test_few_products_come_from_below_and_the_residual_says_how_near(key):
    """Kaniel and Paige: the largest Ritz value never exceeds the largest eigenvalue, and some eigenvalue lies within
    the residual."""
    spectrum = np.linspace(-3.0, 8.0, 30)
    function, params = form_of(spectrum, jnp.float64)
    last = -np.inf
    for num_products in (5, 30):
        found = jax.jit(observer(hessian_eigenvalues, function, 1, num_products, key))(params)
        value, residual = float(found["eigenvalues"][0]), float(found["residuals"][0])
        assert last <= value + 1e-12
        assert value <= 8.0 + 1e-12
        assert np.min(np.abs(spectrum - value)) <= residual + 1e-12
        last = value
    assert abs(last - 8) < 1e-12


def network(dtype):
    random = np.random.default_rng(1)
    examples = {"x": random.standard_normal((9, 3)).astype(dtype), "y": random.standard_normal(9).astype(dtype)}

    def example_loss(params, example):
        hidden = jnp.tanh(params["in"] @ example["x"] + params["bias"])
        return (params["out"] @ hidden - example["y"]) ** 2 / 2

    def init(key):
        one, two = jax.random.split(key)
        weights = {"in": jax.random.normal(one, (4, 3), dtype), "out": jax.random.normal(two, (4,), dtype)}
        return {**weights, "bias": jnp.zeros(4, dtype)}

    ridge = lambda params: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)) / 20
    return Problem(example_loss, examples, init, penalty=ridge)


def dense_spectra(problem, params):
    """Eigenvalues, increasing, of the dense Hessian of every member of stacked parameters."""

    @jax.jit
    @jax.vmap
    def hessian(one):
        flat, unravel = ravel_pytree(one)
        return jax.hessian(lambda vector: loss(problem, unravel(vector)))(flat)

    dense = hessian(params)
    return np.linalg.eigvalsh(np.asarray(dense, np.float64))


def test_a_network_against_its_dense_hessian_inside_a_run(key):
    """Every chain of a recorded ensemble, the penalty included; vmapped and compiled with the loop."""
    problem = network(np.float64)
    full = Partial(loss, problem)
    watched = {
        "params": lambda params: params,
        "sharpness": observer(sharpness, full, 20, key),
    }
    dynamics = sgd(problem, learning_rate=0.05, batch_size=2, sampling="with_replacement")
    sizes = {"num_steps": 4, "num_chains": 2, "every": 2}
    run = simulate(dynamics, problem.init, key, observe=observer(all_of, watched), **sizes).observed
    last = lambda tree: jax.tree.map(lambda leaf: leaf[-1], tree)
    spectra = dense_spectra(problem, last(run["params"]))
    np.testing.assert_allclose(last(run["sharpness"]), spectra[:, -1], atol=1e-10)


def test_a_network_in_float32(key):
    problem = network(np.float32)
    params = jax.jit(jax.vmap(problem.init))(jax.random.split(key, 3))
    spectra = dense_spectra(problem, params)
    observe = observer(hessian_eigenvalues, Partial(loss, problem), 3, 20, key)
    found = jax.jit(jax.vmap(observe))(params)["eigenvalues"]
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, spectra[:, :-4:-1], atol=2e-5 * np.abs(spectra).max())


def test_trace_is_exact_for_a_diagonal_hessian_and_its_error_is_that_of_the_formula(key):
    """Variance 2 sum_(i != j) H_ij^2 / m; 4,000 probes know the error to sqrt(2/4000)/2 = 1.1 % for Gaussian terms
    (these are flatter). Normal probes would have 2 sum_ij H_ij^2: 45 % more here, dividing the variance by m - 0 no
    difference at this size."""
    diagonal, params = form_of([3.0, -1.0, 0.5], jnp.float64, rotated=False)
    found = jax.jit(observer(hessian_trace, diagonal, 3, key))(params)
    np.testing.assert_allclose((found["trace"], found["standard_error"]), (2.5, 0), atol=1e-14)
    assert np.isnan(jax.jit(observer(hessian_trace, diagonal, 1, key))(params)["standard_error"])
    function, params = form_of(np.linspace(-1, 6, 8), jnp.float64)
    matrix = np.asarray(function.args[0])
    variance = 2 * (np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2))
    found = jax.jit(observer(hessian_trace, function, 4_000, key))(params)
    assert abs(float(found["trace"]) - np.trace(matrix)) < LIMIT * float(found["standard_error"])
    assert abs(float(found["standard_error"]) / np.sqrt(variance / 4_000) - 1) < LIMIT * 0.016
    two = jax.jit(observer(hessian_trace, function, 2, key))(params)
    probes = np.asarray(jax.random.rademacher(key, (2, 8), float))
    terms = np.einsum("ki,ij,kj->k", probes, matrix, probes)
    np.testing.assert_allclose(two["trace"], terms.mean(), rtol=1e-12)
    np.testing.assert_allclose(two["standard_error"], np.abs(terms[0] - terms[1]) / 2, rtol=1e-12)


def test_landscape_and_refusals(key):
    hessian = np.array([[2.0, 0.5], [0.5, 1.0]])
    problem = landscapes.quadratic(hessian, gradient_covariance=np.eye(2), num_examples=8)
    expected = np.linalg.eigvalsh(hessian)[-1]
    found = jax.jit(observer(sharpness, Partial(loss, problem), 20, key))(jnp.ones(2))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="count: expected an integer from 1 to 2"):
        hessian_eigenvalues(Partial(loss, problem), 3, 5, key, jnp.ones(2))
    with pytest.raises(ValueError, match="num_probes"):
        hessian_trace(Partial(loss, problem), 0, key, jnp.ones(2))
    for function in (sharpness, hessian_extremes):
        with pytest.raises(ValueError, match="num_products"):
            function(Partial(loss, problem), 0, key, jnp.ones(2))

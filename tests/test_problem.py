"""Problem: gradients and covariances against formulas written out, and what it refuses."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from sgdsde.problem import (
    Problem,
    coordinate_variances,
    example_gradients,
    gradient,
    gradient_covariance,
    gradient_covariance_trace,
    loss,
    weighted_gradient,
)


def squared_error(params, example):
    return 0.5 * (example["y"] - params["w"] @ example["x"]) ** 2


def init(key):
    return {"w": jnp.zeros(3)}


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(7, 3)), "y": rng.normal(size=7)}


def test_loss_gradient_and_covariance_of_least_squares(examples):
    problem = Problem(squared_error, examples, init, penalty=lambda p: 0.1 * jnp.sum(p["w"] ** 2))
    w = np.array([0.3, -1.0, 0.5])
    residual = examples["y"] - examples["x"] @ w
    each = -residual[:, None] * examples["x"]
    np.testing.assert_allclose(loss(problem, {"w": jnp.array(w)}), 0.5 * np.mean(residual**2) + 0.1 * w @ w)
    np.testing.assert_allclose(gradient(problem, {"w": jnp.array(w)})["w"], each.mean(0) + 0.2 * w)
    np.testing.assert_allclose(example_gradients(problem, {"w": jnp.array(w)})["w"], each, rtol=1e-12)
    sigma = np.cov(each.T, bias=True)
    np.testing.assert_allclose(gradient_covariance(problem, {"w": jnp.array(w)}), sigma, rtol=1e-12)
    np.testing.assert_allclose(gradient_covariance_trace(problem, {"w": jnp.array(w)}), np.trace(sigma), rtol=1e-12)
    np.testing.assert_allclose(coordinate_variances(problem, {"w": jnp.array(w)})["w"], np.diag(sigma), rtol=1e-12)
    weights, places = np.array([2.0, -1.0, 0.5, 1.0]), np.array([6, 0, 6, 3])
    found = weighted_gradient(problem, {"w": jnp.array(w)}, jnp.array(weights), jnp.array(places))["w"]
    np.testing.assert_allclose(found, weights @ each[places], rtol=1e-12)


def everything(problem, params, weights, places):
    """Each pass over the examples that there is, with the loss differentiated by hand and twice."""
    direction = {"w": jnp.ones_like(params["w"])}
    return {
        "loss": loss(problem, params),
        "gradient": gradient(problem, params),
        "hessian product": jax.jvp(lambda p: gradient(problem, p), (params,), (direction,))[1],
        "weighted": weighted_gradient(problem, params, weights),
        "weighted sample": weighted_gradient(problem, params, weights[:5], places),
        "covariance": gradient_covariance(problem, params),
        "variances": coordinate_variances(problem, params),
        "variance": gradient_covariance_trace(problem, params),
    }


@pytest.mark.parametrize(("dtype", "microbatches"), [(jnp.float64, (1, 3, 50)), (jnp.float32, (3,))])
def test_microbatches_change_nothing_but_memory(examples, dtype, microbatches):
    """Sizes that divide the 7 examples, that do not, and that exceed them; jitted and mapped over chains. Both results
    are sums of at most 7 terms of size below 10, in another order."""
    examples = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), examples)
    start = lambda key: {"w": jnp.zeros(3, dtype)}
    whole = Problem(squared_error, examples, start, penalty=lambda p: 0.1 * jnp.sum(p["w"] ** 2))
    params = {"w": jnp.asarray(np.random.default_rng(1).normal(size=(2, 3)), dtype)}
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(2, 7)), dtype)
    places = jnp.array([[6, 0, 6, 3, 1], [5, 5, 5, 2, 0]])
    run = jax.jit(jax.vmap(everything, in_axes=(None, 0, 0, 0)))
    expected = run(whole, params, weights, places)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1000 * float(jnp.finfo(dtype).eps))
    for microbatch in microbatches:
        found = run(dataclasses.replace(whole, microbatch=microbatch), params, weights, places)
        jax.tree.map(close, found, expected)
        assert jax.tree.map(jnp.result_type, found) == jax.tree.map(jnp.result_type, expected)


def classification_loss(params, example):
    outputs = jnp.tanh(example["x"] @ params["a"]) @ params["b"]
    return jax.nn.logsumexp(outputs) - outputs[example["y"]]


@pytest.mark.parametrize(
    "run",
    [gradient, lambda problem, params: jax.grad(lambda p: loss(problem, p))(params), coordinate_variances],
    ids=["gradient", "a user's gradient of the loss", "coordinate_variances"],
)
def test_peak_memory_falls_with_the_microbatch(run):
    """512 examples, 64 hidden units: 16 at once need a tenth of the memory that all need, or less."""
    rng = np.random.default_rng(0)
    examples = {"x": rng.normal(size=(512, 4)), "y": rng.integers(0, 3, size=512)}
    whole = Problem(classification_loss, examples, lambda key: {"a": jnp.zeros((4, 64)), "b": jnp.zeros((64, 3))})
    params = whole.init(jax.random.key(0))
    sizes = []
    for problem in (whole, dataclasses.replace(whole, microbatch=16)):
        compiled = jax.jit(run).lower(problem, params).compile()
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    assert sizes[1] < 0.1 * sizes[0]


def test_a_microbatch_is_static_and_checked(examples):
    problem = Problem(squared_error, examples, init, microbatch=3)
    assert jax.tree.map(lambda leaf: 2 * leaf, problem).microbatch == 3
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=r"Problem.microbatch: expected at least 1 example at once"):
            dataclasses.replace(problem, microbatch=wrong)
    with pytest.raises(TypeError, match=r"Problem.microbatch: expected a number of examples"):
        dataclasses.replace(problem, microbatch=True)


def test_a_problem_is_a_pytree_with_numbers_as_leaves(examples):
    problem = Problem(squared_error, examples, init)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, problem)
    np.testing.assert_allclose(doubled.examples["y"], 2 * examples["y"])
    assert jax.tree.structure(problem) == jax.tree.structure(Problem(squared_error, examples, init))


def test_more_examples_of_the_same_shape_cost_no_recompilation(examples):
    traces = []

    @jax.jit
    def value(problem):
        traces.append(1)
        return loss(problem, {"w": jnp.ones(3)})

    for factor in (1.0, 2.0, 3.0):
        value(Problem(squared_error, {"x": factor * examples["x"], "y": examples["y"]}, init))
    assert len(traces) == 1


def quadratic(hessian, x):
    return 0.5 * x @ hessian @ x


def tilted(hessian, x, z):
    return quadratic(hessian, x) + z @ x


def landscape(**changes):
    z = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    hessian = jnp.eye(2)
    fields = {
        "example_loss": Partial(tilted, hessian),
        "examples": z,
        "init": lambda k: jnp.zeros(2),
        "mean_loss": Partial(quadratic, hessian),
        "noise_factor": lambda x: jnp.diag(jnp.array([0.5**0.5, 2.0**0.5])),
    }
    return Problem(**{**fields, **changes})


def test_closed_forms_are_used_and_right_ones_accepted():
    problem = landscape()
    np.testing.assert_allclose(gradient(problem, jnp.array([1.0, 2.0])), [1.0, 2.0])
    np.testing.assert_allclose(gradient_covariance(problem, jnp.ones(2)), np.diag([0.5, 2.0]), rtol=1e-14)
    np.testing.assert_allclose(gradient_covariance_trace(problem, jnp.ones(2)), 2.5)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("mean_loss", lambda x: x @ x),
        ("mean_loss", lambda x: 0.5 * x @ x + 1.0),
        ("noise_factor", lambda x: jnp.diag(jnp.array([1.0, 2.0]))),
        ("noise_factor", lambda x: jnp.diag(jnp.array([0.5**0.5, -(2.0**0.5)])) @ jnp.array([[1.0, 0.5], [0, 1]])),
    ],
)
def test_a_wrong_closed_form_is_refused(field, wrong):
    with pytest.raises(ValueError, match=rf"Problem.{field}: at a test point"):
        landscape(**{field: wrong})


def test_closed_forms_are_not_checked_under_a_trace():
    def value(scale):
        return loss(landscape(mean_loss=Partial(quadratic, scale * jnp.eye(2))), jnp.ones(2))

    np.testing.assert_allclose(jax.jit(value)(3.0), 3.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"example_loss": lambda p, e: p["w"] * e["y"]}, r"example_loss: expected a scalar loss.*shape \(3,\)"),
        ({"example_loss": lambda p, e: 1}, r"example_loss: expected a floating-point loss"),
        ({"example_loss": 3}, r"example_loss"),
        ({"examples": {}}, r"examples: expected at least one array"),
        ({"examples": {"x": np.zeros((4, 3)), "y": np.zeros(5)}}, r"\['x'\] has 4, examples\['y'\] has 5"),
        ({"examples": {"x": np.zeros((4, 3)), "y": np.zeros(())}}, r"is a scalar"),
        ({"examples": {"x": np.full((4, 3), np.nan), "y": np.zeros(4)}}, r"examples\['x'\]: contains NaN"),
        ({"init": lambda k: {"w": jnp.zeros(3, int)}}, r"init: params\['w'\] is int64"),
        ({"penalty": lambda p: p["w"]}, r"penalty: expected a scalar"),
        ({"noise_factor": lambda p: {"w": jnp.zeros((2, 5))}}, r"noise_factor: expected the shapes of params"),
    ],
)
def test_a_wrong_problem_is_refused_with_the_field_and_the_mend(examples, changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Problem(**{"example_loss": squared_error, "examples": examples, "init": init, **changes})


def test_float32_stays_float32():
    z = jnp.array([[1.0], [-1.0]], jnp.float32)
    problem = Problem(lambda x, z: 0.5 * (x @ x) + z @ x, z, lambda k: jnp.zeros(1, jnp.float32))
    assert gradient(problem, jnp.ones(1, jnp.float32)).dtype == jnp.float32
    assert gradient_covariance(problem, jnp.ones(1, jnp.float32)).dtype == jnp.float32


@pytest.mark.parametrize("values", [np.array([2**31]), np.array([-(2**40), 0]), np.array([2**32], np.uint64)], ids=str)
def test_integers_that_do_not_fit_are_refused(values):
    message = (
        r"^Problem.examples\['time'\]: u?int64 is cast to u?int32, because jax_enable_x64 is off, and numbers like"
    )
    with jax.enable_x64(False), pytest.raises(ValueError, match=message):
        Problem(lambda x, z: jnp.sum(x), {"time": values}, lambda key: jnp.zeros(2))


def test_floats_that_do_not_fit_are_refused_or_said():
    """1.7e9 seconds lie 128 apart in float32."""
    make = lambda values: Problem(lambda x, z: jnp.sum(x) * z, values, lambda key: jnp.zeros(2))
    with jax.enable_x64(False):
        with pytest.raises(ValueError, match=r"float64 is cast to float32.* like 1e[+]39 do not fit; rescale them"):
            make(np.array([1e39, 0.0]))
        with pytest.warns(
            UserWarning, match=r"rounds numbers by up to 50 where they spread over 1e[+]03; subtract their"
        ):
            make(1.7e9 + 50 + np.array([0.0, 1000.0]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert make(np.random.default_rng(0).normal(size=100)).examples.dtype == np.float32
            assert make(np.full(3, 0.1)).examples.dtype == np.float32


@pytest.mark.parametrize(
    "function",
    [loss, gradient, example_gradients, gradient_covariance, gradient_covariance_trace, coordinate_variances],
)
def test_params_of_another_shape_are_refused(function):
    """An elementwise loss takes them all in silence."""
    problem = Problem(lambda x, z: jnp.sum((x - z) ** 2), np.ones((4, 1)), lambda key: jnp.zeros(3))
    function(problem, jnp.zeros(3))
    for params in (0.0, jnp.zeros(()), jnp.zeros(1), jnp.zeros((5, 3)), {"x": jnp.zeros(3)}):
        with pytest.raises((TypeError, ValueError), match=r"params: expected .* as problem\.init gives, got"):
            function(problem, params)

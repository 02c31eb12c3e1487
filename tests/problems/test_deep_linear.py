"""Deep linear networks: closed forms against the plain sum over examples, starts, whitening, precision, bad input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import deep_linear, match, noise, sgd
from sgdsde.problem import example_gradients, gradient, gradient_covariance, gradient_covariance_trace, loss

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

GENERATOR = np.random.default_rng(3)
WIDTHS = (3, 4, 5, 2)
START = deep_linear.random_start(WIDTHS, standard_deviation=0.5)
INPUTS = GENERATOR.standard_normal((60, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0.2], [0, 0, 0.7]])
TARGETS = INPUTS @ GENERATOR.standard_normal((3, 2)) + 0.3 * GENERATOR.standard_normal((60, 2))
PARAMS = tuple(jnp.asarray(GENERATOR.standard_normal((after, before))) for before, after in itertools.pairwise(WIDTHS))


@jax.jit
def seen(problem, params):
    """Everything at once: operations that compile one by one would take most of the time of these tests."""
    factor = None if problem.noise_factor is None else problem.noise_factor(params)
    return {
        "loss": loss(problem, params),
        "example_mean": jnp.mean(jax.vmap(problem.example_loss, (None, 0))(params, problem.examples)),
        "gradient": gradient(problem, params),
        "example_gradients": example_gradients(problem, params),
        "covariance": gradient_covariance(problem, params),
        "variance": gradient_covariance_trace(problem, params),
        "factor": factor,
    }


@pytest.fixture(scope="module")
def problem():
    return deep_linear.linear_network(np.tile(INPUTS, (6, 1)), np.tile(TARGETS, (6, 1)), start=START)


def by_hand(params, inputs, targets):
    """Mean loss, and every example's gradient in each layer, in NumPy, layer by layer."""
    gradients, losses = [], []
    for x, y in zip(inputs, targets):
        carried = [x]
        for layer in params:
            carried.append(layer @ carried[-1])
        back = carried[-1] - y
        losses.append(back @ back / 2)
        own = []
        for layer, below in zip(params[::-1], carried[-2::-1]):
            own.append(np.outer(back, below))
            back = layer.T @ back
        gradients.append(own[::-1])
    return np.mean(losses), [np.stack(layer) for layer in zip(*gradients)]


def test_loss_gradients_and_covariance_against_numpy(problem):
    value, gradients = by_hand(PARAMS, INPUTS, TARGETS)
    own = seen(problem, PARAMS)
    assert problem.mean_loss is not None
    np.testing.assert_allclose(own["loss"], value, rtol=1e-12)
    for found, expected in zip(own["gradient"], gradients, strict=True):
        np.testing.assert_allclose(found, expected.mean(axis=0), rtol=1e-10, atol=1e-12)
    for found, expected in zip(own["example_gradients"], gradients, strict=True):
        np.testing.assert_allclose(found[:60], expected, rtol=1e-10, atol=1e-12)
    flat = np.concatenate([layer.reshape(60, -1) for layer in gradients], axis=1)
    expected = np.cov(flat.T, bias=True)
    np.testing.assert_allclose(own["covariance"], expected, rtol=1e-9, atol=1e-9)
    factor = np.concatenate([np.reshape(leaf, (-1, leaf.shape[-1])) for leaf in own["factor"]])
    assert factor.shape == (flat.shape[1], 6 + 6)
    np.testing.assert_allclose(factor @ factor.T, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(own["variance"], np.trace(expected), rtol=1e-10)


@pytest.mark.parametrize("params", [PARAMS[:1], PARAMS[:2], (PARAMS[0].T @ PARAMS[0], *PARAMS)])
def test_product_in_any_shape(params):
    expected = np.eye(3)
    for layer in params:
        expected = layer @ expected
    np.testing.assert_allclose(deep_linear.product(params), expected, rtol=1e-12)


def test_closed_forms_are_left_out_where_they_do_not_pay():
    few = deep_linear.linear_network(INPUTS[:3], TARGETS[:3], start=START)
    assert few.mean_loss is None
    assert few.noise_factor is None
    some = deep_linear.linear_network(INPUTS, TARGETS, start=START)
    assert some.mean_loss is not None
    assert some.noise_factor is None  # 42 parameters x 12 columns, against 60 x 5 numbers of the examples
    np.testing.assert_allclose(loss(few, PARAMS), by_hand(PARAMS, INPUTS[:3], TARGETS[:3])[0], rtol=1e-12)


def test_a_taught_network_has_a_small_factor_and_no_noise_at_the_minimum(key):
    teacher = deep_linear.teacher([3.0, 2.0], num_inputs=3, num_outputs=2, key=key)
    options = {"num_examples": 360, "num_test_examples": 50, "is_whitened": True}
    start = deep_linear.balanced_start(teacher, hidden_widths=(4, 5), strengths=teacher.singular_values)
    exact, test = deep_linear.student(key, teacher, start=start, label_variance=0.0, **options)
    params = exact.init(key)
    own = seen(exact, params)
    np.testing.assert_allclose(deep_linear.product(params), teacher.matrix, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(own["loss"], 0, atol=1e-28)
    assert own["variance"] < 1e-25
    np.testing.assert_allclose(exact.examples["targets"], exact.examples["inputs"] @ teacher.matrix.T, rtol=1e-12)
    noisy, _ = deep_linear.student(key, teacher, start=START, label_variance=0.25, **options)
    residuals = noisy.examples["targets"] - noisy.examples["inputs"] @ teacher.matrix.T
    assert abs(jnp.mean(residuals**2) - 0.25) < 5.9 * 0.25 * np.sqrt(2 / 720)  # a variance, not a deviation
    for problem, size in ((exact, 6), (noisy, 12)):
        own = seen(problem, PARAMS)
        assert own["factor"][0].shape == (4, 3, size)
        np.testing.assert_allclose(own["variance"], own["covariance"].trace(), rtol=1e-10)
        np.testing.assert_allclose(own["loss"], own["example_mean"], rtol=1e-12)
    assert test["inputs"].shape == (50, 3)
    assert test["targets"].shape == (50, 2)


def test_whitened_inputs_are_exactly_white_and_test_inputs_are_not(key):
    teacher = deep_linear.teacher([3.0, 2.0], num_inputs=3, num_outputs=2)
    options = {"start": START, "num_examples": 360, "num_test_examples": 50, "label_variance": 0.0}
    second_moment = lambda examples: examples["inputs"].T @ examples["inputs"] / len(examples["inputs"])
    for is_whitened in (True, False):
        problem, test = deep_linear.student(key, teacher, is_whitened=is_whitened, **options)
        away = np.abs(second_moment(problem.examples) - np.eye(3)).max()
        assert away < 1e-13 if is_whitened else 1e-3 < away < 5.9 * np.sqrt(2 / 360)
        assert np.abs(second_moment(test) - np.eye(3)).max() > 1e-3
        # x ~ N(0, I): fourth moments are 3, with variance 96 / 1080
        assert abs(np.mean(problem.examples["inputs"] ** 4) - 3) < 5.9 * np.sqrt(96 / 1080)


def test_teachers_and_starts(key):
    teacher = deep_linear.teacher([3.0, 1.0], num_inputs=3, num_outputs=5, key=key)
    np.testing.assert_allclose(np.linalg.svd(teacher.matrix, compute_uv=False)[:2], [3, 1], rtol=1e-12)
    for directions in (teacher.left, teacher.right):
        np.testing.assert_allclose(directions.T @ directions, np.eye(2), atol=1e-14)
    fixed = deep_linear.teacher([3.0, 1.0], num_inputs=3, num_outputs=5)
    np.testing.assert_array_equal(fixed.matrix, np.eye(5, 3) * np.array([3.0, 1.0, 0.0]))
    for widths, strengths in (((4, 2, 6), [0.3, 0.02]), ((), 0.1)):
        params = deep_linear.balanced_start(teacher, hidden_widths=widths, strengths=strengths)(key)
        assert [layer.shape[0] for layer in params] == [*widths, 5]
        np.testing.assert_allclose(
            deep_linear.product(params),
            teacher.left @ jnp.diag(jnp.broadcast_to(jnp.array(strengths), 2)) @ teacher.right.T,
            rtol=1e-12,
            atol=1e-15,
        )
        for below, above in itertools.pairwise(params):
            np.testing.assert_allclose(above.T @ above, below @ below.T, atol=1e-15)
    small = deep_linear.small_start((100, 400, 100), gain=0.2)(key)
    random = deep_linear.random_start((100, 400, 100), standard_deviation=0.2)(key)
    for layer, deviation in zip((*small, *random), (0.2 / 10, 0.2 / 20, 0.2, 0.2), strict=True):
        assert abs(layer.std() / deviation - 1) < 5.9 / np.sqrt(2 * 40_000)
        assert abs(layer.mean()) < 5.9 * deviation / np.sqrt(40_000)
    assert abs(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]) < 5.9 / 200  # layers are independent


def test_random_directions_are_uniform():
    """E of a random direction is 0: without the signs the first entry of the first one would always be negative."""
    draw = jax.jit(jax.vmap(lambda key: deep_linear.teacher(np.ones(1), num_inputs=1, num_outputs=2, key=key).left))
    left = draw(jax.random.split(jax.random.key(2), 400))
    assert np.abs(left.mean(axis=0)).max() < 5.9 * np.sqrt(1 / 2 / 400)
    assert np.abs((left**2).mean(axis=0) - 1 / 2).max() < 5.9 * np.sqrt(1 / 8 / 400)


def test_float32_keeps_its_digits_near_the_minimum(key):
    teacher = deep_linear.teacher(np.array([1e3, 1.0], np.float32), num_inputs=2, num_outputs=2)
    start = deep_linear.balanced_start(teacher, hidden_widths=(2,), strengths=teacher.singular_values)
    options = {"num_examples": 500, "num_test_examples": 1, "label_variance": 0.0, "is_whitened": True}
    problem, _ = deep_linear.student(key, teacher, start=start, **options)
    params = problem.init(key)
    moved = (params[0], params[1] + np.array([[0.25, 0], [0, 0.5]], np.float32))
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), moved)
    away = exact[1] @ exact[0] - np.asarray(teacher.matrix, np.float64)
    value, slope = jax.jit(jax.value_and_grad(problem.mean_loss))(moved)
    kept = problem.examples, value, slope, jax.eval_shape(problem.noise_factor, moved)
    assert {leaf.dtype for leaf in jax.tree.leaves(kept)} == {jnp.float32.dtype}
    for found, expected in zip(slope, (exact[1].T @ away, away @ exact[0].T), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e4 * 2**-22)  # |y|^2 is 1e6 here
    np.testing.assert_allclose(value, (away**2).sum() / 2, rtol=1e-4)


def test_traced_data_are_the_same_and_the_noise_has_covariance_c(problem):
    """By the matrix that `apply` multiplies normals with, not by samples."""

    @jax.jit
    def traced(inputs, targets):
        return seen(deep_linear.linear_network(inputs, targets, start=START), PARAMS)

    found, own = traced(problem.examples["inputs"], problem.examples["targets"]), seen(problem, PARAMS)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9), found, own)
    discrete = sgd(problem, learning_rate=0.01, batch_size=4, sampling="with_replacement")
    law = match(discrete, noise.anisotropic, substeps=1).noise
    rows = jax.jit(jax.vmap(lambda z: jnp.concatenate([leaf.ravel() for leaf in law.apply(PARAMS, z)])))(jnp.eye(12))
    np.testing.assert_allclose(rows.T @ rows, own["covariance"] / 4, rtol=1e-9, atol=1e-9)


def test_a_second_data_set_does_not_recompile():
    traces = []

    @jax.jit
    def slope(problem, params):
        traces.append(1)
        return gradient(problem, params)

    for factor in (1.0, 2.0):
        slope(deep_linear.linear_network(factor * INPUTS, TARGETS, start=START), PARAMS)
    assert traces == [1]


def test_real_targets_without_residuals_have_the_smaller_factor():
    exact = deep_linear.linear_network(np.tile(INPUTS, (6, 1)), np.tile(INPUTS[:, :2], (6, 1)), start=START)
    assert jax.eval_shape(exact.noise_factor, PARAMS)[0].shape[-1] == 6


def test_bad_input_names_the_argument(key):
    teacher = deep_linear.teacher([3.0, 1.0], num_inputs=3, num_outputs=2)
    options = {"num_examples": 9, "num_test_examples": 1, "label_variance": 0.0, "is_whitened": True, "start": START}
    for field, value, message in (
        ("label_variance", -1.0, "label_variance: .*>= 0"),
        ("num_examples", 2, "num_examples: .*>= 3, the number of inputs"),
        ("num_examples", True, "num_examples: .*integer"),
        ("num_test_examples", 0, "num_test_examples: .*>= 1"),
        ("start", deep_linear.random_start((3, 3), standard_deviation=1.0), "start: .*3 inputs to 2 outputs"),
    ):
        with pytest.raises(ValueError, match=message):
            deep_linear.student(key, teacher, **{**options, field: value})
    with pytest.raises(TypeError, match=r"start: .*tuple of matrices"):
        deep_linear.student(key, teacher, **{**options, "start": lambda key: jnp.ones(3)})
    single = deep_linear.random_start((3, 2), standard_deviation=1.0, dtype=jnp.float32)
    with pytest.raises(TypeError, match=r"start: expected float64 layers .* got float32"):
        deep_linear.student(key, teacher, **{**options, "start": single})
    for call, message in (
        (lambda: deep_linear.teacher([-1.0], num_inputs=1, num_outputs=1), "singular_values"),
        (lambda: deep_linear.teacher([1.0, 2.0], num_inputs=1, num_outputs=2), "num_inputs: .*>= 2"),
        (lambda: deep_linear.balanced_start(teacher, hidden_widths=(1,), strengths=1.0), "hidden_widths: .*>= 2"),
        (lambda: deep_linear.balanced_start(teacher, hidden_widths=(3,), strengths=[1.0]), "strengths: .*2"),
        (lambda: deep_linear.balanced_start(teacher, hidden_widths=(3,), strengths=-1.0), "strengths: .*>= 0"),
        (lambda: deep_linear.random_start((3,), standard_deviation=1.0), "widths"),
        (lambda: deep_linear.small_start((3, 0), gain=1.0), "widths: .*>= 1"),
        (lambda: deep_linear.small_start((3, 3), gain=-1.0), "gain"),
        (lambda: deep_linear.linear_network(INPUTS[0], TARGETS, start=START), "inputs: .*shape"),
        (lambda: deep_linear.linear_network(INPUTS, TARGETS[:5], start=START), "targets: .*60"),
        (lambda: deep_linear.linear_network(INPUTS, np.nan * TARGETS, start=START), "targets: .*NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="inputs is float32, targets is float64"):
        deep_linear.linear_network(INPUTS.astype(np.float32), TARGETS, start=START)

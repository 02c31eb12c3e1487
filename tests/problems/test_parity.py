"""Sparse parity: inputs and labels, hinge loss and network against NumPy, the start's law, bad input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde import parity
from sgdsde.problem import example_gradients, loss

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

SIZES = {"num_bits": 6, "relevant": (0, 2, 5), "width": 9, "num_examples": 40, "num_test_examples": 30}


def test_examples(key):
    problem, test = parity.sparse_parity(key, **SIZES)
    for examples, size in ((problem.examples, 40), (test, 30)):
        inputs, labels = np.asarray(examples["inputs"]), np.asarray(examples["labels"])
        assert inputs.shape == (size, 6)
        assert (np.abs(inputs) == 1).all()
        np.testing.assert_array_equal(labels, inputs[:, 0] * inputs[:, 2] * inputs[:, 5])
    assert not np.array_equal(problem.examples["inputs"][:30], test["inputs"])
    again, _ = parity.sparse_parity(key, **SIZES)
    np.testing.assert_array_equal(again.examples["inputs"], problem.examples["inputs"])
    traced = jax.jit(lambda key: parity.sparse_parity(key, **SIZES)[0].examples["labels"])(key)
    np.testing.assert_array_equal(traced, problem.examples["labels"])


def test_bits_are_fair_and_independent(key):
    """20,000 examples: every product of one, two or three bits has the mean 0 to 5.9 standard errors."""
    problem, _ = parity.sparse_parity(key, **SIZES | {"num_examples": 20_000})
    inputs = np.asarray(problem.examples["inputs"])
    for size in (1, 2, 3):
        for places in itertools.combinations(range(6), size):
            assert abs(inputs[:, places].prod(axis=1).mean()) < 5.9 / np.sqrt(20_000)


def test_a_complete_set_holds_every_input_once():
    problem, test = parity.complete_parity(num_bits=5, relevant=(1, 4), width=3)
    inputs = np.asarray(problem.examples["inputs"])
    assert {tuple(row) for row in inputs.tolist()} == set(itertools.product((-1.0, 1.0), repeat=5))
    assert len(inputs) == 32
    assert test["inputs"] is problem.examples["inputs"]
    np.testing.assert_array_equal(problem.examples["labels"], inputs[:, 1] * inputs[:, 4])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_network_and_hinge_loss_against_numpy(key, dtype):
    problem, _ = parity.sparse_parity(key, **SIZES)
    params = {name: 3 * leaf.astype(dtype) for name, leaf in problem.init(key).items()}
    inputs, labels = (np.asarray(problem.examples[name], dtype) for name in ("inputs", "labels"))
    v, a, u, c = (np.asarray(params[f"{layer}"], float) for layer in params)
    expected = np.maximum(inputs @ v + a, 0) @ u + c
    found = parity.outputs(params, jnp.asarray(inputs))
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=2e3 * np.finfo(dtype).eps, atol=2e1 * np.finfo(dtype).eps)
    np.testing.assert_allclose(
        parity.outputs(params, jnp.asarray(inputs.reshape(4, 10, 6))), found.reshape(4, 10), rtol=1e-5, atol=1e-6
    )
    if dtype == np.float64:
        margins = labels * expected
        assert (margins > 1).any()
        assert (margins < 1).any()
        np.testing.assert_allclose(loss(problem, params), np.maximum(0, 1 - margins).mean(), rtol=1e-12)
        slopes = -np.where(margins < 1, labels, 0)
        on = inputs @ v + a > 0
        gradients = example_gradients(problem, params)
        np.testing.assert_allclose(gradients["output_bias"], slopes, rtol=1e-12)
        np.testing.assert_allclose(
            gradients["hidden_weights"], slopes[:, None, None] * inputs[:, :, None] * (on * u)[:, None, :], rtol=1e-12
        )


def test_start_is_uniform_as_in_torch():
    problem, _ = parity.complete_parity(num_bits=4, relevant=(0,), width=400)
    starts = jax.vmap(problem.init)(jax.random.split(jax.random.key(1), 20))
    for name, bound in (("hidden_weights", 0.5), ("hidden_biases", 0.5), ("output_weights", 0.05)):
        values = np.asarray(starts[name]).ravel()
        assert np.abs(values).max() <= bound
        assert abs(values.mean()) < 5.9 * bound / np.sqrt(3 * values.size)
        assert abs((values**2).mean() * 3 / bound**2 - 1) < 5.9 * np.sqrt(4 / 5 / values.size)
    assert np.abs(starts["output_bias"]).max() <= 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relevant": (0, 6)}, "relevant: expected different places from 0 to 5"),
        ({"relevant": (1, 1)}, "relevant"),
        ({"relevant": ()}, "relevant"),
        ({"width": 0}, "width: expected a whole number"),
        ({"num_examples": 0}, "num_examples"),
        ({"num_test_examples": True}, "num_test_examples"),
    ],
)
def test_bad_arguments_are_named(key, change, message):
    with pytest.raises(ValueError, match=message):
        parity.sparse_parity(key, **SIZES | change)


def test_complete_sets_have_a_limit():
    with pytest.raises(ValueError, match="num_bits: expected at most 20"):
        parity.complete_parity(num_bits=21, relevant=(0,), width=2)

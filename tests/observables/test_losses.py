"""Losses, accuracy and weight norm by hand; observers that hold counts, and several of them along one run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from sgdsde import Problem, observables, regression, sgd, simulate
from sgdsde.observables import accuracy, all_of, mean_example_loss, observer, weight_norm

RANDOM = np.random.default_rng(3)
INPUTS, TARGETS = RANDOM.standard_normal((7, 2)), RANDOM.standard_normal(7)
THETA = np.array([0.5, -1.0])


def linear(dtype=np.float64, penalty=None):
    def example_loss(theta, example):
        return (example["targets"] - jnp.sum(example["inputs"] * theta)) ** 2

    examples = {"inputs": INPUTS[:5].astype(dtype), "targets": TARGETS[:5].astype(dtype)}
    return Problem(example_loss, examples, lambda key: jnp.zeros(2, dtype), penalty=penalty)


@pytest.mark.parametrize("microbatch", [None, 1, 3, 100])
def test_mean_example_loss_of_other_examples(microbatch):
    """Seven test examples for a problem of five, the penalty left out, in microbatches that do not divide seven."""
    problem = dataclasses.replace(linear(penalty=lambda theta: jnp.sum(theta**2)), microbatch=microbatch)
    test = {"inputs": INPUTS, "targets": TARGETS}
    expected = np.mean((TARGETS - INPUTS @ THETA) ** 2)
    found = jax.jit(mean_example_loss)(problem, test, jnp.asarray(THETA))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_mean_example_loss_refuses_examples_of_another_shape():
    for wrong in (
        {"inputs": INPUTS},
        {"inputs": INPUTS[0], "targets": TARGETS},
        {"inputs": INPUTS.T, "targets": TARGETS},
    ):
        with pytest.raises(ValueError, match="examples: expected those of the problem"):
            mean_example_loss(linear(), wrong, jnp.asarray(THETA))


def test_accuracy_by_hand():
    table = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 3.0], [5.0, 4.0, 0.0]])
    logits = lambda params, inputs: params * inputs
    for labels, expected in (([0, 1, 2, 0], 1.0), ([0, 1, 2, 1], 0.75), ([2, 2, 0, 1], 0.0)):
        np.testing.assert_array_equal(accuracy(logits, table, np.array(labels), 1.0), expected)
    np.testing.assert_array_equal(accuracy(logits, table[:, 0], np.array([1, 0, 1, 1]), 1.0), 0.75)
    assert np.isnan(accuracy(logits, table, np.array([0, 1, 2, 0]), jnp.nan))
    for shape in ((4, 1), (3,)):
        with pytest.raises(ValueError, match="accuracy: expected logits"):
            accuracy(logits, table, np.zeros(shape, int), 1.0)


def test_weight_norm():
    params = {"first": jnp.array([[1.0, 2.0], [2.0, 4.0]]), "second": jnp.array([12.0, 0.0])}
    np.testing.assert_allclose(weight_norm(params), 13.0, rtol=1e-15)


def test_float32_stays_float32():
    problem = linear(np.float32)
    theta = jnp.asarray(THETA, jnp.float32)
    assert mean_example_loss(problem, problem.examples, theta).dtype == jnp.float32
    assert weight_norm(theta).dtype == jnp.float32
    logits = lambda params, inputs: inputs * params[0]
    assert accuracy(logits, problem.examples["targets"], np.ones(5, int), theta).dtype == jnp.float32


def repeated(word, count, factor, params):
    return {"word": jnp.full((count,), len(word), params.dtype) * factor, "params": params}


def test_observer_compiles_counts_and_words_and_passes_numbers():
    """An observer of equal constants and other numbers is the same compiled function; other constants are another."""
    traces = []

    @jax.jit
    def observe(watched, params):
        traces.append(1)
        return watched(params)

    for word, count, factor in (("four", 3, 2.0), ("more", 3, 5.0), ("four", 3, 7.0), ("four", 2, 2.0)):
        found = observe(observer(repeated, word, count, jnp.asarray(factor)), jnp.ones(2))
        np.testing.assert_array_equal(found["word"], np.full(count, 4 * factor))
    assert len(traces) == 3
    assert jax.tree.structure(observer(repeated, 1)) != jax.tree.structure(observer(repeated, True))
    assert jax.tree.leaves(observer(repeated, "word", 3, 2.5)) == [2.5]
    with pytest.raises(Exception, match="function"):
        observer(3)


def test_several_observers_along_a_run(key):
    """Recorded values are those of the recorded parameters; plain functions, Partials and observers side by side."""
    problem = linear()
    test = {"inputs": INPUTS, "targets": TARGETS}
    watched = {
        "params": lambda params: params,
        "train": Partial(mean_example_loss, problem, problem.examples),
        "test": observer(mean_example_loss, problem, test),
        "norm": weight_norm,
        "accuracy": observer(accuracy, lambda theta, inputs: inputs @ theta, INPUTS, TARGETS > 0),
    }
    dynamics = sgd(problem, learning_rate=0.05, batch_size=2, sampling="with_replacement")
    sizes = {"num_steps": 6, "num_chains": 3, "every": 2}
    run = simulate(dynamics, jnp.asarray(THETA), key, observe=observer(all_of, watched), **sizes)
    assert set(run.observed) == set(watched)
    thetas = np.asarray(run.observed["params"])
    outputs = thetas @ INPUTS.T
    np.testing.assert_allclose(
        run.observed["train"], np.mean((TARGETS - outputs) ** 2 * (np.arange(7) < 5), -1) * 7 / 5
    )
    np.testing.assert_allclose(run.observed["test"], np.mean((TARGETS - outputs) ** 2, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(run.observed["norm"], np.linalg.norm(thetas, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(run.observed["accuracy"], np.mean((outputs > 0) == (TARGETS > 0), axis=-1), rtol=1e-12)


def test_the_face_has_the_room():
    import sgdsde

    assert sgdsde.observables is observables
    problem = regression.linear_regression(
        INPUTS, TARGETS
    )  # mean_loss is of the problem's own examples, never used here
    half = {"inputs": INPUTS[:3], "targets": TARGETS[:3]}
    expected = np.mean((TARGETS[:3] - INPUTS[:3] @ THETA) ** 2) / 2
    np.testing.assert_allclose(mean_example_loss(problem, half, jnp.asarray(THETA)), expected, rtol=1e-12)

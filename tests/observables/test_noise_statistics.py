"""Noise statistics: enumerated minibatches, NumPy, the anisotropic noise's own draws, heavy tails that are known."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sgdsde import gradient, gradient_covariance, gradient_covariance_trace, noise, simulate
from sgdsde.dynamics.minibatch import minibatch_gradient, sgd
from sgdsde.observables import (
    all_of,
    gradient_noise_scale,
    noise_statistics,
    noise_tail_index,
    observer,
    projected_noise,
    sampled_gradient_covariance_trace,
    two_batch_moments,
)
from sgdsde.problem import Problem
from sgdsde.randomness import draw

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

LIMIT = 5.9
KINDS = ("with_replacement", "without_replacement")
DATA = np.random.default_rng(5)


def problem_of(num_examples, dtype=np.float64, penalty=0.3):
    """Least squares in a dictionary of parameters, with a ridge."""
    examples = {
        "x": DATA.standard_normal((num_examples, 2)).astype(dtype),
        "y": DATA.standard_normal(num_examples).astype(dtype),
    }

    def example_loss(params, example):
        return (jnp.sum(params["slope"] * example["x"]) + params["offset"] - example["y"]) ** 2 / 2

    ridge = lambda params: jnp.asarray(penalty, dtype) * jnp.sum(params["slope"] ** 2)
    return Problem(
        example_loss, examples, lambda key: {"slope": jnp.ones(2, dtype), "offset": jnp.zeros((), dtype)}, ridge
    )


PARAMS = {"slope": jnp.array([0.7, -0.4]), "offset": jnp.array(0.2)}


def every_minibatch(num_examples, batch_size, sampling):
    """All equally likely minibatches, (number, batch_size)."""
    if sampling == "with_replacement":
        return jnp.array(list(itertools.product(range(num_examples), repeat=batch_size)))
    return jnp.array(list(itertools.combinations(range(num_examples), batch_size)))


@jax.jit
def batch_gradients(problem, batches):
    return jax.vmap(lambda batch: ravel_pytree(minibatch_gradient(problem, PARAMS, batch))[0])(jnp.asarray(batches))


def squared(tree):
    return sum(float(jnp.sum(leaf**2)) for leaf in jax.tree.leaves(tree))


def test_gradient_noise_scale_against_numpy():
    problem = problem_of(6)
    x, y = (np.asarray(problem.examples[name]) for name in ("x", "y"))
    residuals = x @ np.asarray(PARAMS["slope"]) + 0.2 - y
    slopes = residuals[:, None] * np.column_stack([np.ones(6), x])
    full = slopes.mean(axis=0) + np.concatenate([[0], 0.6 * np.asarray(PARAMS["slope"])])
    expected = np.var(slopes, axis=0).sum() / np.sum(full**2)
    for each in (problem, dataclasses.replace(problem, microbatch=4)):
        np.testing.assert_allclose(jax.jit(gradient_noise_scale)(each, PARAMS), expected, rtol=1e-12)


@pytest.mark.parametrize("sampling", KINDS)
def test_sampled_variance_is_unbiased_by_enumeration(sampling, monkeypatch):
    """Mean over every pair of minibatches of two out of four: tr Sigma of one example, exactly, for both kinds of
    sampling. Without the finite-population factor it would be 2/3 of it, divided by num_batches 1/2."""
    problem = problem_of(4)
    batches = every_minibatch(4, 2, sampling)
    pairs = jnp.array([[first, second] for first in batches for second in batches])

    @jax.jit
    @jax.vmap
    def estimate(pair):
        monkeypatch.setattr(noise_statistics, "_batches", lambda *arguments: pair)
        return sampled_gradient_covariance_trace(problem, 2, sampling, 2, jax.random.key(0), PARAMS)

    np.testing.assert_allclose(estimate(pairs).mean(), gradient_covariance_trace(problem, PARAMS), rtol=1e-12)


@pytest.mark.parametrize("sampling", KINDS)
def test_two_batch_moments_are_unbiased_by_enumeration(sampling, monkeypatch):
    """Both are linear in the mean squares, and with every minibatch of both sizes these are expectations: the result
    is exact. The plain square of a small batch is not |G|^2; the penalty is part of G and of no Sigma."""
    problem = problem_of(4)
    everything = lambda problem, size, *rest: every_minibatch(4, size, sampling)
    monkeypatch.setattr(noise_statistics, "_batches", everything)
    found = two_batch_moments(problem, 1, 3, sampling, 1, jax.random.key(0), PARAMS)
    trace = gradient_covariance_trace(problem, PARAMS)
    np.testing.assert_allclose(found["gradient_covariance_trace"], trace, rtol=1e-12)
    np.testing.assert_allclose(found["squared_gradient"], squared(gradient(problem, PARAMS)), rtol=1e-12)


@pytest.mark.parametrize("sampling", [*KINDS, "epoch"])
def test_sampled_variance_uses_the_draws_of_its_key(sampling, key):
    """The literal formula on gradients of the same minibatches; an epoch's step is a draw without replacement."""
    problem = problem_of(9)
    batches = np.asarray(noise_statistics._batches(problem, 3, sampling, 5, key))
    assert batches.shape == (5, 3)
    if sampling != "with_replacement":
        assert all(len(set(batch)) == 3 for batch in batches)
    total = np.var(batch_gradients(problem, batches), axis=0, ddof=1).sum()
    factor = 1 / 3 if sampling == "with_replacement" else 6 / (3 * 8)
    found = jax.jit(observer(sampled_gradient_covariance_trace, problem, 3, sampling, 5, key))(PARAMS)
    np.testing.assert_allclose(found, total / factor, rtol=1e-12)


def directions_of(key):
    """The unit vectors of `projected_noise`, (8, 3), in the order of ravel_pytree."""
    normals = jax.random.normal(jax.random.split(key, 3)[0], (8, 3))
    return np.asarray(normals / jnp.linalg.norm(normals, axis=1, keepdims=True))


@pytest.mark.parametrize(("sampling", "microbatch"), [("with_replacement", 4), ("without_replacement", None)])
def test_projected_noise_is_that_of_minibatches_and_of_the_anisotropic_law(sampling, microbatch, key):
    """Row by row: u . (g_B - g) of the same minibatches, and u . noise of `noise.anisotropic`'s own draws."""
    problem = dataclasses.replace(problem_of(9), microbatch=microbatch)
    found = jax.jit(observer(projected_noise, problem, 3, sampling, 4, key))(PARAMS)
    _, batch_key, gaussian_key = jax.random.split(key, 3)
    directions = directions_of(key)
    batches = noise_statistics._batches(problem, 3, sampling, 4, batch_key)
    away = batch_gradients(problem, batches) - batch_gradients(problem, jnp.arange(9)[None])
    np.testing.assert_allclose(found["noise"], directions @ away.T, rtol=1e-10, atol=1e-14)
    law = noise.anisotropic(problem, batch_size=3, sampling=sampling)

    @jax.jit
    @jax.vmap
    def drawn(slot):
        return ravel_pytree(law.apply(PARAMS, draw(law.variates, gaussian_key, slot)))[0]

    np.testing.assert_allclose(found["gaussian"], directions @ drawn(jnp.arange(4)).T, rtol=1e-10, atol=1e-14)


def test_projected_noise_has_the_exact_covariance(key):
    """20,000 batches of each law: (1/B) u^T Sigma u along every direction, to 5.9 sqrt(2/20,000) = 5.9 %; one example's
    Sigma, or the factor without replacement, (n - B)/(n - 1) = 3/4, is far outside."""
    problem = problem_of(9)
    found = jax.jit(observer(projected_noise, problem, 3, "with_replacement", 20_000, key))(PARAMS)
    directions = directions_of(key)
    expected = np.einsum("ki,ij,kj->k", directions, gradient_covariance(problem, PARAMS), directions) / 3
    for row in found.values():
        ratio = np.mean(np.asarray(row) ** 2, axis=1) / expected
        kurtosis = np.mean(np.asarray(row) ** 4, axis=1) / expected**2
        assert (np.abs(ratio - 1) < LIMIT * np.sqrt((kurtosis - 1) / 20_000)).all()


def test_tail_index_of_heavy_tailed_gradients_beside_its_null():
    """Eight keys, 400 batches of one of 4,000 quantiles of Cauchy's law: index 1. The Gaussian null is 2 on average,
    although its variance is that of the heaviest example."""
    keys = jax.random.split(jax.random.key(8), 8)
    tilts = np.tan(np.pi * ((np.arange(4_000) + 0.5) / 4_000 - 0.5))
    problem = Problem(lambda x, example: x * example, tilts, lambda key: jnp.zeros(()))

    @jax.jit
    @jax.vmap
    def measured(key):
        return noise_tail_index(problem, 1, "with_replacement", 400, key, jnp.zeros(()))

    found = {name: np.asarray(values) for name, values in measured(keys).items()}
    for name, expected in (("index", 1.0), ("null", 2.0), ("block_null", 2.0)):
        error = found[name].std(ddof=1) / np.sqrt(len(keys))
        assert abs(found[name].mean() - expected) < LIMIT * error, name
    assert (found["index"] < found["null"] - 0.5).all()
    assert (found["block_index"] < 1.5).all()


def test_tail_index_inside_a_run(key):
    """Vmapped over chains and compiled with the loop, in float32; the value is that of the recorded parameters."""
    problem = problem_of(9, np.float32)
    tail = observer(noise_tail_index, problem, 3, "with_replacement", 100, key)
    watched = observer(all_of, {"params": lambda params: params, "tail": tail})
    dynamics = sgd(problem, learning_rate=0.05, batch_size=2, sampling="with_replacement")
    sizes = {"num_steps": 4, "num_chains": 2, "every": 2}
    run = simulate(dynamics, problem.init, key, observe=watched, **sizes).observed
    alone = jax.jit(tail)(jax.tree.map(lambda leaf: leaf[-1, -1], run["params"]))
    for name, expected in alone.items():
        assert run["tail"][name].dtype == jnp.float32
        np.testing.assert_allclose(run["tail"][name][-1, -1], expected, rtol=2e-3)


def test_refusals(key):
    problem = problem_of(5)
    with pytest.raises(ValueError, match="num_batches: expected an integer >= 2"):
        sampled_gradient_covariance_trace(problem, 2, "with_replacement", 1, key, PARAMS)
    with pytest.raises(ValueError, match="is every example"):
        sampled_gradient_covariance_trace(problem, 5, "without_replacement", 3, key, PARAMS)
    with pytest.raises(ValueError, match="batch_size: expected an integer from 1 to 5, got 6"):
        projected_noise(problem, 6, "with_replacement", 3, key, PARAMS)
    with pytest.raises(ValueError, match="expected the first below the second"):
        two_batch_moments(problem, 3, 3, "with_replacement", 3, key, PARAMS)
    with pytest.raises(ValueError, match="num_batches: expected an integer >= 100"):
        noise_tail_index(problem, 2, "with_replacement", 99, key, PARAMS)

"""Modes of deep linear networks: strengths against NumPy, and their noise against gradients taken one by one."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from sgdsde import deep_linear, observables, predictions, sgd, simulate
from sgdsde.problem import gradient_covariance

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

GENERATOR = np.random.default_rng(8)
PARAMS = tuple(jnp.asarray(GENERATOR.standard_normal(shape)) for shape in ((4, 3), (5, 4), (2, 5)))
TEACHER = deep_linear.teacher(np.array([3.0, 1.0]), num_inputs=3, num_outputs=2, key=jax.random.key(4))


@pytest.fixture(scope="module")
def problem():
    inputs = GENERATOR.standard_normal((300, 3))
    targets = inputs @ np.asarray(TEACHER.matrix).T + 0.5 * GENERATOR.standard_normal((300, 2))
    start = deep_linear.random_start((3, 4, 5, 2), standard_deviation=0.5)
    return deep_linear.linear_network(inputs, targets, start=start)


def test_strengths_singular_values_and_balances_against_numpy():
    first, second, third = (np.asarray(layer) for layer in PARAMS)
    product = third @ second @ first
    np.testing.assert_allclose(
        observables.singular_values(PARAMS), np.linalg.svd(product, compute_uv=False), rtol=1e-12
    )
    strengths = np.diag(np.asarray(TEACHER.left).T @ product @ np.asarray(TEACHER.right))
    np.testing.assert_allclose(
        observables.mode_strengths(TEACHER.left, TEACHER.right, PARAMS), strengths, rtol=1e-12, atol=1e-13
    )
    expected = second.T @ second - first @ first.T, third.T @ third - second @ second.T
    for found, balance in zip(observables.balances(PARAMS), expected, strict=True):
        np.testing.assert_allclose(found, balance, rtol=1e-12, atol=1e-13)
    assert observables.balances(PARAMS[:1]) == ()


@pytest.mark.parametrize("form", ["noise_factor", "example by example", "in microbatches"])
def test_noise_against_the_dense_covariance(problem, form):
    """With Sigma by enumeration, the growth of the strengths by finite differences, and bases of random directions."""
    if form != "noise_factor":
        problem = dataclasses.replace(problem, noise_factor=None, microbatch=64 if form == "in microbatches" else None)
    hidden = [np.linalg.qr(GENERATOR.standard_normal((width, 2)))[0] for width in (4, 5)]
    bases = (TEACHER.right, *map(jnp.asarray, hidden), TEACHER.left)
    flat, unravel = ravel_pytree(PARAMS)
    strengths = jax.jit(lambda x: observables.mode_strengths(TEACHER.left, TEACHER.right, unravel(x)))
    shift = 1e-6 * np.eye(flat.size)
    growth = np.stack([(strengths(flat + s) - strengths(flat - s)) / 2e-6 for s in shift], axis=1)
    covariance = np.asarray(jax.jit(gradient_covariance)(problem, PARAMS))
    noises = jax.jit(observables.mode_noise)(problem, bases, PARAMS)
    np.testing.assert_allclose(noises["strength"], np.einsum("ka,ab,kb->k", growth, covariance, growth), rtol=1e-7)
    ends = np.cumsum([0, *(leaf.size for leaf in PARAMS)])
    for mode in range(2):
        blocks = [covariance[low:high, low:high] for low, high in itertools.pairwise(ends)]
        own = [np.outer(above[:, mode], below[:, mode]).ravel() for below, above in itertools.pairwise(bases)]
        expected = sum(b @ block @ b for b, block in zip(own, blocks, strict=True))
        np.testing.assert_allclose(noises["weights"][mode], expected, rtol=1e-10)


def test_noise_at_a_saddle_is_zero_and_at_a_balanced_point_as_predicted():
    """Fourth moments of a finite sample of 20,000: 5.9 standard errors of Var x^2, whose variance is about 56/n."""
    start = deep_linear.balanced_start(TEACHER, hidden_widths=(4, 5), strengths=[0.9, 0.0])
    problem, _ = deep_linear.student(
        jax.random.key(0), TEACHER, start=start, num_examples=20_000, num_test_examples=1, label_variance=0.25,
        is_whitened=True,
    )  # fmt: skip
    bases = deep_linear.balanced_bases(TEACHER, hidden_widths=(4, 5))
    noises = jax.jit(observables.mode_noise)(problem, bases, start(jax.random.key(0)))
    predicted = predictions.mode_noise(0.9, target=3.0, num_layers=3, label_variance=0.25)
    for name, (found, saddle) in noises.items():
        assert saddle < 1e-20
        assert abs(found / predicted[name] - 1) < 5.9 * np.sqrt(56 / 4 / 20_000)


def test_they_observe_a_simulation(problem):
    dynamics = sgd(problem, learning_rate=0.01, batch_size=4, sampling="with_replacement")
    observe = Partial(observables.mode_strengths, TEACHER.left, TEACHER.right)
    run = simulate(dynamics, PARAMS, jax.random.key(1), num_steps=4, num_chains=3, observe=observe, every=2)
    assert run.observed.shape == (2, 3, 2)
    last = jax.vmap(observe)(run.params)
    np.testing.assert_allclose(run.observed[-1], last, rtol=1e-12)

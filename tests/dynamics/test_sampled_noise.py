"""Anisotropic noise from a sample of the examples: exact mean and covariance of a step by enumerating every sample.

Given the sample a step is linear in its normals, so that its law is a mixture of as many Gaussians as there are samples
and every moment is a finite sum. No random numbers.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sgdsde import noise, sgd, simulate
from sgdsde.dynamics.langevin import explicit, tamed
from sgdsde.dynamics.matching import match
from sgdsde.noise import covariance_factor
from sgdsde.problem import Problem, example_gradients, gradient, gradient_covariance

RATE, MOMENTUM, NUM = 0.1, 0.5, 4
PARAMS = {"a": jnp.array([0.7, -1.1]), "b": jnp.array(0.4)}


def example_loss(params, example):
    return jnp.sin(params["a"] @ example["x"]) * params["b"] + (params["b"] - example["y"]) ** 2


def make_problem(microbatch=None):
    rng = np.random.default_rng(0)
    examples = {"x": rng.normal(size=(NUM, 2)), "y": rng.normal(size=NUM)}
    penalty = lambda p: 0.3 * p["a"] @ p["a"]
    return Problem(example_loss, examples, lambda key: PARAMS, penalty=penalty, microbatch=microbatch)


def flat(tree):
    return ravel_pytree(tree)[0]


def all_numbers(sampling, num_sampled):
    """Every outcome of the random numbers behind a sample, all equally likely: indices, or Floyd's proposals."""
    first = NUM if sampling == "with_replacement" else NUM - num_sampled + 1
    steps = [0 if sampling == "with_replacement" else place for place in range(num_sampled)]
    return jnp.array(list(itertools.product(*(range(first + step) for step in steps))), jnp.int32)


@jax.jit
def mixture_of_steps(dynamics, numbers):
    """The mean (num, d) of x - x' in each sample, and the matrix (num, d, m) that multiplies the normals."""
    size = numbers.shape[1]

    def move(numbers, z):
        return flat(PARAMS) - flat(dynamics.advance(dynamics.init(PARAMS), (numbers, z), 0).params)

    def one(numbers):
        mean = move(numbers, jnp.zeros(size))
        return mean, jax.vmap(lambda z: move(numbers, z) - mean, out_axes=-1)(jnp.eye(size))

    return jax.vmap(one)(numbers)


def matched(sampling, num_sampled, substeps, batch_size=2, microbatch=None):
    options = {"learning_rate": RATE, "batch_size": batch_size, "sampling": sampling, "momentum": MOMENTUM}
    discrete = sgd(make_problem(microbatch), **options)
    return match(discrete, noise.anisotropic_sampled, num_sampled=num_sampled, substeps=substeps)


@pytest.mark.parametrize(
    ("sampling", "num_sampled", "substeps", "microbatch"),
    [
        ("with_replacement", 2, 1, None),
        ("with_replacement", 3, 1, 2),
        ("with_replacement", 3, 4, None),
        ("without_replacement", 3, 1, None),
        ("without_replacement", 2, 3, None),
        ("without_replacement", 4, 2, 3),
    ],
)
def test_mean_and_covariance_of_a_step_are_exact(sampling, num_sampled, substeps, microbatch):
    """Momentum, substeps, penalty, microbatches: the step of gradient descent, and rate dt C with C = f Sigma."""
    dynamics = matched(sampling, num_sampled, substeps, microbatch=microbatch)
    assert dynamics.shares_pass
    means, roots = (np.asarray(part) for part in mixture_of_steps(dynamics, all_numbers(sampling, num_sampled)))
    problem, rate = make_problem(), RATE / (1 - MOMENTUM)
    dt, factor = rate / substeps, covariance_factor(NUM, 2, sampling)
    np.testing.assert_allclose(means.mean(0), dt * flat(gradient(problem, PARAMS)), rtol=1e-12)
    covariance = np.cov(means.T, bias=True) + np.mean(roots @ roots.transpose(0, 2, 1), axis=0)
    expected = rate * dt * factor * np.asarray(gradient_covariance(problem, PARAMS))
    np.testing.assert_allclose(covariance, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("num_sampled", "substeps"), [(2, 1), (3, 1), (4, 1), (3, 4), (2, 5)])
def test_skewness_and_excess_kurtosis_are_those_of_the_docstring(num_sampled, substeps):
    dynamics = matched("with_replacement", num_sampled, substeps)
    means, roots = (
        np.asarray(part) for part in mixture_of_steps(dynamics, all_numbers("with_replacement", num_sampled))
    )
    m, r = num_sampled, 2 / (substeps * num_sampled)
    for direction in np.random.default_rng(1).normal(size=(3, 3)):
        mean, variance = means @ direction, np.sum((direction @ roots) ** 2, axis=-1)
        mean = mean - mean.mean()
        whole = np.mean(mean**2 + variance)
        skewness = np.mean(mean**3 + 3 * mean * variance) / whole**1.5
        excess = np.mean(mean**4 + 6 * mean**2 * variance + 3 * variance**2) / whole**2 - 3
        one = np.stack([np.asarray(flat(g)) for g in rows(example_gradients(make_problem(), PARAMS))]) @ direction
        one = (one - one.mean()) / one.std()
        k3, k4 = np.mean(one**3), np.mean(one**4) - 3
        np.testing.assert_allclose(skewness, k3 * np.sqrt(r / m) * (3 - 2 * r), rtol=1e-10)
        np.testing.assert_allclose(excess, 6 * (1 - r) ** 2 / (m - 1) + k4 * (3 - 2 * r**2) / m, rtol=1e-10)


def rows(tree):
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(NUM)]


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
def test_a_sample_as_small_as_the_batch_makes_it_minibatch_sgd_and_all_examples_anisotropic(sampling, key):
    """Minibatch SGD itself: the same key gives the same minibatches, hence the same path."""
    discrete = sgd(make_problem(), learning_rate=RATE, batch_size=2, sampling=sampling)
    options = {"num_steps": 3, "num_chains": 2, "observe": flat, "every": 1}
    sde = match(discrete, noise.anisotropic_sampled, num_sampled=2, substeps=1)
    paths = [simulate(dynamics, PARAMS, key, **options).observed for dynamics in (discrete, sde)]
    np.testing.assert_allclose(paths[0], paths[1], rtol=1e-12)
    if sampling == "without_replacement":
        means, roots = mixture_of_steps(matched(sampling, NUM, 2), all_numbers(sampling, NUM)[:5])
        covariance = RATE**2 / (1 - MOMENTUM) ** 2 / 2 * covariance_factor(NUM, 2, sampling)
        expected = covariance * np.asarray(gradient_covariance(make_problem(), PARAMS))
        for mean, root in zip(means, roots):
            np.testing.assert_allclose(mean, means[0], rtol=1e-12)
            np.testing.assert_allclose(root @ root.T, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("sampling", "num_sampled", "substeps", "batch_size", "fewest"),
    [("with_replacement", 2, 1, 3, 3), ("with_replacement", 2, 1, 4, 4), ("without_replacement", 2, 1, 3, 3)],
)
def test_a_sample_too_small_is_refused_with_the_bound(sampling, num_sampled, substeps, batch_size, fewest):
    with pytest.raises(ValueError, match=rf"num_sampled: .* expected at least {fewest} examples, or more substeps"):
        matched(sampling, num_sampled, substeps, batch_size)
    matched(sampling, fewest, substeps, batch_size)
    many = matched(sampling, num_sampled, 4, batch_size)
    coarser = dataclasses.replace(many, substeps=1)
    with pytest.raises(ValueError, match="expected at least"):
        jax.eval_shape(lambda key: coarser.advance(coarser.init(PARAMS), coarser.draw(key, 0, 0), 0), jax.random.key(0))


def test_where_the_drift_has_no_part_in_the_pass_the_sample_may_be_small(key):
    """A closed mean_loss, or another scheme: exact drift, and the noise alone has the covariance."""
    z = jnp.array([[1.0, 0.5], [-1.0, 0.5], [0.5, -1.0], [-0.5, 0.0]])
    problem = Problem(lambda x, z: 0.5 * x @ x + z @ x, z, lambda k: jnp.zeros(2), mean_loss=lambda x: 0.5 * x @ x)
    x = jnp.array([1.0, -2.0])
    for scheme, source in ((explicit, problem), (tamed, dataclasses.replace(problem, mean_loss=None))):
        discrete = sgd(source, learning_rate=RATE, batch_size=4, sampling="with_replacement")
        sde = match(discrete, noise.anisotropic_sampled, num_sampled=2, substeps=1, scheme=scheme)
        assert not sde.shares_pass
        draws = sde.draw(key, 0, 0)
        expected = scheme(source, x, RATE, RATE * sde.noise.apply(x, draws))
        np.testing.assert_allclose(sde.advance(sde.init(x), draws, 0).params, expected, rtol=1e-12)

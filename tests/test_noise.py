"""Noise laws: linear maps give covariances exactly; stable laws by their characteristic functions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from sgdsde import noise
from sgdsde.dynamics.minibatch import minibatch_gradient
from sgdsde.problem import Problem, gradient, gradient_covariance

Z = 5.9


def network_loss(params, example):
    hidden = jnp.tanh(params["a"] @ example["x"])
    return 0.5 * (params["b"] @ hidden - example["y"]) ** 2


@pytest.fixture(scope="module")
def network():
    rng = np.random.default_rng(1)
    examples = {"x": rng.normal(size=(6, 2)), "y": rng.normal(size=6)}
    return Problem(network_loss, examples, lambda k: {"a": jnp.ones((3, 2)), "b": jnp.ones(3)})


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(2)
    return {"a": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.asarray(rng.normal(size=3))}


def exact_covariance(law, params, draws_like):
    """A Gaussian noise is linear in its draws: its covariance is J J^T with J its matrix, no sampling."""
    flat, unravel = ravel_pytree(draws_like)
    columns = jax.vmap(lambda e: ravel_pytree(law.apply(params, unravel(e)))[0], out_axes=-1)(jnp.eye(flat.size))
    return columns @ columns.T


def draws_of(law):
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(lambda: law.draw(jax.random.key(0))))


def enumerated(problem, params, batch_size, batches):
    full = ravel_pytree(gradient(problem, params))[0]
    deviations = [ravel_pytree(minibatch_gradient(problem, params, jnp.array(batch)))[0] - full for batch in batches]
    deviations = jnp.stack(deviations)
    return deviations.mean(0), deviations.T @ deviations / len(deviations)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_enumerating_all_minibatches_gives_sigma_over_b(network, params, batch_size):
    batches = list(itertools.product(range(6), repeat=batch_size))
    mean, covariance = enumerated(network, params, batch_size, batches)
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(covariance, gradient_covariance(network, params) / batch_size, atol=1e-12)


@pytest.mark.parametrize("batch_size", [2, 4, 6])
def test_enumerating_subsets_gives_the_finite_population_factor(network, params, batch_size):
    batches = list(itertools.combinations(range(6), batch_size))
    mean, covariance = enumerated(network, params, batch_size, batches)
    factor = (6 - batch_size) / (6 - 1) / batch_size
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(covariance, factor * gradient_covariance(network, params), atol=1e-12)
    assert noise.covariance_factor(6, batch_size, "without_replacement") == pytest.approx(factor, abs=1e-15)
    assert noise.covariance_factor(6, batch_size, "epoch") == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement", "epoch"])
def test_anisotropic_noise_has_exactly_the_minibatch_covariance(network, params, sampling):
    law = noise.anisotropic(network, batch_size=4, sampling=sampling)
    factor = 1 / 4 if sampling == "with_replacement" else (6 - 4) / (4 * 5)
    expected = factor * gradient_covariance(network, params)
    np.testing.assert_allclose(exact_covariance(law, params, draws_of(law)), expected, atol=1e-13)


def test_diagonal_noise_has_its_diagonal(network, params):
    law = noise.diagonal(network, batch_size=4, sampling="with_replacement")
    expected = np.diag(np.diag(gradient_covariance(network, params))) / 4
    np.testing.assert_allclose(exact_covariance(law, params, draws_of(law)), expected, atol=1e-13)


def test_isotropic_and_constant_noise_have_their_covariances(network, params):
    law = noise.isotropic(network, variance=0.3)
    np.testing.assert_allclose(exact_covariance(law, params, draws_of(law)), 0.3 * np.eye(9), atol=1e-13)
    root = np.random.default_rng(3).normal(size=(9, 4))
    law = noise.constant(network, covariance=root @ root.T)
    np.testing.assert_allclose(exact_covariance(law, params, draws_of(law)), root @ root.T, atol=1e-12)


def state_dependent():
    """Sigma = 1 + 2 x^2 as true example noise, with its factor (1, 2)."""
    z = jnp.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * jnp.array([[1.0, 2.0**0.5]])
    return Problem(
        lambda x, z: 0.5 * x @ x + z[0] * x[0] + z[1] * x[0] ** 2 / 2,
        z,
        lambda key: jnp.zeros(1),
        noise_factor=lambda x: jnp.stack([jnp.ones(1), 2.0**0.5 * x], axis=-1),
    )


@pytest.mark.parametrize("kind", [noise.anisotropic, noise.diagonal])
def test_a_noise_factor_gives_the_same_law_from_fewer_normals(kind):
    problem = state_dependent()
    law = kind(problem, batch_size=2, sampling="without_replacement")
    x = jnp.array([0.7])
    expected = (1 + 2 * 0.7**2) / 2 * (4 - 2) / (4 - 1)
    np.testing.assert_allclose(exact_covariance(law, x, draws_of(law)), [[expected]], rtol=1e-13)


def stable_laws(problem, tail_index):
    return {
        "levy": noise.levy(problem, tail_index=tail_index, scale=0.7),
        "levy_coordinates": noise.levy_coordinates(problem, tail_index=tail_index, scale=0.7),
        "anisotropic_levy": noise.anisotropic_levy(
            problem, tail_index=tail_index, batch_size=2, sampling="with_replacement"
        ),
    }


def plane():
    z = np.random.default_rng(4).normal(size=(6, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
    return Problem(lambda x, z: 0.5 * x @ x + z @ x, z - z.mean(0), lambda key: jnp.zeros(2))


@pytest.mark.parametrize("tail_index", [1.0, 1.5, 2.0])
def test_stable_noises_have_their_characteristic_functions(key, tail_index):
    """False alarm 4e-9 a wave vector. scale^2 taken for the variance at tail index 2 (instead of 2 scale^2) shifts the
    characteristic function by 100 standard errors; so does one common angle for both coordinates."""
    problem = plane()
    sigma = np.asarray(gradient_covariance(problem, jnp.zeros(2)))
    waves = np.array([[1.0, 0.0], [0.0, 1.5], [0.8, 0.8], [1.0, -0.7]])
    exact = {
        "levy": lambda k: np.exp(-((0.7 * np.linalg.norm(k)) ** tail_index)),
        "levy_coordinates": lambda k: np.exp(-((0.7 * np.abs(k)) ** tail_index).sum()),
        "anisotropic_levy": lambda k: np.exp(-((k @ sigma @ k / 2 / 2) ** (tail_index / 2))),
    }
    for name, law in stable_laws(problem, tail_index).items():
        sample = jax.jit(jax.vmap(lambda k, law=law: law.apply(jnp.zeros(2), law.draw(k))))
        draws = np.asarray(sample(jax.random.split(key, 100_000)))
        for wave in waves:
            cosines = np.cos(draws @ wave)
            assert abs(cosines.mean() - exact[name](wave)) < Z * cosines.std() / np.sqrt(len(draws)), (name, wave)


def test_at_tail_index_two_stable_noise_is_gaussian_of_variance_two_scale_squared(key):
    problem = plane()
    law = noise.levy(problem, tail_index=2.0, scale=0.7)
    mixing, _ = law.draw(key)
    assert mixing == 0.0
    gaussian = noise.Noise(lambda k: None, lambda x, w: law.apply(x, (jnp.zeros(()), w)))
    np.testing.assert_allclose(
        exact_covariance(gaussian, jnp.zeros(2), jnp.zeros(2)), 2 * 0.7**2 * np.eye(2), rtol=1e-13
    )
    law = noise.anisotropic_levy(problem, tail_index=2.0, batch_size=2, sampling="with_replacement")
    gaussian = noise.Noise(lambda k: None, lambda x, w: law.apply(x, (jnp.zeros(()), w)))
    expected = gradient_covariance(problem, jnp.zeros(2)) / 2
    np.testing.assert_allclose(exact_covariance(gaussian, jnp.zeros(2), jnp.zeros(6)), expected, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: noise.isotropic(p, variance=-1.0), "variance: expected a number >= 0"),
        (lambda p: noise.levy(p, tail_index=0.0, scale=1.0), r"tail_index: expected a number in \(0, 2\]"),
        (lambda p: noise.levy(p, tail_index=2.5, scale=1.0), r"tail_index: expected a number in \(0, 2\]"),
        (lambda p: noise.levy(p, tail_index=1.5, scale=-1.0), "scale: expected a number >= 0"),
        (lambda p: noise.constant(p, covariance=np.eye(3)), r"covariance: expected a matrix of shape \(2, 2\)"),
        (lambda p: noise.constant(p, covariance=np.diag([1.0, -1.0])), "positive semi-definite"),
        (lambda p: noise.constant(p, covariance=np.array([[1.0, 0.5], [0.0, 1.0]])), "symmetric"),
        (lambda p: noise.constant(p, covariance=np.full((2, 2), np.nan)), "NaN"),
        (lambda p: noise.anisotropic(p, batch_size=7, sampling="with_replacement"), "num_examples = 6, got 7"),
        (lambda p: noise.anisotropic(p, batch_size=0, sampling="with_replacement"), "expected 1 to num_examples"),
    ],
)
def test_a_wrong_noise_is_refused_with_the_argument_and_the_mend(make, message):
    with pytest.raises(ValueError, match=message):
        make(plane())

"""Noise laws: linear maps give covariances exactly; stable laws by their characteristic functions."""

import dataclasses
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
    column = lambda e: ravel_pytree(law.apply(params, unravel(e)))[0]
    columns = np.asarray(jax.jit(jax.vmap(column, out_axes=-1))(jnp.eye(flat.size)))
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


@pytest.mark.parametrize(
    ("sampling", "microbatch"), [("with_replacement", None), ("without_replacement", 4), ("epoch", None)]
)
def test_anisotropic_noise_has_exactly_the_minibatch_covariance(network, params, sampling, microbatch):
    network = dataclasses.replace(network, microbatch=microbatch)
    law = noise.anisotropic(network, batch_size=4, sampling=sampling)
    factor = 1 / 4 if sampling == "with_replacement" else (6 - 4) / (4 * 5)
    expected = factor * gradient_covariance(network, params)
    np.testing.assert_allclose(exact_covariance(law, params, draws_of(law)), expected, atol=1e-13)


@pytest.mark.parametrize("microbatch", [None, 4])
def test_diagonal_noise_has_its_diagonal(network, params, microbatch):
    network = dataclasses.replace(network, microbatch=microbatch)
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


def test_trace_matched_noise_has_the_length_of_an_anisotropic_draw_in_a_random_direction(network, params, key):
    """E |noise|^2 = tr C and a uniform direction independent of it: covariance (tr C / d) identity, exactly."""
    options = {"batch_size": 4, "sampling": "without_replacement"}
    law, source = noise.trace_matched(network, **options), noise.anisotropic(network, **options)
    normals, direction = draws = law.draw(key)
    flat = lambda tree: ravel_pytree(tree)[0]
    found, z = flat(jax.jit(law.apply)(params, draws)), flat(direction)
    length = np.linalg.norm(flat(jax.jit(source.apply)(params, normals)))
    np.testing.assert_allclose(found, length * z / np.linalg.norm(z), rtol=1e-13)
    first, second = law.variates[0], jax.tree.leaves(law.variates[1], is_leaf=lambda v: hasattr(v, "law"))
    assert [v.first for v in second] == [6, 12]  # after the 6 examples' numbers and a's 6: none is used twice
    assert (first.first, first.size) == (0, 6)
    assert not law.is_gaussian
    nowhere = jax.tree.map(jnp.zeros_like, draws)
    assert not flat(jax.jit(law.apply)(params, nowhere)).any()


def test_trace_matched_noise_is_isotropic_with_the_kurtosis_of_its_docstring(key):
    """False alarm 4e-9 a number; fixed seed. Gaussian noise (excess 0) would be off by 25 standard errors, the trace
    not divided by d by 180."""
    problem = plane()
    law = noise.trace_matched(problem, batch_size=2, sampling="with_replacement")
    covariance = np.asarray(gradient_covariance(problem, jnp.zeros(2))) / 2
    variance, rank = np.trace(covariance) / 2, np.trace(covariance) ** 2 / np.sum(covariance**2)
    sample = jax.jit(jax.vmap(lambda k: law.apply(jnp.zeros(2), law.draw(k))))
    draws = np.asarray(sample(jax.random.split(key, 120_000)))
    for product, expected in (
        (draws[:, 0] ** 2, variance),
        (draws[:, 1] ** 2, variance),
        (draws[:, 0] * draws[:, 1], 0.0),
        (draws[:, 0] ** 4 / variance**2, 3 * 2 / 4 * (1 + 2 / rank)),
    ):
        assert abs(product.mean() - expected) < Z * product.std() / np.sqrt(len(draws))


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
        "trace_matched_levy": noise.trace_matched_levy(
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
        "trace_matched_levy": lambda k: np.exp(-((np.trace(sigma) / 2 / 2 * (k @ k) / 2) ** (tail_index / 2))),
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


@pytest.mark.parametrize("microbatch", [None, 4])
def test_at_tail_index_two_trace_matched_stable_noise_is_gaussian_of_the_trace_at_the_parameters(
    network, params, microbatch
):
    network = dataclasses.replace(network, microbatch=microbatch)
    law = noise.trace_matched_levy(network, tail_index=2.0, batch_size=4, sampling="without_replacement")
    gaussian = noise.Noise(lambda k: None, lambda x, w: law.apply(x, (jnp.zeros(()), w)))
    for x in (params, jax.tree.map(lambda leaf: 2 * leaf, params)):
        trace = (6 - 4) / (4 * 5) * np.trace(gradient_covariance(network, x))
        np.testing.assert_allclose(exact_covariance(gaussian, x, params), trace / 9 * np.eye(9), rtol=1e-12)


def from_sample(problem, num_sampled):
    return noise.anisotropic_sampled(problem, num_sampled=num_sampled, batch_size=2, sampling="with_replacement")


@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement"])
def test_noise_of_a_sample_alone_has_mean_zero_and_the_minibatch_covariance(network, params, sampling):
    """Over all samples of 3 examples of 6, with the normals' moments: the noise is linear in them. Drift apart."""
    law = noise.anisotropic_sampled(network, num_sampled=3, batch_size=2, sampling=sampling)
    ranges = [range(6)] * 3 if sampling == "with_replacement" else [range(4), range(5), range(6)]  # Floyd's proposals
    numbers = jnp.array(list(itertools.product(*ranges)), jnp.int32)
    flat = lambda numbers, z: ravel_pytree(law.apply(params, (numbers, z)))[0]
    columns = jax.jit(jax.vmap(lambda numbers: jax.vmap(lambda z: flat(numbers, z), out_axes=-1)(jnp.eye(3))))(numbers)
    covariance = jnp.mean(columns @ jnp.swapaxes(columns, 1, 2), axis=0)
    factor = noise.covariance_factor(6, 2, sampling)
    np.testing.assert_allclose(covariance, factor * gradient_covariance(network, params), atol=1e-13)
    assert not ravel_pytree(law.apply(params, (numbers[0], jnp.zeros(3))))[0].any()


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
        (lambda p: noise.anisotropic(p, batch_size=7, sampling="with_replacement"), "an integer from 1 to 6, got 7"),
        (lambda p: noise.anisotropic(p, batch_size=0, sampling="with_replacement"), "an integer from 1 to 6, got 0"),
        (lambda p: from_sample(p, 1), "num_sampled: expected an integer from 2 to 6, got 1"),
        (lambda p: from_sample(p, 7), "num_sampled: expected an integer from 2 to 6, got 7; take a sample of at most"),
    ],
)
def test_a_wrong_noise_is_refused_with_the_argument_and_the_mend(make, message):
    with pytest.raises(ValueError, match=message):
        make(plane())

"""Networks: SGD is optax's on the same minibatches, and the noise of their SDEs has the minibatch covariance.

To try another problem, add a line to NETWORKS.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from sgdsde import noise, sgd
from sgdsde.dynamics.langevin import euler_maruyama
from sgdsde.problem import Problem, gradient, gradient_covariance
from sgdsde.problems import modular_addition

pytestmark = pytest.mark.slow  # networks; every day they run as experiments at smoke size

Z, BATCH = 5.9, 4


def flat(tree):
    return ravel_pytree(tree)[0]


def cross_entropy(params, example):
    outputs = jnp.tanh(params["in"] @ example["x"] + params["bias"])
    outputs = params["out"] @ outputs
    return jax.nn.logsumexp(outputs) - outputs[example["y"]]


def mlp(key, num_inputs=5, num_hidden=4, num_examples=24, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    examples = {"x": rng.normal(size=(num_examples, num_inputs)), "y": rng.integers(0, 3, size=num_examples)}
    shapes = {"in": (num_hidden, num_inputs), "bias": (num_hidden,), "out": (3, num_hidden)}
    params = {name: jnp.asarray(rng.normal(size=shape) / 2, dtype) for name, shape in shapes.items()}
    examples["x"] = jnp.asarray(examples["x"], dtype)
    return Problem(cross_entropy, examples, lambda key: params, penalty=lambda p: 0.05 * jnp.sum(p["out"] ** 2))


def linear_loss(layers, example):
    hidden = example["x"]
    for layer in layers:
        hidden = layer @ hidden
    return jnp.sum((hidden - example["y"]) ** 2) / 2


def deep_linear(key, width=4, num_examples=24):
    rng = np.random.default_rng(1)
    examples = {"x": rng.normal(size=(num_examples, width)), "y": rng.normal(size=(num_examples, 3))}
    layers = [jnp.asarray(rng.normal(size=shape) / 2) for shape in ((width, width), (width, width), (3, width))]
    return Problem(linear_loss, examples, lambda key: layers)


def transformer(key, num_hidden=4):
    sizes = {"modulus": 5, "num_embedding": 4, "num_heads": 2, "num_hidden": num_hidden, "train_fraction": 0.8}
    return modular_addition.transformer(key, **sizes, weight_decay=0.1)[0]


NETWORKS = {"MLP": mlp, "deep linear network": deep_linear, "transformer": transformer}
LARGER = {
    "MLP": lambda key: mlp(key, num_inputs=16, num_hidden=16, num_examples=64),
    "deep linear network": lambda key: deep_linear(key, width=10, num_examples=64),
    "transformer": lambda key: transformer(key, num_hidden=16),
}


COMPILED_IN_SECONDS = ["transformer"]
SAMPLED = [pytest.param(name, marks=[pytest.mark.slow] * (name in COMPILED_IN_SECONDS)) for name in NETWORKS]


@pytest.fixture(params=NETWORKS, scope="module")
def network(request):
    problem = NETWORKS[request.param](jax.random.key(20))
    params = jax.jit(problem.init)(jax.random.key(1))
    return problem, params, np.asarray(jax.jit(gradient_covariance)(problem, params)) / BATCH


def test_anisotropic_noise_is_a_linear_map_whose_square_is_sigma_over_b(network):
    """M M^T = Sigma/B, M (d, num_examples) the noise's matrix: no sampling, in microbatches that do not divide the
    examples. Weights that are not centred would add g g^T / B."""
    problem, params, covariance = network
    problem = dataclasses.replace(problem, microbatch=10)
    law = noise.anisotropic(problem, batch_size=BATCH, sampling="with_replacement")
    units = jnp.eye(problem.num_examples)
    matrix = np.asarray(jax.jit(jax.vmap(lambda w: flat(law.apply(params, w)), out_axes=-1))(units))
    np.testing.assert_allclose(matrix @ matrix.T, covariance, rtol=0, atol=1e-12 * np.abs(covariance).max())


def sampled_covariance(law, params, key, num_samples):
    """Mean of noise noise^T over num_samples draws, in blocks."""
    block = 2_000
    draw = jax.vmap(lambda key: flat(law.apply(params, law.draw(key))))

    @jax.jit
    def total(keys):
        def add(total, keys):
            found = draw(keys)
            return total + found.T @ found, None

        size = flat(params).size
        return jax.lax.scan(add, jnp.zeros((size, size)), keys)[0]

    num_blocks = -(-num_samples // block)
    keys = jax.random.split(key, num_blocks * block).reshape(num_blocks, block)
    return np.asarray(total(keys)) / keys.size, keys.size


def check_entries(found, expected, num_samples):
    variances = np.diag(expected)
    errors = np.sqrt((np.outer(variances, variances) + expected**2) / num_samples)
    assert (np.abs(found - expected) <= Z * errors + 1e-15).all()


@pytest.mark.parametrize("network", SAMPLED, indirect=True)
def test_the_covariance_of_sampled_noise_is_sigma_over_b(network, key):
    """Every entry within 5.9 standard errors, at about 600,000 numbers; a fixed seed. C for C/B is off by 70."""
    problem, params, covariance = network
    law = noise.anisotropic(problem, batch_size=BATCH, sampling="with_replacement")
    found, num_samples = sampled_covariance(law, params, key, 600_000 // len(covariance))
    check_entries(found, covariance, num_samples)
    error = np.sqrt(2 * np.sum(covariance**2) / num_samples)
    assert abs(np.trace(found) - np.trace(covariance)) < Z * error < 0.25 * np.trace(covariance)


@pytest.mark.parametrize("name", LARGER)
def test_the_covariance_of_sampled_noise_of_larger_networks_to_one_percent(name, key):
    """As many samples as make 5.9 standard errors of the trace 1 %: Sigma divided by n - 1 instead of n is refused."""
    problem = LARGER[name](key)
    params = jax.jit(problem.init)(jax.random.key(1))
    covariance = np.asarray(jax.jit(gradient_covariance)(problem, params)) / BATCH
    rank = np.trace(covariance) ** 2 / np.sum(covariance**2)
    law = noise.anisotropic(problem, batch_size=BATCH, sampling="with_replacement")
    found, num_samples = sampled_covariance(law, params, key, int(2 / rank * (Z / 0.01) ** 2) + 1)
    check_entries(found, covariance, num_samples)
    assert abs(np.trace(found) / np.trace(covariance) - 1) < 0.01


@pytest.mark.parametrize("network", SAMPLED, indirect=True)
def test_elliptical_stable_noise_has_its_characteristic_function_along_random_directions(network, key):
    """exp(-(k^T C k / 2)^(alpha/2)), at three lengths of three wave vectors. Gaussian noise of the same C is off by 20
    standard errors."""
    problem, params, covariance = network
    tail_index = 1.4
    law = noise.anisotropic_levy(problem, tail_index=tail_index, batch_size=BATCH, sampling="with_replacement")
    waves = np.random.default_rng(2).normal(size=(3, len(covariance)))
    waves = waves / np.sqrt(np.einsum("ki,ij,kj->k", waves, covariance, waves))[:, None]
    sample = jax.jit(jax.vmap(lambda key: jnp.asarray(waves) @ flat(law.apply(params, law.draw(key)))))
    along = np.asarray(sample(jax.random.split(key, 10_000)))
    for length in (0.3, 1.0, 2.5):
        cosines = np.cos(length * along)
        errors = cosines.std(axis=0) / np.sqrt(len(cosines))
        assert (np.abs(cosines.mean(axis=0) - np.exp(-((length**2 / 2) ** (tail_index / 2)))) < Z * errors).all()


def operations(function, *arguments):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def test_a_step_costs_one_gradient_over_its_examples(key):
    """In floating-point operations, given its random numbers: drift and noise share the pass over all 256 examples, or
    over the 32 that are sampled. Apart they would cost twice as much."""
    problem = mlp(key, num_inputs=16, num_hidden=32, num_examples=256)
    params = problem.init(key)
    whole = operations(gradient, problem, params)
    options = {"batch_size": BATCH, "sampling": "with_replacement"}
    for law, share in (
        (noise.anisotropic(problem, **options), 1.0),
        (noise.anisotropic_levy(problem, tail_index=1.5, **options), 1.0),
        (noise.anisotropic_sampled(problem, num_sampled=32, **options), 32 / 256),
    ):
        dynamics = euler_maruyama(problem, law, learning_rate=0.1, substeps=2)
        draws = jax.eval_shape(lambda dynamics=dynamics: dynamics.draw(key, 0, 0))
        step = lambda dynamics, params, draws: dynamics.advance(dynamics.init(params), draws, 0).params
        assert operations(step, dynamics, params, draws) < 1.1 * share * whole


def batch_loss(params, x, y):
    """The MLP's mean loss in matrix products, penalty included: written apart from the problem's."""
    outputs = jnp.tanh(x @ params["in"].T + jnp.broadcast_to(params["bias"], (len(x), len(params["bias"]))))
    outputs = outputs @ params["out"].T
    log_probabilities = outputs - jax.nn.logsumexp(outputs, axis=1, keepdims=True)
    chosen = jnp.take_along_axis(log_probabilities, y[:, None], axis=1)
    return -jnp.mean(chosen) + 0.05 * jnp.sum(params["out"] ** 2)


batch_gradient = jax.jit(jax.grad(batch_loss))
advance = jax.jit(lambda dynamics, state, draws, step: dynamics.advance(state, draws, step))
draw = jax.jit(lambda dynamics, key, step: dynamics.draw(key, step, 0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("sampling", ["with_replacement", "without_replacement", "epoch"])
def test_sgd_on_a_network_is_optax_sgd_on_the_same_minibatches(key, dtype, momentum, sampling):
    """Seven steps of 6 of the 24 examples (an epoch has four), of parameters of size 1, to 100 roundings."""
    problem = mlp(key, dtype=dtype)
    dynamics = sgd(problem, learning_rate=0.1, batch_size=6, sampling=sampling, momentum=momentum)
    theirs = problem.init(key)
    state, transformation = dynamics.init(theirs), optax.sgd(0.1, momentum or None)
    memory = transformation.init(theirs)
    for step in range(7):
        if step % dynamics.period == 0:
            block = draw(dynamics, key, step)
        batch = np.asarray(block if dynamics.period == 1 else block[step % dynamics.period])
        state = advance(dynamics, state, jnp.asarray(batch), jnp.int32(step))
        direction = batch_gradient(theirs, problem.examples["x"][batch], problem.examples["y"][batch])
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = transformation.update(direction, memory)
            theirs = optax.apply_updates(theirs, updates)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(dtype)}
    moved = np.abs(flat(theirs) - flat(problem.init(key))).max()
    assert moved > 0.05
    np.testing.assert_allclose(flat(state.params), flat(theirs), rtol=0, atol=100 * float(jnp.finfo(dtype).eps))

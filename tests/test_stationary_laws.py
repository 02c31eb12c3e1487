"""Stationary covariances of the simulator against the predictions, which share no code with it.

Exactly first: on a quadratic a step is affine, so its covariance recursion can be read off `advance` itself (by
enumerating all minibatches, or from its derivative in the normals) and solved. Then by simulation, at sizes that see
3 % (every day) and 1 % (slow), where each law is rejected by the other dynamics.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from sgdsde import landscapes, match, noise, predictions, sgd, simulate
from sgdsde.measurements import whitened_deviation

HESSIAN = np.array([[1.0, 0.3], [0.3, 2.0]])
SIGMA = np.array([[2.0, -0.7], [-0.7, 1.0]])
RATE = 0.3


@pytest.fixture(scope="module")
def problem():
    return landscapes.quadratic(jnp.array(HESSIAN), gradient_covariance=jnp.array(SIGMA), num_examples=8)


def solved(map_of_mean, noise_covariance):
    """S = A S A^T + N, after the spectral radius has been checked."""
    assert np.abs(np.linalg.eigvals(map_of_mean)).max() < 1
    return scipy.linalg.solve_discrete_lyapunov(map_of_mean, noise_covariance)


def stacked(state):
    return jnp.concatenate([state.params, jnp.asarray(state.memory).reshape(-1)])


def recursion_of_sgd(dynamics):
    """A and N of z' = A z + noise, z = (x, m), from `advance` over all minibatches of one example."""

    def step(z, index):
        state = dynamics.init(z[:2])
        if dynamics.momentum is not None:
            state = state._replace(memory=z[2:])
        return stacked(dynamics.advance(state, jnp.array([index]), 0))

    size = 2 if dynamics.momentum is None else 4
    zero = jnp.zeros(size)
    matrix = jax.jacobian(lambda z: step(z, 0))(zero)
    kicks = jnp.stack([step(zero, index) for index in range(dynamics.problem.num_examples)])
    return np.asarray(matrix), np.asarray(kicks.T @ kicks / len(kicks))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_has_exactly_the_predicted_covariance(problem, momentum):
    dynamics = sgd(problem, learning_rate=RATE, batch_size=1, sampling="with_replacement", momentum=momentum)
    exact = solved(*recursion_of_sgd(dynamics))[:2, :2]
    predicted = predictions.sgd_covariance(HESSIAN, SIGMA, learning_rate=RATE, momentum=momentum)
    np.testing.assert_allclose(predicted, exact, rtol=1e-11)
    continuous = predictions.sde_covariance(HESSIAN, SIGMA, learning_rate=RATE / (1 - momentum))
    assert np.abs(continuous / exact - 1).max() > 0.05


@pytest.mark.parametrize("substeps", [1, 4, 16])
@pytest.mark.parametrize("kind", [noise.anisotropic, noise.constant])
def test_euler_has_exactly_the_predicted_covariance(problem, kind, substeps):
    discrete = sgd(problem, learning_rate=RATE, batch_size=2, sampling="with_replacement")
    options = {"at": jnp.zeros(2)} if kind is noise.constant else {}
    dynamics = match(discrete, kind, substeps=substeps, **options)

    def step(x, draws):
        return dynamics.advance(dynamics.init(x), draws, 0).params

    matrix, spread = jax.jacobian(step, argnums=(0, 1))(jnp.zeros(2), jnp.zeros(2))
    exact = solved(np.asarray(matrix), np.asarray(spread @ spread.T))
    predicted = predictions.euler_covariance(HESSIAN, SIGMA / 2, learning_rate=RATE, substeps=substeps)
    np.testing.assert_allclose(predicted, exact, rtol=1e-11)


def test_euler_extrapolates_to_the_sde():
    laws = [predictions.euler_covariance(HESSIAN, SIGMA, learning_rate=RATE, substeps=m) for m in (16, 32, 64)]
    first = [2 * fine - coarse for coarse, fine in itertools.pairwise(laws)]
    second = (4 * first[1] - first[0]) / 3
    continuous = predictions.sde_covariance(HESSIAN, SIGMA, learning_rate=RATE)
    np.testing.assert_allclose(second, continuous, rtol=1e-5)
    assert np.abs(laws[0] / continuous - 1).max() > 0.01


def position(x):
    return x


def measured(dynamics, key, num_chains):
    """End points after 40 steps from the exact law of a rate-0 limit (the minimum): 40 x 0.3 curvatures, forgotten to
    exp(-7) in the variance."""
    found = simulate(
        dynamics, jnp.zeros(2), key, num_steps=40, num_chains=num_chains, observe=position, every=40, average=True
    )
    return found.params


def laws_and_samples(problem, key, num_chains):
    discrete = sgd(problem, learning_rate=RATE, batch_size=2, sampling="with_replacement")
    samples = {
        "sgd": measured(discrete, key, num_chains),
        "one": measured(match(discrete, noise.anisotropic, substeps=1), key, num_chains),
        "many": measured(match(discrete, noise.anisotropic, substeps=8), key, num_chains),
    }
    options = {"learning_rate": RATE}
    laws = {
        "discrete": predictions.sgd_covariance(HESSIAN, SIGMA / 2, **options),
        "many": predictions.euler_covariance(HESSIAN, SIGMA / 2, **options, substeps=8),
        "sde": predictions.sde_covariance(HESSIAN, SIGMA / 2, **options),
    }
    return laws, samples


def judge(problem, key, num_chains, precision):
    laws, samples = laws_and_samples(problem, key, num_chains)
    for sample, law in (("sgd", "discrete"), ("one", "discrete"), ("many", "many")):
        deviation, error = whitened_deviation(samples[sample], laws[law], center=jnp.zeros(2))
        assert abs(deviation) < 5.9 * error
        assert 5.9 * error < precision, "the sample is too small to see a deviation of this size"
    for sample, law in (("sgd", "many"), ("one", "many"), ("many", "discrete"), ("sgd", "sde")):
        deviation, error = whitened_deviation(samples[sample], laws[law], center=jnp.zeros(2))
        assert abs(deviation) > 10 * error, f"{law} should be rejected by {sample}"


def test_each_dynamics_has_its_law_and_rejects_the_others(problem, key):
    """False alarm 4e-9; the wrong law is 14 % off or more, rejected by ten standard errors or more."""
    judge(problem, key, 80_000, precision=0.03)


@pytest.mark.slow
def test_each_dynamics_has_its_law_to_one_percent(problem, key):
    judge(problem, key, 800_000, precision=0.01)


@pytest.mark.slow
def test_euler_extrapolated_meets_the_sde(problem):
    """2 V(8) - V(4) from independent ensembles against the Lyapunov solution, to 2 %; V(4) alone is rejected."""
    discrete = sgd(problem, learning_rate=RATE, batch_size=2, sampling="with_replacement")
    law = predictions.sde_covariance(HESSIAN, SIGMA / 2, learning_rate=RATE)
    found = []
    for substeps in (4, 8):
        dynamics = match(discrete, noise.anisotropic, substeps=substeps)
        params = np.asarray(measured(dynamics, jax.random.key(substeps), 1_000_000))
        products = params[:, :, None] * params[:, None, :]
        found.append((products.mean(0), products.std(0) / np.sqrt(len(params))))
    value = 2 * found[1][0] - found[0][0]
    error = np.sqrt(4 * found[1][1] ** 2 + found[0][1] ** 2)
    assert (np.abs(value - law) < 5.9 * error).all()
    assert (5.9 * np.diag(error) < 0.02 * np.diag(law)).all()
    assert (np.diag(np.abs(found[0][0] - law)) > 10 * np.diag(found[0][1])).all()

"""Stationary covariances against Kronecker solves of the literal recursions, SciPy, and published identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from sgdsde.predictions import euler_covariance, sde_covariance, sgd_covariance

HESSIAN = np.array([[2.0, 0.6, 0.1], [0.6, 1.1, -0.2], [0.1, -0.2, 0.5]])
NOISE = np.array([[0.7, -0.4, 0.2], [-0.4, 1.3, 0.1], [0.2, 0.1, 0.4]])  # does not commute with HESSIAN
RATE = 0.23


def pair_covariance(hessian, noise, rate, momentum):
    """The law of (x, m) under m' = mu m + H x + xi, x' = x - eta m', by SciPy's discrete Lyapunov solver."""
    identity = np.eye(len(hessian))
    drift = np.block([[identity - rate * hessian, -rate * momentum * identity], [hessian, momentum * identity]])
    assert np.max(np.abs(np.linalg.eigvals(drift))) < 1
    kick = np.vstack([-rate * identity, identity])
    return scipy.linalg.solve_discrete_lyapunov(drift, kick @ noise @ kick.T)


def test_sde_covariance_solves_the_continuous_lyapunov_equation():
    assert np.abs(HESSIAN @ NOISE - NOISE @ HESSIAN).max() > 0.1
    expected = scipy.linalg.solve_continuous_lyapunov(HESSIAN, RATE * NOISE)
    np.testing.assert_allclose(sde_covariance(HESSIAN, NOISE, learning_rate=RATE), expected, rtol=1e-12)


@pytest.mark.parametrize("substeps", [1, 3, 16])
def test_euler_covariance_is_the_fixed_point_of_its_recursion(substeps):
    covariance, step = np.zeros((3, 3)), RATE / substeps
    drift = np.eye(3) - step * HESSIAN
    for _ in range(300 * substeps):
        covariance = drift @ covariance @ drift + RATE * step * NOISE
    np.testing.assert_allclose(
        euler_covariance(HESSIAN, NOISE, learning_rate=RATE, substeps=substeps), covariance, rtol=1e-11
    )


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_sgd_covariance_is_that_of_the_heavy_ball_pair(momentum):
    expected = pair_covariance(HESSIAN, NOISE, RATE, momentum)[:3, :3]
    measured = sgd_covariance(HESSIAN, NOISE, learning_rate=RATE, momentum=momentum)
    np.testing.assert_allclose(measured, expected, rtol=1e-10)


def test_sgd_covariance_satisfies_the_matrix_identity_of_liu_ziyin_ueda():
    mu, rate = 0.7, RATE * np.eye(3)
    s, h, r = np.asarray(sgd_covariance(HESSIAN, NOISE, learning_rate=RATE, momentum=mu)), HESSIAN, rate
    left = (1 - mu) * (r @ h @ s + s @ h @ r) - (1 + mu**2) / (1 - mu**2) * r @ h @ s @ h @ r
    left += mu / (1 - mu**2) * (r @ h @ r @ h @ s + s @ h @ r @ h @ r)
    np.testing.assert_allclose(left, r @ NOISE @ r, rtol=1e-10)


def test_scalars_follow_the_one_dimensional_formulas():
    h, c, mu = 1.7, 0.6, 0.8
    np.testing.assert_allclose(sde_covariance(h, c, learning_rate=RATE), RATE * c / (2 * h), rtol=1e-13)
    np.testing.assert_allclose(sgd_covariance(h, c, learning_rate=RATE), RATE * c / (h * (2 - RATE * h)), rtol=1e-13)
    heavy = RATE * c * (1 + mu) / (h * (1 - mu) * (2 * (1 + mu) - RATE * h))
    one = sgd_covariance(np.array([[h]]), np.array([[c]]), learning_rate=RATE, momentum=mu)
    assert one.shape == (1, 1)
    np.testing.assert_allclose(one[0, 0], heavy, rtol=1e-12)


def test_energy_identities_hold_whatever_the_hessian():
    trace = RATE * np.trace(NOISE)
    continuous = np.asarray(sde_covariance(HESSIAN, NOISE, learning_rate=RATE))
    np.testing.assert_allclose(np.trace(HESSIAN @ continuous) / 2, trace / 4, rtol=1e-12)  # E L = eta tr C / 4
    discrete = np.asarray(sgd_covariance(HESSIAN, NOISE, learning_rate=RATE))
    np.testing.assert_allclose(np.trace(HESSIAN @ discrete @ (2 * np.eye(3) - RATE * HESSIAN)), trace, rtol=1e-12)


def test_beyond_stability_concrete_values_are_refused_and_traced_ones_are_nan():
    critical = 2 * 1.5 / np.linalg.eigvalsh(HESSIAN)[-1]
    assert np.all(np.isfinite(sgd_covariance(HESSIAN, NOISE, learning_rate=0.999 * critical, momentum=0.5)))
    with pytest.raises(ValueError, match="learning_rate"):
        sgd_covariance(HESSIAN, NOISE, learning_rate=1.001 * critical, momentum=0.5)
    with pytest.raises(ValueError, match="positive smallest eigenvalue"):
        sde_covariance(np.diag([1.0, -0.1, 1.0]), NOISE, learning_rate=RATE)
    assert np.all(np.isfinite(euler_covariance(HESSIAN, NOISE, learning_rate=critical, substeps=2)))
    rates = jnp.array([RATE, 1.001 * critical])
    traced = jax.jit(jax.vmap(lambda rate: sgd_covariance(HESSIAN, NOISE, learning_rate=rate, momentum=0.5)))(rates)
    expected = pair_covariance(HESSIAN, NOISE, RATE, 0.5)[:3, :3]
    np.testing.assert_allclose(traced[0], expected, rtol=1e-10)
    assert np.all(np.isnan(traced[1]))


def test_float32_is_as_good_as_its_rounding():
    expected = pair_covariance(HESSIAN, NOISE, RATE, 0.9)[:3, :3]
    with jax.enable_x64(False):
        measured = sgd_covariance(HESSIAN, NOISE, learning_rate=RATE, momentum=0.9)
    assert measured.dtype == jnp.float32
    np.testing.assert_allclose(measured, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"hessian": HESSIAN + np.triu(np.ones((3, 3)), 1)}, "hessian: expected finite and symmetric"),
        ({"noise_covariance": -NOISE}, "noise_covariance: expected a covariance"),
        ({"noise_covariance": np.eye(2)}, "noise_covariance: expected the shape"),
        ({"hessian": np.ones((2, 3))}, "hessian: expected a scalar or a square"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"hessian": HESSIAN, "noise_covariance": NOISE, "learning_rate": RATE, "momentum": 0.0} | change
    with pytest.raises(ValueError, match=message):
        sgd_covariance(arguments.pop("hessian"), arguments.pop("noise_covariance"), **arguments)

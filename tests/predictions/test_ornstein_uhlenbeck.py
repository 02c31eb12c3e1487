"""Currents of linear processes against the Fokker-Planck current by differentiation and joint Gaussians by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from sgdsde.predictions import (
    sde_angular_momentum,
    sde_current,
    sde_entropy_production,
    sgd_angular_momentum,
    sgd_current,
    sgd_entropy_production,
)

HESSIAN = np.array([[2.0, 0.3, 0.1], [0.3, 0.6, -0.2], [0.1, -0.2, 1.1]])
NOISE = np.array([[1.0, 0.7, 0.1], [0.7, 0.9, 0.3], [0.1, 0.3, 0.6]])  # does not commute with HESSIAN
RATE, LAG, NUM_STEPS = 0.2, 0.35, 3
DIFFUSION = RATE * NOISE / 2
POINTS = np.random.default_rng(0).standard_normal((4, 5, 3)) * 0.4
CONTINUOUS = scipy.linalg.solve_continuous_lyapunov(HESSIAN, RATE * NOISE)
STEP = np.eye(3) - RATE * HESSIAN
DISCRETE = scipy.linalg.solve_discrete_lyapunov(STEP, RATE**2 * NOISE)


def from_the_joint_law(covariance, transfer, lag):
    """(angular momentum, M, W) of x' = A x + noise: (midpoint, displacement) is Gaussian, E[dx | mid] = W M^-1 mid."""
    joint = np.block([[covariance, covariance @ transfer.T], [transfer @ covariance, covariance]])
    change = np.kron(np.array([[0.5, 0.5], [-1.0, 1.0]]), np.eye(3))
    joint = change @ joint @ change.T
    middle, moved = joint[:3, :3], joint[3:, :3] / lag
    return moved.T - moved, middle, moved


CASES = [
    ("sde", {"lag": LAG}, from_the_joint_law(CONTINUOUS, scipy.linalg.expm(-LAG * HESSIAN), LAG)),
    ("sgd", {}, from_the_joint_law(DISCRETE, STEP, RATE)),
    (
        "sgd",
        {"num_steps": NUM_STEPS},
        from_the_joint_law(DISCRETE, np.linalg.matrix_power(STEP, NUM_STEPS), NUM_STEPS * RATE),
    ),
]
FUNCTIONS = {
    "sde": (sde_angular_momentum, sde_entropy_production, sde_current),
    "sgd": (sgd_angular_momentum, sgd_entropy_production, sgd_current),
}


@pytest.mark.parametrize(("kind", "options", "expected"), CASES, ids=["sde", "sgd", "sgd, three steps"])
def test_at_a_finite_lag_they_follow_from_the_joint_law(kind, options, expected):
    momentum, entropy, current = FUNCTIONS[kind]
    turning, middle, moved = expected
    np.testing.assert_allclose(momentum(HESSIAN, NOISE, learning_rate=RATE, **options), turning, atol=1e-12)
    density, field = current(POINTS, HESSIAN, NOISE, learning_rate=RATE, **options)
    exact = scipy.stats.multivariate_normal(cov=middle).pdf(POINTS)
    np.testing.assert_allclose(density, exact, rtol=1e-10)
    np.testing.assert_allclose(field, exact[..., None] * (POINTS @ np.linalg.inv(middle) @ moved.T), atol=1e-12)
    # the integral of J^T D^-1 J/p by Gauss-Hermite quadrature
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), -1) @ np.linalg.cholesky(middle).T
    speed = grid @ np.linalg.inv(middle) @ moved.T
    form = np.einsum("...i,ij,...j->...", speed, np.linalg.inv(DIFFUSION), speed)
    integral = np.einsum("ijk,i,j,k", form, weights, weights, weights) / weights.sum() ** 3
    np.testing.assert_allclose(entropy(HESSIAN, NOISE, learning_rate=RATE, **options), integral, rtol=1e-10)


def test_the_limit_of_small_lags_is_the_fokker_planck_current():
    options = {"learning_rate": RATE}
    bracket = HESSIAN @ CONTINUOUS - CONTINUOUS @ HESSIAN
    np.testing.assert_allclose(sde_angular_momentum(HESSIAN, NOISE, **options), bracket, atol=1e-13)
    entropy = np.trace(np.linalg.solve(DIFFUSION, HESSIAN @ CONTINUOUS @ HESSIAN)) - np.trace(HESSIAN)
    np.testing.assert_allclose(sde_entropy_production(HESSIAN, NOISE, **options), entropy, rtol=1e-10)
    density, current = sde_current(POINTS, HESSIAN, NOISE, **options)
    normal = scipy.stats.multivariate_normal(cov=CONTINUOUS)
    shift = 1e-5
    slope = [(normal.pdf(POINTS + step) - normal.pdf(POINTS - step)) / (2 * shift) for step in shift * np.eye(3)]
    expected = -normal.pdf(POINTS)[..., None] * (POINTS @ HESSIAN) - np.stack(slope, -1) @ DIFFUSION
    np.testing.assert_allclose(density, normal.pdf(POINTS), rtol=1e-10)
    np.testing.assert_allclose(current, expected, atol=1e-8 * np.abs(expected).max())
    near = sde_angular_momentum(HESSIAN, NOISE, **options, lag=1e-7)
    np.testing.assert_allclose(near, bracket, atol=1e-6 * np.abs(bracket).max())


def test_one_sgd_step_has_the_bracket_of_its_own_covariance():
    bracket = HESSIAN @ DISCRETE - DISCRETE @ HESSIAN
    np.testing.assert_allclose(sgd_angular_momentum(HESSIAN, NOISE, learning_rate=RATE), bracket, atol=1e-13)
    continuous = np.asarray(sde_angular_momentum(HESSIAN, NOISE, learning_rate=RATE))
    assert abs(continuous[0, 1] / bracket[0, 1] - 1) > 0.05  # the SDE's is another number


def test_nothing_flows_where_they_commute_and_it_traces():
    hessian = np.diag([2.0, 0.6, 1.1])
    same = 0.4 * hessian
    for momentum, entropy, _ in FUNCTIONS.values():
        np.testing.assert_allclose(momentum(hessian, same, learning_rate=RATE), 0, atol=1e-14)
        np.testing.assert_allclose(entropy(hessian, same, learning_rate=RATE), 0, atol=1e-14)
    rates = jnp.array([RATE, 1.2])
    found = jax.jit(jax.vmap(lambda rate: sgd_entropy_production(HESSIAN, NOISE, learning_rate=rate)))(rates)
    np.testing.assert_allclose(found[0], sgd_entropy_production(HESSIAN, NOISE, learning_rate=RATE), rtol=1e-12)
    assert found[0] > 0
    assert np.isnan(found[1])  # no stationary law


def test_refusals():
    with pytest.raises(ValueError, match="lag: expected a number >= 0"):
        sde_angular_momentum(HESSIAN, NOISE, learning_rate=RATE, lag=-1.0)
    with pytest.raises(ValueError, match="num_steps"):
        sgd_angular_momentum(HESSIAN, NOISE, learning_rate=RATE, num_steps=0)
    with pytest.raises(ValueError, match="no stationary law"):
        sgd_angular_momentum(HESSIAN, NOISE, learning_rate=1.0)
    with pytest.raises(ValueError, match="points: expected shape"):
        sde_current(np.zeros(2), HESSIAN, NOISE, learning_rate=RATE)

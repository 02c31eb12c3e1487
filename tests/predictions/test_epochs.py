"""Epoch sampling against the enumeration of every permutation of tiny problems, and one-dimensional closed forms."""

import itertools

import jax
import numpy as np
import pytest
import scipy.linalg

from sgdsde.predictions import epoch_autocovariance, epoch_covariance, epoch_noise_autocovariance

HESSIAN = np.array([[2.0, 0.6], [0.6, 0.5]])
RATE = 0.31


def enumerated(gradients, batch_size):
    """Covariance of the stacked noise of an epoch, (M, d, M, d), from all permutations of the example gradients."""
    num_examples, size = gradients.shape
    num_steps = num_examples // batch_size
    total = np.zeros((num_steps * size, num_steps * size))
    orders = list(itertools.permutations(range(num_examples)))
    for order in orders:
        batches = np.reshape(order[: num_steps * batch_size], (num_steps, batch_size))
        noise = gradients[batches].mean(axis=1).ravel()
        total += np.outer(noise, noise)
    return (total / len(orders)).reshape(num_steps, size, num_steps, size)


def brute_force(noise, momentum, num_lags):
    """Phase by phase and lag by lag, from the noise of three epochs and the pair (x, m): (covariances (M, d, d),
    autocovariances (M, num_lags, d, d))."""
    num_steps, size = noise.shape[:2]
    identity = np.eye(size)
    drift = np.block([[identity - RATE * HESSIAN, -RATE * momentum * identity], [HESSIAN, momentum * identity]])
    kick = np.vstack([-RATE * identity, identity])
    powers = [np.linalg.matrix_power(drift, k) for k in range(3 * num_steps + 1)]
    one = noise.reshape(num_steps * size, num_steps * size)
    response = lambda steps: np.hstack([powers[steps - 1 - k] @ kick for k in range(steps)])
    start = scipy.linalg.solve_discrete_lyapunov(powers[num_steps], response(num_steps) @ one @ response(num_steps).T)
    # z_t = F^t z_0 + R_t xi over three epochs with independent noise
    whole = scipy.linalg.block_diag(start, one, one, one)
    rows = []
    for step in range(3 * num_steps):
        row = np.zeros((2 * size, whole.shape[0]))
        row[:, : 2 * size] = powers[step]
        if step:
            row[:, 2 * size : 2 * size + step * size] = response(step)
        rows.append(row)
    pair = lambda late, early: (rows[late] @ whole @ rows[early].T)[:size, :size]
    covariances = np.stack([pair(k, k) for k in range(num_steps)])
    return covariances, np.stack([[pair(k + j, k) for j in range(num_lags)] for k in range(num_steps)])


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize(("num_examples", "batch_size"), [(4, 2), (5, 2), (6, 2), (6, 1)])
def test_every_permutation_of_a_tiny_problem(num_examples, batch_size, momentum):
    """Two coordinates, non-commuting; n = 5 leaves a remainder out."""
    gradients = np.random.default_rng(num_examples).standard_normal((num_examples, 2)) @ np.array(
        [[1.0, 0.7], [0, 0.6]]
    )
    gradients -= gradients.mean(axis=0)
    sigma = gradients.T @ gradients / num_examples
    noise = enumerated(gradients, batch_size)
    options = {"num_examples": num_examples, "batch_size": batch_size}
    num_steps = num_examples // batch_size
    covariances, autocovariances = brute_force(noise, momentum, num_steps + 2)
    options = {"num_examples": num_examples, "batch_size": batch_size}
    lags = epoch_noise_autocovariance(sigma, **options)
    for j, found in enumerate(lags):
        expected = sum(noise[k + j, :, k] for k in range(num_steps - j)) / num_steps
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
    options |= {"learning_rate": RATE, "momentum": momentum}
    np.testing.assert_allclose(epoch_covariance(HESSIAN, sigma, **options), covariances, rtol=1e-9)
    found = epoch_autocovariance(HESSIAN, sigma, **options, num_lags=num_steps + 2)
    np.testing.assert_allclose(found, autocovariances, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("h", [1e-4, 0.03, 0.7, 5.0])
def test_closed_forms_in_one_dimension(h):
    """Phase-averaged and phase by phase, M = 50; the flat and the steep limit; what is read at the epoch's end."""
    n, batch_size, sigma = 1_000, 20, 1.3
    m, c, e = 50, sigma / 20 * 980 / 999, RATE * h
    a = 1 - e
    phases = epoch_covariance(h, sigma, learning_rate=RATE, num_examples=n, batch_size=batch_size)[:, 0, 0]
    average = RATE**2 * c / (1 - a**2) * (1 - 2 * a * (m * e - (1 - a**m)) / (m * (m - 1) * e**2))
    np.testing.assert_allclose(phases.mean(), average, rtol=1e-6 if h < 1e-3 else 1e-8)  # the closed form cancels
    k = np.arange(m + 1)
    kicked = RATE**2 * c * (m * (1 - a ** (2 * k)) / (1 - a**2) - ((1 - a**k) / (1 - a)) ** 2) / (m - 1)
    start = kicked[m] / (1 - a ** (2 * m))
    np.testing.assert_allclose(phases, a ** (2 * k[:m]) * start + kicked[:m], rtol=1e-4 if h < 1e-3 else 1e-8)
    if h == 1e-4:
        np.testing.assert_allclose(phases.mean(), RATE**2 * c * (m + 1) / 6, rtol=2e-3)
        np.testing.assert_allclose(phases[0], RATE**3 * h * c * m * (m + 1) / 24, rtol=2e-3)
    if h == 5.0:
        np.testing.assert_allclose(phases.mean(), RATE * c / (h * (2 - RATE * h)), rtol=0.05)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_phase_average_from_the_impulse_response(momentum):
    """sum_ij x_i x_j R(i - j) over the response to a unit impulse, n = 40 in batches of 4."""
    h, sigma, m = 0.4, 1.3, 10
    x, buffer, response = 0.0, 0.0, []
    for step in range(2_000):
        buffer = momentum * buffer + h * x + (step == 0)
        x = x - RATE * buffer
        response.append(x)
    c = sigma / 4 * 36 / 39
    correlation = np.correlate(response, response, "full")[len(response) - 1 :][:m]
    noise = np.array([c] + [-c * (m - j) / (m * (m - 1)) for j in range(1, m)])
    expected = correlation[0] * noise[0] + 2 * correlation[1:] @ noise[1:]
    options = {"learning_rate": RATE, "num_examples": 40, "batch_size": 4, "momentum": momentum}
    np.testing.assert_allclose(epoch_covariance(h, sigma, **options).mean(), expected, rtol=1e-10)


def test_refusals():
    arguments = {"learning_rate": RATE, "num_examples": 40, "batch_size": 4}
    for change, message in (
        ({"learning_rate": 2.0}, "no stationary law"),
        ({"batch_size": 41}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"momentum": 1.0}, "momentum"),
    ):
        with pytest.raises(ValueError, match=message):
            epoch_covariance(HESSIAN, np.eye(2), **arguments | change)
    with pytest.raises(ValueError, match="gradient_covariance"):
        epoch_covariance(HESSIAN, np.eye(3), **arguments)
    with pytest.raises(TypeError, match="cannot be traced"):
        jax.vmap(lambda h: epoch_covariance(h, 1.0, **arguments))(np.ones(2))

"""Fluctuation-dissipation: closed orbits are stationary laws, so the relations hold on them to rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sgdsde.measurements import (
    euler_virial_ratio,
    fluctuation_dissipation_ratio,
    minibatch_gradients,
    ratio_of_means,
)

LIMIT = 5.9
RATE, PERIOD, NUM_CHAINS = 0.3, 6, 5


def closed_orbits():
    """Arbitrary positions that repeat after PERIOD steps: PERIOD + 2 records, of which minibatch_gradients keeps one
    period."""
    orbit = np.random.default_rng(0).standard_normal((PERIOD, NUM_CHAINS, 3))
    return np.concatenate([orbit, orbit[:2]])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_relation_is_exact_on_closed_orbits(momentum):
    positions, gradients, buffers = minibatch_gradients(closed_orbits(), learning_rate=RATE, momentum=momentum)
    options = {"learning_rate": RATE, "momentum": momentum, "buffers": buffers}
    ratio, error = fluctuation_dissipation_ratio(positions, gradients, **options)
    np.testing.assert_allclose((ratio, error), (1, 0), atol=1e-12)
    wrong, error = fluctuation_dissipation_ratio(positions, gradients, **options | {"learning_rate": 2 * RATE})
    np.testing.assert_allclose((wrong, error), (0.5, 0), atol=1e-12)
    if momentum:  # the forgotten factor 1 + momentum is seen
        plain, _ = fluctuation_dissipation_ratio(positions, gradients, learning_rate=RATE, buffers=buffers)
        np.testing.assert_allclose(plain, 1 + momentum)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_minibatch_gradients_are_read_off_the_recursion(momentum):
    gradients = np.random.default_rng(1).standard_normal((8, NUM_CHAINS, 3))
    position, buffer = np.ones((NUM_CHAINS, 3)), np.zeros((NUM_CHAINS, 3))
    records, buffers = [position], []
    for gradient in gradients:
        buffer = momentum * buffer + gradient
        position = position - RATE * buffer
        records.append(position)
        buffers.append(buffer)
    found = minibatch_gradients(np.stack(records), learning_rate=RATE, momentum=momentum)
    for name, value, expected in zip(
        ("positions", "gradients", "buffers"), found, (records[1:-1], gradients[1:], buffers[1:])
    ):
        np.testing.assert_allclose(value, np.stack(expected), rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_virial_of_euler_maruyama_is_exact_on_its_stationary_law():
    """V = k x^2/2: variance 2 T/(k (2 - h k)); two points at one standard deviation have its second moment."""
    curvature, temperature, step = 1.7, 0.4, 0.3
    deviation = np.sqrt(2 * temperature / (curvature * (2 - step * curvature)))
    positions = np.array([[[deviation]], [[-deviation]]]) * np.ones((2, 3, 2))
    ratio, _ = euler_virial_ratio(positions, curvature * positions, temperature=temperature, time_step=step)
    np.testing.assert_allclose(ratio, 1, rtol=1e-12)
    ratio, _ = euler_virial_ratio(positions, curvature * positions, temperature=temperature, time_step=0.0)
    np.testing.assert_allclose(ratio, 2 / (2 - step * curvature), rtol=1e-12)  # equipartition fails by this much


def test_ratio_by_hand_and_its_error_over_ensembles():
    ratio, error = ratio_of_means(np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(ratio, 1.5)
    np.testing.assert_allclose(error, np.std([-0.5, -1, 1.5], ddof=1) / np.sqrt(3) / 2)
    random = np.random.default_rng(2)
    below = random.gamma(4.0, size=(2_000, 200))
    above = 2 * below + random.standard_normal((2_000, 200))
    ratios, errors = jax.vmap(ratio_of_means)(jnp.asarray(above), jnp.asarray(below))
    ratios, errors = np.asarray(ratios), np.asarray(errors)
    assert abs(ratios.mean() - 2) < LIMIT * ratios.std() / np.sqrt(2_000)
    assert abs(np.mean(errors**2) / np.var(ratios) - 1) < LIMIT * np.sqrt(2 / 2_000) + 0.01  # bias of order 1/200


def test_float32_nan_and_refusals():
    positions, gradients, buffers = minibatch_gradients(jnp.asarray(closed_orbits(), jnp.float32), learning_rate=RATE)
    ratio, error = fluctuation_dissipation_ratio(positions, gradients, learning_rate=RATE)
    assert ratio.dtype == error.dtype == jnp.float32
    np.testing.assert_allclose((ratio, error), (1, 0), atol=1e-5)
    broken = gradients.at[1, 2, 0].set(jnp.nan)
    assert np.isnan(fluctuation_dissipation_ratio(positions, broken, learning_rate=RATE)).all()
    with pytest.raises(ValueError, match="buffers: expected the momentum"):
        fluctuation_dissipation_ratio(positions, gradients, learning_rate=RATE, momentum=0.5)
    with pytest.raises(ValueError, match="one shape"):
        fluctuation_dissipation_ratio(positions, gradients[:-1], learning_rate=RATE)
    with pytest.raises(ValueError, match="records"):
        minibatch_gradients(buffers[:2], learning_rate=RATE)
    with pytest.raises(ValueError, match="numerators"):
        ratio_of_means(np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="potential_gradients"):
        euler_virial_ratio(positions, gradients[:-1], temperature=1.0, time_step=0.1)

"""Temperatures: exact on quadratics, the same for an SGD and its SDE, and never one number where it means nothing."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sgdsde
from sgdsde import first_exit, landscapes, match, noise, optimizer, predictions, sgd, simulate, temperatures

OPTIONS = {"learning_rate": 0.1, "batch_size": 1, "sampling": "with_replacement"}
CORRELATED = np.array([[12.0, 2.0], [2.0, 4.0]])


def plane(covariance=CORRELATED):
    return landscapes.quadratic(np.diag([2.0, 0.2]), gradient_covariance=covariance, num_examples=16)


def test_a_quadratic_of_fifty_dimensions_and_unit_covariance():
    """T = rate * v / 2 of one coordinate's v = 1: 0.05, and not the 2.5 that the trace, 50, would make of it."""
    problem = landscapes.quadratic(np.eye(50), gradient_covariance=np.eye(50), num_examples=64)
    found = temperatures(sgd(problem, **OPTIONS), jnp.zeros(50))
    np.testing.assert_allclose(found.trace_matched, 0.05, rtol=1e-12)
    np.testing.assert_allclose(found.per_direction, np.full(50, 0.05), rtol=1e-12)
    np.testing.assert_allclose(found.participation_ratio, 50, rtol=1e-12)
    assert found.trace_matched == pytest.approx(
        predictions.temperature(learning_rate=0.1, batch_size=1, gradient_variance=1.0)
    )


def test_every_scaling_is_derived():
    """Batch size, finite population and momentum; T times the identity is the covariance of a unit parabola."""
    problem = plane(np.eye(2))
    for options, expected in (
        (OPTIONS, 0.05),
        (OPTIONS | {"batch_size": 4}, 0.05 / 4),
        (OPTIONS | {"batch_size": 4, "sampling": "without_replacement"}, 0.05 / 4 * (16 - 4) / (16 - 1)),
        (OPTIONS | {"momentum": 0.9}, 0.5),
        (OPTIONS | {"learning_rate": optax.linear_schedule(0.2, 0.0, 10)}, 0.1),
    ):
        found = temperatures(sgd(problem, **options), jnp.zeros(2))
        np.testing.assert_allclose(found.trace_matched, expected, rtol=1e-6)
        np.testing.assert_allclose(found.per_direction, [expected, expected], rtol=1e-6)
    later = temperatures(
        sgd(problem, **OPTIONS | {"learning_rate": optax.linear_schedule(0.2, 0.0, 10)}), jnp.zeros(2), step=5
    )
    np.testing.assert_allclose(later.trace_matched, 0.05, rtol=1e-6)
    sde = predictions.sde_covariance(np.eye(2), np.eye(2), learning_rate=0.1)
    np.testing.assert_allclose(temperatures(sgd(problem, **OPTIONS), jnp.zeros(2)).trace_matched * np.eye(2), sde)


def test_epochs_are_said_to_be_colder_than_their_single_steps():
    """By the exact law 36 times, at rate x curvature 0.005 and 16 batches an epoch."""
    with pytest.warns(UserWarning, match=r"epoch sampling anti-correlates .* predictions\.epoch_covariance"):
        found = temperatures(sgd(plane(np.eye(2)), **OPTIONS | {"sampling": "epoch", "batch_size": 4}), jnp.zeros(2))
    np.testing.assert_allclose(found.trace_matched, 0.05 / 4 * (16 - 4) / (16 - 1), rtol=1e-12)


def test_full_batches_have_no_temperature_and_a_run_is_no_params():
    full = sgd(plane(), **OPTIONS | {"sampling": "without_replacement", "batch_size": 16})
    found = temperatures(full, jnp.zeros(2))
    assert found.trace_matched == 0
    assert np.isnan(found.participation_ratio)
    options = {"num_steps": 2, "num_chains": 3, "observe": jnp.sum, "every": 1}
    run = simulate(full, jnp.zeros(2), jax.random.key(0), **options)
    with pytest.raises(TypeError, match=r"params: .* got a Trajectory; give one chain of its params"):
        temperatures(full, run)


def test_a_warm_up_has_no_temperature_at_its_first_step():
    warm = sgd(plane(), **OPTIONS | {"learning_rate": optax.linear_schedule(0.0, 0.2, 10)})
    with pytest.raises(ValueError, match=r"schedule of the learning rate is 0 at step 0.*give the `step` of the run"):
        temperatures(warm, jnp.zeros(2))


def test_directions_of_their_own_temperature_are_named_and_warned_of():
    dynamics, params = sgd(plane(), **OPTIONS), jnp.zeros(2)
    with pytest.warns(UserWarning, match=r"no single number .*: 2 directions from 0\.624 down to 0\.176"):
        found = temperatures(dynamics, params)
    values, vectors = np.linalg.eigh(CORRELATED)
    np.testing.assert_allclose(found.per_direction, 0.05 * values[::-1], rtol=1e-12)
    np.testing.assert_allclose(np.abs(vectors[:, ::-1].T @ found.directions), np.eye(2), atol=1e-12)
    np.testing.assert_allclose(found.trace_matched, 0.4, rtol=1e-12)
    np.testing.assert_allclose(found.participation_ratio, 16**2 / np.sum(CORRELATED**2), rtol=1e-12)
    traced = jax.jit(temperatures)(dynamics, params)  # without the warning, which pytest would turn into an error
    np.testing.assert_allclose(traced.per_direction, found.per_direction, rtol=1e-12)


def test_an_sde_has_the_temperatures_of_its_noise():
    dynamics, params = sgd(plane(np.diag([1.1, 0.9])), **OPTIONS, momentum=0.5), jnp.zeros(2)
    discrete = temperatures(dynamics, params)
    for kind in (noise.anisotropic, noise.constant, noise.diagonal):
        found = temperatures(match(dynamics, kind, substeps=4, at=params), params)
        np.testing.assert_allclose(found.per_direction, discrete.per_direction, rtol=1e-12)
        np.testing.assert_allclose(found.trace_matched, discrete.trace_matched, rtol=1e-12)
    isotropic = temperatures(match(dynamics, noise.isotropic, substeps=4, at=params), params)
    np.testing.assert_allclose(isotropic.per_direction, [0.1, 0.1], rtol=1e-12)


def test_no_noise_is_at_temperature_zero():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = temperatures(sgd(plane(np.zeros((2, 2))), **OPTIONS), jnp.zeros(2))
    assert found.trace_matched == 0
    assert np.isnan(found.participation_ratio)


def test_what_has_no_temperature_is_refused_with_the_reason():
    discrete, params = sgd(plane(), **OPTIONS), jnp.zeros(2)
    levy = match(discrete, noise.anisotropic_levy, substeps=1, tail_index=1.5)
    mixture = match(discrete, noise.trace_matched, substeps=1)
    adam = optimizer(plane(), optax.adam(0.1), batch_size=1, sampling="with_replacement")
    for dynamics, reason in (
        (adam, "temperatures: an optimizer has no SDE"),
        (sgd(plane(), **OPTIONS, clip=1.0), "temperatures: clipping changes the mean"),
        (first_exit(discrete, lambda x: jnp.all(x < 1)), "expected dynamics made by `sgd`, got FirstExit"),
        (levy, "below 2, so that no variance exists"),
        (mixture, "it is a mixture"),
    ):
        with pytest.raises(ValueError, match=reason):
            temperatures(dynamics, params)
    with pytest.raises(ValueError, match=r"params: expected shape \(2,\)"):
        temperatures(discrete, jnp.zeros(()))


def test_the_trace_cannot_be_taken_for_the_variance_of_one_coordinate():
    problem, params = plane(), jnp.zeros(2)
    with pytest.warns(DeprecationWarning, match=r"is tr Sigma, a sum .* temperatures\(dynamics, params\)"):
        assert sgdsde.gradient_variance(problem, params) == sgdsde.gradient_covariance_trace(problem, params)
    np.testing.assert_allclose(sgdsde.gradient_covariance_trace(problem, params), 16, rtol=1e-12)

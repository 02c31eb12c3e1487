"""Second moments of minibatch regression against the enumeration of every minibatch and Isserlis's theorem."""

import itertools

import numpy as np
import pytest

from sgdsde.predictions import (
    critical_learning_rate,
    gaussian_critical_learning_rate,
    gaussian_regression_covariance,
    regression_covariance,
    regression_spectral_radius,
    scalar_regression_variance,
)

INPUTS = np.array([[1.0, 0.3], [-0.4, 1.2], [0.8, -0.9], [-1.5, 0.1], [0.2, 0.5]])
TARGETS = np.array([0.7, -1.1, 0.4, 0.9, 2.0])
COVARIANCE = np.array([[1.2, 0.4, 0.0], [0.4, 0.7, -0.1], [0.0, -0.1, 0.3]])


def enumerated(inputs, targets, rate, batch_size, sampling, momentum):
    """Linear part and source of E ww^T, w = (theta - least squares, m, 1), averaged over all minibatches."""
    d, identity = inputs.shape[1], np.eye(inputs.shape[1])
    best = np.linalg.lstsq(inputs, targets)[0]
    choose = {"with_replacement": itertools.product, "without_replacement": itertools.combinations}[sampling]
    repeat = {"repeat": batch_size} if sampling == "with_replacement" else {"r": batch_size}
    total, count = 0, 0
    for batch in choose(range(len(inputs)), **repeat):
        x, y = inputs[list(batch)], targets[list(batch)]
        hessian, offset = x.T @ x / batch_size, -x.T @ (y - x @ best) / batch_size  # gradient = hessian theta + offset
        step = np.block(
            [
                [identity - rate * hessian, -rate * momentum * identity, -rate * offset[:, None]],
                [hessian, momentum * identity, offset[:, None]],
                [np.zeros((1, 2 * d)), np.ones((1, 1))],
            ]
        )
        total, count = total + np.kron(step, step), count + 1
    return total / count


def iterate(matrix, dimension):
    state = np.zeros((2 * dimension + 1,) * 2)
    state[-1, -1] = 1
    state = np.linalg.matrix_power(matrix, 4096) @ state.ravel()
    return state.reshape((2 * dimension + 1,) * 2)[:dimension, :dimension]


@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize(("sampling", "batch_size"), [("with_replacement", 3), ("without_replacement", 2)])
def test_finite_data_equals_the_enumeration_of_every_minibatch(sampling, batch_size, momentum):
    rate = 0.15
    expected = iterate(enumerated(INPUTS, TARGETS, rate, batch_size, sampling, momentum), 2)
    measured = regression_covariance(
        INPUTS, TARGETS, learning_rate=rate, batch_size=batch_size, sampling=sampling, momentum=momentum
    )
    np.testing.assert_allclose(measured, expected, rtol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_spectral_radius_and_critical_rate_are_those_of_the_enumerated_recursion(momentum):
    options = {"batch_size": 2, "sampling": "without_replacement", "momentum": momentum}
    homogeneous = enumerated(INPUTS, np.zeros(5), 0.3, *options.values()).reshape((5,) * 4)[:4, :4, :4, :4]
    expected = np.max(np.abs(np.linalg.eigvals(homogeneous.reshape(16, 16))))
    np.testing.assert_allclose(regression_spectral_radius(INPUTS, learning_rate=0.3, **options), expected, rtol=1e-10)
    critical = critical_learning_rate(INPUTS, **options)
    homogeneous = enumerated(INPUTS, np.zeros(5), critical, *options.values()).reshape((5,) * 4)[:4, :4, :4, :4]
    np.testing.assert_allclose(np.max(np.abs(np.linalg.eigvals(homogeneous.reshape(16, 16)))), 1, atol=1e-9)
    assert np.all(np.isfinite(regression_covariance(INPUTS, TARGETS, learning_rate=0.999 * critical, **options)))
    with pytest.raises(ValueError, match="critical_learning_rate"):
        regression_covariance(INPUTS, TARGETS, learning_rate=1.001 * critical, **options)


def test_full_batch_without_replacement_has_no_noise_and_the_classical_edge():
    options = {"batch_size": 5, "sampling": "without_replacement"}
    assert np.abs(regression_covariance(INPUTS, TARGETS, learning_rate=0.1, **options)).max() < 1e-15
    largest = np.linalg.eigvalsh(INPUTS.T @ INPUTS / 5)[-1]
    np.testing.assert_allclose(critical_learning_rate(INPUTS, momentum=0.4, **options), 2 * 1.4 / largest, rtol=1e-9)


def gaussian_recursion(state, rate, batch_size, momentum, label_variance):
    """One step of E zz^T for fresh Gaussian inputs: E x x^T S x x^T = 2 A S A + tr(A S) A."""
    d, a = len(COVARIANCE), COVARIANCE
    drift = np.block([[np.eye(d) - rate * a, -rate * momentum * np.eye(d)], [a, momentum * np.eye(d)]])
    kick, s = np.vstack([-rate * np.eye(d), np.eye(d)]), state[:d, :d]
    noise = (a @ s @ a + (np.trace(a @ s) + label_variance) * a) / batch_size
    return drift @ state @ drift.T + kick @ noise @ kick.T


@pytest.mark.parametrize(("momentum", "batch_size"), [(0.0, 1), (0.5, 4), (0.9, 2)])
def test_gaussian_inputs_equal_the_iterated_recursion(momentum, batch_size):
    rate, state = 0.1 * (1 - momentum), np.zeros((6, 6))
    for _ in range(2500):
        state = gaussian_recursion(state, rate, batch_size, momentum, 0.8)
    measured = gaussian_regression_covariance(
        COVARIANCE, label_variance=0.8, learning_rate=rate, batch_size=batch_size, momentum=momentum
    )
    np.testing.assert_allclose(measured, state[:3, :3], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("momentum", "batch_size"), [(0.0, 1), (0.5, 4), (0.9, 2)])
def test_gaussian_critical_rate_is_where_the_second_moments_stop_contracting(momentum, batch_size):
    critical = gaussian_critical_learning_rate(COVARIANCE, batch_size=batch_size, momentum=momentum)
    basis = np.eye(36).reshape(36, 6, 6)
    for factor, stable in ((0.999, True), (1.001, False)):
        step = [gaussian_recursion(unit, factor * critical, batch_size, momentum, 0.0).ravel() for unit in basis]
        assert (np.max(np.abs(np.linalg.eigvals(np.array(step)))) < 1) is np.bool_(stable)
    with pytest.raises(ValueError, match="gaussian_critical_learning_rate"):
        gaussian_regression_covariance(
            COVARIANCE, label_variance=1.0, learning_rate=1.001 * critical, batch_size=batch_size, momentum=momentum
        )


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("rounding", [0.0, 1e-16, 1e-9])
def test_gaussian_critical_rate_of_inputs_that_are_alike_in_all_directions(momentum, rounding):
    """A = v I of d dimensions: t = d eta v/(2 (1 - mu) - c eta v) = B, c = (1 - mu)/(1 + mu) + 1/B, in closed form."""
    variance, batch_size = 0.7, 4
    c = (1 - momentum) / (1 + momentum) + 1 / batch_size
    for dimension in (1, 2, 5):
        inputs = variance * np.diag(1 + rounding * np.arange(dimension))
        exact = 2 * (1 - momentum) * batch_size / (variance * (dimension + batch_size * c))
        found = gaussian_critical_learning_rate(inputs, batch_size=batch_size, momentum=momentum)
        np.testing.assert_allclose(found, exact, rtol=1e-11 + 5 * rounding)


def test_one_dimension_with_any_input_law_is_the_fixed_point_of_the_variance():
    values, weights = np.array([-1.0, 0.5, 2.0]), np.array([0.2, 0.5, 0.3])
    moments = {"second_moment": weights @ values**2, "fourth_moment": weights @ values**4}
    rate, label_variance, batch_size, variance = 0.12, 0.7, 3, 0.0
    for _ in range(3000):  # x' = x (1 - eta mean a^2) + eta mean a e: enumerate the batches' a
        updated = 0.0
        for batch in itertools.product(range(3), repeat=batch_size):
            chance, mean_square = np.prod(weights[list(batch)]), np.mean(values[list(batch)] ** 2)
            updated += chance * (1 - rate * mean_square) ** 2 * variance
            updated += chance * rate**2 * label_variance * mean_square / batch_size
        if abs(updated - variance) < 1e-17:
            break
        variance = updated
    options = {"label_variance": label_variance, "batch_size": batch_size, **moments}
    np.testing.assert_allclose(scalar_regression_variance(learning_rate=rate, **options), variance, rtol=1e-12)
    critical = 2 * 3 * options["second_moment"] / (options["fourth_moment"] + 2 * options["second_moment"] ** 2)
    with pytest.raises(ValueError, match="infinite"):
        scalar_regression_variance(learning_rate=critical, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": "epoch"}, "sampling"),
        ({"batch_size": 6}, "batch_size"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"targets": TARGETS[:3]}, "targets"),
        ({"inputs": np.ones((5, 2))}, "inputs"),
        ({"momentum": -0.1}, "momentum"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = {"inputs": INPUTS, "targets": TARGETS, "learning_rate": 0.1, "batch_size": 2}
    arguments |= {"sampling": "without_replacement"} | change
    unchecked = getattr(regression_covariance, "__wrapped__", regression_covariance)  # without beartype's own refusal
    with pytest.raises((TypeError, ValueError), match=message):
        unchecked(arguments.pop("inputs"), arguments.pop("targets"), **arguments)
